//! Waits for what RDS does to clusters on its own time, by the same rules as for instances.

use std::time::Duration;

use super::{Cluster, ClusterChange};
use crate::{
    aws::{
        client::Rds,
        events::Source,
        instance::Instance,
        verdict::{
            History, InstanceGoal, Look, Verdict, differs, first_unlike, is_ready, judge, judge_instance, same_groups,
        },
        wait::{Track, Wait, seen},
    },
    base::{Code, Result, Value, clock, poll::Seen},
    fail,
};

/// What a cluster is waited for.
#[derive(Clone, Debug)]
pub enum ClusterGoal {
    /// It was created or cloned: a ready status and an endpoint. It may have no instance yet.
    Ready,
    /// It runs this engine version, and so does each of its instances.
    Version(String),
    /// It has all values of this change.
    Changed(Box<ClusterChange>),
}

impl Rds {
    /// Waits until a cluster shows the evidence of `goal`, and returns it as it is then.
    ///
    /// # Errors
    /// `timeout` with what was seen last; `aws_error` when the cluster is broken, or when it looks ready for longer
    /// than the grace and lacks the change; `aws_not_found` when it does not exist or vanishes.
    pub async fn wait_cluster(&self, id: &str, goal: &ClusterGoal, wait: &Wait<'_>) -> Result<Cluster> {
        let begun_ms = wait.since_ms.unwrap_or_else(clock::epoch_ms);
        let mut track = Track::new(wait.grace);
        let what = match goal {
            ClusterGoal::Ready => format!("cluster `{id}` to be ready"),
            ClusterGoal::Version(version) => format!("cluster `{id}` to run {version}"),
            ClusterGoal::Changed(_) => format!("cluster `{id}` to be changed"),
        };
        let waited = wait.watch(&what, async || {
            let cluster = self.cluster(id).await?;
            let history = track.look(is_ready(&cluster.status));
            let verdict = match (goal, judge_cluster(goal, &cluster, &history)) {
                (ClusterGoal::Version(version), Verdict::Reached) => self.members_at(&cluster, version).await?,
                (_, verdict) => verdict,
            };
            seen(verdict, cluster)
        });
        match waited.await {
            Err(error) => Err(self.with_events(error, Source::Cluster(id), begun_ms).await),
            done => done,
        }
    }

    /// The cluster has its new version before the last of its instances takes connections again.
    async fn members_at(&self, cluster: &Cluster, version: &str) -> Result<Verdict> {
        for member in &cluster.members {
            let verdict = judge_member(version, &self.instance(&member.id).await?);
            if verdict != Verdict::Reached {
                return Ok(verdict);
            }
        }
        Ok(Verdict::Reached)
    }

    /// Whether a cluster and each of its instances run a version, and all are ready.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn cluster_runs(&self, cluster: &Cluster, version: &str) -> Result<bool> {
        let is_there = cluster.engine_version == version && is_ready(&cluster.status);
        Ok(is_there && self.members_at(cluster, version).await? == Verdict::Reached)
    }

    /// Waits until this very cluster is gone, as [`Rds::wait_instance_gone`].
    ///
    /// # Errors
    /// `timeout`; `aws_error` when it stays ready for longer than the grace.
    pub async fn wait_cluster_gone(&self, cluster: &Cluster, wait: &Wait<'_>) -> Result<()> {
        let mut track = Track::new(wait.grace);
        let what = format!("cluster `{}` to be deleted", cluster.id);
        let gone = async || {
            let Some(now) = self.find_cluster(&cluster.id).await? else { return Ok(Seen::Ready(())) };
            if now.resource_id != cluster.resource_id {
                return Ok(Seen::Ready(()));
            }
            let history = track.look(is_ready(&now.status));
            if history.ready_for > wait.grace {
                return Err(fail!(Code::AwsError, "cluster `{}` is `{}`, not being deleted", now.id, now.status));
            }
            Ok(Seen::NotYet(now.status))
        };
        wait.watch(&what, gone).await
    }
}

/// Judges one look at a cluster.
fn judge_cluster(goal: &ClusterGoal, cluster: &Cluster, history: &History) -> Verdict {
    let (missing, is_pending) = match goal {
        ClusterGoal::Ready => (None, false),
        ClusterGoal::Version(wanted) => {
            (differs("engine_version", wanted, &cluster.engine_version), cluster.pending.contains_key("engine_version"))
        }
        ClusterGoal::Changed(change) => (first_difference(change, cluster), !cluster.pending.is_empty()),
    };
    let has_endpoint = cluster.host.is_some() && cluster.port.is_some();
    judge(&Look { noun: "cluster", status: &cluster.status, has_endpoint, missing, is_pending }, history)
}

/// An instance of a cluster that was upgraded: it comes after its cluster, so nothing here is a failure of the upgrade
/// before its status says so.
fn judge_member(version: &str, member: &Instance) -> Verdict {
    let patient = History { grace: Duration::MAX, ..History::default() };
    match judge_instance(&InstanceGoal::Version(version.to_owned()), member, &patient) {
        Verdict::NotYet(state) => Verdict::NotYet(format!("instance `{}`: {state}", member.id)),
        verdict => verdict,
    }
}

/// The first field of a change that does not hold yet.
fn first_difference(change: &ClusterChange, cluster: &Cluster) -> Option<String> {
    let shown = cluster.to_map();
    let flag = |flag: Option<bool>| flag.map(Value::Bool);
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let exports = change.log_exports.clone().map(|mut exports| {
        exports.sort();
        Value::from(exports)
    });
    let all = [
        ("engine_version", text(&change.engine_version)),
        ("iam_auth", flag(change.iam_auth)),
        ("deletion_protection", flag(change.deletion_protection)),
        ("backup_retention_days", change.backup_retention_days.map(|days| Value::Int(i64::from(days)))),
        ("backup_window", text(&change.backup_window)),
        ("maintenance_window", text(&change.maintenance_window)),
        ("copy_tags", flag(change.copy_tags)),
        ("log_exports", exports),
    ];
    if let Some(unlike) = first_unlike(all, &shown) {
        return Some(unlike);
    }
    if let Some(group) = change.parameter_group.as_ref().filter(|group| cluster.parameter_group.name != **group) {
        return Some(format!("it does not use parameter group `{group}`"));
    }
    if change.serverless.is_some() && change.serverless != cluster.serverless {
        return Some("its capacity is another one".to_owned());
    }
    change.security_groups.as_ref().and_then(|wanted| same_groups(wanted, &cluster.security_groups))
}

#[cfg(test)]
mod tests {
    use super::{
        Cluster, ClusterChange, ClusterGoal, Duration, History, Instance, Verdict, judge_cluster, judge_member,
    };

    fn cluster(status: &str, version: &str) -> Cluster {
        Cluster {
            status: status.into(),
            engine_version: version.into(),
            host: Some("h".into()),
            port: Some(5432),
            ..Cluster::default()
        }
    }

    fn history(left: bool, ready_s: u64) -> History {
        History { left, ready_for: Duration::from_secs(ready_s), grace: Duration::from_secs(60), traced: false }
    }

    /// `available` with the old version is neither success nor, before the grace is over, failure.
    #[test]
    fn a_cluster_is_upgraded_when_it_has_the_version() {
        let goal = ClusterGoal::Version("17.4".into());
        let judge = |seen: &Cluster, history: &History| judge_cluster(&goal, seen, history);
        assert!(matches!(judge(&cluster("available", "15.18"), &history(false, 0)), Verdict::NotYet(_)));
        assert_eq!(judge(&cluster("available", "17.4"), &history(true, 0)), Verdict::Reached);
        let back = judge(&cluster("available", "15.18"), &history(true, 61));
        assert!(matches!(&back, Verdict::Failed(why) if why.starts_with("the change was rolled back: the cluster")));
        assert!(matches!(judge(&cluster("cloning-failed", ""), &history(true, 0)), Verdict::Failed(_)));
    }

    /// The endpoint of a cluster answers only when its instance is back.
    #[test]
    fn its_instances_have_to_have_it_too() {
        let member = |status: &str, version: &str| Instance {
            status: status.into(),
            engine_version: version.into(),
            host: Some("h".into()),
            ..Instance::default()
        };
        assert_eq!(judge_member("17.4", &member("available", "17.4")), Verdict::Reached);
        assert!(matches!(judge_member("17.4", &member("upgrading", "17.4")), Verdict::NotYet(_)));
        assert!(matches!(judge_member("17.4", &member("available", "15.18")), Verdict::NotYet(_)));
        assert!(matches!(judge_member("17.4", &member("storage-full", "17.4")), Verdict::Failed(_)));
    }

    #[test]
    fn a_change_is_done_when_every_field_holds() {
        let change = ClusterChange {
            backup_retention_days: Some(7),
            security_groups: Some(vec!["b".into(), "a".into()]),
            serverless: Some((0.5, 8.0)),
            ..ClusterChange::default()
        };
        let goal = ClusterGoal::Changed(Box::new(change));
        let mut seen = cluster("available", "15.18");
        assert!(matches!(judge_cluster(&goal, &seen, &history(false, 0)), Verdict::NotYet(_)));
        seen.backup_retention_days = 7;
        seen.security_groups = vec!["a".into(), "b".into()];
        assert!(matches!(judge_cluster(&goal, &seen, &history(false, 0)), Verdict::NotYet(_)));
        seen.serverless = Some((0.5, 8.0));
        assert_eq!(judge_cluster(&goal, &seen, &history(false, 0)), Verdict::Reached);
    }
}
