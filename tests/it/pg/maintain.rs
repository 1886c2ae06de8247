//! Maintenance: what is listed is what needs it, in the right order; what is done is done whatever the names are.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use pgrun::{
    base::Value,
    pg::{
        Session,
        maintain::{Effort, extensions, indexes, relations, views, warm},
    },
};

use super::fixture;

const NAME: &str = r#""It's ""Q"" é🙂"."Table, with ""quotes""; and 🙂""#;

fn effort() -> Effort {
    Effort { connections: 3, deadline: Duration::from_secs(60) }
}

fn names<T>(items: &[T], name: impl Fn(&T) -> &String) -> Vec<&str> {
    items.iter().map(|item| name(item).as_str()).collect()
}

async fn text(session: &Session, sql: &str) -> String {
    session.value(sql, &[]).await.unwrap().as_text().unwrap().to_owned()
}

async fn listed(session: &Session, only_missing: bool) -> Vec<String> {
    let items = relations::to_analyze(session, only_missing).await.unwrap();
    let mut names: Vec<String> = items.into_iter().map(|item| item.name).collect();
    names.sort();
    names
}

/// What `vacuumdb --missing-stats-only` finds: columns, indexed expressions, extended statistics; not empty tables.
#[tokio::test]
async fn missing_statistics_are_found_and_gathered() {
    let (pair, _turn) = fixture::shared().await;
    for side in [&pair.blue, &pair.green] {
        let session = side.database("stats").await.session();
        session
            .batch(&format!(
                r#"CREATE SCHEMA "It's ""Q"" é🙂"; CREATE TABLE {NAME} (a int, b int);
                   CREATE TABLE public.p (i int, j int) PARTITION BY RANGE (i);
                   CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (0) TO (100);
                   CREATE TABLE public.empty (i int); CREATE TABLE public.e (t text);
                   INSERT INTO {NAME} SELECT i % 5, i % 7 FROM generate_series(1, 500) i;
                   INSERT INTO public.p SELECT i, i FROM generate_series(0, 99) i;
                   INSERT INTO public.e SELECT 'T' || i FROM generate_series(1, 100) i;
                   CREATE MATERIALIZED VIEW public.m AS SELECT count(*) FROM public.e;"#
            ))
            .await
            .unwrap();
        let all = listed(&session, false).await;
        let outcome = relations::analyze(&session, &all, Some(10), &effort(), &|_| ()).await.unwrap();
        assert_eq!((outcome.warnings, outcome.gone, outcome.done), (vec![], vec![], i64::try_from(all.len()).unwrap()));
        assert_eq!(listed(&session, true).await, Vec::<String>::new());

        session
            .batch(&format!(
                "CREATE INDEX ON public.e (lower(t)); CREATE STATISTICS public.\"S s\" (ndistinct) ON a, b FROM {NAME};
                 ALTER TABLE public.p ADD COLUMN k int DEFAULT 5"
            ))
            .await
            .unwrap();
        let missing = listed(&session, true).await;
        let mut wanted = vec![NAME.to_owned(), "public.e".into(), "public.p".into()];
        wanted.extend((side.major >= 18).then(|| "public.p1".to_owned()));
        wanted.sort();
        assert_eq!(missing, wanted, "{}", side.major);
        let gone = "public.\"never \"\"was\"".to_owned();
        let asked = [missing.clone(), vec![gone.clone()]].concat();
        let outcome = relations::analyze(&session, &asked, None, &effort(), &|_| ()).await.unwrap();
        assert_eq!((outcome.warnings, outcome.gone), (vec![], vec![gone]));
        assert_eq!(listed(&session, true).await, Vec::<String>::new());
    }
}

/// A table of another owner is passed over by the server with a warning, which must not be lost; one that fails does
/// not keep the others from being done.
#[tokio::test]
async fn what_is_passed_over_or_fails_is_named() {
    let (pair, _turn) = fixture::shared().await;
    let db = pair.blue.database("owners").await;
    let role = fixture::unique("keeper");
    let admin = db.session();
    admin
        .batch(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'secret'; CREATE SCHEMA s AUTHORIZATION {role};
             CREATE TABLE public.other (i int); INSERT INTO public.other VALUES (1); CREATE TABLE s.own (i int);
             INSERT INTO s.own VALUES (1); ALTER TABLE s.own OWNER TO {role}"
        ))
        .await
        .unwrap();
    let asked = ["public.other".to_owned(), "s.own".to_owned()];
    let keeper = db.login(&role);
    let outcome = relations::analyze(&keeper, &asked, None, &effort(), &|_| ()).await.unwrap();
    assert_eq!(outcome.warnings.len(), 1, "{outcome:?}");
    assert!(outcome.warnings[0].starts_with("public.other: "), "{outcome:?}");
    assert_eq!(relations::vacuum(&keeper, &asked, &effort(), &|_| ()).await.unwrap().warnings.len(), 1);
    assert_eq!(listed(&admin, true).await, ["public.other"]);

    let holder = db.session();
    holder.begin().await.unwrap();
    holder.batch("LOCK TABLE public.other IN SHARE UPDATE EXCLUSIVE MODE").await.unwrap();
    let mut settings = pgrun::pg::Settings::of_run("test");
    settings.lock_timeout = Duration::from_millis(100);
    let impatient = Session::new(db.target(), settings);
    let error = relations::analyze(&impatient, &asked, None, &effort(), &|_| ()).await.unwrap_err();
    assert_eq!(error.fact("sqlstate"), Some("55P03"));
    assert!(error.message().starts_with("1 of 2 could not be analyzed: `public.other`: "), "{error:?}");
    holder.rollback().await.unwrap();
    assert_eq!(relations::analyze(&impatient, &asked, None, &effort(), &|_| ()).await.unwrap().done, 2);
}

/// A planted move of a collation: every index over it is found, replica identities first, and built anew also after a
/// REINDEX CONCURRENTLY that was cut off and beside an exclusion constraint.
#[tokio::test]
async fn indexes_in_a_moved_order_are_built_anew() {
    const VERSIONED: &str = "SELECT quote_ident(collname) FROM pg_collation WHERE collversion IS NOT NULL \
                             AND collencoding IN (-1, pg_char_to_encoding('UTF8')) ORDER BY collname LIMIT 1";
    let (pair, _turn) = fixture::shared().await;
    let session = pair.blue.database("moved").await.session();
    let collation = text(&session, VERSIONED).await;
    session
        .batch(&format!(
            r#"CREATE TABLE public."T t" (k text COLLATE {collation} PRIMARY KEY, v text COLLATE {collation}, c text COLLATE "C",
                   EXCLUDE (v WITH =));
               CREATE INDEX "by ""c""" ON public."T t" (c); CREATE INDEX "by v" ON public."T t" (v);
               CREATE INDEX "by e" ON public."T t" ((lower(c COLLATE {collation})));
               INSERT INTO public."T t" SELECT i::text, i::text, i::text FROM generate_series(1, 100) i;"#
        ))
        .await
        .unwrap();
    assert_eq!(indexes::moved(&session).await.unwrap(), []);
    session
        .batch(&format!("UPDATE pg_collation SET collversion = '0' WHERE quote_ident(collname) = '{collation}'"))
        .await
        .unwrap();
    let moved = indexes::moved(&session).await.unwrap();
    let mut found = names(&moved, |index| &index.name);
    found.sort_unstable();
    let wanted = [r#"public."T t_pkey""#, r#"public."T t_v_excl""#, r#"public."by e""#, r#"public."by v""#];
    assert_eq!(found, wanted);
    let identities: Vec<bool> = moved.iter().map(|index| index.identity).collect();
    assert_eq!((identities, moved[0].name.as_str()), (vec![true, false, false, false], wanted[0]));

    // What a REINDEX CONCURRENTLY leaves when its session dies.
    session
        .batch(
            r#"CREATE INDEX "by v_ccnew" ON public."T t" (v);
               UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public."by v_ccnew"'::regclass"#,
        )
        .await
        .unwrap();
    let files = "SELECT array_agg(pg_relation_filenode(oid)::int8 ORDER BY relname) FROM pg_class \
                 WHERE relname ~ '^(T t_|by v$|by e$)'";
    let before = session.value(files, &[]).await.unwrap();
    let all: Vec<String> = moved.iter().map(|index| index.name.clone()).collect();
    let outcome = indexes::reindex(&session, &all, true, &effort(), &|_| ()).await.unwrap();
    assert_eq!((outcome.done, outcome.warnings), (4, vec![]));
    let after = session.value(files, &[]).await.unwrap();
    let (before, after) = (before.as_list().unwrap().to_vec(), after.as_list().unwrap().to_vec());
    assert!(before.len() == 4 && before.iter().all(|file| !after.contains(file)), "{before:?} {after:?}");
    let left = "SELECT count(*) FROM pg_class WHERE relname ~ '_cc(new|old)'";
    assert_eq!(session.value(left, &[]).await.unwrap(), Value::Int(0));
    let refreshed = indexes::refresh_versions(&session).await.unwrap();
    assert_eq!(refreshed.refreshed, [format!("COLLATION pg_catalog.{collation}")]);
    assert_eq!(indexes::moved(&session).await.unwrap(), []);
    indexes::reindex(&session, &all, false, &effort(), &|_| ()).await.unwrap();
}

/// Since 15 a database's own collation has a version: its indexes move with it.
#[tokio::test]
async fn a_databases_own_collation_moves_too() {
    let (pair, _turn) = fixture::shared().await;
    let side = &pair.blue;
    let admin = side.database("own").await.session();
    let name = fixture::unique("icu \"db\"");
    let quoted = name.replace('"', "\"\"");
    let made = admin
        .batch(&format!("CREATE DATABASE \"{quoted}\" TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'"))
        .await;
    // Servers before 15, and those built without ICU, know no such database.
    let Ok(()) = made else { return };
    let session = Session::new(side.target(&name), pgrun::pg::Settings::of_run("test"));
    session.batch("CREATE TABLE public.t (k text PRIMARY KEY, n int UNIQUE)").await.unwrap();
    assert_eq!(indexes::moved(&session).await.unwrap(), []);
    session
        .execute("UPDATE pg_database SET datcollversion = '0' WHERE datname = $1", &[Value::from(name.as_str())])
        .await
        .unwrap();
    assert_eq!(names(&indexes::moved(&session).await.unwrap(), |index| &index.name), ["public.t_pkey"]);
    assert_eq!(indexes::refresh_versions(&session).await.unwrap().refreshed, [format!("DATABASE \"{quoted}\"")]);
    assert_eq!(indexes::moved(&session).await.unwrap(), []);
}

/// An extension that another requires is updated before it.
#[tokio::test]
async fn extensions_are_updated_in_the_order_of_what_they_require() {
    let (pair, _turn) = fixture::shared().await;
    let db = pair.blue.database("extensions").await;
    let session = db.psql();
    session
        .batch(
            "CREATE EXTENSION cube VERSION '1.4'; CREATE EXTENSION earthdistance;
             UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'earthdistance';
             CREATE EXTENSION pg_prewarm; UPDATE pg_extension SET extversion = 'odd' WHERE extname = 'pg_prewarm'",
        )
        .await
        .unwrap();
    let outdated = extensions::outdated(&session).await.unwrap();
    let shown: Vec<_> = outdated.iter().map(|e| (e.name.as_str(), e.installed.as_str(), e.reachable)).collect();
    assert_eq!(shown, [("cube", "1.4", true), ("pg_prewarm", "odd", false), ("earthdistance", "1.0", true)]);
    let done = extensions::update(&session, &effort(), &|_| ()).await.unwrap();
    assert_eq!(names(&done, |extension| &extension.name), ["cube", "earthdistance"]);
    assert_eq!(names(&extensions::outdated(&session).await.unwrap(), |e| &e.name), ["pg_prewarm"]);
    assert_eq!(extensions::update(&session, &effort(), &|_| ()).await.unwrap(), []);
}

/// A chain of materialized views, with a view between: each is refreshed after what it reads. One without rows stays
/// so.
#[tokio::test]
async fn views_are_refreshed_from_the_bottom_up() {
    let (pair, _turn) = fixture::shared().await;
    for side in [&pair.blue, &pair.green] {
        let session = side.database("views").await.session();
        session
            .batch(
                r#"CREATE TABLE public.t (i int); INSERT INTO public.t VALUES (1);
                   CREATE MATERIALIZED VIEW public."z ""low""" AS SELECT i FROM public.t;
                   CREATE VIEW public.between AS SELECT i FROM public."z ""low""";
                   CREATE MATERIALIZED VIEW public.amid AS SELECT i FROM public.between;
                   CREATE MATERIALIZED VIEW public.top AS SELECT a.i FROM public.amid a JOIN public.t USING (i);
                   CREATE MATERIALIZED VIEW public.slow AS SELECT i, pg_sleep(0.6)::text FROM public.t;
                   CREATE MATERIALIZED VIEW public.without AS SELECT i FROM public.t WITH NO DATA;
                   INSERT INTO public.t VALUES (2)"#,
            )
            .await
            .unwrap();
        let views = views::list(&session).await.unwrap();
        let mut levels: Vec<(i64, &str)> = views.iter().map(|view| (view.level, view.name.as_str())).collect();
        assert!(levels.is_sorted_by_key(|(level, _)| *level), "{levels:?}");
        levels.sort_unstable();
        let wanted = [(0, "public.\"z \"\"low\"\"\""), (0, "public.slow"), (1, "public.amid"), (2, "public.top")];
        assert_eq!(levels, wanted);
        let told = Arc::new(Mutex::new(vec![]));
        let heard = told.clone();
        for level in 0..=2 {
            let these = views.iter().filter(|view| view.level == level).map(|view| view.name.clone());
            let tell = |seen: &str| heard.lock().unwrap().push(seen.to_owned());
            views::refresh(&session, &these.collect::<Vec<_>>(), &effort(), &tell).await.unwrap();
        }
        assert_eq!(session.value("SELECT count(*) FROM public.top", &[]).await.unwrap(), Value::Int(2));
        assert_eq!(told.lock().unwrap().first().map(String::as_str), Some("1 of 2 done"));
        let hasty = Effort { connections: 1, deadline: Duration::from_millis(200) };
        let error = views::refresh(&session, &["public.slow".into()], &hasty, &|_| ()).await.unwrap_err();
        assert_eq!(error.code(), pgrun::base::Code::Timeout);
    }
}

/// What is asked for most comes first; without pg_prewarm tables are read and indexes left, with it both are read.
#[tokio::test]
async fn the_hottest_is_read_first_and_no_more_than_fits() {
    let (pair, _turn) = fixture::shared().await;
    let session = pair.blue.database("warm").await.session();
    session
        .batch(
            "CREATE TABLE public.cold (i int PRIMARY KEY, p text);
             CREATE TABLE public.hot (i int PRIMARY KEY, p text);
             INSERT INTO public.cold SELECT i, repeat('x', 100) FROM generate_series(1, 1000) i;
             INSERT INTO public.hot SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i;
             SELECT sum(i) FROM public.hot; SELECT sum(i) FROM public.hot",
        )
        .await
        .unwrap();
    session.close().await;
    let hot = pgrun::base::poll::until("counters", pgrun::base::poll::Patience::ms(50, 10_000), async || {
        let hot = warm::hottest(&session, 10).await?;
        Ok(match hot.len() {
            4 => pgrun::base::poll::Seen::Ready(hot),
            other => pgrun::base::poll::Seen::NotYet(other.to_string()),
        })
    });
    let hot = hot.await.unwrap();
    assert!(hot.is_sorted_by(|a, b| a.reads >= b.reads), "{hot:?}");
    let all: Vec<String> = hot.iter().map(|relation| relation.name.clone()).collect();
    let limits = warm::Limits { bytes_per_second: None, most: None };
    let warmed = warm::up(&session, &all, &limits, &effort(), &|_| ()).await.unwrap();
    let mut left = warmed.left.clone();
    left.sort();
    assert_eq!((left, warmed.prewarm), (vec!["public.cold_pkey".to_owned(), "public.hot_pkey".into()], false));
    let size = "SELECT sum(pg_relation_size(oid))::int8 FROM pg_class WHERE relname IN ('cold', 'hot')";
    assert_eq!(Value::Int(warmed.bytes), session.value(size, &[]).await.unwrap());

    session.batch("CREATE EXTENSION pg_prewarm SCHEMA public").await.unwrap();
    let begun = pgrun::base::clock::instant();
    let limits = warm::Limits { bytes_per_second: Some(32 << 20), most: Some(24 << 20) };
    let warmed =
        warm::up(&session, &["public.hot".into(), "public.hot_pkey".into()], &limits, &effort(), &|_| ()).await;
    let warmed = warmed.unwrap();
    assert_eq!((warmed.relations, warmed.prewarm, warmed.left.len()), (2, true, 0));
    assert!(begun.elapsed() >= Duration::from_millis(500), "23 MB at 32 MB a second");
    let none = warm::Limits { bytes_per_second: None, most: Some(1 << 20) };
    let warmed = warm::up(&session, &all, &none, &effort(), &|_| ()).await.unwrap();
    assert!(warmed.left.contains(&"public.hot".to_owned()) && !warmed.left.contains(&"public.cold".to_owned()));
}

/// Long work says how far it is, in the server's own words.
#[tokio::test]
async fn progress_is_the_servers() {
    let (pair, _turn) = fixture::shared().await;
    for side in [&pair.blue, &pair.green] {
        let db = side.database("progress").await;
        db.session()
            .batch(&format!(
                "CREATE TABLE public.\"A b\" AS SELECT i, repeat('x', 500) AS p FROM generate_series(1, 8000) i;
                 DELETE FROM public.\"A b\" WHERE i % 2 = 0;
                 ALTER DATABASE \"{0}\" SET vacuum_cost_delay = '20ms';
                 ALTER DATABASE \"{0}\" SET vacuum_cost_limit = 15",
                db.name
            ))
            .await
            .unwrap();
        let told = Mutex::new(vec![]);
        let tell = |seen: &str| told.lock().unwrap().push(seen.to_owned());
        relations::vacuum(&db.session(), &["public.\"A b\"".into()], &effort(), &tell).await.unwrap();
        let told = told.into_inner().unwrap();
        let wanted = "0 of 1 done; public.\"A b\": scanning heap ";
        assert!(told.iter().any(|seen| seen.starts_with(wanted) && seen.ends_with(" %")), "{told:?}");
    }
}
