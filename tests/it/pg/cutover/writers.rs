//! Applications of a cutover: they know both servers, and remember what was acknowledged.

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

use super::Stage;

/// Clients that know both servers and write unique texts to whichever takes them.
pub(super) struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<(String, usize, Instant)>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    pub(super) fn start(stage: &Stage, first: usize, label: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(vec![]));
        let urls: Vec<String> = [&stage.blue, &stage.green]
            .map(|database| {
                let (port, name) = (database.side.port(), &database.name);
                format!("host=127.0.0.1 port={port} user={} password=secret dbname={name}", stage.role)
            })
            .to_vec();
        let tasks = (0..4).map(|writer| {
            let (stop, acknowledged, urls, label) =
                (stop.clone(), acknowledged.clone(), urls.clone(), label.to_owned());
            tokio::spawn(async move {
                let (mut side, mut n) = (first, 0);
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((client, connection)) = tokio_postgres::connect(&urls[side], tokio_postgres::NoTls).await
                    {
                        let connection = tokio::spawn(connection);
                        while !stop.load(Ordering::Relaxed) {
                            n += 1;
                            let tag = format!("{label}-{writer}-{n}");
                            if client.execute("INSERT INTO public.t (v) VALUES ($1)", &[&tag]).await.is_err() {
                                break;
                            }
                            acknowledged.lock().unwrap().push((tag, side, clock::instant()));
                            clock::sleep(Duration::from_millis(2)).await;
                        }
                        connection.abort();
                    }
                    side = 1 - side;
                    clock::sleep(Duration::from_millis(2)).await;
                }
            })
        });
        let tasks = tasks.collect();
        Self { stop, acknowledged, tasks }
    }

    pub(super) async fn await_writes(&self, side: usize, number: usize) {
        poll::until("the writers", Patience::ms(5, 20_000), async || {
            let seen = self.acknowledged.lock().unwrap().iter().filter(|(_, on, _)| *on == side).count();
            Ok(if seen >= number { Seen::Ready(()) } else { Seen::NotYet(format!("{seen} of {number}")) })
        })
        .await
        .unwrap();
    }

    /// Everything that was acknowledged, and how long nobody got an acknowledgement around the change of sides.
    pub(super) async fn end(self) -> (Vec<String>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let all = std::mem::take(&mut *self.acknowledged.lock().unwrap());
        let first = all.first().unwrap().1;
        let last_there = all.iter().filter(|(_, side, _)| *side == first).map(|(.., at)| *at).max().unwrap();
        let first_here = all.iter().filter(|(_, side, _)| *side != first).map(|(.., at)| *at).min().unwrap();
        (all.into_iter().map(|(tag, ..)| tag).collect(), first_here.saturating_duration_since(last_there))
    }
}

pub(super) async fn require_exactly_once(session: &Session, acknowledged: &[String]) {
    let rows = session.query("SELECT v FROM public.t", &[]).await.unwrap();
    let rows: Vec<String> = rows.iter().map(|row| row["v"].as_text().unwrap().to_owned()).collect();
    let there: HashSet<&String> = rows.iter().collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|tag| !there.contains(tag)).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
    assert_eq!(rows.len(), there.len(), "doubled");
}
