//! A real pgbouncer before both servers: clients are held back, not turned away, and go on where they are led.

use std::time::Duration;

use pgrun::{
    base::{Code, clock},
    pg::{Target, pooler::Pooler},
};

use super::fixture::{self, Database};
use crate::pgrun::{Bouncer, Place};

fn place_of(database: &Database) -> Place {
    Place {
        port: database.side.port(),
        database: database.name.clone(),
        user: "postgres".into(),
        password: database.side.password().expose().to_owned(),
    }
}

fn console(bouncer: &Bouncer, user: &str) -> Pooler {
    Pooler::new(Target::parse(&bouncer.url(user, "ignored")).unwrap())
}

async fn client(bouncer: &Bouncer) -> tokio_postgres::Client {
    let url = bouncer.url("app", "Shop-1");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn place(client: &tokio_postgres::Client) -> String {
    let rows = client.simple_query("select current_setting('port')").await.unwrap();
    rows.iter()
        .find_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .unwrap()
}

/// The switch: paused, a client waits; led to the other server and resumed, it is answered there. No query fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_wait_and_go_on_at_the_other_server() {
    let (pair, _turn) = fixture::shared().await;
    let (blue, green) = (pair.blue.database("pooled").await, pair.green.database("pooled").await);
    let Some(bouncer) = Bouncer::before(&place_of(&blue)) else { return };
    let pooler = console(&bouncer, "admin");
    let shown = pooler.database("Shop-1").await.unwrap();
    assert_eq!((shown.host.as_str(), shown.port, shown.paused), ("127.0.0.1", i64::from(blue.side.port()), false));
    assert_eq!((shown.database.as_str(), pooler.databases().await.unwrap().len()), (blue.name.as_str(), 1));
    let client = self::client(&bouncer).await;
    assert_eq!(place(&client).await, blue.side.port().to_string());

    for _ in 0..2 {
        pooler.pause("Shop-1", Duration::from_secs(5)).await.unwrap();
        assert!(pooler.database("Shop-1").await.unwrap().paused);
    }
    let waiting = tokio::spawn(async move { place(&client).await });
    clock::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "a paused database answered");
    bouncer.lead_to(&place_of(&green));
    pooler.reload().await.unwrap();
    assert_eq!(pooler.database("Shop-1").await.unwrap().port, i64::from(green.side.port()));
    for _ in 0..2 {
        pooler.resume("Shop-1").await.unwrap();
    }
    assert_eq!(waiting.await.unwrap(), green.side.port().to_string());
}

/// A transaction that does not end: nobody is held back for long, and nothing stays paused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_fails_is_taken_back() {
    let (pair, _turn) = fixture::shared().await;
    let blue = pair.blue.database("pooled").await;
    let Some(bouncer) = Bouncer::before(&place_of(&blue)) else { return };
    let pooler = console(&bouncer, "admin");
    let held = client(&bouncer).await;
    held.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let error = pooler.pause("Shop-1", Duration::from_millis(400)).await.unwrap_err();
    assert_eq!(error.code(), Code::Timeout);
    assert!(error.message().contains("still ran after 400 ms"), "{error:?}");
    assert!(!pooler.database("Shop-1").await.unwrap().paused);
    let other = client(&bouncer).await;
    assert_eq!(place(&other).await, blue.side.port().to_string());
    held.batch_execute("COMMIT").await.unwrap();

    let error = pooler.pause("shop", Duration::from_secs(1)).await.unwrap_err();
    assert_eq!((error.code(), error.hint_text()), (Code::RequireFailed, Some("it has `Shop-1`")));
    let error = console(&bouncer, "app").reload().await.unwrap_err();
    assert!(matches!(error.code(), Code::PgAuth | Code::PgSql | Code::PgConnect), "{error:?}");
    drop(bouncer);
    assert_eq!(pooler.databases().await.unwrap_err().code(), Code::PgConnect);
}
