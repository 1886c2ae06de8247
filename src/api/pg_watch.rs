//! `pg::`: definitions that come apart while an upgrade is under way, and who did it.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rhai::Dynamic;
use tokio::sync::Mutex;

use super::{
    db::Db,
    function::{Call, Effect, Function, Module},
    options::Options,
    pg::write,
    streams::{Streams, records},
};
use crate::{
    base::{Code, Error, Map, Result, Value, clock},
    fail,
    pg::{
        Record, Session,
        drain::Stream,
        schema::{
            self, Object,
            drift::{self, Drift, Equal},
        },
        watch,
    },
};

/// The file in the run's folder that holds what was defined when the slots were made.
const NOTED: &str = "catalogs.json";

/// What is known of two sides' definitions in this process. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Watched(Arc<Mutex<Look>>);

#[derive(Default)]
struct Look {
    equal: Equal,
    /// When nothing differed, the last time.
    at: Option<Instant>,
}

/// The functions.
pub(super) const MODULE: Module = Module {
    name: "pg",
    doc: "Changes of definitions.",
    functions: &[
        Function {
            name: "watch_ddl",
            parameters: "db",
            gives: "why it may not, or ()",
            effect: Effect::Writes,
            doc: "Lets the database write down from now on who changes a definition and when, by event triggers of pgrun's \
                  own that never fail a statement. Never before a snapshot that will be upgraded. Safe to repeat; \
                  pg::remove_own ends it.",
            example: "pg::install_own(db); pg::watch_ddl(db)",
            run: |call| {
                let refused = write(call, "watching for DDL", async |session| watch::begin(session).await)?;
                Ok(refused.map_or(Dynamic::UNIT, Dynamic::from))
            },
        },
        Function {
            name: "note_catalogs",
            parameters: "dbs",
            gives: "the number of objects",
            effect: Effect::Reads,
            doc: "Keeps every definition of these databases in the run's folder, for pg::changed_catalogs.",
            example: "pg::note_catalogs([db]) >= 0 // => true",
            run: note_catalogs,
        },
        Function {
            name: "changed_catalogs",
            parameters: "dbs",
            gives: "a list of #{ database, kind, name, what, there, here, by }",
            effect: Effect::Reads,
            doc: "What has been defined, changed or dropped since pg::note_catalogs, `there` as it was, `here` as it is.",
            example: "pg::note_catalogs([db]); pg::changed_catalogs([db]) // => []",
            run: changed_catalogs,
        },
        Function {
            name: "catalog_drift",
            parameters: "streams, [options]",
            gives: "a list of #{ database, kind, name, what, there, here, by }",
            effect: Effect::Reads,
            doc: "In what the definitions of both sides differ, as pg::compare_catalogs, with `by`: the last command on the \
                  object, who ran it and when, where pg::watch_ddl has seen it. Once equal, looking again costs a few \
                  milliseconds. Option `at_most_every`: a look that found nothing counts for so long.",
            example: "try { pg::catalog_drift([]) } catch (e) { e.code } // => \"pg_value\"",
            run: catalog_drift,
        },
    ],
    methods: &[],
};

fn catalog_drift(call: &Call) -> Result<Dynamic> {
    let streams = Streams::read(call, 0)?;
    let fresh = Options::read(call, 1, &["at_most_every"])?.duration("at_most_every")?.unwrap_or(Duration::ZERO);
    let watched = &call.host.watched().0;
    if watched.try_lock().is_ok_and(|look| look.at.is_some_and(|at| at.elapsed() < fresh)) {
        call.enter(&[])?;
        return Ok(records(&[] as &[Drift]));
    }
    let found = streams.each(call, "comparing definitions", &async |stream: Stream<'_>, at| {
        let mut look = watched.lock().await;
        let mut found = look.equal.drift(stream.from, stream.to).await?;
        if at == 0 {
            found.extend(drift::server_drift(stream.from, stream.to).await?);
        }
        Ok(found)
    })?;
    let found = found.concat();
    if let Ok(mut look) = watched.try_lock() {
        look.at = found.is_empty().then(clock::instant);
    }
    Ok(records(&found))
}

fn note_catalogs(call: &Call) -> Result<Dynamic> {
    let mut count = 0;
    let mut noted = Map::new();
    for (database, objects) in
        each(call, "reading definitions", &async |session: &Session| schema::fingerprint(session).await)?
    {
        count += objects.len();
        noted.insert(database, Value::from(objects.iter().map(Record::to_map).collect::<Vec<Map>>()));
    }
    let text = Value::Map(noted).to_json().to_string();
    let text = call.host.redactor().clean(&text);
    let path = call.host.run()?.folder().join(NOTED);
    keep(&path, text.as_bytes()).map_err(|error| unusable(&path, &error.to_string()))?;
    Ok(i64::try_from(count).unwrap_or(i64::MAX).into())
}

/// Whole or not at all: a file that a kill has cut off would be read as drift.
fn keep(path: &Path, text: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let draft = path.with_extension("draft");
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(draft, path)
}

fn changed_catalogs(call: &Call) -> Result<Dynamic> {
    let path = call.host.run()?.folder().join(NOTED);
    let noted = noted(&path)?;
    let found =
        each(call, "comparing definitions", &async |session: &Session| match noted.get(session.target().database()) {
            Some(before) => drift::since(before, session).await,
            None => Ok(vec![]),
        })?;
    Ok(records(&found.into_iter().flat_map(|(_, found)| found).collect::<Vec<Drift>>()))
}

/// What was noted, by database.
fn noted(path: &Path) -> Result<std::collections::BTreeMap<String, Vec<Object>>> {
    let text = fs::read(path).map_err(|error| unusable(path, &error.to_string()))?;
    let json = serde_json::from_slice(&text).map_err(|error| unusable(path, &error.to_string()))?;
    let Value::Map(databases) = Value::from_json(&json)? else { return Err(unusable(path, "it holds no map")) };
    let objects = |list: &Value| -> Result<Vec<Object>> {
        list.as_list().unwrap_or_default().iter().filter_map(Value::as_map).map(Object::from_map).collect()
    };
    databases.iter().map(|(database, list)| Ok((database.clone(), objects(list)?))).collect()
}

fn unusable(path: &Path, why: &str) -> Error {
    fail!(Code::RequireFailed, "what was defined before, `{}`, cannot be used: {why}", path.display())
        .hint("pg::note_catalogs(..) writes it")
}

/// Looks at each database of the first argument, and tells its name with what was found.
fn each<T>(call: &Call, doing: &str, look: &impl AsyncFn(&Session) -> Result<T>) -> Result<Vec<(String, T)>> {
    let list: rhai::Array = call.handle(0, "a list of sessions")?;
    let wrong = || fail!(Code::ScriptError, "`{}` wants a list of sessions", call.function.name);
    let dbs: Vec<Db> =
        list.into_iter().map(|item| item.flatten().try_cast::<Db>().ok_or_else(wrong)).collect::<Result<_>>()?;
    call.wait(doing, &[], async {
        let mut all = vec![];
        for db in &dbs {
            let session = db.session().await?;
            let _turn = db.turn().await;
            all.push((session.target().database().to_owned(), look(session).await?));
        }
        Ok(all)
    })
}
