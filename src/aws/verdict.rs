//! What a look at an instance or a snapshot means for whoever waits. Pure: no calls, no clock.
//!
//! `available` alone is never success. It is what RDS shows before a change has begun, after it is done, and after it
//! was rolled back (RDS User Guide, "Upgrading a PostgreSQL DB snapshot engine version"). What counts is the value
//! that was asked for.

use std::time::Duration;

use super::{instance::Instance, request::InstanceChange, snapshot::Snapshot, wait::settles_in};
use crate::base::{Map, Value};

/// What an instance is waited for.
#[derive(Clone, Debug)]
pub enum InstanceGoal {
    /// It was created, restored or started: a ready status and an endpoint.
    Ready,
    /// It runs this engine version.
    Version(String),
    /// It has all values of this change, or, for one in the maintenance window, has accepted them.
    Changed(Box<InstanceChange>),
    /// It was restarted: it was seen `rebooting`, or an event says so.
    Restarted,
    /// All parameters of this group are in force.
    InSync(String),
    /// It is stopped.
    Stopped,
}

/// What a snapshot is waited for.
#[derive(Clone, Debug)]
pub enum SnapshotGoal {
    /// It is complete.
    Complete,
    /// It was upgraded to this engine version.
    Version(String),
}

/// What the looks before this one have shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    /// The status was something else than ready at least once.
    pub(super) left: bool,
    /// For how long the status has been ready without a break.
    pub(super) ready_for: Duration,
    /// After this long with a ready status, a change that does not show will not come.
    pub(super) grace: Duration,
    /// A status or an event of this very change was seen, for changes that leave nothing else behind.
    pub(super) traced: bool,
}

/// The meaning of one look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The evidence is there.
    Reached,
    /// Not yet; what was seen.
    NotYet(String),
    /// It will not come by itself; why.
    Failed(String),
}

/// Statuses in which an instance works ("Viewing DB instance status", RDS User Guide). Storage optimization can last
/// longer than a day, and the SDK's waiter never counts it.
const READY: [&str; 3] = ["available", "storage-optimization", "storage-initialization"];

/// Statuses that no waiting mends, of instances and of clusters.
const BROKEN: [&str; 13] = [
    "cloning-failed",
    "failed",
    "deleting",
    "inaccessible-encryption-credentials",
    "inaccessible-encryption-credentials-recoverable",
    "incompatible-create",
    "incompatible-network",
    "incompatible-option-group",
    "incompatible-parameters",
    "incompatible-restore",
    "insufficient-capacity",
    "restore-error",
    "storage-full",
];

/// Whether the status is one in which an instance works.
pub(super) fn is_ready(status: &str) -> bool {
    READY.contains(&status)
}

/// Judges one look at an instance.
pub(super) fn judge_instance(goal: &InstanceGoal, instance: &Instance, history: &History) -> Verdict {
    let status = instance.status.as_str();
    if matches!(goal, InstanceGoal::Stopped) {
        return match status {
            "stopped" => Verdict::Reached,
            broken if BROKEN.contains(&broken) => Verdict::Failed(format!("the instance is `{broken}`")),
            _ => Verdict::NotYet(status.to_owned()),
        };
    }
    let (missing, is_pending) = (missing(goal, instance, history), is_pending(goal, instance));
    judge(&Look { noun: "instance", status, has_endpoint: instance.host.is_some(), missing, is_pending }, history)
}

/// What one look has shown of an instance or a cluster.
pub(super) struct Look<'a> {
    /// `instance` or `cluster`.
    pub(super) noun: &'static str,
    pub(super) status: &'a str,
    pub(super) has_endpoint: bool,
    /// What it lacks of the goal when its status is a ready one.
    pub(super) missing: Option<String>,
    /// RDS still shows the goal as something it has yet to do.
    pub(super) is_pending: bool,
}

/// Judges one look at something that is not waited for to be stopped.
pub(super) fn judge(look: &Look<'_>, history: &History) -> Verdict {
    let Look { noun, status, .. } = look;
    if BROKEN.contains(status) {
        return Verdict::Failed(format!("the {noun} is `{status}`"));
    }
    if matches!(*status, "stopped" | "stopping") {
        return Verdict::Failed(format!("the {noun} is `{status}`, so nothing goes on by itself"));
    }
    if !is_ready(status) {
        return Verdict::NotYet((*status).to_owned());
    }
    match &look.missing {
        None if !look.has_endpoint => Verdict::NotYet(format!("{status}, without an endpoint")),
        None => Verdict::Reached,
        Some(missing) if history.ready_for >= history.grace && !look.is_pending => {
            let why = if history.left { "the change was rolled back" } else { "the change never began" };
            Verdict::Failed(format!("{why}: the {noun} is `{status}`, and {missing}"))
        }
        Some(missing) => Verdict::NotYet(format!("{status}, but {missing}")),
    }
}

/// What a ready instance lacks of the goal.
fn missing(goal: &InstanceGoal, instance: &Instance, history: &History) -> Option<String> {
    match goal {
        InstanceGoal::Ready | InstanceGoal::Stopped => None,
        InstanceGoal::Version(wanted) => differs("engine_version", wanted, &instance.engine_version),
        InstanceGoal::Changed(change) => first_difference(change, instance, history),
        InstanceGoal::Restarted => (!history.traced).then(|| "nothing shows that it was restarted".to_owned()),
        InstanceGoal::InSync(group) => match instance.parameter_groups.iter().find(|g| g.name == *group) {
            Some(used) if used.status == "in-sync" => None,
            Some(used) => Some(format!("parameter group `{group}` is `{}`", used.status)),
            None => Some(format!("it does not use parameter group `{group}`")),
        },
    }
}

/// Whether RDS still shows the goal as something it has yet to do.
fn is_pending(goal: &InstanceGoal, instance: &Instance) -> bool {
    match goal {
        InstanceGoal::Version(_) => instance.pending.contains_key("engine_version"),
        InstanceGoal::Changed(_) => !instance.pending.is_empty(),
        InstanceGoal::InSync(group) => {
            instance.parameter_groups.iter().any(|used| used.name == *group && used.status == "applying")
        }
        _ => false,
    }
}

/// The first field of a change that does not hold yet.
fn first_difference(change: &InstanceChange, instance: &Instance, history: &History) -> Option<String> {
    let shown = instance.to_map();
    for (name, wanted) in wanted(change) {
        let got = shown.get(name).cloned().unwrap_or(Value::Null);
        let accepted = change.in_maintenance_window && instance.pending.get(name) == Some(&wanted);
        // RDS may round the size up.
        let is_enough = name == "storage_gib" && got.as_int() > wanted.as_int();
        if wanted != got && !accepted && !is_enough {
            return differs(name, &plain(&wanted), &plain(&got));
        }
    }
    if let Some(group) = &change.parameter_group
        && !instance.parameter_groups.iter().any(|used| used.name == *group)
    {
        return Some(format!("it does not use parameter group `{group}`"));
    }
    if let Some(unlike) = change.security_groups.as_ref().and_then(|w| same_groups(w, &instance.security_groups)) {
        return Some(unlike);
    }
    if change.master_password.is_some() {
        if instance.pending.contains_key("master_password") && !change.in_maintenance_window {
            return Some("the master password is pending".to_owned());
        }
        // A password cannot be read back; without a trace of the change it may not have begun.
        if !history.traced && !change.in_maintenance_window {
            return Some("nothing shows that the master password was set".to_owned());
        }
    }
    None
}

/// How two lists of groups differ, whatever their order.
pub(super) fn same_groups(wanted: &[String], got: &[String]) -> Option<String> {
    let sorted = |groups: &[String]| {
        let mut groups = groups.to_vec();
        groups.sort();
        groups.join(", ")
    };
    differs("security_groups", &sorted(wanted), &sorted(got))
}

/// The first wanted field that is shown otherwise.
pub(super) fn first_unlike(
    wanted: impl IntoIterator<Item = (&'static str, Option<Value>)>,
    shown: &Map,
) -> Option<String> {
    let fields = wanted.into_iter().filter_map(|(name, wanted)| Some((name, wanted?)));
    let mut unlike = fields.filter_map(|(name, wanted)| {
        let got = shown.get(name).cloned().unwrap_or(Value::Null);
        differs(name, &plain(&wanted), &plain(&got))
    });
    unlike.next()
}

/// The fields of a change that can be compared with what [`Instance::to_map`] shows under the same name.
fn wanted(change: &InstanceChange) -> Vec<(&'static str, Value)> {
    let flag = |flag: Option<bool>| flag.map(Value::Bool);
    let number = |number: Option<i32>| number.map(|number| Value::Int(i64::from(number)));
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let exports = change.log_exports.clone().map(|mut exports| {
        exports.sort();
        Value::from(exports)
    });
    let all = [
        ("engine_version", text(&change.engine_version)),
        ("class", text(&change.class)),
        ("storage_gib", number(change.storage_gib)),
        ("max_storage_gib", number(change.max_storage_gib)),
        ("multi_az", flag(change.multi_az)),
        ("iam_auth", flag(change.iam_auth)),
        ("publicly_accessible", flag(change.publicly_accessible)),
        ("deletion_protection", flag(change.deletion_protection)),
        ("backup_retention_days", number(change.backup_retention_days)),
        ("backup_window", text(&change.backup_window)),
        ("maintenance_window", text(&change.maintenance_window)),
        ("auto_minor", flag(change.auto_minor)),
        ("copy_tags", flag(change.copy_tags)),
        ("log_exports", exports),
        ("monitoring_s", number(change.monitoring_s)),
        ("monitoring_role", text(&change.monitoring_role)),
        ("insights", flag(change.insights)),
        ("insights_key", text(&change.insights_key)),
        ("insights_days", number(change.insights_days)),
        ("insights_mode", text(&change.insights_mode)),
        ("ca", text(&change.ca)),
        ("id", text(&change.id)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

pub(super) fn differs(name: &str, wanted: &str, got: &str) -> Option<String> {
    (wanted != got).then(|| format!("{name} is `{got}`, wanted `{wanted}`"))
}

/// A value without the marks of its type.
fn plain(value: &Value) -> String {
    value.as_text().map_or_else(|| value.to_json().to_string(), str::to_owned)
}

/// Judges one look at a snapshot.
pub(super) fn judge_snapshot(goal: &SnapshotGoal, snapshot: &Snapshot, history: &History) -> Verdict {
    match snapshot.status.as_str() {
        "available" => {}
        status @ ("failed" | "unavailable" | "deleting") => {
            return Verdict::Failed(format!("the snapshot is `{status}`"));
        }
        status if status.starts_with("incompatible") => {
            return Verdict::Failed(format!("the snapshot is `{status}`"));
        }
        status => return Verdict::NotYet(format!("{status}, {} %", snapshot.progress)),
    }
    let SnapshotGoal::Version(wanted) = goal else { return Verdict::Reached };
    let Some(missing) = differs("engine_version", wanted, &snapshot.engine_version) else { return Verdict::Reached };
    // The documented way is available, upgrading, available: once it has left, the second `available` is final, unless
    // it is an old answer. An event that tells of a failure needs no more.
    if history.traced || (history.left && history.ready_for >= settles_in(history.grace)) {
        Verdict::Failed(format!("the upgrade was rolled back: {missing}"))
    } else if history.ready_for >= history.grace {
        Verdict::Failed(format!("the upgrade never began, or was rolled back: {missing}"))
    } else {
        Verdict::NotYet(format!("available, but {missing}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::instance::GroupStatus, History, Instance, InstanceChange, InstanceGoal, Snapshot, SnapshotGoal, Verdict,
        judge_instance, judge_snapshot,
    };
    use crate::{base::Secret, map};

    fn instance(status: &str, version: &str) -> Instance {
        Instance {
            status: status.into(),
            engine_version: version.into(),
            host: Some("h".into()),
            ..Instance::default()
        }
    }

    fn history(left: bool, ready_s: u64) -> History {
        History { left, ready_for: Duration::from_secs(ready_s), grace: Duration::from_secs(60), traced: false }
    }

    /// Right after ModifyDBInstance RDS still says `available` with the old version: not success, and not failure yet.
    #[test]
    fn a_stale_available_is_no_success() {
        let goal = InstanceGoal::Version("17.4".into());
        let stale = judge_instance(&goal, &instance("available", "15.18"), &history(false, 0));
        assert_eq!(stale, Verdict::NotYet("available, but engine_version is `15.18`, wanted `17.4`".into()));
        assert_eq!(judge_instance(&goal, &instance("available", "17.4"), &history(true, 0)), Verdict::Reached);
        assert_eq!(judge_instance(&goal, &instance("upgrading", "17.4"), &history(true, 0)), {
            Verdict::NotYet("upgrading".into())
        });
    }

    /// A failed upgrade ends as `available` with the old version; the two causes are told apart.
    #[test]
    fn a_rolled_back_upgrade_is_a_failure() {
        let goal = InstanceGoal::Version("17.4".into());
        let back = judge_instance(&goal, &instance("available", "15.18"), &history(true, 61));
        assert!(matches!(&back, Verdict::Failed(why) if why.starts_with("the change was rolled back")), "{back:?}");
        let never = judge_instance(&goal, &instance("available", "15.18"), &history(false, 61));
        assert!(matches!(&never, Verdict::Failed(why) if why.starts_with("the change never began")), "{never:?}");
        let mut pending = instance("available", "15.18");
        pending.pending = map! { "engine_version" => "17.4" };
        assert!(matches!(judge_instance(&goal, &pending, &history(false, 61)), Verdict::NotYet(_)));
    }

    /// Statuses in which the SDK's waiters spin until their deadline are failures at once, or success.
    #[test]
    fn statuses_that_end_the_wait() {
        for status in ["storage-full", "restore-error", "incompatible-network", "stopped", "failed"] {
            let verdict = judge_instance(&InstanceGoal::Ready, &instance(status, "15.18"), &history(true, 0));
            assert!(matches!(&verdict, Verdict::Failed(why) if why.contains(status)), "{verdict:?}");
        }
        let optimizing = instance("storage-optimization", "15.18");
        assert_eq!(judge_instance(&InstanceGoal::Ready, &optimizing, &history(true, 0)), Verdict::Reached);
        assert_eq!(judge_instance(&InstanceGoal::Stopped, &instance("stopped", ""), &history(true, 0)), {
            Verdict::Reached
        });
        let mut nowhere = instance("available", "15.18");
        nowhere.host = None;
        assert!(matches!(judge_instance(&InstanceGoal::Ready, &nowhere, &history(true, 0)), Verdict::NotYet(_)));
    }

    /// Each field of a change is compared, and a change for the maintenance window is done when it is accepted.
    #[test]
    fn a_change_is_done_when_every_field_holds() {
        let change = InstanceChange { multi_az: Some(true), storage_gib: Some(50), ..InstanceChange::default() };
        let goal = InstanceGoal::Changed(Box::new(change.clone()));
        let mut seen = instance("available", "15.18");
        seen.storage_gib = 51;
        assert!(matches!(judge_instance(&goal, &seen, &history(false, 0)), Verdict::NotYet(_)));
        seen.pending = map! { "multi_az" => true };
        assert!(matches!(judge_instance(&goal, &seen, &history(false, 61)), Verdict::NotYet(_)));
        let later = InstanceGoal::Changed(Box::new(InstanceChange { in_maintenance_window: true, ..change }));
        assert_eq!(judge_instance(&later, &seen, &history(false, 0)), Verdict::Reached);
        seen.multi_az = true;
        assert_eq!(judge_instance(&goal, &seen, &history(false, 0)), Verdict::Reached);
    }

    /// A password cannot be read back, so a trace of its change is wanted: its own status or event. Another status,
    /// such as that of a backup, is no trace.
    #[test]
    fn a_password_needs_a_trace() {
        let change = InstanceChange { master_password: Some(Secret::new("x")), ..InstanceChange::default() };
        let goal = InstanceGoal::Changed(Box::new(change));
        let seen = instance("available", "15.18");
        assert!(matches!(judge_instance(&goal, &seen, &history(false, 0)), Verdict::NotYet(_)));
        assert!(matches!(judge_instance(&goal, &seen, &history(true, 0)), Verdict::NotYet(_)));
        assert_eq!(judge_instance(&goal, &seen, &History { traced: true, ..history(true, 0) }), Verdict::Reached);
    }

    /// A parameter group that waits for a reboot is not in force.
    #[test]
    fn a_parameter_group_is_in_sync_or_not() {
        let mut seen = instance("available", "15.18");
        seen.parameter_groups = vec![GroupStatus { name: "g".into(), status: "pending-reboot".into() }];
        let goal = InstanceGoal::InSync("g".into());
        assert!(matches!(judge_instance(&goal, &seen, &history(false, 0)), Verdict::NotYet(_)));
        seen.parameter_groups[0].status = "in-sync".into();
        assert_eq!(judge_instance(&goal, &seen, &history(false, 0)), Verdict::Reached);
    }

    /// The same for snapshots, where the second `available` is final.
    #[test]
    fn snapshots_are_judged_by_their_version() {
        let snapshot = |status: &str, version: &str| Snapshot {
            status: status.into(),
            engine_version: version.into(),
            ..Snapshot::default()
        };
        let goal = SnapshotGoal::Version("17.4".into());
        assert_eq!(judge_snapshot(&goal, &snapshot("available", "17.4"), &history(true, 0)), Verdict::Reached);
        assert!(matches!(
            judge_snapshot(&goal, &snapshot("available", "15.18"), &history(false, 0)),
            Verdict::NotYet(_)
        ));
        // A look that is older than the one before must not end a wait.
        assert!(matches!(
            judge_snapshot(&goal, &snapshot("available", "15.18"), &history(true, 1)),
            Verdict::NotYet(_)
        ));
        assert!(matches!(
            judge_snapshot(&goal, &snapshot("available", "15.18"), &history(true, 6)),
            Verdict::Failed(_)
        ));
        for status in ["unavailable", "failed", "incompatible-restore"] {
            let verdict = judge_snapshot(&SnapshotGoal::Complete, &snapshot(status, "15.18"), &history(true, 0));
            assert!(matches!(verdict, Verdict::Failed(_)), "{status}");
        }
    }
}
