//! Applications of a cutover for tests: they know both servers, and remember what was acknowledged.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pgrun::{
    base::{
        clock,
        poll::{self, Patience, Seen},
    },
    pg::Session,
};
use tokio::task::JoinHandle;

/// A server that stands still does not keep a client from the other one.
const GIVES_UP: Duration = Duration::from_secs(1);

/// A write that was acknowledged.
struct Write {
    tag: String,
    side: usize,
    sent: Instant,
    acknowledged: Instant,
}

/// Clients that know both servers and write unique texts to whichever takes them.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<Write>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Four of them, which begin at the server `urls[first]` and rest between their writes; their texts begin with the
    /// label. To be called inside a runtime.
    pub(crate) fn start(urls: &[String; 2], first: usize, label: &str, rest: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(vec![]));
        let tasks = (0..4).map(|writer| {
            let (stop, acknowledged, urls, label) =
                (stop.clone(), acknowledged.clone(), urls.clone(), label.to_owned());
            tokio::spawn(async move {
                let (mut side, mut n) = (first, 0);
                while !stop.load(Ordering::Relaxed) {
                    let connecting = tokio_postgres::connect(&urls[side], tokio_postgres::NoTls);
                    if let Some(Ok((client, connection))) = clock::within(GIVES_UP, connecting).await {
                        let connection = tokio::spawn(connection);
                        while !stop.load(Ordering::Relaxed) {
                            n += 1;
                            let (tag, sent) = (format!("{label}-{writer}-{n}"), clock::instant());
                            if client.execute("INSERT INTO public.t (v) VALUES ($1)", &[&tag]).await.is_err() {
                                break;
                            }
                            let write = Write { tag, side, sent, acknowledged: clock::instant() };
                            acknowledged.lock().unwrap().push(write);
                            clock::sleep(rest).await;
                        }
                        connection.abort();
                    }
                    side = 1 - side;
                    clock::sleep(rest).await;
                }
            })
        });
        let tasks = tasks.collect();
        Self { stop, acknowledged, tasks }
    }

    /// Waits until one side has taken so many writes in all.
    pub(crate) async fn await_writes(&self, side: usize, number: usize) {
        poll::until("the writers", Patience::ms(5, 20_000), async || {
            let seen = self.taken(side);
            Ok(if seen >= number { Seen::Ready(()) } else { Seen::NotYet(format!("{seen} of {number}")) })
        })
        .await
        .unwrap();
    }

    /// Waits until one side takes writes that were not there when this was called.
    pub(crate) async fn await_more(&self, side: usize) {
        self.await_writes(side, self.taken(side) + 20).await;
    }

    fn taken(&self, side: usize) -> usize {
        self.acknowledged.lock().unwrap().iter().filter(|write| write.side == side).count()
    }

    /// Everything that was acknowledged, and how long nobody got an acknowledgement around the change of sides.
    pub(crate) async fn end(self) -> (Vec<String>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let all = std::mem::take(&mut *self.acknowledged.lock().unwrap());
        let first = all.first().unwrap().side;
        let (there, here): (Vec<&Write>, Vec<&Write>) = all.iter().partition(|write| write.side == first);
        let first_here = here.iter().map(|write| write.acknowledged).min().unwrap();
        let last_there = there.iter().map(|write| write.acknowledged).max().unwrap();
        // By when it was sent: a client that gets no processor learns late what it was answered.
        assert!(there.iter().all(|write| write.sent <= first_here), "both sides took writes at the same time");
        let outage = first_here.saturating_duration_since(last_there);
        (all.into_iter().map(|write| write.tag).collect(), outage)
    }
}

/// What was acknowledged is there, and nothing is there twice.
pub(crate) async fn require_exactly_once(session: &Session, acknowledged: &[String]) {
    let rows = session.query("SELECT v FROM public.t", &[]).await.unwrap();
    let rows: Vec<String> = rows.iter().map(|row| row["v"].as_text().unwrap().to_owned()).collect();
    let there: HashSet<&String> = rows.iter().collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|tag| !there.contains(tag)).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
    assert_eq!(rows.len(), there.len(), "doubled");
}
