//! `rds::`: instances, snapshots, versions and logs of Amazon RDS.
//!
//! Creating and waiting are two functions, so that they can be two steps: a process that dies while it waits simply
//! waits again. What a step creates carries the tags `pgrun:run` and `pgrun:step`, by which its `check` clause knows
//! it.
//! What makes one instance like another, parameter groups and names are in `rds_settings`.

use std::time::Duration;

use rhai::Dynamic;

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    operator::Notice,
    options::Options,
};
use crate::{
    aws::{
        Bounds, FinalSnapshot, InstanceGoal, Made, Mark, Rds, Resource, Restore, SnapshotGoal, Tags, Wait, inventory,
    },
    base::{
        Code, Map, Result, Value,
        poll::{self, Patience, Seen},
    },
    fail,
    journal::key_text,
    map,
};

/// RDS answers several questions a second before it throttles; a look every three seconds notices in time.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long RDS may be at work on something that is to be deleted: the first snapshot of a large instance takes hours.
pub(super) const AT_WORK: Duration = Duration::from_hours(3);

/// The module.
pub(super) const MODULE: Module = Module {
    name: "rds",
    doc: "Amazon RDS: instances, snapshots, versions, logs. Waits look for evidence, never for the word `available`.",
    functions: &[
        Function {
            name: "instance",
            parameters: "id",
            gives: "a map",
            effect: Effect::Reads,
            doc: "What RDS tells about an instance.",
            example: "rds::instance(\"blue\").status // => \"available\"",
            run: |call| {
                let id = call.text(0)?;
                let found = ask(call, &format!("describing instance `{id}`"), async |rds| rds.instance(&id).await)?;
                Ok(convert::map_to_dynamic(&found.to_map()))
            },
        },
        Function {
            name: "snapshot",
            parameters: "id",
            gives: "a map",
            effect: Effect::Reads,
            doc: "What RDS tells about a snapshot.",
            example: "try { rds::snapshot(\"none\") } catch (e) { e.code } // => \"aws_not_found\"",
            run: |call| {
                let id = call.text(0)?;
                let found = ask(call, &format!("describing snapshot `{id}`"), async |rds| rds.snapshot(&id).await)?;
                Ok(convert::map_to_dynamic(&found.to_map()))
            },
        },
        Function {
            name: "upgrade_target",
            parameters: "instance, wanted",
            gives: "a version, a text",
            effect: Effect::Reads,
            doc: "The version that `wanted` means for an upgrade of the instance: itself, or the newest of a major \
                  version. Refuses what RDS does not offer, and names what it offers.",
            example: "try { rds::upgrade_target(\"blue\", \"99\") } catch (e) { e.code != \"\" } // => true",
            run: |call| {
                let (id, wanted) = (call.text(0)?, call.text(1)?);
                let target = ask(call, "asking for upgrade targets", async |rds| {
                    let instance = rds.instance(&id).await?;
                    rds.upgrade_target(&instance.engine, &instance.engine_version, &wanted).await
                })?;
                Ok(target.version.into())
            },
        },
        Function {
            name: "inventory",
            parameters: "instance, [options]",
            gives: "a list of #{ id, verdict, database, object, text, hint }",
            effect: Effect::Reads,
            doc: "What stands in the way of upgrading an instance: state, replicas, free storage. Options: `target` (the \
                  version, checked against what RDS offers), `wal_bound` (bytes of WAL that a slot may keep).",
            example: "rds::inventory(\"blue\").filter(|f| f.id == \"instance_replica\") // => []",
            run: |call| {
                let id = call.text(0)?;
                let options = Options::read(call, 1, &["target", "wal_bound"])?;
                let wal_bound = options.int("wal_bound")?.and_then(|bytes| u64::try_from(bytes).ok());
                let wish = inventory::Wish { target: options.text("target")?, wal_bound };
                let doing = format!("taking stock of instance `{id}`");
                Ok(convert::findings(&ask(call, &doing, async |rds| rds.findings(&id, &wish).await)?))
            },
        },
        Function {
            name: "snapshot_state",
            parameters: "id",
            gives: "#{ state, value } for a step's check",
            effect: Effect::Reads,
            doc: "Whether this step made the snapshot already: absent, done (with the snapshot), or foreign.",
            example: "rds::snapshot_state(\"none\").state // => \"absent\"",
            run: |call| {
                let id = call.text(0)?;
                let mark = mark(call)?;
                let doing = format!("looking for snapshot `{id}`");
                let (made, found) = ask(call, &doing, async |rds| {
                    let made = rds.made_by(Resource::Snapshot(&id), &mark).await?;
                    Ok((made, rds.find_snapshot(&id).await?.map(|snapshot| snapshot.to_map())))
                })?;
                Ok(state(made, found))
            },
        },
        Function {
            name: "create_snapshot",
            parameters: "options",
            gives: "the snapshot, a map",
            effect: Effect::Writes,
            doc: "Asks for a snapshot: #{ instance, snapshot }. Wait for it with `rds::wait_snapshot`.",
            example: "rds::create_snapshot(#{ instance: \"blue\", snapshot: \"blue-example\" }).id // => \"blue-example\"",
            run: |call| {
                let options = Options::read(call, 0, &["instance", "snapshot"])?;
                let (instance, id) = (options.need("instance")?, options.need("snapshot")?);
                let mark = mark(call)?;
                let doing = format!("asking for snapshot `{id}`");
                let made = change(call, &doing, Some(&instance), async |rds| {
                    rds.create_snapshot(&instance, &id, &Tags::new(), &mark).await
                })?;
                Ok(convert::map_to_dynamic(&made.to_map()))
            },
        },
        Function {
            name: "wait_snapshot",
            parameters: "id, [options]",
            gives: "the snapshot, a map",
            effect: Effect::Reads,
            doc: "Waits until a snapshot is complete, or with #{ version } until it is upgraded to it. RDS rolls a \
                  failed upgrade back to `available`, so the version is what counts. Options: version every deadline.",
            example: "rds::wait_snapshot(\"blue-example\").status // => \"available\"",
            run: wait_snapshot,
        },
        Function {
            name: "delete_snapshot",
            parameters: "id",
            gives: "()",
            effect: Effect::Destroys,
            doc: "Deletes a snapshot, once it is not being made any more; one that is gone already is no error. In an undo \
                  clause what this step did not make stays.",
            example: "rds::delete_snapshot(\"none\")",
            run: |call| {
                let id = call.text(0)?;
                if !may_delete(call, Resource::Snapshot(&id), &id)? {
                    return Ok(Dynamic::UNIT);
                }
                change(call, &format!("deleting snapshot `{id}`"), None, async |rds| {
                    once_it_rests(&format!("snapshot `{id}`"), async || rds.delete_snapshot(&id).await).await
                })?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "instance_state",
            parameters: "id",
            gives: "#{ state, value } for a step's check",
            effect: Effect::Reads,
            doc: "Whether this step made the instance already: absent, done (with the instance), or foreign.",
            example: "rds::instance_state(\"none\").state // => \"absent\"",
            run: |call| {
                let id = call.text(0)?;
                let mark = mark(call)?;
                let doing = format!("looking for instance `{id}`");
                let (made, found) = ask(call, &doing, async |rds| {
                    let made = rds.made_by(Resource::Instance(&id), &mark).await?;
                    Ok((made, rds.find_instance(&id).await?.map(|instance| instance.to_map())))
                })?;
                Ok(state(made, found))
            },
        },
        Function {
            name: "restore",
            parameters: "options",
            gives: "the instance, a map",
            effect: Effect::Writes,
            doc: "Restores a snapshot as a new instance: #{ snapshot, instance }, made like another one with `like` \
                  (class, kind of storage, network, Multi-AZ, IAM authentication, certificate, log exports, tags), and \
                  with `parameter_group`, `class`, `multi_az`. Wait for it with `rds::wait_instance`; what RDS takes \
                  only afterwards, `rds::make_like` changes then.",
            example: "try { rds::restore(#{ snapshot: \"none\", instance: \"x\" }) } catch (e) { e.code } // => \"aws_not_found\"",
            run: restore,
        },
        Function {
            name: "wait_instance",
            parameters: "id, [options]",
            gives: "the instance, a map",
            effect: Effect::Reads,
            doc: "Waits until an instance is ready and has an endpoint. Options: every deadline.",
            example: "rds::wait_instance(\"blue\").status // => \"available\"",
            run: |call| {
                let id = call.text(0)?;
                let options = Options::read(call, 1, &["every", "deadline"])?;
                let found = wait(call, &options, &format!("instance `{id}`"), async |rds, wait| {
                    rds.wait_instance(&id, &InstanceGoal::Ready, wait).await
                })?;
                Ok(convert::map_to_dynamic(&found.to_map()))
            },
        },
        Function {
            name: "delete_instance",
            parameters: "id, [options]",
            gives: "()",
            effect: Effect::Destroys,
            doc: "Deletes an instance and waits until it is gone; one that is gone already is no error. It takes a last \
                  snapshot only with #{ final_snapshot: NAME }. In an undo clause what this step did not make stays.",
            example: "rds::delete_instance(\"none\")",
            run: delete_instance,
        },
        Function {
            name: "first_redo_done",
            parameters: "instance, options",
            gives: "#{ start, done, line, .. }",
            effect: Effect::Reads,
            doc: "Where the first crash recovery of a restored snapshot began and where its last record begins, read \
                  from the server's log. Options: snapshot (the times of this one bound the search), every, deadline.",
            example: "try { rds::first_redo_done(\"none\", #{ snapshot: \"none\" }) } catch (e) { e.code } // => \"aws_not_found\"",
            run: first_redo_done,
        },
    ],
    methods: &[],
};

pub(super) fn ask<T>(call: &Call, doing: &str, work: impl AsyncFnOnce(&Rds) -> Result<T>) -> Result<T> {
    let rds = call.host.aws().rds();
    call.wait(doing, &[], work(&rds))
}

/// A change claims the instance it is about by its ARN.
pub(super) fn change<T>(
    call: &Call,
    doing: &str,
    instance: Option<&str>,
    work: impl AsyncFnOnce(&Rds) -> Result<T>,
) -> Result<T> {
    let rds = call.host.aws().rds();
    let claims = match instance {
        Some(id) => call.host.wait(&call.frame, doing, async { Ok(vec![rds.instance(id).await?.arn]) })?,
        None => vec![],
    };
    call.wait(doing, &claims, work(&rds))
}

pub(super) fn wait<T>(
    call: &Call,
    options: &Options,
    what: &str,
    work: impl AsyncFnOnce(&Rds, &Wait<'_>) -> Result<T>,
) -> Result<T> {
    let host = call.host.clone();
    let tell = |seen: &str| host.tell(Notice::Waiting { what: what.to_owned(), seen: seen.to_owned() });
    let every = options.duration("every")?.unwrap_or(LOOK_EVERY);
    let mut wait = Wait { every, progress: Some(&tell), ..Wait::default() };
    if let Some(deadline) = options.duration("deadline")? {
        wait.deadline = deadline;
    }
    let rds = call.host.aws().rds();
    call.wait(&format!("waiting for {what}"), &[], work(&rds, &wait))
}

fn wait_snapshot(call: &Call) -> Result<Dynamic> {
    let id = call.text(0)?;
    let options = Options::read(call, 1, &["version", "every", "deadline"])?;
    let goal = options.text("version")?.map_or(SnapshotGoal::Complete, SnapshotGoal::Version);
    let found =
        wait(call, &options, &format!("snapshot `{id}`"), async |rds, wait| rds.wait_snapshot(&id, &goal, wait).await)?;
    Ok(convert::map_to_dynamic(&found.to_map()))
}

fn restore(call: &Call) -> Result<Dynamic> {
    let known = ["snapshot", "instance", "like", "parameter_group", "class", "multi_az"];
    let options = Options::read(call, 0, &known)?;
    let mut restore = Restore {
        snapshot: options.need("snapshot")?,
        instance: options.need("instance")?,
        parameter_group: options.text("parameter_group")?,
        class: options.text("class")?,
        multi_az: options.flag("multi_az")?,
        ..Restore::default()
    };
    let mark = mark(call)?;
    let like = options.text("like")?;
    let doing = format!("asking for instance `{}`", restore.instance);
    let made = change(call, &doing, like.as_deref(), async |rds| {
        if let Some(like) = &like {
            restore.like(&rds.instance(like).await?);
        }
        rds.restore_instance(&restore, &mark).await
    })?;
    Ok(convert::map_to_dynamic(&made.to_map()))
}

fn delete_instance(call: &Call) -> Result<Dynamic> {
    let id = call.text(0)?;
    let last = Options::read(call, 1, &["final_snapshot"])?.text("final_snapshot")?;
    let last = last.map_or(FinalSnapshot::Skip, FinalSnapshot::Take);
    let rds = call.host.aws().rds();
    let doing = format!("deleting instance `{id}`");
    let found = call.host.wait(&call.frame, &doing, async { rds.find_instance(&id).await })?;
    let Some(instance) = found else { return Ok(Dynamic::UNIT) };
    if !may_delete(call, Resource::Instance(&id), &id)? {
        return Ok(Dynamic::UNIT);
    }
    call.wait(&doing, std::slice::from_ref(&instance.arn), async {
        let delete = async || rds.delete_instance(&id, &last, false).await.map(|_| ());
        once_it_rests(&format!("instance `{id}`"), delete).await?;
        rds.wait_instance_gone(&instance, &Wait { every: LOOK_EVERY, ..Wait::default() }).await
    })?;
    Ok(Dynamic::UNIT)
}

fn first_redo_done(call: &Call) -> Result<Dynamic> {
    let id = call.text(0)?;
    let options = Options::read(call, 1, &["snapshot", "every", "deadline"])?;
    let snapshot = options.text("snapshot")?;
    let what = format!("the end of the first recovery in the log of `{id}`");
    let redo = wait(call, &options, &what, async |rds, wait| {
        let created_ms = match &snapshot {
            Some(snapshot) => rds.snapshot(snapshot).await?.created_ms,
            None => None,
        };
        rds.wait_redo(&id, &Bounds { since_ms: created_ms, complete_ms: None }, wait).await
    })?;
    Ok(convert::map_to_dynamic(&redo.to_map()))
}

/// The tags of what this step makes.
pub(super) fn mark(call: &Call) -> Result<Mark> {
    let missing = || fail!(Code::StepRule, "`{}` needs a step, whose name becomes a tag", call.function.name);
    let key = call.frame.step().ok_or_else(missing)?;
    Ok(Mark::new(call.host.run()?.id(), &key_text(key)))
}

/// What a step's `check` clause wants to know.
pub(super) fn state(made: Made, found: Option<Map>) -> Dynamic {
    let word = match made {
        Made::Ours => "done",
        Made::Foreign => "foreign",
        Made::Absent => "absent",
    };
    seen(word, found)
}

/// A word of `check` with what was found.
pub(super) fn seen(word: &str, found: Option<Map>) -> Dynamic {
    let value = found.map_or(Value::Null, Value::Map);
    convert::map_to_dynamic(&map! { "state" => word, "value" => value })
}

/// An undo takes back only what its own step made: the name may belong to somebody else by now.
pub(super) fn may_delete(call: &Call, resource: Resource<'_>, id: &str) -> Result<bool> {
    if !call.frame.is_undo() {
        return Ok(true);
    }
    let mark = mark(call)?;
    let made = ask(call, &format!("asking who made `{id}`"), async |rds| rds.made_by(resource, &mark).await)?;
    if made == Made::Foreign {
        call.host.tell(Notice::Warned(format!("`{id}` was not made by this step of this run: it stays")));
    }
    Ok(made == Made::Ours)
}

/// Deletes something as soon as its state allows it. What is gone already is no error.
pub(super) async fn once_it_rests(what: &str, delete: impl AsyncFn() -> Result<()>) -> Result<()> {
    let patience = Patience { every: LOOK_EVERY, deadline: AT_WORK };
    poll::until(&format!("{what} to be in a state in which it can be deleted"), patience, async || {
        match delete().await {
            Err(error) if error.code() == Code::AwsNotFound => Ok(Seen::Ready(())),
            Err(error) if error.fact("aws_code").is_some_and(|code| code.starts_with("InvalidDB")) => {
                Ok(Seen::NotYet(error.message().to_owned()))
            }
            deleted => deleted.map(Seen::Ready),
        }
    })
    .await
}
