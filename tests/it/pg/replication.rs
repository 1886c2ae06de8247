//! Publications, slots, subscriptions and origins between two servers of different versions.

use std::time::Duration;

use pgrun::{
    base::{
        Code, Lsn, Result, Secret, Value, clock,
        poll::{self, Patience, Seen},
    },
    pg::{
        Session, origin, own,
        publication::{self, Scope, Table},
        roles::{self, NewRole},
        slot,
        subscription::{self, NewSubscription},
    },
};

use super::fixture::{self, Database};

/// A pair of databases with the same table, a publication and a slot on the first.
pub(super) struct Stream {
    pub(super) from: Database,
    pub(super) to: Database,
    pub(super) publisher: Session,
    pub(super) subscriber: Session,
    pub(super) slot: String,
}

pub(super) const TABLE: &str =
    "CREATE TABLE public.\"It's \"\"T\"\" 🙂\" (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), v text)";

impl Stream {
    pub(super) async fn new(from: Database, to: Database) -> Self {
        let (publisher, subscriber) = (from.session(), to.session());
        for session in [&publisher, &subscriber] {
            session.batch(TABLE).await.unwrap();
        }
        publication::create(&publisher, "all \"tables\"", Scope::AllTables, &[]).await.unwrap();
        let slot = fixture::unique("slot");
        slot::create(&publisher, &slot, Duration::from_secs(60)).await.unwrap();
        Self { from, to, publisher, subscriber, slot }
    }

    pub(super) async fn subscribe(&self, name: &str, enabled: bool) -> Result<()> {
        let publications = ["all \"tables\"".to_owned()];
        let new = NewSubscription {
            name,
            publisher: &self.from.target(),
            root_cert_there: None,
            slot: &self.slot,
            publications: &publications,
            enabled,
            copy_data: false,
        };
        subscription::create(&self.subscriber, &self.publisher, &new).await
    }

    /// Ends the stream and leaves nothing on either server.
    pub(super) async fn end(&self, name: &str) {
        subscription::drop(&self.subscriber, name).await.unwrap();
        slot::drop(&self.publisher, &self.slot, Patience::ms(20, 10_000)).await.unwrap();
    }
}

pub(super) async fn rows(session: &Session) -> i64 {
    let count = session.value("SELECT count(*) FROM public.\"It's \"\"T\"\" 🙂\"", &[]).await.unwrap();
    count.as_int().unwrap()
}

pub(super) async fn insert(session: &Session, v: &str) {
    session.execute("INSERT INTO public.\"It's \"\"T\"\" 🙂\" (v) VALUES ($1)", &[Value::from(v)]).await.unwrap();
}

pub(super) async fn await_rows(session: &Session, wanted: i64) {
    poll::until("the rows", Patience::ms(10, 20_000), async || {
        let now = rows(session).await;
        Ok(if now == wanted { Seen::Ready(()) } else { Seen::NotYet(format!("{now} of {wanted}")) })
    })
    .await
    .unwrap();
}

/// From old to new and from new to old: created, flowing, stopped, moved, dropped.
#[tokio::test]
async fn a_subscription_lives_and_ends() {
    let (pair, _turn) = fixture::shared().await;
    for (from, to) in [(&pair.blue, &pair.green), (&pair.green, &pair.blue)] {
        let stream = Stream::new(from.database("life").await, to.database("life").await).await;
        let name = "sub \"S\" $pgrun$ 🙂";
        stream.subscribe(name, true).await.unwrap();
        assert_eq!(stream.subscribe(name, true).await.unwrap_err().code(), Code::Foreign);
        insert(&stream.publisher, "one").await;
        await_rows(&stream.subscriber, 1).await;
        let state = subscription::state(&stream.subscriber, name).await.unwrap().unwrap();
        assert_eq!(
            (state.tables, state.ready, state.enabled, state.slot.as_deref()),
            (1, 1, true, Some(stream.slot.as_str()))
        );
        assert!(state.workers >= 1 && state.apply_pid.is_some() && state.received.is_some(), "{state:?}");
        assert_eq!(state.apply_errors, (to.major >= 15).then_some(0));
        assert_eq!(state.conflicts, (to.major >= 18).then_some(0));
        let tables = subscription::tables(&stream.subscriber, name).await.unwrap();
        assert_eq!((tables[0].name.as_str(), tables[0].state.as_str()), ("It's \"T\" 🙂", "r"));
        let published = publication::tables(&stream.publisher, &["all \"tables\"".into()]).await.unwrap();
        assert_eq!(published, [Table { schema: "public".into(), name: "It's \"T\" 🙂".into() }]);

        let reading = slot::state(&stream.publisher, &stream.slot).await.unwrap().unwrap();
        assert!(reading.active_pid.is_some() && reading.plugin.as_deref() == Some("pgoutput") && !reading.two_phase);
        let error = slot::drop(&stream.publisher, &stream.slot, Patience::ms(5, 50)).await.unwrap_err();
        assert!(error.message().contains(&format!("process {}", reading.active_pid.unwrap())), "{error:?}");
        assert_eq!(
            origin::advance(&stream.subscriber, name, Lsn(1)).await.unwrap_err().fact("sqlstate"),
            Some("55006")
        );

        subscription::disable(&stream.subscriber, name).await.unwrap();
        subscription::await_stopped(&stream.subscriber, name, Patience::ms(5, 10_000)).await.unwrap();
        // What the origin is set to is not sent again, and what comes after it is.
        insert(&stream.publisher, "skipped").await;
        let at = stream.publisher.insert_lsn().await.unwrap();
        origin::advance(&stream.subscriber, name, at).await.unwrap();
        origin::require_at(&stream.subscriber, name, at).await.unwrap();
        assert_eq!(origin::require_at(&stream.subscriber, name, Lsn(1)).await.unwrap_err().code(), Code::RequireFailed);
        insert(&stream.publisher, "two").await;
        subscription::set(&stream.subscriber, name, &[("synchronous_commit", "on")]).await.unwrap();
        assert_eq!(
            subscription::set(&stream.subscriber, name, &[("slot_name", "x")]).await.unwrap_err().code(),
            Code::Usage
        );
        subscription::enable(&stream.subscriber, name).await.unwrap();
        await_rows(&stream.subscriber, 2).await;
        assert_eq!(subscription::state(&stream.subscriber, name).await.unwrap().unwrap().synchronous_commit, "on");

        stream.end(name).await;
        assert!(!subscription::drop(&stream.subscriber, name).await.unwrap());
        assert!(!slot::drop(&stream.publisher, &stream.slot, Patience::ms(5, 50)).await.unwrap());
        assert!(publication::drop(&stream.publisher, "all \"tables\"").await.unwrap());
        assert!(!publication::drop(&stream.publisher, "all \"tables\"").await.unwrap());
        assert_eq!(origin::position(&stream.subscriber, name).await.unwrap_err().fact("sqlstate"), Some("42704"));
    }
}

/// Attack 17: the password of a subscription is written down nowhere, whatever the server logs, on success and on every
/// kind of failure.
#[tokio::test]
async fn a_subscription_leaks_no_password() {
    let (pair, _turn) = fixture::shared().await;
    for (from, to) in [(&pair.blue, &pair.green), (&pair.green, &pair.blue)] {
        let stream = Stream::new(from.database("leak").await, to.database("leak").await).await;
        let password = Secret::new(format!("pL4nted'\\ %\"é{}", uuid::Uuid::new_v4().simple()));
        let role = NewRole {
            name: fixture::unique("replicator"),
            login: true,
            replication: true,
            password: Some(password.clone()),
            ..NewRole::default()
        };
        roles::create(&stream.publisher, &role).await.unwrap();
        stream.publisher.batch(&format!("GRANT pg_read_all_data TO {}", role.name)).await.unwrap();
        let publications = ["all \"tables\"".to_owned()];
        let right = stream.from.target().with_login(&role.name, Some(password.clone()));
        let new = NewSubscription {
            name: "s",
            publisher: &right,
            root_cert_there: None,
            slot: &stream.slot,
            publications: &publications,
            enabled: true,
            copy_data: false,
        };
        let mut said = Vec::new();
        let mut fail = async |new: &NewSubscription<'_>, publisher: &Session| {
            let error = subscription::create(&stream.subscriber, publisher, new).await.unwrap_err();
            said.push(format!("{error} {error:?}"));
        };
        let nowhere = pgrun::pg::Target::parse(&format!("host=127.0.0.1 port=1 user={} dbname=x", role.name)).unwrap();
        let nowhere = nowhere.with_login(&role.name, Some(password.clone()));
        fail(&NewSubscription { publisher: &nowhere, ..new.clone() }, &stream.publisher).await;
        let stranger = right.clone().with_login("nobody", Some(password.clone()));
        fail(&NewSubscription { publisher: &stranger, ..new.clone() }, &stream.publisher).await;
        let elsewhere = right.clone().with_database("postgres");
        // The publication is not in that database: the server only warns, and the warning would carry the statement.
        drop(
            subscription::create(
                &stream.subscriber,
                &stream.publisher,
                &NewSubscription { publisher: &elsewhere, name: "warned", ..new.clone() },
            )
            .await,
        );
        subscription::drop(&stream.subscriber, "warned").await.unwrap();
        fail(&NewSubscription { publications: &["absent".to_owned()], ..new.clone() }, &stream.publisher).await;
        fail(&NewSubscription { slot: "absent", ..new.clone() }, &stream.publisher).await;
        subscription::create(&stream.subscriber, &stream.publisher, &new).await.unwrap();
        subscription::set_connection(&stream.subscriber, "s", &right, None).await.unwrap();
        insert(&stream.publisher, "x").await;
        await_rows(&stream.subscriber, 1).await;
        stream.end("s").await;

        let text = password.expose();
        let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let hex = text.bytes().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat();
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &text[..24]);
        let core = text.rsplit('é').next().unwrap();
        let mut places =
            vec![("subscriber's log", to.log()), ("publisher's log", from.log()), ("errors", said.join("\n"))];
        let admin = to.target("postgres");
        let admin = Session::new(admin, pgrun::pg::Settings::of_run("x").searching(&["public"]));
        if to.statements {
            let seen = admin.value("SELECT string_agg(query, ' ') FROM pg_stat_statements", &[]).await.unwrap();
            let seen = seen.as_text().unwrap().to_owned();
            assert!(seen.contains("CREATE TABLE public"), "the statements are looked at");
            places.push(("pg_stat_statements", seen));
        }
        assert!(places[0].1.contains("CREATE TEMP TABLE pgrun_concealed"), "the log is looked at");
        for (place, seen) in places {
            for form in [core, encoded.as_str(), hex.as_str(), base64.as_str()] {
                assert!(
                    !seen.contains(form),
                    "{form} stands in the {place}: {:?}",
                    seen.lines().find(|line| line.contains(form))
                );
            }
        }
        assert!(roles::drop(&stream.publisher, &role.name).await.unwrap());
    }
}

/// A setting that would write the password down stops everything before it is sent.
#[tokio::test]
async fn a_setting_that_leaks_is_refused() {
    let (pair, _turn) = fixture::shared().await;
    if !pair.green.statements || pair.green.major < 16 {
        return;
    }
    let stream = Stream::new(pair.blue.database("loud").await, pair.green.database("loud").await).await;
    let role = fixture::unique("ordinary");
    let name = pgrun::base::ident::ident(&stream.to.name).unwrap();
    stream
        .subscriber
        .batch(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT pg_create_subscription TO {role}; \
        GRANT CREATE ON DATABASE {name} TO {role}"
        ))
        .await
        .unwrap();
    let publications = ["all \"tables\"".to_owned()];
    let new = NewSubscription {
        name: "s",
        publisher: &stream.from.target(),
        root_cert_there: None,
        slot: &stream.slot,
        publications: &publications,
        enabled: false,
        copy_data: false,
    };
    let error = subscription::create(&stream.to.login(&role), &stream.publisher, &new).await.unwrap_err();
    assert_eq!(error.code(), Code::RequireFailed, "{error:?}");
    assert!(error.message().contains("pg_stat_statements.track = all"), "{error:?}");
    // With that out of the way, this role still cannot keep a warning out of the log.
    stream.subscriber.batch(&format!("ALTER ROLE {role} SET pg_stat_statements.track = 'top'")).await.unwrap();
    let elsewhere = stream.from.target().with_database("postgres");
    let astray = NewSubscription { publisher: &elsewhere, ..new.clone() };
    let error = subscription::create(&stream.to.login(&role), &stream.publisher, &astray).await.unwrap_err();
    assert_eq!((error.code(), error.message().contains("a warning")), (Code::RequireFailed, true), "{error:?}");
    subscription::create(&stream.to.login(&role), &stream.publisher, &new).await.unwrap();
    stream.end("s").await;
}

/// Without encryption no data goes to another machine.
#[tokio::test]
async fn a_plain_subscription_to_another_machine_is_refused() {
    let (pair, _turn) = fixture::shared().await;
    let (a, b) = (pair.blue.database("plain").await.session(), pair.green.database("plain").await.session());
    let far = pgrun::pg::Target::parse("host=db.example.com user=u sslmode=disable").unwrap();
    let new = NewSubscription {
        name: "s",
        publisher: &far,
        root_cert_there: None,
        slot: "s",
        publications: &["p".to_owned()],
        enabled: true,
        copy_data: false,
    };
    assert_eq!(subscription::create(&b, &a, &new).await.unwrap_err().code(), Code::Usage);
}

/// A publication that would stop production is refused before it exists.
#[tokio::test]
async fn tables_without_identity_stop_a_publication() {
    let (pair, _turn) = fixture::shared().await;
    let session = pair.blue.database("identity").await.session();
    session.batch("CREATE TABLE public.good (i int PRIMARY KEY); CREATE TABLE public.\"no Key\" (i int); \
        CREATE TABLE public.nothing (i int PRIMARY KEY); ALTER TABLE public.nothing REPLICA IDENTITY NOTHING; \
        CREATE TABLE public.full_row (i int); ALTER TABLE public.full_row REPLICA IDENTITY FULL; \
        CREATE TABLE public.by_index (i int NOT NULL UNIQUE); ALTER TABLE public.by_index REPLICA IDENTITY USING INDEX by_index_i_key; \
        CREATE UNLOGGED TABLE public.unlogged (i int); CREATE TABLE public.parent (i int) PARTITION BY RANGE (i); \
        CREATE TABLE public.leaf PARTITION OF public.parent DEFAULT").await.unwrap();
    let error = publication::create(&session, "p", Scope::AllTables, &[]).await.unwrap_err();
    assert_eq!(
        error.message(),
        "UPDATE and DELETE would fail at once on 3 tables: `public.leaf`, `public.no Key` and `public.nothing`"
    );
    assert!(publication::state(&session, "p").await.unwrap().is_none());
    session.batch("DROP INDEX IF EXISTS nope").await.unwrap();
    let named = [Table { schema: "public".into(), name: "good".into() }];
    publication::create(&session, "p", Scope::Tables(&named), &[]).await.unwrap();
    publication::add(&session, "p", &[Table { schema: "public".into(), name: "full_row".into() }]).await.unwrap();
    assert_eq!(publication::tables(&session, &["p".into()]).await.unwrap().len(), 2);
    let state = publication::state(&session, "p").await.unwrap().unwrap();
    assert_eq!((state.all_tables, state.publishes.len()), (false, 4));
    // A waiver is of the tables that it names, as the inventory spells them.
    let waived = ["public.leaf", "public.\"no Key\""].map(str::to_owned);
    let error = publication::create(&session, "waived", Scope::AllTables, &waived).await.unwrap_err();
    assert_eq!(error.message(), "UPDATE and DELETE would fail at once on 1 table: `public.nothing`");
    let all = [waived.to_vec(), vec!["public.nothing".to_owned()]].concat();
    publication::create(&session, "waived", Scope::AllTables, &all).await.unwrap();
}

/// Attack 15: a copy at the same version calls itself by the same identifier. Where M2 is, no slot is dropped; where it
/// is not, all of them are, whichever database they belong to.
#[tokio::test]
async fn only_the_slots_of_a_copy_are_dropped() {
    let (pair, _turn) = fixture::alone().await;
    let (one, two) = (pair.blue.database("one").await, pair.blue.database("two").await);
    let (session, other) = (one.session(), two.session());
    own::install(&session).await.unwrap();
    let after = own::mark(&session, "copied", "M2").await.unwrap();
    slot::create(&session, "in_one", Duration::from_secs(30)).await.unwrap();
    slot::create(&other, "in_two", Duration::from_secs(30)).await.unwrap();
    let patience = Patience::ms(10, 5000);
    let error = slot::drop_all_of_copy(&session, &after.id, patience).await.unwrap_err();
    assert_eq!(error.code(), Code::RequireFailed);
    assert_eq!(slot::all(&session).await.unwrap().len(), 2);
    session.execute("DELETE FROM pgrun.marker", &[]).await.unwrap();
    let mut dropped = slot::drop_all_of_copy(&session, &after.id, patience).await.unwrap();
    dropped.sort();
    assert_eq!(dropped, ["in_one", "in_two"]);
    assert!(slot::all(&session).await.unwrap().is_empty());
    assert!(slot::drop_all_of_copy(&session, &after.id, patience).await.unwrap().is_empty());
}

/// A slot waits for old transactions: at the deadline they are named, and nothing is left behind.
#[tokio::test]
async fn a_slot_that_cannot_be_made_names_who_is_in_the_way() {
    let (pair, _turn) = fixture::alone().await;
    let db = pair.blue.database("slots").await;
    let session = db.session();
    session.batch("CREATE TABLE public.t (i int)").await.unwrap();
    let old = db.psql();
    old.begin().await.unwrap();
    old.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    let pid = old.value("SELECT pg_backend_pid()", &[]).await.unwrap().as_int().unwrap();
    let error = slot::create(&session, "late", Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.fact("blocking_pids")),
        (Code::Timeout, Some(pid.to_string().as_str())),
        "{error:?}"
    );
    assert!(slot::state(&session, "late").await.unwrap().is_none());
    old.rollback().await.unwrap();

    old.batch("SET application_name = 'pgrun/two'").await.unwrap();
    let doubtful = db.psql();
    doubtful.begin().await.unwrap();
    doubtful.execute("INSERT INTO t VALUES (2)", &[]).await.unwrap();
    let (made, ()) = tokio::join!(slot::create(&session, "late", Duration::from_secs(30)), async {
        clock::sleep(Duration::from_millis(200)).await;
        doubtful.rollback().await.unwrap();
    });
    let lsn = made.unwrap();
    let state = slot::state(&session, "late").await.unwrap().unwrap();
    assert_eq!((state.confirmed_flush, state.wal_status.as_deref()), (Some(lsn), Some("reserved")));
    assert_eq!(slot::create(&session, "late", Duration::from_secs(1)).await.unwrap_err().code(), Code::Foreign);
    assert!(slot::drop(&session, "late", Patience::ms(5, 1000)).await.unwrap());
}
