//! A whole cutover and its rollback between two servers of different versions, under writers that know both endpoints:
//! no acknowledged write is lost, none is there twice.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pgrun::{
    base::{
        Code, Value, clock,
        poll::{self, Patience, Seen},
    },
    pg::{
        Session,
        drain::{self, Stream},
        fence::{self, Closing},
        origin, own,
        publication::{self, Scope},
        sequences, slot,
        subscription::{self, NewSubscription},
        turn::{self, WayBack},
    },
};

use super::fixture::{self, Database};

const PUBLICATION: &str = "everything";
const SCHEMA: &str = "CREATE TABLE public.t (id bigserial PRIMARY KEY, v text NOT NULL); \
     CREATE TABLE public.\"Other 🙂\" (k text PRIMARY KEY); CREATE SEQUENCE public.alone; SELECT setval('public.alone', 41)";

/// When each writer was last acknowledged by one side and first by the other, and every tag that was.
#[derive(Default)]
struct Ledger {
    acknowledged: Mutex<Vec<String>>,
    gaps: Mutex<Vec<(usize, usize, Instant)>>,
}

/// A writer with a unique tag per insert; at any error it tries the other endpoint.
async fn writer(
    number: usize,
    ports: [u16; 2],
    database: [String; 2],
    role: String,
    stop: Arc<AtomicBool>,
    ledger: Arc<Ledger>,
) {
    let (mut side, mut n, mut client) = (0, 0, None);
    while !stop.load(Ordering::Relaxed) {
        clock::sleep(Duration::from_millis(2)).await;
        n += 1;
        let tag = format!("w{number}-{n}");
        if client.is_none() {
            let mut config = tokio_postgres::Config::new();
            config.host("127.0.0.1").port(ports[side]).user(&role).password("secret").dbname(&database[side]);
            if let Ok((made, connection)) = config.connect(tokio_postgres::NoTls).await {
                tokio::spawn(connection);
                client = Some(made);
            }
        }
        let written = match &client {
            Some(client) => client.execute("INSERT INTO public.t (v) VALUES ($1)", &[&tag]).await.is_ok(),
            None => false,
        };
        if written {
            ledger.acknowledged.lock().unwrap().push(tag);
            ledger.gaps.lock().unwrap().push((number, side, clock::instant()));
        } else {
            (client, side) = (None, 1 - side);
        }
    }
}

/// The longest time that a writer was without an acknowledgement while it went from one side to the other.
fn outage(ledger: &Ledger, writers: usize) -> Duration {
    let seen = ledger.gaps.lock().unwrap();
    let gap = |number: usize| {
        let mine: Vec<_> = seen.iter().filter(|(n, ..)| *n == number).collect();
        mine.windows(2)
            .filter(|pair| pair[0].1 != pair[1].1)
            .map(|pair| pair[1].2 - pair[0].2)
            .max()
            .unwrap_or_default()
    };
    (0..writers).map(gap).max().unwrap_or_default()
}

struct Direction<'a> {
    from: (&'a Database, &'a Session),
    to: (&'a Database, &'a Session),
    forward: (&'a str, &'a str),
    back: (&'a str, &'a str),
}

/// A slot on `publisher` and a subscription on `subscriber`.
async fn link(
    publisher: (&Database, &Session),
    subscriber: &Session,
    names: (&str, &str),
    enabled: bool,
    copy_data: bool,
) {
    slot::create(publisher.1, names.1, Duration::from_secs(60)).await.unwrap();
    let publications = [PUBLICATION.to_owned()];
    let new = NewSubscription {
        name: names.0,
        publisher: &publisher.0.target(),
        root_cert_there: None,
        slot: names.1,
        publications: &publications,
        enabled,
        copy_data,
    };
    subscription::create(subscriber, publisher.1, &new).await.unwrap();
}

impl Direction<'_> {
    fn stream<'a>(&'a self, publications: &'a [String]) -> Stream<'a> {
        Stream { subscription: self.forward.0, slot: self.forward.1, publications }
    }

    /// From the way back prepared to the other side open.
    async fn cut_over(&self, run: &str) -> Duration {
        let ((_, blue), (_, green)) = (self.from, self.to);
        let publications = [PUBLICATION.to_owned()];
        let stream = self.stream(&publications);
        let (patience, back) = (Patience::ms(2, 20_000), WayBack { subscription: self.back.0, slot: self.back.1 });
        // Before the window.
        let before = subscription::state(green, self.forward.0).await.unwrap();
        let copied = sequences::copy(blue, green).await.unwrap();
        // In the window.
        let begun = clock::instant();
        let closing = Closing { run, target: run, spare: &[], deadline: Duration::from_secs(30), recorded: None };
        let closed = fence::close(blue, &closing, patience).await.unwrap();
        let fenced = begun.elapsed();
        let last = drain::last_write(blue, run).await.unwrap();
        let drained = drain::drain(blue, green, stream, &last, before.as_ref(), patience).await.unwrap();
        let dry = begun.elapsed();
        assert!(drained.confirmed >= last.lsn && drained.tables == 7, "{drained:?}");
        sequences::copy_again(blue, green, &copied).await.unwrap();
        let copied = begun.elapsed();
        let turned = turn::turn(blue, green, stream, back, run, patience).await.unwrap();
        turn::require_no_strangers(blue, stream).await.unwrap();
        let round = begun.elapsed();
        fence::decide(blue, &closed.attempt).await.unwrap();
        fence::open(green, &closed.roles).await.unwrap();
        let took = begun.elapsed();
        println!(
            "{run}: fenced {fenced:?}, drained {dry:?}, sequences {copied:?}, turned {round:?} ({} ms to stop), open {took:?}",
            turned.stopped_ms
        );
        // After it.
        origin::require_at(blue, self.back.0, turned.from).await.unwrap();
        subscription::enable(blue, self.back.0).await.unwrap();
        subscription::drop(green, self.forward.0).await.unwrap();
        slot::drop(blue, self.forward.1, patience).await.unwrap();
        took
    }
}

async fn tags(session: &Session) -> Vec<String> {
    let rows = session.query("SELECT v FROM public.t", &[]).await.unwrap();
    rows.into_iter().map(|row| row["v"].as_text().unwrap().to_owned()).collect()
}

/// The whole procedure, there and back again, one write per 2 ms and writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_there_and_back() {
    const WRITERS: usize = 4;
    let (pair, _turn) = fixture::alone().await;
    let (blue, green) = (pair.blue.database("cut").await, pair.green.database("cut").await);
    let (b, g) = (blue.session(), green.session());
    let app = fixture::unique("Shop \"Q\"");
    let name = pgrun::base::ident::ident(&app).unwrap();
    for session in [&b, &g] {
        own::ensure(session).await.unwrap();
        session.batch(SCHEMA).await.unwrap();
        session
            .batch(&format!(
                "CREATE ROLE {name} LOGIN PASSWORD 'secret'; GRANT ALL ON public.t, public.t_id_seq TO {name}"
            ))
            .await
            .unwrap();
        publication::create(session, PUBLICATION, Scope::AllTables, false).await.unwrap();
    }
    let barred = fence::bar(&g, &[]).await.unwrap();
    let (stop, ledger) = (Arc::new(AtomicBool::new(false)), Arc::new(Ledger::default()));
    let (ports, names) = ([pair.blue.port(), pair.green.port()], [blue.name.clone(), green.name.clone()]);
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| tokio::spawn(writer(n, ports, names.clone(), app.clone(), Arc::clone(&stop), Arc::clone(&ledger))))
        .collect();
    link((&blue, &b), &g, ("forward", "fwd"), true, true).await;
    poll::until("the copy", Patience::ms(20, 30_000), async || {
        let s = subscription::state(&g, "forward").await?.unwrap();
        Ok(if s.tables == 7 && s.ready == 7 { Seen::Ready(()) } else { Seen::NotYet(format!("{s:?}")) })
    })
    .await
    .unwrap();
    link((&green, &g), &b, ("backward", "bwd"), false, false).await;
    turn::require_way_back(&b, &g, WayBack { subscription: "backward", slot: "bwd" }).await.unwrap();
    clock::sleep(Duration::from_millis(500)).await;
    let there =
        Direction { from: (&blue, &b), to: (&green, &g), forward: ("forward", "fwd"), back: ("backward", "bwd") };
    there.cut_over("there").await;
    clock::sleep(Duration::from_millis(700)).await;
    println!("outage there: {:?}", outage(&ledger, WRITERS));

    // And back, with the same gates: the old server is now the subscriber.
    link((&blue, &b), &g, ("forward", "fwd"), false, false).await;
    let back =
        Direction { from: (&green, &g), to: (&blue, &b), forward: ("backward", "bwd"), back: ("forward", "fwd") };
    ledger.gaps.lock().unwrap().clear();
    back.cut_over("back").await;
    clock::sleep(Duration::from_millis(500)).await;
    println!("outage back: {:?}", outage(&ledger, WRITERS));
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }

    let acknowledged = ledger.acknowledged.lock().unwrap().clone();
    let on_blue = tags(&b).await;
    poll::until("GREEN to follow again", Patience::ms(20, 20_000), async || {
        let n = tags(&g).await.len();
        Ok(if n == on_blue.len() { Seen::Ready(()) } else { Seen::NotYet(format!("{n} of {}", on_blue.len())) })
    })
    .await
    .unwrap();
    for found in [on_blue, tags(&g).await] {
        let distinct: BTreeSet<&String> = found.iter().collect();
        let lost: Vec<&String> = acknowledged.iter().filter(|tag| !distinct.contains(tag)).collect();
        assert!(acknowledged.len() > 300, "{} writes are no test", acknowledged.len());
        assert_eq!((lost.len(), found.len() - distinct.len()), (0, 0), "lost and doubled of {}", acknowledged.len());
    }
    let states = (fence::state(&b).await.unwrap().state, fence::state(&g).await.unwrap().state);
    assert_eq!(states, ("green".to_owned(), "green".to_owned()), "each was decided away from once");
    assert!(sequences::read(&b).await.unwrap().iter().any(|s| s.name == "alone" && s.last_value == 41));
    subscription::drop(&g, "forward").await.unwrap();
    slot::drop(&b, "fwd", Patience::ms(10, 10_000)).await.unwrap();
    pgrun::pg::roles::restore(&g, &barred.into_iter().filter(|r| r.name != app).collect::<Vec<_>>()).await.unwrap();
    fence::open(&b, &[app]).await.unwrap();
}

/// Each condition of the drain is missed by name.
#[tokio::test]
async fn a_drain_says_what_is_missing() {
    let (pair, _turn) = fixture::shared().await;
    let (blue, green) = (pair.blue.database("drain").await, pair.green.database("drain").await);
    let (b, g) = (blue.session(), green.session());
    for session in [&b, &g] {
        own::ensure(session).await.unwrap();
        session.batch("CREATE TABLE public.t (id int PRIMARY KEY)").await.unwrap();
        publication::create(session, PUBLICATION, Scope::AllTables, false).await.unwrap();
    }
    let slot = fixture::unique("drain");
    link((&blue, &b), &g, ("s", &slot), true, false).await;
    let publications = [PUBLICATION.to_owned()];
    let stream = Stream { subscription: "s", slot: &slot, publications: &publications };
    let patience = Patience::ms(5, 10_000);
    let last = drain::last_write(&b, "run").await.unwrap();
    let before = subscription::state(&g, "s").await.unwrap();
    drain::drain(&b, &g, stream, &last, before.as_ref(), patience).await.unwrap();

    // A table made on both sides by hand: lag zero, no error, and its rows are skipped.
    b.batch("CREATE TABLE public.late (id int PRIMARY KEY)").await.unwrap();
    g.batch("CREATE TABLE public.late (id int PRIMARY KEY)").await.unwrap();
    let error = drain::drain(&b, &g, stream, &last, None, patience).await.unwrap_err();
    assert_eq!(error.code(), Code::RequireFailed);
    assert!(
        error.message().contains("published but not subscribed") && error.message().contains("public.late"),
        "{error:?}"
    );
    b.batch("DROP TABLE public.late").await.unwrap();

    // A conflict stops the apply, and is counted.
    let before = subscription::state(&g, "s").await.unwrap();
    g.batch("INSERT INTO public.t VALUES (1)").await.unwrap();
    b.batch("INSERT INTO public.t VALUES (1)").await.unwrap();
    let last = drain::last_write(&b, "run").await.unwrap();
    let error = drain::drain(&b, &g, stream, &last, before.as_ref(), Patience::ms(20, 1_500)).await.unwrap_err();
    assert_eq!(error.code(), Code::Timeout, "{error:?}");
    assert!(
        error.message().contains("the sentinel has not arrived") && error.message().contains("confirmed up to"),
        "{error:?}"
    );
    g.batch("DELETE FROM public.t").await.unwrap();
    let moved = drain::drain(&b, &g, stream, &last, before.as_ref(), Patience::ms(20, 20_000)).await;
    if pair.green.major >= 15 {
        let error = moved.unwrap_err();
        assert!(error.message().contains("apply errors"), "{error:?}");
    }

    // Changes after the proof are found, pgrun's own are not.
    turn::stop(&b, &g, stream, "run", patience).await.unwrap();
    own::sentinel(&b, "run", "own").await.unwrap();
    turn::require_no_strangers(&b, stream).await.unwrap();
    b.batch("INSERT INTO public.t VALUES (2)").await.unwrap();
    let error = turn::require_no_strangers(&b, stream).await.unwrap_err();
    assert!(error.message().contains("`public.t`"), "{error:?}");
    let error = drain::drain(&b, &g, stream, &last, None, Patience::ms(10, 100)).await.unwrap_err();
    assert!(error.message().contains("nobody reads the slot"), "{error:?}");

    let gone = WayBack { subscription: "nowhere", slot: "nowhere" };
    assert!(turn::require_way_back(&b, &g, gone).await.unwrap_err().message().contains("`nowhere` does not exist"));
    let running = WayBack { subscription: "s", slot: &slot };
    subscription::enable(&g, "s").await.unwrap();
    assert!(turn::require_way_back(&g, &b, running).await.unwrap_err().message().contains("is enabled"));
    subscription::drop(&g, "s").await.unwrap();
    slot::drop(&b, &slot, Patience::ms(10, 10_000)).await.unwrap();
    assert_eq!(b.value("SELECT count(*) FROM public.t", &[]).await.unwrap(), Value::Int(2));
}
