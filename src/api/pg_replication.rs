//! `pg::`: publications, slots, subscriptions, origins.

use std::time::Duration;

use rhai::Dynamic;

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    options::Options,
    pg::{db, look, write, write_all},
};
use crate::{
    base::{
        Code, Lsn, Result, Value,
        poll::{self, Patience, Seen},
        span,
    },
    fail,
    pg::{
        Parts, Record, SslMode, Target, origin,
        own::Mark,
        publication::{self, Scope},
        slot,
        subscription::{self, NewSubscription},
    },
};

/// How long a slot that its reader is leaving may stay active before its drop is given up.
const LEAVING: Patience = Patience { every: Duration::from_millis(50), deadline: Duration::from_secs(15) };
/// How long an apply worker gets to appear.
const STARTING: Patience = Patience { every: Duration::from_millis(50), deadline: Duration::from_secs(30) };
/// Waiting for transactions that hold up a new slot: longer than any web request, shorter than a night.
const SLOT_DEADLINE: Duration = Duration::from_secs(240);

/// The functions.
pub(super) const MODULE: Module = Module {
    name: "pg",
    doc: "Logical replication.",
    functions: &[
        Function {
            name: "create_publication",
            parameters: "db, name, [options]",
            gives: "()",
            effect: Effect::Writes,
            doc: "Publishes all tables and all changes of the database. Refuses tables without a usable replica identity \
                  but those of #{ waived } (a list of names as findings spell them): their UPDATE and DELETE fail at once.",
            example: "pg::create_publication(db, \"example\")",
            run: |call| {
                let name = call.text(1)?;
                let waived = Options::read(call, 2, &["waived"])?.texts("waived")?;
                write(call, "publishing", async |session| {
                    publication::create(session, &name, Scope::AllTables, &waived).await
                })?;
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
                write(call, "dropping a publication", async |session| {
                    publication::drop(session, &name).await.map(drop)
                })?;
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
                let lsn = write(call, "creating a slot", async |session| {
                    Box::pin(slot::create(session, &name, SLOT_DEADLINE)).await
                })?;
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
                write(call, "dropping a slot", async |session| slot::drop(session, &name, LEAVING).await.map(drop))?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "drop_slots_of_copy",
            parameters: "db, marker",
            gives: "a list of names",
            effect: Effect::Destroys,
            doc: "Drops all logical slots of a restored copy, before its upgrade. Refused where the marker M2 is: that is \
                  the original.",
            example: "pg::install_own(db); let m = pg::mark(db, \"M2\"); \
                      try { pg::drop_slots_of_copy(db, m) } catch (e) { e.code } // => \"require_failed\"",
            run: |call| {
                let marker = Mark::from_map(&call.map(1)?)?;
                let dropped = write(call, "dropping the slots of a copy", async |session| {
                    slot::drop_all_of_copy(session, &marker.id, LEAVING).await
                })?;
                Ok(convert::to_dynamic(&Value::from(dropped)))
            },
        },
        Function {
            name: "slot",
            parameters: "db, name",
            gives: "a map, or () when there is none",
            effect: Effect::Reads,
            doc: "A slot: name active_pid restart_lsn confirmed_flush wal_status kept_bytes safe_wal_size and more.",
            example: "pg::slot(db, \"none\") // => ()",
            run: |call| {
                let name = call.text(1)?;
                let found = look(call, "reading a slot", async |session| slot::state(session, &name).await)?;
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
            parameters: "db, publisher, name, address, password, options",
            gives: "()",
            effect: Effect::Writes,
            doc: "Subscribes a database to a publisher that its server finds at #{ host, port, database, user, sslmode }, \
                  disabled and copying nothing: #{ publication, slot }. The password reaches no log and no statistics.",
            example: "try { pg::create_subscription(db, db, \"s\", #{ host: \"127.0.0.1\", database: \"x\", user: \"u\" }, \
                      random_password(), #{ publication: \"p\", slot: \"s\" }) } catch (e) { e.code } // => \"require_failed\"",
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
                write(call, "dropping a subscription", async |session| {
                    subscription::drop(session, &name).await.map(drop)
                })?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "subscription",
            parameters: "db, name",
            gives: "a map, or () when there is none",
            effect: Effect::Reads,
            doc: "A subscription of this database: name enabled slot workers apply_pid tables ready apply_errors and more.",
            example: "pg::subscription(db, \"none\") // => ()",
            run: |call| {
                let name = call.text(1)?;
                let found =
                    look(call, "reading a subscription", async |session| subscription::state(session, &name).await)?;
                Ok(found.map_or(Dynamic::UNIT, |found| convert::map_to_dynamic(&found.to_map())))
            },
        },
        Function {
            name: "set_origin",
            parameters: "db, subscription, position",
            gives: "the position, an lsn",
            effect: Effect::Writes,
            doc: "Sets from where a disabled subscription asks for changes, and reads it back.",
            example: "try { pg::set_origin(db, \"none\", lsn(\"0/1\")) } catch (e) { e.sqlstate } // => \"42704\"",
            run: |call| {
                let (name, position) = (call.text(1)?, call.lsn(2)?);
                let set = write(call, "setting an origin", async |session| {
                    origin::advance(session, &name, position).await.map(|()| position)
                })?;
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
    let (subscriber, publisher) = (db(call, 0)?, db(call, 1)?);
    let (name, password) = (call.text(2)?, call.secret(4)?);
    let address = Options::read(call, 3, &["host", "port", "database", "user", "sslmode"])?;
    let options = Options::read(call, 5, &["publication", "slot"])?;
    let (publications, slot) = ([options.need("publication")?], options.need("slot")?);
    let target = Target::from_parts(Parts {
        host: address.need("host")?,
        port: address.int("port")?.and_then(|port| u16::try_from(port).ok()),
        database: address.need("database")?,
        user: address.need("user")?,
        password: Some(password),
        ssl_mode: address.text("sslmode")?.map(|mode| SslMode::parse(&mode)).transpose()?,
        ..Parts::default()
    })?;
    write_all(call, "creating a subscription", &[&subscriber, &publisher], async |sessions| {
        let new = NewSubscription {
            name: &name,
            publisher: &target,
            root_cert_there: None,
            slot: &slot,
            publications: &publications,
            enabled: false,
            copy_data: false,
        };
        subscription::create(sessions[0], sessions[1], &new).await
    })?;
    Ok(Dynamic::UNIT)
}

fn enable_subscription(call: &Call) -> Result<Dynamic> {
    let name = call.text(1)?;
    let wanted: Option<Lsn> = match call.has(2) {
        true => call.map(2)?.get("origin").and_then(|value| match value {
            Value::Lsn(lsn) => Some(*lsn),
            _ => None,
        }),
        false => None,
    };
    let enabled = write(call, "enabling a subscription", async |session| {
        let missing = || fail!(Code::RequireFailed, "there is no subscription `{name}`");
        let before = subscription::state(session, &name).await?.ok_or_else(missing)?;
        // An advance of the origin that a crash has lost would begin at the wrong place.
        if let Some(wanted) = wanted
            && !before.enabled
        {
            origin::require_at(session, &name, wanted).await?;
        }
        subscription::enable(session, &name).await?;
        poll::until(&format!("the worker of subscription `{name}`"), STARTING, async || {
            let now = subscription::state(session, &name).await?.ok_or_else(missing)?;
            Ok(if now.apply_pid.is_some() { Seen::Ready(now) } else { Seen::NotYet("no worker".into()) })
        })
        .await
    })?;
    Ok(convert::map_to_dynamic(&enabled.to_map()))
}
