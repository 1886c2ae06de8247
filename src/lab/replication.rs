//! What green follows blue by in a blue/green deployment: a publication and a slot in each database of blue, a
//! subscription in each database of green. Everything is `rdsadmin`'s, and its names begin with the deployment's mark.
//!
//! RDS follows by logical replication where the creation names a major upgrade (user guide, "PostgreSQL replication
//! methods for blue/green deployments"). How it names its publications and slots no page says.

use std::{path::Path, time::Duration};

use tokio_postgres::Client;

use super::{
    disk,
    group::READ_ONLY,
    postgres::{Door, sql_error},
    site::SUPERUSER,
};
use crate::{
    base::{
        Code, Lsn, Result, clock,
        ident::{ident, literal},
        poll,
    },
    fail,
};

/// A slot waits for the transactions that run when it is made.
const SLOT: Duration = Duration::from_secs(300);

/// Other statements here are short; one that hangs is broken.
const DEADLINE: Duration = Duration::from_secs(60);

const SHORT: poll::Patience = poll::Patience { every: Duration::from_millis(20), deadline: Duration::from_secs(30) };

/// The databases that are followed. RDS keeps `rdsadmin` to itself.
const DATABASES: &str = "SELECT datname::text, oid::text FROM pg_catalog.pg_database \
    WHERE datallowconn AND NOT datistemplate AND datname <> 'rdsadmin' ORDER BY oid";

/// Tables whose rows cannot be told apart: with a publication for all tables PostgreSQL refuses UPDATE and DELETE on
/// them (manual, "Publication"; user guide, "RDS for PostgreSQL limitations for blue/green deployments with logical
/// replication").
const WITHOUT_IDENTITY: &str = "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
    AND (c.relreplident = 'n' OR c.relreplident = 'd' AND NOT EXISTS \
        (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)) ORDER BY 1";

/// Sequences with the values they gave last; one that gave none stands where it stood in the copy.
const SEQUENCES: &str = "SELECT pg_catalog.format('%I.%I', schemaname, sequencename), last_value::text \
    FROM pg_catalog.pg_sequences WHERE last_value IS NOT NULL";

/// Rows of texts.
async fn ask(client: &Client, statement: &str, within: Duration) -> Result<Vec<Vec<String>>> {
    let told = clock::within(within, client.query(statement, &[])).await;
    let rows = told.ok_or_else(|| fail!(Code::Timeout, "the server did not answer"))?.map_err(|e| sql_error(&e))?;
    let read = |row: &tokio_postgres::Row| {
        (0..row.len()).map(|i| row.try_get::<_, Option<String>>(i).map(Option::unwrap_or_default)).collect()
    };
    rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| sql_error(&error))
}

async fn run(client: &Client, statement: &str) -> Result<()> {
    let done = clock::within(DEADLINE, client.batch_execute(statement)).await;
    done.ok_or_else(|| fail!(Code::Timeout, "the server did not answer"))?.map_err(|error| sql_error(&error))
}

async fn databases(door: &Door) -> Result<Vec<(String, String)>> {
    let rows = ask(&door.connect("postgres").await?, DATABASES, DEADLINE).await?;
    Ok(rows.into_iter().filter_map(|row| <[String; 2]>::try_from(row).ok()).map(|[name, oid]| (name, oid)).collect())
}

/// Publishes every database of blue, and makes the slots that keep what green will need. Gives the tables whose UPDATE
/// and DELETE PostgreSQL refuses from now on.
pub(super) async fn publish(blue: &Door, mark: &str) -> Result<Vec<String>> {
    unpublish(blue, mark).await?;
    let common = blue.connect("postgres").await?;
    // Here and, by the copy, on green: both are read-only for a while, and what works on them is this role.
    run(&common, &format!("ALTER ROLE {SUPERUSER} SET {READ_ONLY} TO off")).await?;
    let others = ask(&common, "SELECT subname::text FROM pg_catalog.pg_subscription", DEADLINE).await?;
    if let Some(name) = others.first().and_then(|row| row.first()) {
        return Err(fail!(Code::LabFailed, "the source has a subscription, {name}: drop it first"));
    }
    let mut bare = Vec::new();
    for (database, oid) in databases(blue).await? {
        let client = blue.connect(&database).await?;
        run(&client, &format!("CREATE PUBLICATION {} FOR ALL TABLES", ident(mark)?)).await?;
        let slot = literal(&format!("{mark}_{oid}"))?;
        let make = format!("SELECT pg_catalog.pg_create_logical_replication_slot({slot}, 'pgoutput')::text");
        ask(&client, &make, SLOT).await?;
        let tables = ask(&client, WITHOUT_IDENTITY, DEADLINE).await?;
        bare.extend(tables.into_iter().flatten().map(|table| format!("{database}: {table}")));
    }
    Ok(bare)
}

/// Drops slots and publications of the mark, as far as there are any.
pub(super) async fn unpublish(blue: &Door, mark: &str) -> Result<()> {
    let client = blue.connect("postgres").await?;
    let own = format!("pg_catalog.starts_with(slot_name, {})", literal(mark)?);
    let end = format!(
        "SELECT pg_catalog.pg_terminate_backend(active_pid)::text FROM pg_catalog.pg_replication_slots \
         WHERE {own} AND active_pid IS NOT NULL"
    );
    let slots = format!("SELECT slot_name::text FROM pg_catalog.pg_replication_slots WHERE {own}");
    poll::until("the slots to be dropped", SHORT, async move || {
        ask(&client, &end, DEADLINE).await?;
        let left = ask(&client, &slots, DEADLINE).await?;
        for slot in left.iter().flatten() {
            // One that is still in use stays for the next look.
            drop(
                ask(
                    &client,
                    &format!("SELECT pg_catalog.pg_drop_replication_slot({})::text", literal(slot)?),
                    DEADLINE,
                )
                .await,
            );
        }
        let left = ask(&client, &slots, DEADLINE).await?.len();
        Ok(if left == 0 { poll::Seen::Ready(()) } else { poll::Seen::NotYet(format!("{left} slots")) })
    })
    .await?;
    for (database, _) in databases(blue).await? {
        run(&blue.connect(&database).await?, &format!("DROP PUBLICATION IF EXISTS {}", ident(mark)?)).await?;
    }
    Ok(())
}

/// A copy has the slots of its original, which `pg_upgrade` would carry over or refuse.
pub(super) async fn drop_slots(copy: &Door) -> Result<()> {
    let all = "SELECT pg_catalog.pg_drop_replication_slot(slot_name)::text FROM pg_catalog.pg_replication_slots";
    ask(&copy.connect("postgres").await?, all, DEADLINE).await.map(drop)
}

/// Where recovery of the copy ended: behind the first byte of the last record that was replayed. A commit at or before
/// it is in the copy, a later one is not. The checkpoint after recovery would not do: where the copy ends in the middle
/// of a record it lies behind that record (`xlog.c`, `missingContrecPtr`), which may be a commit.
pub(super) async fn end_of_copy(folder: &Path) -> Result<Lsn> {
    let folder = folder.join("log/error");
    poll::until("the end of recovery in the log", SHORT, async move || {
        let mut files = disk::entries(&folder);
        files.sort();
        let texts = files.iter().filter_map(|file| std::fs::read(file).ok());
        let found = texts.into_iter().find_map(|text| redo_done(&String::from_utf8_lossy(&text)));
        Ok(found.map_or(poll::Seen::NotYet("no line".into()), poll::Seen::Ready))
    })
    .await
    .map(Lsn::next_byte)
}

/// The position in the first line `redo done at L` that is there whole.
fn redo_done(log: &str) -> Option<Lsn> {
    let (_, rest) = log.split_once("redo done at ")?;
    rest.split_once('\n')?.0.split_whitespace().next()?.parse().ok()
}

/// Subscribes every database of green to blue, from the position on.
pub(super) async fn subscribe(green: &Door, blue: &Door, mark: &str, from: Lsn) -> Result<()> {
    let (port, user, password) = blue.address();
    for (database, oid) in databases(blue).await? {
        let client = green.connect(&database).await?;
        let escaped = database.replace('\\', "\\\\").replace('\'', "\\'");
        let address =
            format!("host=127.0.0.1 port={port} user={user} password={} dbname='{escaped}'", password.expose());
        let (name, slot) = (format!("{mark}_{oid}"), literal(&format!("{mark}_{oid}"))?);
        let (subscription, publication) = (ident(&name)?, ident(mark)?);
        run(&client, &format!("DROP PUBLICATION IF EXISTS {publication}")).await?;
        // The address holds a password, and clients read the log.
        run(&client, "SET log_statement = none; SET log_min_error_statement = panic").await?;
        let make = format!(
            "CREATE SUBSCRIPTION {subscription} CONNECTION {} PUBLICATION {publication} \
             WITH (copy_data = false, create_slot = false, enabled = false, slot_name = {slot})",
            literal(&address)?
        );
        run(&client, &make).await?;
        let advance = format!(
            "SELECT pg_catalog.pg_replication_origin_advance('pg_' || s.oid, '{from}')::text \
             FROM pg_catalog.pg_subscription s WHERE s.subname = {}",
            literal(&name)?
        );
        ask(&client, &advance, DEADLINE).await?;
        run(&client, &format!("ALTER SUBSCRIPTION {subscription} ENABLE")).await?;
    }
    Ok(())
}

/// Drops the subscriptions of the mark, and leaves their slots.
pub(super) async fn unsubscribe(green: &Door, mark: &str) -> Result<()> {
    let own = format!(
        "SELECT s.subname::text FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid \
         WHERE d.datname = pg_catalog.current_database() AND pg_catalog.starts_with(s.subname::text, {})",
        literal(mark)?
    );
    for (database, _) in databases(green).await? {
        let client = green.connect(&database).await?;
        for name in ask(&client, &own, DEADLINE).await?.iter().flatten() {
            let name = ident(name)?;
            for what in [
                "ALTER SUBSCRIPTION {} DISABLE",
                "ALTER SUBSCRIPTION {} SET (slot_name = NONE)",
                "DROP SUBSCRIPTION {}",
            ] {
                run(&client, &what.replace("{}", &name)).await?;
            }
        }
    }
    Ok(())
}

/// Where the log of blue ends that is on disk, everything committed by now included.
pub(super) async fn position(blue: &Door) -> Result<String> {
    let client = blue.connect("postgres").await?;
    run(&client, "SET synchronous_commit = on; SELECT pg_catalog.pg_logical_emit_message(true, 'lab', '')").await?;
    let told = ask(&client, "SELECT pg_catalog.pg_current_wal_flush_lsn()::text", DEADLINE).await?;
    told.into_iter().flatten().next().ok_or_else(|| fail!(Code::LabFailed, "the server told no position"))
}

/// What of blue's databases green has not applied up to the position; empty when it has everything.
pub(super) async fn behind(blue: &Client, mark: &str, position: &str) -> Result<Vec<String>> {
    let asked = format!(
        "SELECT d.datname::text FROM ({DATABASES}) AS d (datname, oid) \
         LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = {} || d.oid \
         LEFT JOIN pg_catalog.pg_stat_replication r ON r.pid = s.active_pid \
         WHERE r.replay_lsn IS NULL OR r.replay_lsn < '{position}'",
        literal(&format!("{mark}_"))?
    );
    Ok(ask(blue, &asked, DEADLINE).await?.into_iter().flatten().collect())
}

/// When the server read its settings last; who has connected later has them.
pub(super) async fn loaded_at(door: &Door) -> Result<String> {
    let client = door.connect("postgres").await?;
    let told = ask(&client, "SELECT pg_catalog.pg_conf_load_time()::text", DEADLINE).await?;
    Ok(told.into_iter().flatten().next().unwrap_or_default())
}

/// Ends the sessions of clients, and waits until they are gone. Who comes anew must be refused already.
pub(super) async fn end_sessions(door: &Door) -> Result<()> {
    let client = door.connect("postgres").await?;
    let end = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid)::text FROM pg_catalog.pg_stat_activity \
         WHERE backend_type = 'client backend' AND usename IS DISTINCT FROM '{SUPERUSER}'"
    );
    poll::until("the sessions to end", SHORT, async move || {
        let left = ask(&client, &end, DEADLINE).await?.len();
        Ok(if left == 0 { poll::Seen::Ready(()) } else { poll::Seen::NotYet(format!("{left} sessions")) })
    })
    .await
}

/// Writes everything out, so that the stop that comes soon is short.
pub(super) async fn checkpoint(door: &Door) -> Result<()> {
    let client = door.connect("postgres").await?;
    let done = clock::within(SLOT, client.batch_execute("CHECKPOINT")).await;
    done.ok_or_else(|| fail!(Code::Timeout, "the checkpoint takes too long"))?.map_err(|error| sql_error(&error))
}

/// Lets the sequences of green go on where those of blue are: logical replication leaves them out.
pub(super) async fn copy_sequences(blue: &Door, green: &Door) -> Result<()> {
    for (database, _) in databases(blue).await? {
        let values = ask(&blue.connect(&database).await?, SEQUENCES, DEADLINE).await?;
        let client = green.connect(&database).await?;
        for [name, value] in values.into_iter().filter_map(|row| <[String; 2]>::try_from(row).ok()) {
            let value: i64 = value.parse().map_err(|_| fail!(Code::LabFailed, "the sequence {name} has no value"))?;
            run(&client, &format!("SELECT pg_catalog.setval({}::pg_catalog.regclass, {value})", literal(&name)?))
                .await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::redo_done;

    #[test]
    fn the_end_of_recovery_is_read() {
        let log = "x LOG:  redo starts at 0/2000028\nx LOG:  redo done at 0/2A5F1C8 system usage: CPU: user: 0.00 s\n";
        assert_eq!(redo_done(log).unwrap().to_string(), "0/2A5F1C8");
        assert!(redo_done("x LOG:  redo done at 0/2A5F").is_none(), "half a line");
        assert!(redo_done("x LOG:  redo is not required\n").is_none());
    }
}
