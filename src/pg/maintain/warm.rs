//! Reading what will be asked for first: the disk of a restored instance fetches a block when it is first read.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::crew::{self, Effort};
use crate::{
    base::{Result, Value, clock, ident::ident, span},
    pg::{
        Session,
        record::{field, record},
    },
};

record! {
    /// A relation with the blocks that were asked for in it.
    pub struct Hot {
        /// Its name with its schema, quoted where SQL needs it.
        pub name: String,
        /// `table` or `index`.
        pub kind: String,
        /// Blocks read or hit since the statistics began.
        pub reads: i64,
        /// Bytes on disk.
        pub bytes: i64,
    }

    /// What was read.
    pub struct Warmed {
        /// Bytes.
        pub bytes: i64,
        /// Relations that were read to their end.
        pub relations: i64,
        /// Left out: there was no time or no room left for them, they are gone, or they are indexes and the database
        /// has no pg_prewarm.
        pub left: Vec<String>,
        /// Whether pg_prewarm did it.
        pub prewarm: bool,
    }
}

/// How much to read, and how gently.
pub struct Limits {
    /// Bytes a second over all connections.
    pub bytes_per_second: Option<u64>,
    /// No more than this in all: what fits into memory.
    pub most: Option<u64>,
}

/// Blocks of a statement: 8 MiB, so that a rate holds and a statement is short.
const BLOCKS: i64 = 1024;

/// The relations by what was asked for in them, most first. To be asked of the server that serves: the copy has no
/// counters yet. Needs no privilege.
pub async fn hottest(session: &Session, limit: i64) -> Result<Vec<Hot>> {
    const HOT: &str = "SELECT name, kind, reads, coalesce(pg_relation_size(relid), 0) AS bytes FROM ( \
          SELECT quote_ident(schemaname) || '.' || quote_ident(relname) AS name, 'table' AS kind, \
                 coalesce(heap_blks_read + heap_blks_hit, 0) AS reads, relid FROM pg_statio_user_tables \
           WHERE schemaname <> 'pgrun' \
          UNION ALL SELECT quote_ident(schemaname) || '.' || quote_ident(indexrelname), 'index', \
                 coalesce(idx_blks_read + idx_blks_hit, 0), indexrelid FROM pg_statio_user_indexes \
           WHERE schemaname <> 'pgrun') hot \
         WHERE reads > 0 ORDER BY reads DESC, name LIMIT $1";
    session.records(HOT, &[Value::Int(limit)]).await
}

/// Reads relations, in this order: by pg_prewarm where the database has it, else tables from front to end. TOAST is
/// not read.
///
/// # Errors
/// `timeout` or `pg_sql`, naming the relations that failed.
pub async fn up(
    session: &Session,
    names: &[String],
    limits: &Limits,
    effort: &Effort,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Warmed> {
    const PREWARM: &str = "SELECT n.nspname::text AS schema FROM pg_extension e JOIN pg_namespace n \
         ON n.oid = e.extnamespace WHERE e.extname = 'pg_prewarm'";
    const BLOCKS_OF: &str = "SELECT o.oid::int8 AS oid, \
             coalesce(pg_relation_size(o.oid), 0) / current_setting('block_size')::int8 AS blocks, \
             current_setting('block_size')::int8 AS size \
        FROM unnest($1::oid[]) o(oid)";
    let (found, mut left) = crew::find(session, names).await?;
    let prewarm = session.texts(PREWARM, &[]).await?.pop();
    let oids: Value = found.iter().map(|found| found.oid).collect::<Vec<_>>().into();
    let mut sizes = std::collections::BTreeMap::new();
    for row in session.query(BLOCKS_OF, &[oids]).await? {
        sizes.insert(field::<i64>(&row, "oid")?, (field::<i64>(&row, "blocks")?, field::<i64>(&row, "size")?));
    }
    let mut room = limits.most.unwrap_or(u64::MAX);
    let mut jobs = vec![];
    for found in found {
        let (blocks, size) = sizes.get(&found.oid).copied().unwrap_or_default();
        let bytes = positive(blocks * size);
        let is_readable = matches!(found.kind.as_str(), "r" | "m") || prewarm.is_some() && found.kind == "i";
        if !is_readable || bytes > room {
            left.push(found.name);
            continue;
        }
        room -= bytes;
        jobs.push((found.name.clone(), (found, blocks, size)));
    }
    let meter = Meter { begun: clock::instant(), bytes: AtomicU64::new(0), limit: limits.bytes_per_second };
    let in_parts = session.major().await? >= 14;
    let work = async |worker: &Session, (found, blocks, size): &(crew::Found, i64, i64)| {
        let mut from = 0;
        while from < *blocks {
            // Before 14 a table is not read by parts.
            let until = if prewarm.is_some() || in_parts { (*blocks).min(from + BLOCKS) } else { *blocks };
            let (sql, values) = reading(prewarm.as_deref(), found, from, until)?;
            worker.query(&sql, &values).await?;
            meter.pass(positive((until - from) * size)).await;
            from = until;
        }
        Ok(())
    };
    let heard = |seen: &str| tell(&format!("{}; {seen}", span::size_text(meter.bytes.load(Ordering::Relaxed))));
    let outcome = crew::each(session, jobs, "read", effort, &heard, &work).await?;
    let bytes = i64::try_from(meter.bytes.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
    Ok(Warmed { bytes, relations: outcome.done, left, prewarm: prewarm.is_some() })
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The statement that reads these blocks.
fn reading(prewarm: Option<&str>, found: &crew::Found, from: i64, until: i64) -> Result<(String, Vec<Value>)> {
    Ok(match prewarm {
        Some(schema) => (
            format!(
                "SELECT {}.pg_prewarm($1::int8::oid::regclass, 'read', 'main', $2::int8, $3::int8)",
                ident(schema)?
            ),
            vec![Value::Int(found.oid), Value::Int(from), Value::Int(until - 1)],
        ),
        None => (
            format!("SELECT count(*) FROM ONLY {} WHERE ctid >= $1::text::tid AND ctid < $2::text::tid", found.name),
            vec![format!("({from},0)").into(), format!("({until},0)").into()],
        ),
    })
}

/// Counts what was read and holds it to a rate.
struct Meter {
    begun: Instant,
    bytes: AtomicU64,
    limit: Option<u64>,
}

impl Meter {
    async fn pass(&self, bytes: u64) {
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let Some(limit) = self.limit else { return };
        let due = Duration::from_millis(all.saturating_mul(1000) / limit.max(1));
        clock::sleep(due.saturating_sub(self.begun.elapsed())).await;
    }
}
