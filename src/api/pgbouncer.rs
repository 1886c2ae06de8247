//! `pgbouncer::`: the admin console of a pgbouncer, by its URL.

use std::time::Duration;

use rhai::{Dynamic, ImmutableString};

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    options::Options,
};
use crate::{
    base::{Map, Result, Secret, Value},
    pg::{Record, Target, pooler::Pooler},
};

/// The module.
pub(super) const MODULE: Module = Module {
    name: "pgbouncer",
    doc: "The admin console of a pgbouncer, by its URL: postgres://ADMIN:PASSWORD@HOST:6432. A parameter of type `url` \
          keeps the password secret.",
    functions: &[
        Function {
            name: "databases",
            parameters: "admin",
            gives: "a list of #{ name, host, port, database, paused, connections }",
            effect: Effect::Reads,
            doc: "The databases of a pgbouncer: where each leads, and whether its clients are held back.",
            example: "try { pgbouncer::databases(\"postgres://admin@127.0.0.1:1\") } catch (e) { e.code } // => \"pg_connect\"",
            run: |call| {
                let pooler = pooler(call)?;
                let doing = format!("asking {}", pooler.label());
                let found = call.wait(&doing, &[], async { pooler.databases().await })?;
                Ok(convert::to_dynamic(&Value::from(found.iter().map(Record::to_map).collect::<Vec<Map>>())))
            },
        },
        Function {
            name: "database",
            parameters: "admin, name",
            gives: "#{ name, host, port, database, paused, connections }",
            effect: Effect::Reads,
            doc: "One database of a pgbouncer. For the check of a step that switches it: `pgbouncer::database(admin, \
                  name).host == found.host`.",
            example: "try { pgbouncer::database(\"postgres://admin@127.0.0.1:1\", \"shop\") } catch (e) { e.code } // => \"pg_connect\"",
            run: |call| {
                let (pooler, name) = (pooler(call)?, call.text(1)?);
                let doing = format!("asking {}", pooler.label());
                let found = call.wait(&doing, &[], async { pooler.database(&name).await })?;
                Ok(convert::map_to_dynamic(&found.to_map()))
            },
        },
        Function {
            name: "pause_database",
            parameters: "admin, name, [options]",
            gives: "()",
            effect: Effect::Writes,
            doc: "Holds the clients of a database back and waits until none of their transactions runs; they wait instead \
                  of failing, at most for pgbouncer's query_wait_timeout. When that takes longer than #{ deadline } \
                  (otherwise \"10s\") the database is resumed and the step fails. Safe to repeat; undone by \
                  `pgbouncer::resume_database`, which belongs into the undo clause: nobody else lets clients go on when pgrun dies.",
            example: "try { pgbouncer::pause_database(\"postgres://admin@127.0.0.1:1\", \"shop\") } catch (e) { e.code } // => \"pg_connect\"",
            run: |call| {
                let options = Options::read(call, 2, &["deadline"])?;
                let deadline = options.duration("deadline")?.unwrap_or(PAUSES_WITHIN);
                change(call, "pausing", async |pooler, name| pooler.pause(name, deadline).await)
            },
        },
        Function {
            name: "resume_database",
            parameters: "admin, name",
            gives: "()",
            effect: Effect::Writes,
            doc: "Lets the clients of a database go on; one that is not paused is left alone.",
            example: "try { pgbouncer::resume_database(\"postgres://admin@127.0.0.1:1\", \"shop\") } catch (e) { e.code } // => \"pg_connect\"",
            run: |call| change(call, "resuming", async |pooler, name| pooler.resume(name).await),
        },
        Function {
            name: "reload",
            parameters: "admin",
            gives: "()",
            effect: Effect::Writes,
            doc: "Lets a pgbouncer read its configuration again. That is how a database gets another host: change the \
                  file, with a `hook` where it lies elsewhere, reload, and see by `pgbouncer::database` where it leads. \
                  Safe to repeat.",
            example: "try { pgbouncer::reload(\"postgres://admin@127.0.0.1:1\") } catch (e) { e.code } // => \"pg_connect\"",
            run: |call| {
                let pooler = pooler(call)?;
                let label = pooler.label();
                call.wait(&format!("reloading {label}"), &[label], async { pooler.reload().await })?;
                Ok(Dynamic::UNIT)
            },
        },
    ],
    methods: &[],
};

/// Transactions of an application take milliseconds; who waits longer for a pause holds all applications back.
const PAUSES_WITHIN: Duration = Duration::from_secs(10);

/// The pgbouncer at the URL that is the first argument.
fn pooler(call: &Call) -> Result<Pooler> {
    let given = call.argument(0).flatten_clone();
    let url = match given.clone().try_cast::<ImmutableString>() {
        Some(text) => Secret::new(text.as_str()),
        None => call.handle::<Secret>(0, "a url")?,
    };
    call.host.redactor().learn(&url);
    let target = Target::parse(url.expose())?;
    if let Some(password) = target.password() {
        call.host.redactor().learn(password);
    }
    Ok(Pooler::new(target))
}

fn change(call: &Call, doing: &str, work: impl AsyncFnOnce(&Pooler, &str) -> Result<()>) -> Result<Dynamic> {
    let (pooler, name) = (pooler(call)?, call.text(1)?);
    let label = pooler.label();
    call.wait(&format!("{doing} `{name}` at {label}"), &[format!("{label}/{name}")], work(&pooler, &name))?;
    Ok(Dynamic::UNIT)
}
