//! What the applications need besides their rows: secrets that lead to the server, passwords that are right there, and
//! a way back.

use pgrun::{
    base::poll::{self, Patience, Seen},
    lab::Fault,
};

use super::{
    scene::Scene,
    stage::{ROLE_PASSWORD, on_stage},
};

const SEND: &str = "send the applications to TO";

/// The decision has fallen and the server is open: throttled or killed, the run only goes forward.
#[test]
fn the_secrets_are_throttled_when_they_are_repointed() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[]);
        let running = scene.go_to(SEND);
        let desk = scene.stage.desk();
        desk.add(Fault { action: "GetSecretValue".into(), ..Fault::new("throttle") }).unwrap();
        scene.release();
        scene.stage.wait(scene.writers.await_more(scene.to));
        let again = poll::until("the throttling to strike again", Patience::ms(10, 30_000), async || {
            let hits = desk.list()[0].hits;
            Ok(if hits >= 2 { Seen::Ready(()) } else { Seen::NotYet(format!("{hits} hits")) })
        });
        scene.stage.wait(again).unwrap();
        running.kill();
        scene.is_decided();
        desk.clear();
        desk.add(Fault { action: "*".into(), times: Some(4), ..Fault::new("throttle") }).unwrap();
        scene.pass();
        assert_eq!(desk.clear()[0].hits, 4);
        scene.end();
    });
}

/// A password does not travel: it is noticed before the question, and again after it, since that may wait for days.
#[test]
fn a_password_changed_after_the_snapshot() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[]);
        let refused = |scene: &Scene<'_>, output: crate::pgrun::Output| {
            let words = format!("the login in secret clerk does not work on {}: wrong password", scene.step("TO"));
            output.exit(1).stderr_has(&words);
            assert_eq!(scene.stage.states(scene.from, &scene.run), "");
            scene.is_back();
        };
        change(&scene, scene.from, "first-staple");
        let output = scene.start_with("", &[], &[]).finish();
        refused(&scene, output);
        change(&scene, scene.to, "first-staple");
        scene.wait_at_the_question();
        change(&scene, scene.from, "second-staple");
        let output = scene.start("", &[]).finish();
        refused(&scene, output);
        change(&scene, scene.to, "second-staple");
        scene.pass();
        for side in [scene.from, scene.to] {
            change(&scene, side, ROLE_PASSWORD);
        }
        scene.end();
    });
}

/// Gives the clerk another password on one side, and in its secret.
fn change(scene: &Scene<'_>, side: usize, password: &str) {
    scene.stage.sql(side, &format!("ALTER ROLE clerk PASSWORD '{password}'"));
    let mut login = scene.stage.secret("clerk");
    login["password"] = password.into();
    scene.stage.put_secret("clerk", &login);
}

/// The way back is tried while going back costs nothing.
#[test]
fn a_way_back_that_cannot_be_gone() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[]);
        scene.stage.sql(scene.to, "ALTER ROLE pgrun_blue NOLOGIN");
        let output = scene.start("", &[]).finish();
        output.wants(output.code != 0 && output.code != 75, "wanted a failure");
        output.stderr_has("role \"pgrun_blue\" is not permitted to log in");
        assert_eq!(scene.stage.states(scene.from, &scene.run), "");
        scene.is_back();
        scene.stage.sql(scene.to, "ALTER ROLE pgrun_blue LOGIN");
        scene.pass();
        scene.end();
    });
}

/// A table that came after the way back was prepared, on both sides and into the stream as it should: only a rollback
/// would have told that it does not go back.
#[test]
fn a_way_back_that_lacks_a_table() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[]);
        scene.wait_at_the_question();
        for side in [scene.to, scene.from] {
            scene.stage.sql(side, "CREATE TABLE public.both (i int PRIMARY KEY)");
        }
        let forward = scene.stage.sql(scene.to, "SELECT subname FROM pg_subscription WHERE subenabled");
        scene
            .stage
            .sql(scene.to, &format!("ALTER SUBSCRIPTION {forward} REFRESH PUBLICATION WITH (copy_data = false)"));
        let output = scene.start("", &[]).finish().exit(1);
        output.stderr_has("the way back does not carry every table: tables: only published `public.both`");
        assert_eq!(scene.stage.states(scene.from, &scene.run), "");
        scene.is_back();
        let step = scene.step("prepare the way back: subscriptions on FROM, not yet enabled");
        let undone = scene.stage.pgrun.pgrun(&["undo", &scene.run, "--to", &step, "--yes"]);
        undone.exit(75);
        scene.start("", &[]).finish().exit(75).stderr_has("the gate `finalize` waits for a person");
        scene.stage.sql(scene.to, "INSERT INTO public.both VALUES (1)");
        scene.stage.await_sql(scene.from, "SELECT count(*) FROM public.both", "1");
        for side in [scene.from, scene.to] {
            scene.stage.sql(side, "DROP TABLE public.both");
        }
        scene.end();
    });
}
