//! How applications ask where to go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pgrun::{
    base::{Code, Secret},
    fail,
    load::{Applications, Endpoint, Load, Plan, Source},
};

/// Twenty clients that cannot connect ask once, not twenty times: Secrets Manager throttles.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_ask_together_and_not_too_often() {
    // A port that was given out and closed again is refused.
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let source = Source::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            Ok(Endpoint {
                host: "127.0.0.1".into(),
                port,
                database: "d".into(),
                user: "u".into(),
                password: Secret::new("p"),
                tls: None,
            })
        }
    });
    let applications = Applications { refetch_every: Duration::from_secs(3600), ..Applications::new(20, source) };
    let plan = Plan { start_limit: Duration::from_millis(300), ..Plan::new() };
    let error = Load::start(plan.applications(applications)).await.err().unwrap();
    assert_eq!(error.code(), Code::Timeout);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// A source that fails is a failure like a refused connection: it is counted by its code and asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_fails_is_asked_again() {
    let source = Source::new(|| async { Err(fail!(Code::AwsThrottled, "too many questions")) });
    let applications = Applications { refetch_every: Duration::ZERO, ..Applications::new(1, source) };
    let plan = Plan { start_limit: Duration::from_millis(200), ..Plan::new() };
    let error = Load::start(plan.applications(applications)).await.err().unwrap();
    assert!(error.message().contains("too many questions"), "{error:?}");
}
