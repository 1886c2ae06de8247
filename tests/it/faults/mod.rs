//! Faults planted into a cutover between two real servers under load, in both directions, and the attacks on the
//! procedure: [`STAGED`] tells which test stages which. After each nothing that was acknowledged is lost or there
//! twice, one side is open again and never both, and the message names the cause.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "what fails in a helper fails the test")]

mod accounts;
mod deaths;
mod people;
mod scene;
mod servers;
mod stage;

/// Every planted fault, then the twenty attacks by their numbers, and the tests that stage them.
const STAGED: &[(&str, &[&str])] = &[
    ("DDL on BLUE after the snapshot", &["faults::people::ddl_after_the_snapshot"]),
    ("a table made on both sides by hand", &["faults::people::a_table_made_on_both_sides_by_hand"]),
    (
        "a role outside the list writes during the fence",
        &[
            "faults::people::a_role_outside_the_list_writes_behind_the_fence",
            "pg::cutover::a_stranger_behind_the_fence_is_noticed",
        ],
    ),
    (
        "a long transaction before slot creation",
        &["pg::replication::a_slot_that_cannot_be_made_names_who_is_in_the_way"],
    ),
    ("the walsender stalled in the window", &["faults::servers::the_walsender_stands_still"]),
    (
        "GREEN killed or hanging in the window",
        &[
            "faults::servers::the_server_that_takes_over_is_killed",
            "faults::servers::the_server_that_takes_over_stands_still",
        ],
    ),
    ("BLUE killed in the window", &["faults::servers::the_server_that_is_left_is_killed"]),
    (
        "the same, with synchronous_commit = off",
        &["faults::servers::the_server_that_is_left_is_killed_while_nobody_waits_for_the_disk"],
    ),
    (
        "pgrun killed between each two sub-steps",
        &[
            "faults::deaths::pgrun_is_killed_between_any_two_steps",
            "recovery::guardian::a_run_that_dies_in_its_window_leaves_no_server_closed",
        ],
    ),
    ("the same with its guardian", &["faults::deaths::pgrun_is_killed_with_its_guardian"]),
    (
        "the deadline before and after the decision",
        &[
            "faults::servers::the_deadline_passes_around_the_decision",
            "recovery::guardian::the_deadline_before_and_after_the_decision",
        ],
    ),
    (
        "the secrets API throttled at the repoint",
        &["faults::accounts::the_secrets_are_throttled_when_they_are_repointed"],
    ),
    ("a password changed on BLUE after the snapshot", &["faults::accounts::a_password_changed_after_the_snapshot"]),
    ("a prepared transaction", &["faults::people::a_prepared_transaction", "pg::fence::a_refusal_changes_nothing"]),
    (
        "a backend still starting",
        &[
            "faults::people::a_backend_is_still_starting",
            "pg::fence::a_backend_that_is_still_starting_does_not_get_through",
        ],
    ),
    (
        "1 undo after GREEN is open",
        &[
            "faults::accounts::the_secrets_are_throttled_when_they_are_repointed",
            "pg::fence::a_decision_and_a_way_back_exclude_each_other",
        ],
    ),
    ("2 replayed steps of a window", &["faults::deaths::pgrun_is_killed_with_its_guardian"]),
    (
        "3 a wrong L passes the gates",
        &[
            "pg::meeting::copy_and_stream_meet",
            "aws::redo::a_second_crash_is_told_by_when_the_server_was_up",
            "aws::log_blocks::a_recovery_behind_a_gap_is_refused",
        ],
    ),
    (
        "4 the fence leaks: starting, prepared",
        &["faults::people::a_backend_is_still_starting", "faults::people::a_prepared_transaction"],
    ),
    (
        "4 the fence leaks: a commit that a crash forgets",
        &["faults::servers::the_server_that_is_left_is_killed_while_nobody_waits_for_the_disk"],
    ),
    (
        "4 the fence leaks: roles outside the list, the master's login, pg_cron",
        &[
            "pg::fence::a_fence_with_a_gap_is_not_decided",
            "pg::inventory::each_check_of_a_server_names_what_it_finds",
            "pg::inventory::each_check_of_a_database_names_what_it_finds",
        ],
    ),
    ("4 the fence leaks: a database made after the slots", &["faults::people::a_database_made_after_the_slots"]),
    (
        "5 applications locked out",
        &[
            "pg::fence::logins_come_back_exactly",
            "pg::fence::back::a_person_with_psql_opens_the_server",
            "recovery::guardian::a_run_that_hangs_is_not_waited_for",
        ],
    ),
    ("6 pgrun.applied replicates", &["pg::own::rows_that_arrive_by_replication_are_thrown_away_where_they_would_lie"]),
    (
        "7 the way back after a crash of GREEN",
        &[
            "faults::servers::the_server_that_takes_over_is_killed",
            "pg::cutover::a_turn_is_repeated_and_brings_nothing_back_twice",
        ],
    ),
    ("8 GREEN refuses the applications: passwords", &["faults::accounts::a_password_changed_after_the_snapshot"]),
    (
        "8 GREEN refuses the applications: a pending rotation, TLS",
        &[
            "aws::versions_of_secrets::repointing_keeps_every_other_byte",
            "aws::settings::parameters_are_carried_to_the_next_version",
        ],
    ),
    (
        "9 the way back is tried when it is needed",
        &["faults::accounts::a_way_back_that_cannot_be_gone", "faults::accounts::a_way_back_that_lacks_a_table"],
    ),
    // It is not set at all: the follower's `wal_writer_delay` is lowered instead.
    ("10 synchronous_commit = on slows the stream", &["examples::examples_on_a_database"]),
    ("11 T cannot be reached", &["pg::cutover::target::t_right_behind_the_head_of_a_page_is_reached"]),
    (
        "12 BLUE's disk",
        &["pg::inventory::settings_are_compared_with_the_need", "lab::waivers::the_account_is_taken_stock_of"],
    ),
    ("13 positions of markers", &["pg::own::positions_of_markers_bracket_their_commits"]),
    ("14 collations", &["pg::maintain::indexes_in_a_moved_order_are_built_anew"]),
    ("15 identity of a copy", &["pg::replication::only_the_slots_of_a_copy_are_dropped"]),
    // The copy starts without workers of its own. None of the servers here has pg_cron.
    ("16 the restored copy acts", &["rehearse::rollback::nothing_is_lost_on_the_way_back_and_forth_again"]),
    (
        "17 conninfo leaks",
        &[
            "pg::replication::a_subscription_leaks_no_password",
            "rehearse::kills::a_run_that_is_killed_five_times_still_loses_nothing",
        ],
    ),
    (
        "18 Aurora's position is the beginning of a record",
        &["pg::meeting::the_origin_is_the_byte_behind_the_last_record"],
    ),
    (
        "19 what the inventory lacked",
        &[
            "pg::inventory::an_ordinary_role_sees_what_concerns_it",
            "pg::inventory::each_check_of_a_database_names_what_it_finds",
            "aws::inventory::an_instance_at_rest_on_its_own_has_no_findings",
            "pg::maintain::views_are_refreshed_from_the_bottom_up",
        ],
    ),
    (
        "20 the origin right before ENABLE, the catalog's token",
        &["pg::replication::a_subscription_lives_and_ends", "pg::cutover::a_drain_names_what_is_missing"],
    ),
];

/// Whether a test stands in its file, under the folder of these tests or beside what it tests.
fn is_there(test: &str) -> bool {
    let (place, name) = test.rsplit_once("::").unwrap();
    let (place, head) = (place.replace("::", "/"), format!("fn {name}()"));
    let files = ["tests/it", "src"].into_iter().flat_map(|root| {
        [format!("{root}/{place}.rs"), format!("{root}/{place}/mod.rs")]
            .map(|file| std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap_or_default())
    });
    files.into_iter().any(|text| {
        let mut parts = text.split(&head);
        let before = parts.next().unwrap_or_default();
        let above = before.trim_end().trim_end_matches("async").trim_end().lines().last().unwrap_or_default();
        parts.next().is_some() && above.trim().starts_with("#[") && above.contains("test")
    })
}

/// Each fault and each of the twenty attacks is staged by tests that there are.
#[test]
fn every_fault_and_attack_is_staged() {
    let mut attacks = std::collections::BTreeSet::new();
    for (what, tests) in STAGED {
        assert!(!tests.is_empty(), "nothing stages `{what}`");
        for test in *tests {
            assert!(is_there(test), "there is no test `{test}`");
        }
        attacks.extend(what.split(' ').next().and_then(|first| first.parse::<u32>().ok()));
    }
    assert_eq!(attacks, (1..=20).collect());
    assert!(STAGED.iter().filter(|(what, _)| !what.starts_with(char::is_numeric)).count() >= 15);
    assert!(!is_there("pg::fence::no_such_test") && !is_there("faults::is_there"));
}
