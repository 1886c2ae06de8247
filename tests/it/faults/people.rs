//! People and applications do what they should not: before the window it is refused, in the window it leads back.

use super::{
    scene::{DECIDE, DRAIN, TURN},
    stage::on_stage,
};

const CLOSE: &str = "close FROM";

/// A definition that the copy has not: seen before anything is closed, and by the catalog's token behind the fence.
/// Once it is mended the same run goes on.
#[test]
fn ddl_after_the_snapshot() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[]);
        let (from, change) = (scene.from, "CREATE INDEX added ON public.t (v)");
        scene.stage.sql(from, change);
        let output = scene.start("", &[]).finish().exit(1);
        output.stderr_has("the catalogs differ in 1 objects").stderr_has("public.added");
        assert_eq!(scene.stage.states(from, &scene.run), "");
        scene.is_back();
        scene.stage.sql(from, "DROP INDEX public.added");
        let running = scene.go_to(DRAIN);
        scene.stage.sql(from, change);
        scene.release_and_finish(running).exit(1).stderr_has("catalog: changed");
        scene.is_back();
        scene.stage.sql(from, "DROP INDEX public.added");
        scene.pass();
        scene.end();
    });
}

/// No lag, equal catalogs, and rows that never come: the subscription does not know the table.
#[test]
fn a_table_made_on_both_sides_by_hand() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[]);
        let make = |scene: &super::scene::Scene<'_>| {
            for side in [scene.to, scene.from] {
                scene.stage.sql(side, "CREATE TABLE public.late (i int PRIMARY KEY)");
            }
            scene.stage.sql(scene.from, "INSERT INTO public.late VALUES (1)");
        };
        let unmake = |scene: &super::scene::Scene<'_>| {
            for side in [scene.from, scene.to] {
                scene.stage.sql(side, "DROP TABLE public.late");
            }
        };
        make(&scene);
        let output = scene.start("", &[]).finish().exit(1);
        output.stderr_has("the stream is not ready to be cut over: tables: only published `public.late`");
        assert_eq!(scene.stage.states(scene.from, &scene.run), "");
        unmake(&scene);
        let running = scene.go_to(DRAIN);
        make(&scene);
        let output = scene.release_and_finish(running).exit(1);
        output
            .stderr_has("it is not proved that the other server has everything: tables: only published `public.late`");
        scene.is_back();
        unmake(&scene);
        scene.pass();
        scene.end();
    });
}

/// What is committed behind the drain comes over; what is still open is not decided over.
#[test]
fn a_role_outside_the_list_writes_behind_the_fence() {
    on_stage(|stage| {
        let mut scene = stage.scene(&["keep_open=[\"batch\"]"]);
        let login = scene.stage.logins("batch")[scene.from].clone();
        let running = scene.go_to(DECIDE);
        let batch = scene.stage.session(&login);
        scene.stage.wait(batch.batch_execute("BEGIN; INSERT INTO public.t (v) VALUES ('batch, open')")).unwrap();
        let output = scene.release_and_finish(running).exit(1);
        output.stderr_has("transactions are open that may still commit here: ").stderr_has(" of `batch`");
        scene.stage.wait(batch.batch_execute("COMMIT")).unwrap();
        scene.promised.push("batch, open".into());
        scene.is_back();
        let running = scene.go_to(TURN);
        scene.stage.wait(batch.batch_execute("INSERT INTO public.t (v) VALUES ('batch, late')")).unwrap();
        scene.promised.push("batch, late".into());
        drop(batch);
        scene.release_and_finish(running).exit(75);
        scene.end();
    });
}

/// It needs no session to be committed later. Named before the window, and by the fence.
#[test]
fn a_prepared_transaction() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[]);
        let (login, master) = (scene.stage.logins("clerk")[scene.from].clone(), scene.stage.url(scene.from));
        let prepare = |scene: &super::scene::Scene<'_>, name: &str| {
            let clerk = scene.stage.session(&login);
            let sql = format!("BEGIN; INSERT INTO public.t (v) VALUES ('{name}'); PREPARE TRANSACTION '{name}'");
            scene.stage.wait(clerk.batch_execute(&sql)).unwrap();
        };
        let commit = |scene: &super::scene::Scene<'_>, name: &str| {
            let session = scene.stage.session(&master);
            scene.stage.wait(session.batch_execute(&format!("COMMIT PREPARED '{name}'"))).unwrap();
        };
        prepare(&scene, "two phases");
        let output = scene.start("", &[]).finish().exit(1);
        output.stderr_has("the stream is not ready to be cut over: prepared_transactions: two phases");
        commit(&scene, "two phases");
        let running = scene.go_to(CLOSE);
        prepare(&scene, "late");
        let output = scene.release_and_finish(running).exit(1);
        output.stderr_has("prepared transactions outlive every session: `late`");
        scene.is_back();
        commit(&scene, "late");
        scene.promised.extend(["two phases".to_owned(), "late".to_owned()]);
        scene.pass();
        scene.end();
    });
}

/// A backend that passed its login check before the fence, and shows itself later only.
#[test]
fn a_backend_is_still_starting() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[]);
        let running = scene.go_to(CLOSE);
        let mut config: tokio_postgres::Config = scene.stage.logins("clerk")[scene.from].parse().unwrap();
        config.options("-c post_auth_delay=1");
        let late = scene.stage.spawn(async move {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
            let connection = tokio::spawn(connection);
            let done = client.batch_execute("INSERT INTO public.t (v) VALUES ('late backend')").await;
            connection.abort();
            done
        });
        // It has to have passed its check; where it has not yet, it is turned away, which is right too.
        std::thread::sleep(std::time::Duration::from_millis(300));
        scene.release_and_finish(running).exit(75);
        if scene.stage.wait(late).unwrap().is_ok() {
            scene.promised.push("late backend".into());
        }
        scene.end();
    });
}

/// A database that came after the slots would stay behind.
#[test]
fn a_database_made_after_the_slots() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[]);
        scene.wait_at_the_question();
        scene.stage.sql(scene.from, "CREATE DATABASE \"Läte\"");
        let output = scene.start("", &[]).finish().exit(1);
        output.stderr_has("databases were created, dropped or renamed since the replication began: [\"Läte\"]");
        assert_eq!(scene.stage.states(scene.from, &scene.run), "");
        scene.is_back();
        scene.stage.sql(scene.from, "DROP DATABASE \"Läte\"");
        scene.pass();
        scene.end();
    });
}
