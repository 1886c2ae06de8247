//! Work on many objects at once: a few connections that take one object after the other, and one that looks how far
//! they are.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    base::{Code, Error, Result, Value, clock, prose, span},
    fail,
    pg::{
        Session,
        record::{field, record},
    },
};

/// How hard to work.
#[derive(Clone, Debug)]
pub struct Effort {
    /// Connections that work; one more looks at their progress.
    pub connections: usize,
    /// For each object.
    pub deadline: Duration,
}

record! {
    /// What was done.
    pub struct Outcome {
        /// Objects that were worked on.
        pub done: i64,
        /// Objects that are not there any more.
        pub gone: Vec<String>,
        /// What the server warned of, such as a table that it passed over for lack of a privilege.
        pub warnings: Vec<String>,
        /// Milliseconds.
        pub ms: i64,
    }
}

/// One object and the statements that work on it, each sent on its own.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) statements: Vec<String>,
}

/// A relation that a script named.
pub(super) struct Found {
    /// As the server spells it, quoted and with its schema.
    pub(super) name: String,
    /// `pg_class.relkind`.
    pub(super) kind: String,
    pub(super) oid: i64,
}

/// Between two looks at the server's progress views.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Somebody held a lock for longer than `lock_timeout`, or a deadlock was broken: it is tried again so often.
const TRIES: usize = 3;

/// The manual, "Progress Reporting". What other sessions of the same run do shows too.
const PROGRESS: &str = "SELECT coalesce(string_agg(what, '; ' ORDER BY what), '') FROM ( \
      SELECT datname, pid, format('%s: %s %s %%', relid::regclass, phase, \
             100 * heap_blks_scanned / greatest(heap_blks_total, 1)) AS what FROM pg_stat_progress_vacuum \
      UNION ALL SELECT datname, pid, format('%s: %s %s %%', relid::regclass, phase, \
             100 * sample_blks_scanned / greatest(sample_blks_total, 1)) FROM pg_stat_progress_analyze \
      UNION ALL SELECT datname, pid, format('%s: %s %s %%', coalesce(nullif(index_relid, 0), relid)::regclass, phase, \
             100 * greatest(blocks_done, tuples_done) / greatest(blocks_total, tuples_total, 1)) \
        FROM pg_stat_progress_create_index) p \
     WHERE datname = current_database() AND pid IN (SELECT a.pid FROM pg_stat_activity a \
           WHERE a.application_name = current_setting('application_name'))";

/// Finds relations by the names that a script gave, such as `shop.orders`. Those that are not there are listed apart.
///
/// # Errors
/// `pg_sql` 42602 for a text that is no name.
pub(super) async fn find(session: &Session, names: &[String]) -> Result<(Vec<Found>, Vec<String>)> {
    const FIND: &str = "SELECT w.name AS given, c.oid::int8 AS oid, c.relkind::text AS kind, \
             quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name \
        FROM unnest($1::text[]) WITH ORDINALITY w(name, place) \
        LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace) ON c.oid = to_regclass(w.name) \
       ORDER BY w.place";
    let (mut found, mut gone) = (vec![], vec![]);
    for row in session.query(FIND, &[Value::from(names.to_vec())]).await? {
        match field::<Option<i64>>(&row, "oid")? {
            Some(oid) => found.push(Found { name: field(&row, "name")?, kind: field(&row, "kind")?, oid }),
            None => gone.push(field(&row, "given")?),
        }
    }
    Ok((found, gone))
}

/// Does all jobs; `settings` are set on every working connection. `verb` is what failed jobs could not be: `analyzed`.
///
/// # Errors
/// The first job's own error, after all others were done, with the names of all that failed.
pub(super) async fn run(
    session: &Session,
    jobs: Vec<Job>,
    settings: &str,
    verb: &str,
    effort: &Effort,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Outcome> {
    let work = async |worker: &Session, job: &Job| {
        for statement in &job.statements {
            if !settings.is_empty() {
                worker.batch(settings).await?;
            }
            worker.batch(statement).await?;
        }
        Ok(())
    };
    let jobs = jobs.into_iter().map(|job| (job.name.clone(), job)).collect();
    each(session, jobs, verb, effort, tell, &work).await
}

/// Does something for each named job, on as many connections as the effort allows.
pub(super) async fn each<J>(
    session: &Session,
    jobs: Vec<(String, J)>,
    verb: &str,
    effort: &Effort,
    tell: &(dyn Fn(&str) + Sync),
    work: &impl AsyncFn(&Session, &J) -> Result<()>,
) -> Result<Outcome> {
    let begun = clock::instant();
    let all = jobs.len();
    let crew = Crew { left: Mutex::new(jobs.into()), results: Mutex::default() };
    let workers = (0..effort.connections.clamp(1, all.max(1))).map(|_| crew.work(session, effort, work));
    let watching = watch(session, &crew, all, tell);
    tokio::select! {
        biased;
        done = futures_util::future::try_join_all(workers) => { done?; }
        ended = watching => ended,
    }
    let results = crew.results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed: Vec<String> = results.failed.iter().map(|(name, _)| name.clone()).collect();
    if let Some((name, first)) = results.failed.into_iter().next() {
        let names = prose::ticked_list(&failed, 5);
        return Err(first
            .during(format!("`{name}`"))
            .during(format!("{} of {all} could not be {verb}: {names}", failed.len()))
            .hint("the others are done; resume the run when the cause is gone"));
    }
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
    Ok(Outcome { done: number(all), gone: vec![], warnings: results.warnings, ms })
}

struct Crew<J> {
    left: Mutex<VecDeque<(String, J)>>,
    results: Mutex<Results>,
}

#[derive(Default)]
struct Results {
    done: usize,
    warnings: Vec<String>,
    failed: Vec<(String, Error)>,
}

impl<J> Crew<J> {
    async fn work(
        &self,
        session: &Session,
        effort: &Effort,
        work: &impl AsyncFn(&Session, &J) -> Result<()>,
    ) -> Result<()> {
        let worker = session.sibling().await;
        worker.set_statement_timeout(effort.deadline).await?;
        if worker.major().await? >= 14 {
            // If pgrun is killed, the server ends the statement soon; on an operating system where it cannot look, it
            // refuses to.
            match worker.batch("SET client_connection_check_interval = '2s'").await {
                Err(error) if error.code() != Code::PgSql => return Err(error),
                _ => {}
            }
        }
        loop {
            let next = lock(&self.left).pop_front();
            let Some((name, job)) = next else { break };
            let outcome = self.attempt(&worker, effort, &job, work).await;
            let warned = worker.drain_notices();
            let mut results = lock(&self.results);
            results.done += 1;
            let warned = warned.into_iter().filter(|notice| notice.severity == "WARNING");
            results.warnings.extend(warned.map(|notice| format!("{name}: {}", notice.message)));
            if let Err(error) = outcome {
                results.failed.push((name, error));
            }
        }
        worker.close().await;
        Ok(())
    }

    async fn attempt(
        &self,
        worker: &Session,
        effort: &Effort,
        job: &J,
        work: &impl AsyncFn(&Session, &J) -> Result<()>,
    ) -> Result<()> {
        let mut tries = 1;
        loop {
            let late = || fail!(Code::Timeout, "it took longer than {}", span::duration_text(effort.deadline));
            let outcome = clock::within(effort.deadline, work(worker, job)).await.unwrap_or_else(|| Err(late()));
            match outcome {
                Err(error) if tries < TRIES && matches!(error.fact("sqlstate"), Some("55P03" | "40P01")) => tries += 1,
                outcome => return outcome,
            }
        }
    }
}

/// Tells how far the work is, until it is dropped. What it cannot see it leaves out: the work does not hang on it.
async fn watch<J>(session: &Session, crew: &Crew<J>, all: usize, tell: &(dyn Fn(&str) + Sync)) {
    let watcher = session.sibling().await;
    loop {
        clock::sleep(LOOK_EVERY).await;
        let now: String = watcher.scalar(PROGRESS, &[]).await.unwrap_or_default();
        let done = lock(&crew.results).done;
        let now = if now.is_empty() { now } else { format!("; {now}") };
        tell(&format!("{done} of {all} done{now}"));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::PROGRESS;
    use crate::pg::sql;

    #[test]
    fn looking_at_progress_is_one_statement() {
        assert!(sql::single(PROGRESS).unwrap().wraps);
    }
}
