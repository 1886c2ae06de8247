//! Sessions that an application's pools hold without using them. A fence has to end each of them, and behind it they
//! come back.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    Shared,
    application::Directory,
    connection::{Connection, Failure, Opening},
};
use crate::base::clock;

/// Sessions of one pool, as HikariCP has them unless told otherwise.
const SIZE: usize = 10;
/// A pool's longest pause. HikariCP waits up to ten seconds; a rehearsal does not wait for what proves nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a session is asked whether it still answers, as pools do.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What the pools of a load hold together.
#[derive(Default)]
pub(super) struct Held {
    open: AtomicUsize,
    ended: AtomicUsize,
    last_failure: std::sync::Mutex<Option<String>>,
}

impl Held {
    /// How many sessions are open, and how often one was ended by the server.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.open.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed))
    }

    /// Why a session was not opened the last time, for people.
    pub(super) fn last_failure(&self) -> Option<String> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refused(&self, words: String) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
    }
}

/// Starts pools that hold so many sessions together.
pub(super) fn hold(
    tasks: &mut JoinSet<()>,
    sessions: u16,
    shared: &Shared,
    directory: &Arc<Directory>,
    held: &Arc<Held>,
) {
    let mut left = usize::from(sessions);
    while left > 0 {
        let size = left.min(SIZE);
        left -= size;
        let (shared, directory, held) = (shared.clone(), Arc::clone(directory), Arc::clone(held));
        let pool = Arc::new(Pool { shared, directory, held, opening: Opening::waiting_up_to(LONGEST_PAUSE) });
        for _ in 0..size {
            tasks.spawn(Arc::clone(&pool).keep_one());
        }
    }
}

/// A pool.
struct Pool {
    shared: Shared,
    directory: Arc<Directory>,
    held: Arc<Held>,
    opening: Opening,
}

impl Pool {
    /// Holds one session until the load is over, and opens it again whenever it was ended.
    async fn keep_one(self: Arc<Self>) {
        let mut stop = self.shared.stop.clone();
        while !self.shared.is_over() {
            let opened = tokio::select! {
                opened = self.open() => opened,
                _ = stop.changed() => return,
            };
            let Some(mut connection) = opened else { continue };
            self.held.open.fetch_add(1, Ordering::Relaxed);
            let is_ended = tokio::select! {
                () = self.stay(&mut connection) => !self.shared.is_over(),
                _ = stop.changed() => false,
            };
            self.held.open.fetch_sub(1, Ordering::Relaxed);
            self.held.ended.fetch_add(usize::from(is_ended), Ordering::Relaxed);
        }
    }

    /// Opens a session where the application's database is said to be; `None` after a refusal and its pause.
    async fn open(&self) -> Option<Connection> {
        let opened = self.opening.open(Box::pin(self.connect())).await;
        opened.map_err(|words| self.held.refused(words)).ok()
    }

    async fn connect(&self) -> Result<Connection, String> {
        let limit = self.shared.attempt_limit;
        let endpoint = self.directory.look(limit).await.map_err(|error| error.message().to_owned())?;
        Connection::open(&endpoint, limit).await.map_err(|Failure { words, .. }| words)
    }

    /// Keeps a session alive until it is ended or does not answer.
    async fn stay(&self, connection: &mut Connection) {
        while !self.shared.is_over() {
            if clock::within(KEEP_ALIVE, connection.ended()).await.is_some()
                || connection.run("SELECT 1", self.shared.attempt_limit).await.is_err()
            {
                return;
            }
        }
    }
}
