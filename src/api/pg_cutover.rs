//! `pg::`: pgrun's own tables, roles, the fence and the decision, sequences.

use rhai::Dynamic;

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    guardian::Guardian,
    options::Options,
    pg::{look, write},
};
use crate::{
    base::{Code, Result, Value},
    fail, map,
    pg::{
        Record,
        fence::{self, Decision},
        inventory::{self, Part},
        own,
        roles::{self, Login, NewRole},
    },
};

/// The functions.
pub(super) const MODULE: Module = Module {
    name: "pg",
    doc: "The parts of a cutover.",
    functions: &[
        Function {
            name: "install_own",
            parameters: "db",
            gives: "()",
            effect: Effect::Writes,
            doc: "Makes pgrun's own schema `pgrun` in the database: markers, sentinels, decisions, and the function that \
                  opens a fenced server again. Safe to repeat.",
            example: "pg::install_own(db)",
            run: |call| {
                write(call, "making pgrun's own tables", async |session| own::install(session).await)?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "remove_own",
            parameters: "db",
            gives: "()",
            effect: Effect::Destroys,
            doc: "Drops the schema `pgrun`. Refused while a fence stands.",
            example: "pg::remove_own(db)",
            run: |call| {
                write(call, "dropping pgrun's own tables", async |session| own::remove(session).await)?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "mark",
            parameters: "db, kind",
            gives: "#{ id, kind, lsn, redo }",
            effect: Effect::Writes,
            doc: "Writes a marker row; its LSN was read in the same transaction before the row was written.",
            example: "pg::install_own(db); pg::mark(db, \"M1\").kind // => \"M1\"",
            run: |call| {
                let (kind, run) = (call.text(1)?, run_id(call)?);
                record(&write(call, "writing a marker", async |session| own::mark(session, &run, &kind).await)?)
            },
        },
        Function {
            name: "heartbeat",
            parameters: "db",
            gives: "#{ id, kind, lsn, redo }",
            effect: Effect::Writes,
            doc: "Writes a marker of kind `heartbeat`.",
            example: "pg::install_own(db); pg::heartbeat(db).kind // => \"heartbeat\"",
            run: |call| {
                let run = run_id(call)?;
                record(&write(call, "writing a heartbeat", async |session| own::heartbeat(session, &run).await)?)
            },
        },
        Function {
            name: "make_replication_role",
            parameters: "db, name, password",
            gives: "()",
            effect: Effect::Writes,
            doc: "Makes a login role for replication, or gives it this password if it exists. The server sees a SCRAM \
                  verifier, never the password.",
            example: "pg::make_replication_role(db, \"example_repl\", random_password()); pg::drop_role(db, \"example_repl\")",
            run: make_replication_role,
        },
        Function {
            name: "drop_role",
            parameters: "db, name",
            gives: "true if it was there",
            effect: Effect::Destroys,
            doc: "Drops a role; one that is not there is no error.",
            example: "pg::drop_role(db, \"no such role\") // => false",
            run: |call| {
                let name = call.text(1)?;
                Ok(write(call, "dropping a role", async |session| roles::drop(session, &name).await)?.into())
            },
        },
        Function {
            name: "inventory",
            parameters: "db, [options]",
            gives: "a list of #{ id, verdict, database, object, text, hint }",
            effect: Effect::Reads,
            doc: "What stands in the way of an upgrade by logical replication; the verdict is `stop`, `warn` or `info`. \
                  Options: `target` (the version to upgrade to), `keep_open` (login roles that are not fenced), `of`: \
                  `database`, `server`, or `copy` for a copy that is upgraded already; the first two where it is not given.",
            example: "pg::inventory(db, #{ of: \"server\" }).filter(|f| f.id == \"prepared_transaction\") // => []",
            run: take_stock,
        },
        Function {
            name: "logins",
            parameters: "db",
            gives: "a list of names",
            effect: Effect::Reads,
            doc: "Names of the roles that may log in, sorted.",
            example: "pg::logins(db).len() > 0 // => true",
            run: |call| {
                let all = look(call, "reading who may log in", async |session| roles::logins(session).await)?;
                let mut names: Vec<String> =
                    all.into_iter().filter(|role| role.can_login).map(|role| role.name).collect();
                names.sort();
                Ok(convert::to_dynamic(&Value::from(names)))
            },
        },
        Function {
            name: "try_login",
            parameters: "db, secret",
            gives: "#{ secret, user, answer }",
            effect: Effect::Reads,
            doc: "Tries the login in a secret on this server, in the database that it names: `open`, `closed` (the password fits, the role is NOLOGIN) or \
                  `wrong password`.",
            example: "try { pg::try_login(db, \"none\") } catch (e) { e.code } // => \"aws_not_found\"",
            run: try_login,
        },
        Function {
            name: "forbid_logins",
            parameters: "db, exceptions",
            gives: "#{ roles, terminated }",
            effect: Effect::Writes,
            doc: "Takes LOGIN from every role of a fresh copy but the exceptions, and ends their sessions.",
            example: "try { pg::forbid_logins(db, []) } catch (e) { e.code != \"\" } // => true",
            run: |call| {
                let (exceptions, run) = (call.texts(1)?, run_id(call)?);
                record(&write(call, "closing a copy", async |session| fence::forbid(session, &run, &exceptions).await)?)
            },
        },
        Function {
            name: "close_fence",
            parameters: "db, exceptions, deadline",
            gives: "#{ decision, terminated }",
            effect: Effect::Writes,
            doc: "Closes a server: the decision `fenced` and NOLOGIN for every login role but the exceptions in one \
                  transaction, then ends sessions until none is left. Before that it starts a guardian, a process that \
                  opens the server again when pgrun dies, or when `deadline` has passed without a decision.",
            example: "try { pg::close_fence(db, [], \"1s\") } catch (e) { e.code != \"\" } // => true",
            run: close_fence,
        },
        Function {
            name: "reopen_fence",
            parameters: "db",
            gives: "the decision, or () if there was none",
            effect: Effect::Writes,
            doc: "Opens a fenced server again, for exactly those who could log in before. Refused after the decision.",
            example: "pg::reopen_fence(db)",
            run: |call| {
                let run = run_id(call)?;
                let decision =
                    write(call, "opening the server again", async |session| fence::reopen(session, &run).await)?;
                Ok(decision.map_or(Dynamic::UNIT, |decision| convert::map_to_dynamic(&decision.to_map())))
            },
        },
        Function {
            name: "decide",
            parameters: "db",
            gives: "the decision, a map",
            effect: Effect::Writes,
            doc: "Decides for the other server: `fenced` becomes `green`. Refused past the deadline, and while anybody \
                  could still write here.",
            example: "try { pg::decide(db) } catch (e) { e.code != \"\" } // => true",
            run: |call| {
                let run = run_id(call)?;
                record(&write(call, "deciding", async |session| fence::decide(session, &run).await)?)
            },
        },
        Function {
            name: "fence_outcome",
            parameters: "db",
            gives: "none, fenced, green or reopened",
            effect: Effect::Reads,
            doc: "How this run's last attempt to leave the server stands, as the server itself says.",
            example: "pg::fence_outcome(db) // => \"none\"",
            run: |call| {
                let run = run_id(call)?;
                Ok(look(call, "reading the decision", async |session| fence::outcome(session, &run).await)?.into())
            },
        },
        Function {
            name: "open_logins",
            parameters: "db, decision",
            gives: "#{ opened, missing, refused }",
            effect: Effect::Writes,
            doc: "Lets those log in here who could log in on the server that was left, in one transaction. The decision is \
                  what `decide` gave there.",
            example: "try { pg::open_logins(db, #{}) } catch (e) { e.code } // => \"pg_value\"",
            run: open_logins,
        },
    ],
    methods: &[],
};

/// The run in whose name this server is fenced.
pub(super) fn run_id(call: &Call) -> Result<String> {
    Ok(call.host.run()?.id().to_owned())
}

/// A record as scripts see it.
pub(super) fn record(record: &impl Record) -> Result<Dynamic> {
    Ok(convert::map_to_dynamic(&record.to_map()))
}

fn close_fence(call: &Call) -> Result<Dynamic> {
    let (exceptions, deadline, run) = (call.texts(1)?, call.duration(2)?, run_id(call)?);
    record(&write(call, "closing the server", async |session| {
        // Whoever would be refused needs no guardian, and no process is started for nothing.
        fence::preview(session, &run, &exceptions).await?;
        let guardian = Guardian::start(session, call.host.run()?, deadline).await?;
        if let Some(before) = call.host.keep_guardian(guardian) {
            before.dismiss().await;
        }
        fence::close(session, &run, &exceptions, deadline).await
    })?)
}

fn take_stock(call: &Call) -> Result<Dynamic> {
    let options = Options::read(call, 1, &["target", "keep_open", "of"])?;
    let target = options.text("target")?.map(|version| super::language::major(&version)).transpose()?;
    let wish = inventory::Wish { target, keep_open: options.texts("keep_open")? };
    let part = match options.text("of")?.as_deref() {
        None => None,
        Some("database") => Some(Part::Database),
        Some("server") => Some(Part::Server),
        Some("copy") => Some(Part::Copy),
        Some(other) => {
            return Err(fail!(Code::ScriptError, "`inventory`: got `of: {other}`, wanted database, server or copy"));
        }
    };
    let found = look(call, "taking stock", async |session| match part {
        Some(part) => inventory::findings_of(session, part, &wish).await,
        None => inventory::findings(session, &wish).await,
    })?;
    Ok(convert::findings(&found))
}

fn make_replication_role(call: &Call) -> Result<Dynamic> {
    let (name, password) = (call.text(1)?, call.secret(2)?);
    let role = NewRole {
        name: name.clone(),
        password: Some(password.clone()),
        login: true,
        replication: true,
        ..NewRole::default()
    };
    write(call, "making a role", async |session| {
        let there = session.exists("SELECT FROM pg_roles WHERE rolname = $1", &[name.as_str().into()]).await?;
        if there { roles::set_password(session, &name, &password).await } else { roles::create(session, &role).await }
    })?;
    Ok(Dynamic::UNIT)
}

fn try_login(call: &Call) -> Result<Dynamic> {
    let secret = call.text(1)?;
    let secrets = call.host.aws().secrets();
    let (user, answer) = look(call, "trying a login", async |session| {
        let stored = secrets.current(&secret).await?;
        let fields = stored.fields()?;
        let user = fields.get("username").and_then(Value::as_text).map(str::to_owned);
        let user = user.ok_or_else(|| fail!(Code::ValueGuard, "secret `{secret}` has no field `username`"))?;
        let password = stored.password()?;
        let mut target = session.target().clone().with_login(user.clone(), Some(password.clone()));
        if let Some(database) = fields.get("dbname").and_then(Value::as_text) {
            target = target.with_database(database);
        }
        Ok((user, roles::try_login(&target, &password).await?))
    })?;
    let answer = match answer {
        Login::Accepted => "open",
        Login::NoLogin => "closed",
        Login::WrongPassword => "wrong password",
    };
    Ok(convert::map_to_dynamic(&map! { "secret" => secret, "user" => user, "answer" => answer }))
}

fn open_logins(call: &Call) -> Result<Dynamic> {
    let decision = Decision::from_map(&call.map(1)?)?;
    record(&write(call, "opening logins", async |session| fence::open(session, &decision).await)?)
}
