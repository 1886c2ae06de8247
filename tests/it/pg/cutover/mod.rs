//! A cutover and a rollback between two servers while applications write: nothing lost, nothing doubled, and every
//! condition of the proof on its own.

mod target;

use std::time::Duration;

use super::{
    fixture::{self, Database, Pair},
    writers::{Writers, require_exactly_once},
};
use pgrun::{
    base::{
        Code, clock,
        poll::{self, Patience, Seen},
    },
    pg::{
        Session,
        drain::{self, Drained, Stream},
        fence, origin, own,
        publication::{self, Scope},
        schema, sequences, slot,
        subscription::{self, NewSubscription},
        turn,
    },
};

const LONG: Duration = Duration::from_secs(20);
/// Between two writes of one application.
const THINKS: Duration = Duration::from_millis(2);
const PUBLICATION: &str = "All \"tables\"";
const RUN: &str = "test";
const FORWARD: &str = "Forward 'f' \"x\"";
const BACK: &str = "Back é🙂";

/// Two databases of which the first streams to the second, with a table, a sequence and an application's role.
struct Stage {
    blue: Database,
    green: Database,
    from: Session,
    to: Session,
    role: String,
    forward_slot: String,
    back_slot: String,
}

impl Stage {
    async fn set(pair: &'static Pair) -> Self {
        let (blue, green) = (pair.blue.database("cut").await, pair.green.database("cut").await);
        let (from, to) = (blue.session(), green.session());
        let role = fixture::unique("app");
        let verifier = cheap_verifier(&to, &role).await;
        for session in [&from, &to] {
            own::install(session).await.unwrap();
            let sql = format!(
                "CREATE ROLE {role} LOGIN PASSWORD '{verifier}'; CREATE TABLE public.t (id bigserial PRIMARY KEY, v text); \
                 GRANT ALL ON public.t TO {role}; GRANT ALL ON SEQUENCE public.t_id_seq TO {role}"
            );
            session.batch(&sql).await.unwrap();
            // In life the copy brings it along.
            publication::create(session, PUBLICATION, Scope::AllTables, &[]).await.unwrap();
        }
        let (forward_slot, back_slot) = (fixture::unique("forward"), fixture::unique("back"));
        slot::create(&from, &forward_slot, LONG).await.unwrap();
        subscribe(&to, &from, FORWARD, &forward_slot, true).await;
        let sentinel = own::sentinel(&from, RUN).await.unwrap();
        poll::until("the stream to run", Patience::ms(10, 20_000), async || {
            let seen = own::sees_sentinel(&to, &sentinel.id).await?;
            Ok(if seen { Seen::Ready(()) } else { Seen::NotYet("no row yet".into()) })
        })
        .await
        .unwrap();
        Self { blue, green, from, to, role, forward_slot, back_slot }
    }

    /// Where the applications log in on either side.
    fn urls(&self) -> [String; 2] {
        [&self.blue, &self.green].map(|database| {
            let (port, name) = (database.side.port(), &database.name);
            format!("host=127.0.0.1 port={port} user={} password=secret dbname={name}", self.role)
        })
    }

    async fn prepare_way_back(&self) {
        slot::create(&self.to, &self.back_slot, LONG).await.unwrap();
        subscribe(&self.from, &self.to, BACK, &self.back_slot, false).await;
    }

    fn stream(&self) -> Stream<'_> {
        Stream { from: &self.from, to: &self.to, slot: &self.forward_slot, subscription: FORWARD, run: RUN }
    }

    async fn drained(&self) -> Drained {
        let baseline = drain::baseline(self.stream()).await.unwrap();
        drain::drain(self.stream(), &baseline, LONG).await.unwrap()
    }

    /// Leaves nothing that another test would meet.
    async fn strike(self) {
        for (session, other, name, slot) in
            [(&self.to, &self.from, FORWARD, &self.forward_slot), (&self.from, &self.to, BACK, &self.back_slot)]
        {
            subscription::drop(session, name).await.unwrap();
            slot::drop(other, slot, Patience::ms(20, 20_000)).await.unwrap();
        }
        for session in [&self.from, &self.to] {
            session.batch(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.role)).await.unwrap();
        }
    }
}

/// The password `secret`, as cheap to prove as can be: the writers log in all the time and must not starve the servers.
async fn cheap_verifier(session: &Session, role: &str) -> String {
    // From 16 on; before, 4096 rounds it is.
    let _ = session.batch("SET scram_iterations = 1").await;
    session.batch(&format!("CREATE ROLE {role} PASSWORD 'secret'")).await.unwrap();
    let sql = "SELECT rolpassword FROM pg_authid WHERE rolname = $1";
    let verifier = session.value(sql, &[role.into()]).await.unwrap();
    session.batch(&format!("DROP ROLE {role}")).await.unwrap();
    verifier.as_text().unwrap().to_owned()
}

async fn subscribe(subscriber: &Session, publisher: &Session, name: &str, slot: &str, enabled: bool) {
    let publications = [PUBLICATION.to_owned()];
    let publisher_target = publisher.target().clone();
    let new = NewSubscription {
        name,
        publisher: &publisher_target,
        root_cert_there: None,
        slot,
        publications: &publications,
        enabled,
        copy_data: false,
    };
    subscription::create(subscriber, publisher, &new).await.unwrap();
}

fn exceptions() -> Vec<String> {
    vec!["postgres".into()]
}

async fn count(session: &Session) -> i64 {
    session.value("SELECT count(*) FROM public.t", &[]).await.unwrap().as_int().unwrap()
}

async fn insert(session: &Session, v: &str) {
    session.execute("INSERT INTO public.t (v) VALUES ($1)", &[v.into()]).await.unwrap();
}

async fn await_count(session: &Session, wanted: i64) {
    poll::until("the rows", Patience::ms(10, 20_000), async || {
        let now = count(session).await;
        Ok(if now == wanted { Seen::Ready(()) } else { Seen::NotYet(format!("{now} of {wanted}")) })
    })
    .await
    .unwrap();
}

/// From one side to the other in the order of the procedure. Gives the time from the first to the last step.
async fn cut_over(stream: Stream<'_>, reverse: &str) -> (turn::Turned, Duration) {
    drain::ready(stream, 50_000_000, LONG).await.unwrap();
    fence::preview(stream.from, RUN, &exceptions()).await.unwrap();
    let baseline = drain::baseline(stream).await.unwrap();
    let begun = clock::instant();
    fence::close(stream.from, RUN, &exceptions(), LONG).await.unwrap();
    let t1 = begun.elapsed();
    let drained = drain::drain(stream, &baseline, LONG).await.unwrap();
    let t2 = begun.elapsed();
    let turned = turn::turn(stream, reverse, &baseline, std::slice::from_ref(&drained), LONG).await.unwrap();
    let t3 = begun.elapsed();
    assert!(turned.sequences > 0, "{turned:?}");
    let (there, here) = (sequences::read(stream.from).await.unwrap(), sequences::read(stream.to).await.unwrap());
    assert_eq!(sequences::differences(&there, &here), []);
    let decision = fence::decide(stream.from, RUN).await.unwrap();
    let t4 = begun.elapsed();
    let admitted = fence::open(stream.to, &decision).await.unwrap();
    println!("close {t1:?} drain {t2:?} turn {t3:?} decide {t4:?} open {:?}", begun.elapsed());
    assert!(admitted.missing.iter().all(|role| !role.starts_with("app")), "{admitted:?}");
    assert_eq!(turned.drained_again, 0);
    assert_eq!(turn::back(stream).await.unwrap_err().code(), Code::Refused);
    (turned, begun.elapsed())
}

/// The whole way there and back under load: what was acknowledged is there once, on both sides, after each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_there_and_back() {
    let (pair, _turn) = fixture::alone().await;
    let stage = Stage::set(pair).await;
    fence::forbid(&stage.to, RUN, &exceptions()).await.unwrap();
    let writers = Writers::start(&stage.urls(), 0, "there", THINKS);
    writers.await_writes(0, 200).await;
    stage.prepare_way_back().await;
    let (turned, took) = cut_over(stage.stream(), BACK).await;
    writers.await_writes(1, 200).await;
    turn::enable(&stage.from, BACK, &turned).await.unwrap();
    turn::enable(&stage.from, BACK, &turned).await.unwrap();
    turn::flows(&stage.to, &stage.from, RUN, LONG).await.unwrap();
    assert!(own::sees_sentinel(&stage.from, &turned.sentinel).await.unwrap(), "R's own row did not come back");
    turn::drop_forward(stage.stream(), Patience::ms(5, 10_000)).await.unwrap();
    turn::drop_forward(stage.stream(), Patience::ms(5, 10_000)).await.unwrap();
    let (mut acknowledged, outage) = writers.end().await;
    println!("there: window {took:?}, outage {outage:?}, {} writes", acknowledged.len());
    await_count(&stage.from, count(&stage.to).await).await;
    for session in [&stage.from, &stage.to] {
        require_exactly_once(session, &acknowledged).await;
    }

    // The rollback is the same in the other direction, with a way forward in its place.
    let again = fixture::unique("again");
    slot::create(&stage.from, &again, LONG).await.unwrap();
    subscribe(&stage.to, &stage.from, FORWARD, &again, false).await;
    let writers = Writers::start(&stage.urls(), 1, "back", THINKS);
    writers.await_writes(1, 200).await;
    let back = Stream { from: &stage.to, to: &stage.from, slot: &stage.back_slot, subscription: BACK, run: RUN };
    let (turned, took) = cut_over(back, FORWARD).await;
    writers.await_writes(0, 200).await;
    turn::enable(&stage.to, FORWARD, &turned).await.unwrap();
    turn::flows(&stage.from, &stage.to, RUN, LONG).await.unwrap();
    let (more, outage) = writers.end().await;
    println!("back: window {took:?}, outage {outage:?}, {} writes", more.len());
    acknowledged.extend(more);
    await_count(&stage.to, count(&stage.from).await).await;
    for session in [&stage.from, &stage.to] {
        require_exactly_once(session, &acknowledged).await;
    }
    turn::drop_forward(back, Patience::ms(5, 10_000)).await.unwrap();
    let stage = Stage { forward_slot: again, ..stage };
    stage.strike().await;
}

/// A table that came in on both sides and was never subscribed is passed over without a word, at lag zero.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_names_what_is_missing() {
    let (pair, _turn) = fixture::alone().await;
    let stage = Stage::set(pair).await;
    let baseline = drain::baseline(stage.stream()).await.unwrap();
    insert(&stage.from, "x").await;
    let drained = drain::drain(stage.stream(), &baseline, LONG).await.unwrap();
    assert!(drained.conditions.iter().all(|condition| condition.holds) && drained.conditions.len() == 5, "{drained:?}");
    assert_eq!(count(&stage.to).await, 1);
    assert!(drained.applied >= drained.target);

    let failing = async |baseline: &drain::Baseline, words: &[&str]| {
        let error = drain::drain(stage.stream(), baseline, Duration::from_millis(400)).await.unwrap_err();
        assert!(words.iter().all(|word| error.message().contains(word)), "{error:?}");
        error
    };
    for session in [&stage.from, &stage.to] {
        session.batch("CREATE TABLE public.late (i int PRIMARY KEY)").await.unwrap();
    }
    let error = failing(&baseline, &["only published `public.late`", "catalog: changed"]).await;
    assert_eq!(error.code(), Code::RequireFailed);
    let error = drain::ready(stage.stream(), 1 << 30, LONG).await.unwrap_err();
    assert!(error.fact("tables").is_some_and(|seen| seen.contains("public.late")), "{error:?}");
    let quoted = format!("\"{}\"", FORWARD.replace('"', "\"\""));
    stage.to.batch(&format!("ALTER SUBSCRIPTION {quoted} REFRESH PUBLICATION WITH (copy_data = false)")).await.unwrap();
    let baseline = drain::baseline(stage.stream()).await.unwrap();
    // What is no DDL must not look like it.
    stage.from.batch("TRUNCATE public.late; CREATE TEMP TABLE x (i int); ANALYZE public.late").await.unwrap();
    stage.from.batch("VACUUM public.late").await.unwrap();
    drain::drain(stage.stream(), &baseline, LONG).await.unwrap();
    assert_eq!(schema::token(&stage.from).await.unwrap(), baseline.catalog);

    subscription::disable(&stage.to, FORWARD).await.unwrap();
    let error = failing(&baseline, &["the row is not there"]).await;
    assert_eq!(error.code(), Code::Timeout);
    let error = drain::ready(stage.stream(), 1 << 30, LONG).await.unwrap_err();
    assert_eq!(error.fact("worker"), Some("disabled"));
    subscription::enable(&stage.to, FORWARD).await.unwrap();
    stage.drained().await;

    // A conflict: 18 counts it, below it is an error of the worker.
    let baseline = drain::baseline(stage.stream()).await.unwrap();
    stage.to.batch("INSERT INTO public.late VALUES (7)").await.unwrap();
    stage.from.batch("INSERT INTO public.late VALUES (7)").await.unwrap();
    poll::until("the conflict", Patience::ms(10, 20_000), async || {
        let now = drain::baseline(stage.stream()).await?;
        Ok(if now.errors == baseline.errors { Seen::NotYet("none".into()) } else { Seen::Ready(()) })
    })
    .await
    .unwrap();
    assert_eq!(failing(&baseline, &["errors: "]).await.code(), Code::RequireFailed);
    stage.to.batch("DELETE FROM public.late").await.unwrap();
    stage.strike().await;
}

/// The gate before the window: what the fence would cut off or leave behind is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gate_names_long_transactions() {
    let (pair, _turn) = fixture::alone().await;
    let stage = Stage::set(pair).await;
    let ready = drain::ready(stage.stream(), 1 << 30, LONG).await.unwrap();
    assert!(ready.conditions.iter().all(|condition| condition.holds) && ready.tables == 8, "{ready:?}");
    let held = stage.blue.login(&stage.role);
    held.begin().await.unwrap();
    held.value("SELECT count(*) FROM t", &[]).await.unwrap();
    clock::sleep(Duration::from_millis(60)).await;
    let error = drain::ready(stage.stream(), 1 << 30, Duration::from_millis(50)).await.unwrap_err();
    assert!(error.fact("long_transactions").is_some_and(|seen| seen.contains(&stage.role)), "{error:?}");
    held.rollback().await.unwrap();
    let error = drain::ready(stage.stream(), 0, LONG).await;
    if let Err(error) = error {
        assert!(error.fact("lag").is_some(), "{error:?}");
    }
    drop(held);
    stage.strike().await;
}

/// A turn that was cut off is made again; the position is always behind everything that came, so nothing comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_repeated_and_brings_nothing_back_twice() {
    let (pair, _turn) = fixture::alone().await;
    let stage = Stage::set(pair).await;
    stage.prepare_way_back().await;
    for n in 0..50 {
        insert(&stage.from, &n.to_string()).await;
    }
    let baseline = drain::baseline(stage.stream()).await.unwrap();
    let drained = [drain::drain(stage.stream(), &baseline, LONG).await.unwrap()];
    let turn = async || turn::turn(stage.stream(), BACK, &baseline, &drained, LONG).await;
    let first = turn().await.unwrap();
    let second = turn().await.unwrap();
    assert!(second.position > first.position);
    assert_eq!(origin::position(&stage.from, BACK).await.unwrap(), Some(second.position));
    assert_eq!(turn::turn(stage.stream(), BACK, &baseline, &[], LONG).await.unwrap_err().code(), Code::Usage);
    let wrong = Stream { slot: "no such slot", ..stage.stream() };
    let error = turn::turn(wrong, BACK, &baseline, &drained, LONG).await.unwrap_err();
    assert!(error.message().starts_with("there is no logical slot `no such slot`"), "{error:?}");
    let other = drain::Baseline { catalog: "another".into(), ..baseline.clone() };
    let error = turn::turn(stage.stream(), BACK, &other, &drained, LONG).await.unwrap_err();
    assert_eq!((error.code(), error.fact("catalog")), (Code::RequireFailed, Some("changed")), "{error:?}");

    // No decision was made: the stream goes on where it stopped, and the next attempt turns it again.
    for _ in 0..2 {
        turn::back(stage.stream()).await.unwrap();
    }
    insert(&stage.from, "after all").await;
    await_count(&stage.to, 51).await;
    let drained = [drain::drain(stage.stream(), &baseline, LONG).await.unwrap()];
    let second = turn::turn(stage.stream(), BACK, &baseline, &drained, LONG).await.unwrap();

    // A crash that forgot the advance: the position is proved and set again before anything flows.
    origin::advance(&stage.from, BACK, first.position).await.unwrap();
    insert(&stage.to, "green's own").await;
    turn::enable(&stage.from, BACK, &second).await.unwrap();
    await_count(&stage.from, 52).await;
    let state = subscription::state(&stage.from, BACK).await.unwrap().unwrap();
    assert_eq!(state.apply_errors.unwrap_or(0), 0, "something came back twice");
    assert_eq!(turn().await.unwrap_err().code(), Code::Refused);
    subscription::disable(&stage.from, BACK).await.unwrap();
    subscription::await_stopped(&stage.from, BACK, Patience::ms(20, 20_000)).await.unwrap();
    assert_eq!(turn::enable(&stage.from, BACK, &second).await.unwrap_err().code(), Code::RequireFailed);
    subscription::enable(&stage.to, FORWARD).await.unwrap();
    let error = turn::drop_forward(stage.stream(), Patience::ms(5, 1000)).await.unwrap_err();
    assert_eq!(error.code(), Code::Refused);
    stage.strike().await;
}

/// An exception of the fence wrote after T: it is noticed, and what it wrote is brought over before the turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_behind_the_fence_is_noticed() {
    let (pair, _turn) = fixture::alone().await;
    let stage = Stage::set(pair).await;
    stage.prepare_way_back().await;
    let baseline = drain::baseline(stage.stream()).await.unwrap();
    let drained = [drain::drain(stage.stream(), &baseline, LONG).await.unwrap()];
    // Stopped before the row, so that the row is certainly left in the slot.
    subscription::disable(&stage.to, FORWARD).await.unwrap();
    own::sentinel(&stage.from, RUN).await.unwrap();
    subscription::await_stopped(&stage.to, FORWARD, Patience::ms(5, 20_000)).await.unwrap();
    insert(&stage.from, "by hand").await;
    let turned = turn::turn(stage.stream(), BACK, &baseline, &drained, LONG).await.unwrap();
    assert_eq!((turned.drained_again, count(&stage.to).await), (1, 1));

    // Transactions that changed nothing published are none of ours.
    stage.from.batch("CREATE TEMP TABLE x (i int); INSERT INTO x VALUES (1)").await.unwrap();
    let turned = turn::turn(stage.stream(), BACK, &baseline, &drained, LONG).await.unwrap();
    assert_eq!(turned.drained_again, 0);
    stage.strike().await;
}

/// A role that the fence spares has written and not committed yet: its commit would come behind T.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_write_is_waited_for() {
    let (pair, _turn) = fixture::alone().await;
    let stage = Stage::set(pair).await;
    let baseline = drain::baseline(stage.stream()).await.unwrap();
    let operator = stage.blue.psql();
    operator.begin().await.unwrap();
    operator.batch("INSERT INTO t (v) VALUES ('late')").await.unwrap();
    let error = drain::drain(stage.stream(), &baseline, Duration::from_millis(100)).await.unwrap_err();
    assert!(error.code() == Code::Timeout && error.message().contains("of `postgres`"), "{error:?}");
    let (drained, ()) = tokio::join!(drain::drain(stage.stream(), &baseline, LONG), async {
        clock::sleep(Duration::from_millis(50)).await;
        operator.commit().await.unwrap();
    });
    assert_eq!((count(&stage.to).await, drained.unwrap().tables), (1, 8));
    drop(operator);
    stage.strike().await;
}
