//! pgrun dies in the window, alone or with its guardian.

use nix::sys::signal::Signal;

use super::{
    scene::{DECIDE, DRAIN, OPEN, Scene, TURN},
    stage::on_stage,
};

/// Killed between any two steps: before the decision the guardian opens the server again at once, after it nobody does.
/// Each attempt has its own drain and its own turn; the last one goes through.
#[test]
fn pgrun_is_killed_between_any_two_steps() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[]);
        let steps = scene.stage.steps.clone();
        let place = |name: &str| steps.iter().position(|step| step == name).unwrap();
        for (at, name) in steps.iter().enumerate() {
            // What the step did is done and not written down. Written down it is in the test below.
            let point = format!("before:done:/ {}", scene.step(name));
            let mut running = scene.start("", &[("PGRUN_CRASH", &point)]);
            running.expect_death();
            drop(running);
            if at < place(DECIDE) {
                scene.is_back();
                continue;
            }
            scene.is_decided();
            if at < place(OPEN) {
                scene.is_closed();
            } else {
                scene.stage.wait(scene.writers.await_more(scene.to));
            }
        }
        scene.pass();
        scene.end();
    });
}

/// Both killed: nothing is open then, until somebody with psql opens the server that was left, or the resumed run does
/// before it tries afresh. Whoever wrote meanwhile is drained by the next attempt. After the decision psql is refused.
#[test]
fn pgrun_is_killed_with_its_guardian() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[]);
        for (at, gate) in [DRAIN, TURN, DECIDE, OPEN].into_iter().enumerate() {
            let running = scene.go_to(gate);
            let guardian = Scene::guardian(&running);
            assert!(guardian.is_some_and(|guardian| guardian.signal(Signal::SIGKILL)) || gate == OPEN);
            running.kill();
            scene.is_closed();
            let reopen = || scene.stage.try_sql(scene.from, "SELECT pgrun.reopen()");
            if gate == OPEN {
                let refused = reopen().unwrap_err();
                assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some("PR003"), "{refused}");
                scene.is_decided();
                scene.is_closed();
            } else if at % 2 == 0 {
                // Three of the stage, and the run's own probe.
                assert_eq!(reopen().unwrap(), "open again: 4 of 4 roles may log in as before");
                scene.is_back();
            }
        }
        scene.pass();
        scene.end();
    });
}
