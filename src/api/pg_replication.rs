//! `pg::`: publications, slots, subscriptions, origins.

use std::time::Duration;

use rhai::Dynamic;

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    options::Options,
    pg::{look, write},
};
use crate::{
    base::{Lsn, Result, Value, span},
    pg::{Parts, Record, SslMode, Target, origin, publication, slot, subscription},
};

/// Waiting for transactions that hold up a new slot: longer than any web request, shorter than a night.
const SLOT_DEADLINE: Duration = Duration::from_secs(240);

/// The functions.
pub(super) const MODULE: Module = Module {
    name: "pg",
    doc: "Logical replication.",
    functions: &[
        Function {
            name: "create_publication",
            parameters: "db, name",
            gives: "()",
            effect: Effect::Writes,
            doc: "Publishes all tables and all changes of the database.",
            example: "pg::create_publication(db, \"example\")",
            run: |call| {
                let name = call.text(1)?;
                write(call, "publishing", async |session| publication::create(session, &name).await)?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "drop_publication",
            parameters: "db, name",
            gives: "()",
            effect: Effect::Writes,
            doc: "Drops a publication; one that is not there is no error.",
            example: "pg::drop_publication(db, \"example\")",
            run: |call| {
                let name = call.text(1)?;
                write(call, "dropping a publication", async |session| publication::drop(session, &name).await)?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "create_slot",
            parameters: "db, name",
            gives: "the slot's consistent point, an lsn",
            effect: Effect::Writes,
            doc: "Creates a logical slot. Names the transactions that hold it up when it takes more than 4 minutes.",
            example: "pg::create_slot(db, \"example\") > lsn(\"0/1\") // => true",
            run: |call| {
                let name = call.text(1)?;
                let lsn =
                    write(call, "creating a slot", async |session| slot::create(session, &name, SLOT_DEADLINE).await)?;
                Ok(Dynamic::from(lsn))
            },
        },
        Function {
            name: "drop_slot",
            parameters: "db, name",
            gives: "()",
            effect: Effect::Writes,
            doc: "Drops a slot; one that is not there is no error.",
            example: "pg::drop_slot(db, \"example\")",
            run: |call| {
                let name = call.text(1)?;
                write(call, "dropping a slot", async |session| slot::drop(session, &name).await)?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "slot",
            parameters: "db, name",
            gives: "a map, or () when there is none",
            effect: Effect::Reads,
            doc: "A slot: name active active_pid restart_lsn confirmed_flush_lsn wal_status lag_bytes kept_bytes.",
            example: "pg::slot(db, \"none\") // => ()",
            run: |call| {
                let name = call.text(1)?;
                let found = look(call, "reading a slot", async |session| slot::find(session, &name).await)?;
                Ok(found.map_or(Dynamic::UNIT, |slot| convert::map_to_dynamic(&slot.to_map())))
            },
        },
        Function {
            name: "is_at_most",
            parameters: "bytes, size",
            gives: "true or false",
            effect: Effect::Pure,
            doc: "Whether a number of bytes is at most a size such as `1 MB`; `()` is not.",
            example: "pg::is_at_most(1000, \"1 kB\") // => true",
            run: |call| {
                let limit = i64::try_from(span::parse_size(&call.text(1)?)?).unwrap_or(i64::MAX);
                Ok((call.has(0) && call.int(0)? <= limit).into())
            },
        },
        Function {
            name: "create_subscription",
            parameters: "db, name, publisher, password, options",
            gives: "()",
            effect: Effect::Writes,
            doc: "Subscribes a database to `#{ host, port, database, user, sslmode }`, disabled and copying nothing: \
                  #{ publication, slot }. The password reaches no log and no statistics of statements.",
            example: "try { pg::create_subscription(db, \"s\", #{ host: \"127.0.0.1\", port: 1, database: \"x\", user: \"u\", \
                      sslmode: \"prefer\" }, random_password(), #{ publication: \"p\", slot: \"s\" }) } catch (e) { e.code } \
                      // => \"pg_sql\"",
            run: create_subscription,
        },
        Function {
            name: "drop_subscription",
            parameters: "db, name",
            gives: "()",
            effect: Effect::Writes,
            doc: "Drops a subscription and leaves its slot on the other side alone.",
            example: "pg::drop_subscription(db, \"none\")",
            run: |call| {
                let name = call.text(1)?;
                write(call, "dropping a subscription", async |session| subscription::drop(session, &name).await)?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "subscription",
            parameters: "db, name",
            gives: "a map, or () when there is none",
            effect: Effect::Reads,
            doc: "A subscription of this database: name origin enabled slot worker_pid unready tables position.",
            example: "pg::subscription(db, \"none\") // => ()",
            run: |call| {
                let name = call.text(1)?;
                let found =
                    look(call, "reading a subscription", async |session| subscription::find(session, &name).await)?;
                Ok(found.map_or(Dynamic::UNIT, |found| convert::map_to_dynamic(&found.to_map())))
            },
        },
        Function {
            name: "set_origin",
            parameters: "db, subscription, position",
            gives: "the position, an lsn",
            effect: Effect::Writes,
            doc: "Sets from where a disabled subscription asks for changes, and reads it back.",
            example: "try { pg::set_origin(db, \"none\", lsn(\"0/1\")) } catch (e) { e.code } // => \"require_failed\"",
            run: |call| {
                let (name, position) = (call.text(1)?, call.lsn(2)?);
                let set =
                    write(call, "setting an origin", async |session| origin::set(session, &name, position).await)?;
                Ok(Dynamic::from(set))
            },
        },
        Function {
            name: "enable_subscription",
            parameters: "db, name, [options]",
            gives: "the subscription, a map",
            effect: Effect::Writes,
            doc: "Enables a subscription and waits for its worker. With #{ origin } the origin must stand there first.",
            example: "try { pg::enable_subscription(db, \"none\") } catch (e) { e.code } // => \"require_failed\"",
            run: enable_subscription,
        },
    ],
    methods: &[],
};

fn create_subscription(call: &Call) -> Result<Dynamic> {
    let (name, password) = (call.text(1)?, call.secret(3)?);
    let publisher = Options::read(call, 2, &["host", "port", "database", "user", "sslmode"])?;
    let options = Options::read(call, 4, &["publication", "slot"])?;
    let (publication, slot) = (options.need("publication")?, options.need("slot")?);
    let port = publisher.int("port")?.and_then(|port| u16::try_from(port).ok());
    let target = Target::from_parts(Parts {
        host: publisher.need("host")?,
        port,
        database: publisher.need("database")?,
        user: publisher.need("user")?,
        password: Some(password),
        ssl_mode: publisher.text("sslmode")?.map(|mode| SslMode::parse(&mode)).transpose()?,
        ..Parts::default()
    })?;
    write(call, "creating a subscription", async |session| {
        subscription::create(session, &name, &target, &publication, &slot).await
    })?;
    Ok(Dynamic::UNIT)
}

fn enable_subscription(call: &Call) -> Result<Dynamic> {
    let name = call.text(1)?;
    let origin: Option<Lsn> = match call.has(2) {
        true => call.map(2)?.get("origin").and_then(|value| match value {
            Value::Lsn(lsn) => Some(*lsn),
            _ => None,
        }),
        false => None,
    };
    let enabled =
        write(call, "enabling a subscription", async |session| subscription::enable(session, &name, origin).await)?;
    Ok(convert::map_to_dynamic(&enabled.to_map()))
}
