//! `rds::`: major upgrades of snapshots and of instances.

use rhai::Dynamic;

use super::{
    convert,
    function::{Effect, Function, Module},
    options::Options,
    rds::{ask, change, seen, wait},
};
use crate::{
    aws::{InstanceChange, InstanceGoal},
    base::{Map, Value},
};

/// The functions.
pub(super) const MODULE: Module = Module {
    name: "rds",
    doc: "Upgrades to another major version.",
    functions: &[
        Function {
            name: "upgrade_state",
            parameters: "snapshot, version",
            gives: "#{ state, value } for a step's check",
            effect: Effect::Reads,
            doc: "Whether the snapshot has the version: absent, pending while it is upgraded, or done. A step with this check \
                  needs a verify clause that waits.",
            example: "rds::upgrade_state(\"blue-example\", \"99\").state // => \"absent\"",
            run: |call| {
                let (id, version) = (call.text(0)?, call.text(1)?);
                let found = ask(call, &format!("describing snapshot `{id}`"), async |rds| rds.snapshot(&id).await)?;
                Ok(progress(&found.status, &found.engine_version, &version, found.to_map()))
            },
        },
        Function {
            name: "upgrade_snapshot",
            parameters: "id, version",
            gives: "the snapshot, a map",
            effect: Effect::Writes,
            doc: "Asks RDS to upgrade a snapshot. Wait for it with `rds::wait_snapshot(id, #{ version })`.",
            example: "try { rds::upgrade_snapshot(\"none\", \"17\") } catch (e) { e.code } // => \"aws_not_found\"",
            run: |call| {
                let (id, version) = (call.text(0)?, call.text(1)?);
                let doing = format!("asking for the upgrade of snapshot `{id}`");
                let made = change(call, &doing, None, async |rds| rds.upgrade_snapshot(&id, &version).await)?;
                Ok(convert::map_to_dynamic(&made.to_map()))
            },
        },
        Function {
            name: "instance_upgrade_state",
            parameters: "instance, version",
            gives: "#{ state, value } for a step's check",
            effect: Effect::Reads,
            doc: "Whether the instance has the version: absent, pending while it is upgraded, or done. A step with this check \
                  needs a verify clause that waits.",
            example: "rds::instance_upgrade_state(\"blue\", \"99\").state // => \"absent\"",
            run: |call| {
                let (id, version) = (call.text(0)?, call.text(1)?);
                let found = ask(call, &format!("describing instance `{id}`"), async |rds| rds.instance(&id).await)?;
                Ok(progress(&found.status, &found.engine_version, &version, found.to_map()))
            },
        },
        Function {
            name: "upgrade_instance",
            parameters: "id, version, [options]",
            gives: "the instance, a map",
            effect: Effect::Writes,
            doc: "Asks RDS to upgrade an instance at once, with #{ parameter_group } of the new family. Wait for it with \
                  `rds::wait_version`.",
            example: "try { rds::upgrade_instance(\"none\", \"17\") } catch (e) { e.code } // => \"aws_not_found\"",
            run: |call| {
                let (id, version) = (call.text(0)?, call.text(1)?);
                let options = Options::read(call, 2, &["parameter_group"])?;
                let asked = InstanceChange {
                    engine_version: Some(version),
                    parameter_group: options.text("parameter_group")?,
                    ..InstanceChange::default()
                };
                let doing = format!("asking for the upgrade of instance `{id}`");
                let made = change(call, &doing, Some(&id), async |rds| rds.modify_instance(&id, &asked).await)?;
                Ok(convert::map_to_dynamic(&made.to_map()))
            },
        },
        Function {
            name: "wait_version",
            parameters: "id, version, [options]",
            gives: "the instance, a map",
            effect: Effect::Reads,
            doc: "Waits until an instance has a version and takes connections. RDS rolls a failed upgrade back to \
                  `available`, so the version is what counts. Options: every deadline.",
            example: "rds::wait_version(\"blue\", rds::instance(\"blue\").engine_version).status // => \"available\"",
            run: |call| {
                let (id, version) = (call.text(0)?, call.text(1)?);
                let options = Options::read(call, 2, &["every", "deadline"])?;
                let what = format!("version {version} of instance `{id}`");
                let found = wait(call, &options, &what, async |rds, wait| {
                    rds.wait_instance(&id, &InstanceGoal::Version(version.clone()), wait).await
                })?;
                Ok(convert::map_to_dynamic(&found.to_map()))
            },
        },
    ],
    methods: &[],
};

/// How far the upgrade of something has come. Right after it was asked for, the status is still the old one.
fn progress(status: &str, is: &str, wanted: &str, found: Map) -> Dynamic {
    let is_asked_for = found.get("pending").and_then(Value::as_map).is_some_and(|pending| waits(pending, wanted));
    let word = match (is == wanted && status == "available", status == "upgrading" || is_asked_for) {
        (true, _) => "done",
        (_, true) => "pending",
        _ => "absent",
    };
    seen(word, Some(found))
}

/// Whether RDS has accepted an upgrade to the version and not begun it.
pub(super) fn waits(pending: &Map, version: &str) -> bool {
    pending.get("engine_version").and_then(Value::as_text) == Some(version)
}
