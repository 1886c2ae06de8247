//! The guardian of a fence where processes cannot be timed: what its run had sent, later attempts, the server's clock.

use std::time::Duration;

use pgrun::{
    base::{Code, clock},
    pg::{
        fence,
        guardian::{End, Guardian, Left},
    },
};

use super::{LONG, Stage, exceptions};
use crate::pg::fixture;

/// The run has ended while its `close` waits for a lock. Were the guardian content to see nothing closed, the fence
/// would be closed behind its back, for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_that_is_on_its_way_when_the_run_ends() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let stage = Stage::set(side, &["app"]).await;
        // A run's session, which is known by its name.
        let settings = pgrun::pg::Settings::of_run("r");
        let running = pgrun::pg::Session::new(stage.database.target(), settings);
        running.open().await.unwrap();
        let guardian = Guardian::prepare(stage.database.target(), "r").await.unwrap();
        let holds = stage.database.psql();
        holds.begin().await.unwrap();
        holds.batch("LOCK TABLE pgrun.decision IN SHARE ROW EXCLUSIVE MODE").await.unwrap();
        let close = tokio::spawn(async move { fence::close(&running, "r", &exceptions(), LONG).await });
        clock::sleep(Duration::from_millis(300)).await;
        let end = tokio::spawn(guardian.watch(LONG, async { Left::Alone }));
        clock::sleep(Duration::from_millis(300)).await;
        holds.rollback().await.unwrap();
        assert_eq!(end.await.unwrap(), End::NeverClosed);
        close.await.unwrap().unwrap_err();
        assert_eq!(fence::outcome(&stage.session, "r").await.unwrap(), "none");
        assert!(stage.can_log_in(&stage.roles[0]).await);
        drop(holds);
        stage.strike().await;
    }
}

/// A guardian that is late must not open what a resumed run has closed anew, and never after a decision.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guardian_guards_its_own_attempt() {
    let (pair, _turn) = fixture::alone().await;
    let stage = Stage::set(&pair.blue, &["app"]).await;
    let prepare = async || Guardian::prepare(stage.database.target(), "r").await.unwrap();
    let late = prepare().await;
    fence::close(&stage.session, "r", &exceptions(), LONG).await.unwrap();
    let second = prepare().await;
    assert_eq!((late.attempt(), second.attempt()), (1, 1), "prepared for a fence that stands already");
    fence::reopen(&stage.session, "r").await.unwrap();
    let third = prepare().await;
    assert_eq!(third.attempt(), 2);
    fence::close(&stage.session, "r", &exceptions(), LONG).await.unwrap();
    assert_eq!(late.watch(LONG, async { Left::Alone }).await, End::Reopened { by_guardian: false });
    assert_eq!(second.watch(LONG, std::future::pending()).await, End::Reopened { by_guardian: false });
    assert_eq!(fence::outcome(&stage.session, "r").await.unwrap(), "fenced");
    let dismissed = prepare().await;
    assert_eq!(dismissed.watch(LONG, async { Left::Dismissed }).await, End::Dismissed);
    assert_eq!(fence::outcome(&stage.session, "r").await.unwrap(), "fenced");
    fence::decide(&stage.session, "r").await.unwrap();
    assert_eq!(third.watch(LONG, async { Left::Alone }).await, End::Green);
    assert!(!stage.can_log_in(&stage.roles[0]).await);
    stage.session.batch(&format!("ALTER ROLE {} LOGIN", stage.roles[0])).await.unwrap();
    stage.strike().await;
}

/// The deadline is the server's: past it the server is open, whether the run lives or not. Without pgrun's schema there
/// is nothing to guard with, and that is said before anything is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guardian_keeps_the_servers_time() {
    let (pair, _turn) = fixture::alone().await;
    let bare = pair.blue.database("bare").await;
    let error = Guardian::prepare(bare.target(), "r").await.err().unwrap();
    assert_eq!((error.code(), error.hint_text()), (Code::PgSql, Some("make pgrun's schema in this database first")));
    let stage = Stage::set(&pair.blue, &["app"]).await;
    let guardian = Guardian::prepare(stage.database.target(), "r").await.unwrap();
    let given = Duration::from_millis(1200);
    fence::close(&stage.session, "r", &exceptions(), given).await.unwrap();
    let begun = clock::instant();
    let end = guardian.watch(given, std::future::pending()).await;
    assert_eq!(end, End::Reopened { by_guardian: true });
    assert!(begun.elapsed() > Duration::from_millis(1000), "opened too early");
    assert!(stage.can_log_in(&stage.roles[0]).await);
    assert_eq!(fence::outcome(&stage.session, "r").await.unwrap(), "reopened");
    stage.strike().await;
}
