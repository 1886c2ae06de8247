//! A copy of a running server and the stream from it, joined at one position: nothing lost, nothing doubled, and the
//! position of a second recovery refused.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pgrun::{
    aws::{Bounds, first_redo_done},
    base::{
        Code, clock,
        config::Config,
        poll::{self, Patience, Seen},
    },
    lab::postgres::{Catalogue, Scratch, Server, ServerOptions, ServerUser, Shutdown, copy_frozen},
    pg::{
        Session, Settings, Target,
        meeting::{self, Evidence},
        origin, own,
        publication::{self, Scope},
        slot,
        subscription::{self, NewSubscription},
    },
};

const RUN: &str = "run";

fn session(server: &Server) -> Session {
    Session::new(Target::parse(&server.url("postgres")).unwrap(), Settings::of_run(RUN))
}

fn log(folder: &Path) -> String {
    let files = std::fs::read_dir(folder.join("log/error")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.file_name().is_some_and(|name| name != "postgres.log")).collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

fn evidence(marks: (&own::Mark, &own::Mark), log: &str) -> Evidence {
    let redo = first_redo_done([("log", log)], &Bounds::default()).unwrap().unwrap();
    Evidence {
        slot: "forward".into(),
        before: marks.0.clone(),
        after: marks.1.clone(),
        redo_start: Some(redo.start),
        redo_done: Some(redo.done),
        volume_start: None,
    }
}

/// Writes unique texts until told to stop, and gives those that were acknowledged.
async fn writer(server: &Server, label: usize, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<String>> {
    let client = server.connect("postgres").await.unwrap();
    tokio::spawn(async move {
        let mut acknowledged = vec![];
        while !stop.load(Ordering::Relaxed) {
            let tag = format!("{label}-{}", acknowledged.len());
            client.execute("INSERT INTO public.t (v) VALUES ($1)", &[&tag]).await.unwrap();
            acknowledged.push(tag);
        }
        acknowledged
    })
}

/// The real thing: M1, heartbeats, a copy as of a crash under load, M2; then L from the copy's log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_and_stream_meet() {
    let catalogue = Catalogue::look(&Config::from_env().unwrap()).await.unwrap();
    let installation = catalogue.obtain(catalogue.pair(None, None).unwrap().0).await.unwrap();
    let server = Server::scratch(&installation, ServerOptions::default()).await.unwrap();
    let blue = session(&server);
    blue.batch("CREATE TABLE public.t (id bigserial PRIMARY KEY, v text)").await.unwrap();
    own::install(&blue).await.unwrap();
    publication::create(&blue, "p", Scope::AllTables, &[]).await.unwrap();
    slot::create(&blue, "forward", Duration::from_secs(20)).await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = vec![];
    for label in 0..3 {
        writers.push(writer(&server, label, stop.clone()).await);
    }
    let first = own::mark(&blue, RUN, "M1").await.unwrap();
    let scratch = Scratch::new(ServerUser::choose().unwrap().as_ref()).unwrap();
    let folder = scratch.path().join("copy");
    std::fs::create_dir(&folder).unwrap();
    let copied = AtomicBool::new(false);
    let beats = async {
        let heart = session(&server);
        while !copied.load(Ordering::Relaxed) {
            own::heartbeat(&heart, RUN).await.unwrap();
            clock::sleep(Duration::from_millis(20)).await;
        }
    };
    let copying = async {
        clock::sleep(Duration::from_millis(200)).await;
        copy_frozen(server.process(), &server.folder().join("data"), &folder.join("data")).await.unwrap();
        clock::sleep(Duration::from_millis(100)).await;
        copied.store(true, Ordering::Relaxed);
    };
    tokio::join!(beats, copying);
    // Far enough ahead that the copy's own log, after the end of what it replayed, does not reach M2.
    blue.query("SELECT pg_switch_wal()", &[]).await.unwrap();
    let second = own::mark(&blue, RUN, "M2").await.unwrap();

    let mut options = ServerOptions::default();
    (options.superuser, options.password) = (server.superuser().0.into(), server.superuser().1.clone());
    let mut copy = Server::open(&installation, &folder, options).await.unwrap();
    let green = session(&copy);
    let marks = (&first, &second);
    let met = meeting::prove(&blue, &green, &evidence(marks, &log(&folder))).await.unwrap();
    assert!(met.heartbeats_there > 0 && met.heartbeats_missing > 1, "{met:?}");
    assert!(
        met.at_least < met.position && met.position <= met.at_most && met.confirmed_flush < met.position,
        "{met:?}"
    );

    // Attack 3: the copy crashes once more, and the head of its log is lost.
    let length = log(&folder).len();
    copy.stop(Shutdown::Immediate).await.unwrap();
    copy.start().await.unwrap();
    let later = log(&folder)[length..].to_owned();
    let green = session(&copy);
    let error = meeting::prove(&blue, &green, &evidence(marks, &later)).await.unwrap_err();
    let caught =
        ["end of another recovery", "no checkpoint of BLUE's"].iter().any(|rule| error.message().contains(rule));
    assert!(error.code() == Code::RequireFailed && caught, "{error:?}");
    let error = meeting::prove(&blue, &blue, &evidence(marks, &log(&folder))).await.unwrap_err();
    assert!(error.message().contains("M2 is in the copy"), "{error:?}");

    // The slot came along with the copy, where nobody will ever read it.
    slot::drop(&green, "forward", Patience::ms(10, 10_000)).await.unwrap();
    let publications = ["p".to_owned()];
    let new = NewSubscription {
        name: "forward",
        publisher: blue.target(),
        root_cert_there: None,
        slot: "forward",
        publications: &publications,
        enabled: false,
        copy_data: false,
    };
    subscription::create(&green, &blue, &new).await.unwrap();
    origin::advance(&green, "forward", met.position).await.unwrap();
    subscription::enable(&green, "forward").await.unwrap();
    clock::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = vec![];
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    let last = own::sentinel(&blue, RUN).await.unwrap();
    poll::until("the stream to catch up", Patience::ms(20, 20_000), async || {
        let seen = own::sees_sentinel(&green, &last.id).await?;
        Ok(if seen { Seen::Ready(()) } else { Seen::NotYet("not yet".into()) })
    })
    .await
    .unwrap();
    let rows = green.query("SELECT v FROM public.t", &[]).await.unwrap();
    let there: HashSet<&str> = rows.iter().map(|row| row["v"].as_text().unwrap()).collect();
    assert_eq!(there.len(), rows.len(), "doubled");
    assert_eq!(rows.len(), acknowledged.len(), "lost");
    assert!(acknowledged.iter().all(|tag| there.contains(tag.as_str())));
}
