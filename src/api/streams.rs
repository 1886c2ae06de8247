//! Streams as scripts give them: one map per database, made by `std/replication`, with both sessions in it. What is
//! done to them is done to all at once: the window lasts as long as the slowest database, not as all together.

use std::time::Duration;

use rhai::Dynamic;

use super::{convert, db::Db, function::Call, pg::write_all, pg_cutover::run_id};
use crate::{
    base::{Code, Error, Map, Result, Value, clock, span},
    fail,
    pg::{Record, drain::Stream},
};

/// The streams of a call, one per database.
pub(super) struct Streams {
    run: String,
    all: Vec<Each>,
}

/// The stream of one database.
struct Each {
    database: String,
    from: Db,
    to: Db,
    slot: String,
    subscription: String,
    reverse_subscription: String,
}

impl Streams {
    /// Reads an argument.
    pub(super) fn read(call: &Call, at: usize) -> Result<Self> {
        let list: rhai::Array = call.handle(at, "a list of streams")?;
        let all: Vec<Each> = list.iter().map(|item| Each::read(call, item)).collect::<Result<_>>()?;
        if all.is_empty() {
            return Err(fail!(Code::PgValue, "`{}` got no stream", call.function.name)
                .hint("make them by replication::streams(..)"));
        }
        Ok(Self { run: run_id(call)?, all })
    }

    /// Does something to all streams at once. Each gets its place in the list. Nobody is cut off by another's error;
    /// the first error in the order of the list is given, the others are its details.
    pub(super) fn each<T>(
        &self,
        call: &Call,
        doing: &str,
        work: &impl AsyncFn(Stream<'_>, usize) -> Result<T>,
    ) -> Result<Vec<T>> {
        let dbs: Vec<&Db> = self.all.iter().flat_map(|each| [&each.from, &each.to]).collect();
        write_all(call, doing, &dbs, async |sessions| {
            let one = async |at: usize| {
                let each = &self.all[at];
                let (from, to) = (sessions[2 * at], sessions[2 * at + 1]);
                let stream = Stream { from, to, run: &self.run, slot: &each.slot, subscription: &each.subscription };
                match work(stream, at).await {
                    Err(error) => Err(with_restarts(error.detail("database", each.database.clone()), stream).await),
                    done => done,
                }
            };
            all_of(futures_util::future::join_all((0..self.all.len()).map(one)).await)
        })
    }

    /// The subscription on the way back of the stream at this place.
    pub(super) fn reverse(&self, at: usize) -> &str {
        &self.all[at].reverse_subscription
    }

    /// What an earlier call told of each database, in the order of the streams.
    pub(super) fn told<T: Record>(&self, call: &Call, at: usize, key: Option<&str>) -> Result<Vec<T>> {
        let list = call.list(at)?;
        self.all.iter().map(|each| each.told(&list, key)).collect()
    }
}

/// A server that began so short a time ago began in the window, or right before it.
const JUST: Duration = Duration::from_secs(30);

/// While it is asked, the window stays closed.
const TOLD_WITHIN: Duration = Duration::from_millis(300);

/// With the servers that have only just started: what is missing, counted or broken then is seldom the cause.
async fn with_restarts(mut error: Error, stream: Stream<'_>) -> Error {
    for session in [stream.from, stream.to] {
        if let Some(Ok(up)) = clock::within(TOLD_WITHIN, session.up_for()).await
            && up < JUST
        {
            let (label, up) = (session.target().label(), span::duration_text(up));
            error = error.detail("restarted", format!("{label}, {up} ago"));
        }
    }
    error
}

/// All values, or the first error with the messages of the others.
fn all_of<T>(results: Vec<Result<T>>) -> Result<Vec<T>> {
    let (mut values, mut first): (Vec<T>, Option<Error>) = (vec![], None);
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error) => {
                first = Some(match first.take() {
                    None => error,
                    Some(before) => before.detail("also", error.message().to_owned()),
                });
            }
        }
    }
    first.map_or(Ok(values), Err)
}

impl Each {
    fn read(call: &Call, item: &Dynamic) -> Result<Self> {
        let name = call.function.name;
        let map = item.clone().flatten().try_cast::<rhai::Map>();
        let map = map.ok_or_else(|| {
            fail!(Code::PgValue, "`{name}` got {} among its streams", convert::a_type(item))
                .hint("make them by replication::streams(..)")
        })?;
        let missing = |key: &str| fail!(Code::PgValue, "`{name}` got a stream without `{key}`");
        let text = |key: &str| {
            let value = map.get(key).cloned().map(Dynamic::flatten);
            let text = value.and_then(Dynamic::try_cast::<rhai::ImmutableString>);
            text.map(|text| text.to_string()).ok_or_else(|| missing(key))
        };
        let db = |key: &str| {
            map.get(key).cloned().map(Dynamic::flatten).and_then(Dynamic::try_cast::<Db>).ok_or_else(|| missing(key))
        };
        Ok(Self {
            database: text("database")?,
            from: db("from")?,
            to: db("to")?,
            slot: text("slot")?,
            subscription: text("subscription")?,
            reverse_subscription: text("reverse_subscription")?,
        })
    }

    /// The item about this database, or its entry `key`.
    fn told<T: Record>(&self, list: &[Value], key: Option<&str>) -> Result<T> {
        let of_this = |item: &&Map| item.get("database").and_then(Value::as_text) == Some(self.database.as_str());
        let item = list.iter().filter_map(Value::as_map).find(of_this);
        let part = item.and_then(|item| key.map_or(Some(item), |key| item.get(key).and_then(Value::as_map)));
        T::from_map(part.ok_or_else(|| {
            fail!(Code::PgValue, "nothing is told of the database `{}`", self.database)
                .hint("give what the step before gave, for the same streams")
        })?)
    }
}

/// What was found about each database, as scripts see it.
pub(super) fn records(found: &[impl Record]) -> Dynamic {
    convert::to_dynamic(&Value::from(found.iter().map(Record::to_map).collect::<Vec<Map>>()))
}
