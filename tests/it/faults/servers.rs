//! The servers fail in the window: they stand still, are killed, or time passes over them.

use super::{
    scene::{DECIDE, DRAIN, OPEN, TURN},
    stage::on_stage,
};

/// Longer than a window takes on a loaded machine; some tests wait until it has passed.
const DEADLINE: &str = "deadline=3s";

/// The changes do not come: at the deadline the server that was to be left is open again, and what was missing is said.
#[test]
fn the_walsender_stands_still() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[DEADLINE]);
        let running = scene.go_to(DRAIN);
        let frozen = scene.stage.freeze_walsender(scene.from);
        let output = scene.release_and_finish(running).exit(1);
        output
            .stderr_has("the 3.0 s of phase `window` passed while draining")
            .stderr_has("waiting for the other server to have everything; last seen: confirmed ")
            .stderr_has("the row is not there");
        scene.is_back();
        drop(frozen);
        scene.flows_again();
        scene.pass();
        scene.end();
    });
}

/// The run hangs at the server that takes over, and so does the undo of its turn. The guardian waits for neither.
#[test]
fn the_server_that_takes_over_stands_still() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[DEADLINE]);
        let running = scene.go_to(TURN);
        let frozen = scene.stage.freeze(scene.to);
        scene.release();
        scene.stage.wait(scene.writers.await_more(scene.from));
        drop(frozen);
        let output = running.finish().exit(1);
        output.stderr_has("the 3.0 s of phase `window` passed while turning the replication round");
        assert_eq!(scene.stage.states(scene.from, &scene.run), "1 fenced, 1 reopened");
        scene.is_back();
        scene.flows_again();
        scene.pass();
        scene.end();
    });
}

/// It comes back after its crash, and the run bears that or goes back: before the drain, and after the turn, whose
/// positions it must not have forgotten.
#[test]
fn the_server_that_takes_over_is_killed() {
    on_stage(|stage| {
        for gate in [DRAIN, DECIDE] {
            // Its recovery and its apply worker take their time.
            let mut scene = stage.scene(&["deadline=30s"]);
            let running = scene.go_to(gate);
            scene.stage.crash(scene.to);
            let output = scene.release_and_finish(running);
            if output.code != 75 {
                let output = output.exit(1);
                if scene.stage.states(scene.from, &scene.run).ends_with("reopened") {
                    scene.names_restart(&output, scene.to);
                    scene.is_back();
                    scene.flows_again();
                }
                scene.pass();
            }
            scene.end();
        }
    });
}

/// Fence and record survive the crash of the server that is left: it is opened again, by whoever comes first.
#[test]
fn the_server_that_is_left_is_killed() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[]);
        let running = scene.go_to(DRAIN);
        scene.stage.crash(scene.from);
        scene.is_closed();
        let output = scene.release_and_finish(running).exit(1);
        scene.names_restart(&output, scene.from);
        scene.is_back();
        scene.flows_again();
        scene.pass();
        scene.end();
    });
}

/// Roles that do not wait for the disk: their commits may be forgotten, the fence and the decision may not. Behind the
/// drain everything that they were promised is on disk.
#[test]
fn the_server_that_is_left_is_killed_while_nobody_waits_for_the_disk() {
    on_stage(|stage| {
        let set = |stage: &super::stage::Stage, how: &str| {
            for (side, role) in [(0, "app"), (0, "master"), (1, "app"), (1, "master")] {
                stage.sql(
                    side,
                    &format!("ALTER ROLE {role} {how} synchronous_commit{}", if how == "SET" { " = off" } else { "" }),
                );
            }
        };
        set(stage, "SET");
        let mut scene = stage.scene(&[]);
        let running = scene.go_to(TURN);
        scene.stage.crash(scene.from);
        scene.is_closed();
        let output = scene.release_and_finish(running).exit(1);
        scene.names_restart(&output, scene.from);
        scene.is_back();
        scene.flows_again();
        let running = scene.go_to(OPEN);
        scene.stage.crash(scene.from);
        scene.is_decided();
        scene.is_closed();
        let output = scene.release_and_finish(running);
        scene.is_decided();
        if output.code != 75 {
            output.exit(1);
            scene.pass();
        }
        scene.end();
        set(stage, "RESET");
    });
}

/// Right before the decision the deadline leads back, right after it nothing does.
#[test]
fn the_deadline_passes_around_the_decision() {
    on_stage(|stage| {
        let mut scene = stage.scene(&[DEADLINE]);
        let late = scene.go_to(DECIDE);
        late.finish().exit(1).stderr_has("the 3.0 s of phase `window` passed");
        scene.is_back();
        let late = scene.go_to(OPEN);
        late.finish().exit(1).stderr_has("had made its decision before it failed: nothing was undone");
        scene.is_decided();
        scene.is_closed();
        scene.pass();
        scene.end();
    });
}
