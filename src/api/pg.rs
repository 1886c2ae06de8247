//! `pg::`: sessions with PostgreSQL servers, and statements.

use rhai::Dynamic;

use super::{
    convert,
    db::Db,
    function::{Call, Effect, Function, Module},
    operator::Notice,
    reads, transaction,
};
use crate::{
    base::{Code, Map, Result, Value},
    fail,
    pg::{Record, Session, databases},
};

/// The module.
pub(super) const MODULE: Module = Module {
    name: "pg",
    doc: "Sessions with PostgreSQL servers. A handle is lazy: nothing is opened before a step uses it. Every session \
          sets synchronous_commit = on, search_path = pg_catalog, a lock_timeout and a statement_timeout.",
    functions: &[Function {
        name: "connect",
        parameters: "where",
        gives: "a session",
        effect: Effect::Pure,
        doc: "A session with the database of an RDS instance (`instance`, `secret`), of a cluster's writer (`cluster`, \
              `secret`), of a URL, or of `host port user database password`. Further keys: sslmode sslrootcert search_path lock_timeout statement_timeout.",
        example: "let other = pg::connect(#{ host: \"127.0.0.1\", user: \"app\", database: \"orders\" });",
        run: |call| Ok(Dynamic::from(Db::connect(call)?)),
    }],
    methods: &[
        Function {
            name: "query",
            parameters: "db, sql, [values]",
            gives: "a list of rows, each a map",
            effect: Effect::Reads,
            doc: "Runs a statement that only reads, in a READ ONLY transaction. Values bind to $1, $2, ..",
            example: "db.query(\"select 1 as one\") // => [#{ one: 1 }]",
            run: |call| {
                let rows = read(call)?;
                Ok(rows.iter().map(convert::map_to_dynamic).collect::<rhai::Array>().into())
            },
        },
        Function {
            name: "one",
            parameters: "db, sql, [values]",
            gives: "a row, a map",
            effect: Effect::Reads,
            doc: "The only row of a statement that only reads; none or several are an error.",
            example: "db.one(\"select 1 as one\") // => #{ one: 1 }",
            run: |call| Ok(convert::map_to_dynamic(&only(read(call)?)?)),
        },
        Function {
            name: "value",
            parameters: "db, sql, [values]",
            gives: "a value",
            effect: Effect::Reads,
            doc: "The only value of a statement that only reads: one row with one column.",
            example: "db.value(\"select $1::int + 1\", [41]) // => 42",
            run: |call| {
                let row = only(read(call)?)?;
                match (row.len(), row.into_values().next()) {
                    (1, Some(value)) => Ok(convert::to_dynamic(&value)),
                    (columns, _) => Err(fail!(Code::PgValue, "got {columns} columns, wanted one")),
                }
            },
        },
        Function {
            name: "exists",
            parameters: "db, sql, [values]",
            gives: "true or false",
            effect: Effect::Reads,
            doc: "Whether a statement that only reads gives at least one row.",
            example: "db.exists(\"select from pg_roles where rolname = $1\", [\"no such role\"]) // => false",
            run: |call| Ok((!read(call)?.is_empty()).into()),
        },
        Function {
            name: "execute",
            parameters: "db, sql, [values]",
            gives: "the number of rows",
            effect: Effect::Writes,
            doc: "Runs one statement that changes something. Values bind to $1, $2, ..",
            example: "db.execute(\"create temporary table t (n int)\") // => 0",
            run: |call| {
                let (sql, values) = (call.text(1)?, call.list(2)?);
                let count = change(call, &sql, async |session| session.execute(&sql, &values).await)?;
                Ok(i64::try_from(count).unwrap_or(i64::MAX).into())
            },
        },
        Function {
            name: "execute_returning",
            parameters: "db, sql, [values]",
            gives: "a list of rows, each a map",
            effect: Effect::Writes,
            doc: "Runs one statement that changes something and gives rows, such as INSERT .. RETURNING.",
            example: "db.execute_returning(\"select 1 as one\") // => [#{ one: 1 }]",
            run: |call| {
                let (sql, values) = (call.text(1)?, call.list(2)?);
                let rows = change(call, &sql, async |session| session.query(&sql, &values).await)?;
                Ok(rows.iter().map(convert::map_to_dynamic).collect::<rhai::Array>().into())
            },
        },
        Function {
            name: "batch",
            parameters: "db, sql",
            gives: "()",
            effect: Effect::Writes,
            doc: "Runs several statements separated by `;`, in one implicit transaction.",
            example: "db.batch(\"create temporary table t2 (n int); insert into t2 values (1)\")",
            run: |call| {
                let sql = call.text(1)?;
                change(call, &sql, async |session| session.batch(&sql).await)?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "transaction",
            parameters: "db, body",
            gives: "the value of the body",
            effect: Effect::Writes,
            doc: "Runs a closure in one transaction: committed when it ends, rolled back when it raises an error. Where \
                  the database has pgrun's own schema (pg::install_own), a step that changes something only by \
                  transactions, and looks at nothing outside them, is never in doubt: resumed, it repeats none that \
                  took effect.",
            example: "db.transaction(|tx| { tx.execute_returning(\"select 1 as one\")[0].one }) // => 1",
            run: transaction::run,
        },
        Function {
            name: "server",
            parameters: "db",
            gives: "a map",
            effect: Effect::Reads,
            doc: "What the server says about itself: version_num, major, version, system_identifier, timeline, \
                  in_recovery, wal_level, database, user, superuser, encrypted, rds, started.",
            example: "db.server().in_recovery // => false",
            run: |call| {
                let facts = look(call, "asking the server about itself", async |session| session.server().await)?;
                Ok(convert::map_to_dynamic(&facts.to_map()))
            },
        },
        Function {
            name: "insert_lsn",
            parameters: "db",
            gives: "an lsn",
            effect: Effect::Reads,
            doc: "The position up to which write-ahead log has been reserved, commits in buffers included.",
            example: "db.insert_lsn() > lsn(\"0/1\") // => true",
            run: |call| {
                let lsn = look(call, "reading the insert LSN", async |session| session.insert_lsn().await)?;
                Ok(Dynamic::from(lsn))
            },
        },
        Function {
            name: "in_database",
            parameters: "db, name",
            gives: "a session",
            effect: Effect::Pure,
            doc: "Another database of the same server, by the same login. The session's own database is the session itself.",
            example: "let other = pg::connect(#{ host: \"127.0.0.1\", user: \"app\", database: \"a\" }).in_database(\"b\");",
            run: |call| Ok(Dynamic::from(db(call, 0)?.in_database(&call.text(1)?))),
        },
        Function {
            name: "databases",
            parameters: "db",
            gives: "a list of #{ name, oid }",
            effect: Effect::Reads,
            doc: "The databases of the server that may hold somebody's data: no templates, none that takes no \
                  connections, not RDS's own. The session's own comes first.",
            example: "db.databases().len() > 0 // => true",
            run: |call| {
                let all = look(call, "listing databases", async |session| databases::all(session).await)?;
                Ok(convert::to_dynamic(&Value::from(all.iter().map(Record::to_map).collect::<Vec<Map>>())))
            },
        },
    ],
};

/// The session argument of a call.
pub(super) fn db(call: &Call, at: usize) -> Result<Db> {
    call.handle::<Db>(at, "a session")
}

/// Reads through pgrun's own primitives.
pub(super) fn look<T>(call: &Call, doing: &str, work: impl AsyncFnOnce(&Session) -> Result<T>) -> Result<T> {
    let db = db(call, 0)?;
    enter(call, &db)?;
    let answer = call.host.wait(&call.frame, &format!("{doing} on {}", db.label()), async {
        let session = db.session().await?;
        let _turn = db.turn().await;
        work(session).await
    });
    tell_notices(call, &db);
    answer
}

/// What is read inside a marked transaction belongs to it.
fn enter(call: &Call, db: &Db) -> Result<()> {
    if db.is_marked() { call.enter_marked() } else { call.enter(&[]) }
}

/// Reads on two servers, the first two arguments.
pub(super) fn look_all<T>(
    call: &Call,
    doing: &str,
    work: impl AsyncFnOnce(&Session, &Session) -> Result<T>,
) -> Result<T> {
    let (first, second) = (db(call, 0)?, db(call, 1)?);
    call.wait(&format!("{doing} on {} and {}", first.label(), second.label()), &[], async {
        let (there, here) = (first.session().await?, second.session().await?);
        let _turn = first.turn().await;
        let _other = if first.is_same(&second) { None } else { second.turn().await };
        work(there, here).await
    })
}

/// Writes: the target is claimed and the intent durable before the first statement.
pub(super) fn write<T>(call: &Call, doing: &str, work: impl AsyncFnOnce(&Session) -> Result<T>) -> Result<T> {
    let db = db(call, 0)?;
    write_all(call, doing, &[&db], async |sessions| work(sessions[0]).await)
}

/// Runs statements of the script. Inside a marked transaction they share its fate, unless they have effects beside it.
fn change<T>(call: &Call, sql: &str, work: impl AsyncFnOnce(&Session) -> Result<T>) -> Result<T> {
    const DOING: &str = "running a statement";
    let db = db(call, 0)?;
    if db.is_marked() && reads::refuse_changes(sql).is_err() {
        // What stays when the transaction is rolled back needs an intent.
        call.enter(&[])?;
    }
    if db.is_marked() {
        return within(call, DOING, &db, work);
    }
    write(call, DOING, work)
}

/// Runs statements of a marked transaction: its begin is durable.
pub(super) fn within<T>(call: &Call, doing: &str, db: &Db, work: impl AsyncFnOnce(&Session) -> Result<T>) -> Result<T> {
    call.enter_marked()?;
    let answer =
        call.host.wait(&call.frame, &format!("{doing} on {}", db.label()), async { work(db.session().await?).await });
    tell_notices(call, db);
    answer
}

/// Writes to several servers, or to one while looking at others: all are claimed.
pub(super) fn write_all<T>(
    call: &Call,
    doing: &str,
    dbs: &[&Db],
    work: impl AsyncFnOnce(&[&Session]) -> Result<T>,
) -> Result<T> {
    let mut labels: Vec<String> = dbs.iter().map(|db| db.label()).collect();
    labels.dedup();
    let doing = format!("{doing} on {}", labels.join(" and "));
    let claims: Vec<String> = call.host.wait(&call.frame, &doing, async {
        let mut claims = vec![];
        for db in dbs {
            claims.extend(db.claims().await?.iter().cloned());
        }
        Ok(claims)
    })?;
    let answer = call.wait(&doing, &claims, async {
        let mut sessions = vec![];
        let mut turns = vec![];
        for (at, db) in dbs.iter().enumerate() {
            sessions.push(db.session().await?);
            if !dbs[..at].iter().any(|before| before.is_same(db)) {
                turns.push(db.turn().await);
            }
        }
        work(&sessions).await
    });
    for db in dbs {
        tell_notices(call, db);
    }
    answer
}

fn read(call: &Call) -> Result<Vec<Map>> {
    let (sql, values) = (call.text(1)?, call.list(2)?);
    reads::refuse_changes(&sql)?;
    if db(call, 0)?.is_in_transaction() {
        return look(call, "querying", async |session| session.query(&sql, &values).await);
    }
    look(call, "querying", async |session| {
        session.begin_read_only().await?;
        let rows = session.query(&sql, &values).await;
        let ended = session.rollback().await;
        let rows = rows.map_err(|error| match error.fact("sqlstate") {
            Some("25006") => error.hint("a query only reads; use execute(..) in a step's body"),
            _ => error,
        })?;
        ended.map(|()| rows)
    })
}

fn only(mut rows: Vec<Map>) -> Result<Map> {
    match (rows.len(), rows.pop()) {
        (1, Some(row)) => Ok(row),
        (count, _) => Err(fail!(Code::PgValue, "got {count} rows, wanted one")),
    }
}

/// NOTICE and WARNING of the server, for the person in charge.
fn tell_notices(call: &Call, db: &Db) {
    let Some(session) = db.peek() else { return };
    for notice in session.drain_notices() {
        call.host.tell(Notice::Warned(format!("{}: {}", notice.severity, notice.message)));
    }
}
