//! `rds::`: clusters of Aurora. What is in them are instances, for which the functions of instances hold too.

use rhai::Dynamic;

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    options::Options,
    rds::{AT_WORK, LOOK_EVERY, ask, change, mark, may_delete, once_it_rests, seen, state, wait},
    rds_upgrade::waits,
};
use crate::{
    aws::{
        CloneOf, Cluster, ClusterChange, ClusterGoal, FinalSnapshot, NewMember, Rds, Resource, Scope, Wait, inventory,
    },
    base::Result,
};

/// The functions.
pub(super) const MODULE: Module = Module {
    name: "rds",
    doc: "Clusters of Aurora.",
    functions: &[
        Function {
            name: "cluster",
            parameters: "id",
            gives: "a map",
            effect: Effect::Reads,
            doc: "What RDS tells about a cluster: endpoints (`host`, `reader_host`, `port`), `writer`, `readers` and more.",
            example: "try { rds::cluster(\"none\") } catch (e) { e.code } // => \"aws_not_found\"",
            run: |call| {
                let id = call.text(0)?;
                let found = ask(call, &format!("describing cluster `{id}`"), async |rds| rds.cluster(&id).await)?;
                Ok(convert::map_to_dynamic(&found.to_map()))
            },
        },
        Function {
            name: "cluster_snapshot",
            parameters: "id",
            gives: "a map",
            effect: Effect::Reads,
            doc: "What RDS tells about the snapshot of a cluster.",
            example: "try { rds::cluster_snapshot(\"none\") } catch (e) { e.code } // => \"aws_not_found\"",
            run: |call| {
                let id = call.text(0)?;
                let doing = format!("describing snapshot `{id}`");
                let found = ask(call, &doing, async |rds| rds.cluster_snapshot(&id).await)?;
                Ok(convert::map_to_dynamic(&found.to_map()))
            },
        },
        Function {
            name: "cluster_inventory",
            parameters: "cluster, [options]",
            gives: "a list of #{ id, verdict, database, object, text, hint }",
            effect: Effect::Reads,
            doc: "What stands in the way of upgrading a cluster: its state and its writer's, replicas elsewhere. Options: \
                  `target` (the version, checked against what RDS offers).",
            example: "try { rds::cluster_inventory(\"none\") } catch (e) { e.code } // => \"aws_not_found\"",
            run: |call| {
                let id = call.text(0)?;
                let wish = inventory::Wish {
                    target: Options::read(call, 1, &["target"])?.text("target")?,
                    ..inventory::Wish::default()
                };
                let doing = format!("taking stock of cluster `{id}`");
                Ok(convert::findings(&ask(call, &doing, async |rds| rds.cluster_findings(&id, &wish).await)?))
            },
        },
        Function {
            name: "cluster_state",
            parameters: "id",
            gives: "#{ state, value } for a step's check",
            effect: Effect::Reads,
            doc: "Whether this step made the cluster already: absent, done (with the cluster), or foreign.",
            example: "rds::cluster_state(\"none\").state // => \"absent\"",
            run: |call| {
                let id = call.text(0)?;
                let mark = mark(call)?;
                let doing = format!("looking for cluster `{id}`");
                let (made, found) = ask(call, &doing, async |rds| {
                    let made = rds.made_by(Resource::Cluster(&id), &mark).await?;
                    Ok((made, rds.find_cluster(&id).await?.map(|cluster| cluster.to_map())))
                })?;
                Ok(state(made, found))
            },
        },
        Function {
            name: "clone_cluster",
            parameters: "options",
            gives: "the cluster, a map",
            effect: Effect::Writes,
            doc: "Asks for a clone of a cluster as it is now: #{ source, cluster, parameter_group }. It has the source's \
                  network, storage, capacity, IAM authentication, log exports and tags; the rest, \
                  `rds::make_cluster_like` changes then. Wait for it with `rds::wait_cluster`; it has no instance before \
                  `rds::join_cluster`.",
            example: "try { rds::clone_cluster(#{ source: \"none\", cluster: \"x\" }) } catch (e) { e.code } \
                      // => \"aws_not_found\"",
            run: clone_cluster,
        },
        Function {
            name: "wait_cluster",
            parameters: "id, [options]",
            gives: "the cluster, a map",
            effect: Effect::Reads,
            doc: "Waits until a cluster is ready, or with #{ version } until it and each of its instances run that. RDS \
                  rolls a failed upgrade back to `available`, so the version is what counts. Options: version every \
                  deadline.",
            example: "if rds::cluster_state(\"none\").state == \"done\" { rds::wait_cluster(\"none\", #{ version: \"17.4\" }); }",
            run: |call| {
                let id = call.text(0)?;
                let options = Options::read(call, 1, &["version", "every", "deadline"])?;
                let goal = options.text("version")?.map_or(ClusterGoal::Ready, ClusterGoal::Version);
                let found = wait(call, &options, &format!("cluster `{id}`"), async |rds, wait| {
                    rds.wait_cluster(&id, &goal, wait).await
                })?;
                Ok(convert::map_to_dynamic(&found.to_map()))
            },
        },
        Function {
            name: "join_cluster",
            parameters: "options",
            gives: "the instance, a map",
            effect: Effect::Writes,
            doc: "Asks for an instance in a cluster: #{ cluster, instance, like, parameter_group, class }. The first one \
                  writes. `like` is an instance whose class, zone, address, certificate, tier and tags it gets. Look for \
                  it with `rds::instance_state`, wait for it with `rds::wait_instance`.",
            example: "try { rds::join_cluster(#{ cluster: \"none\", instance: \"x\", class: \"db.r7g.large\" }) } \
                      catch (e) { e.code } // => \"aws_not_found\"",
            run: join_cluster,
        },
        Function {
            name: "cluster_upgrade_state",
            parameters: "cluster, version",
            gives: "#{ state, value } for a step's check",
            effect: Effect::Reads,
            doc: "Whether the cluster and its instances have the version: absent, pending while they are upgraded, or done. \
                  A step with this check needs a verify clause that waits.",
            example: "try { rds::cluster_upgrade_state(\"none\", \"99\") } catch (e) { e.code } // => \"aws_not_found\"",
            run: |call| {
                let (id, version) = (call.text(0)?, call.text(1)?);
                let (found, runs) = ask(call, &format!("describing cluster `{id}`"), async |rds| {
                    let found = rds.cluster(&id).await?;
                    let runs = rds.cluster_runs(&found, &version).await?;
                    Ok((found, runs))
                })?;
                let is_at_it = found.status == "upgrading" || found.engine_version == version;
                let word = match (runs, is_at_it || waits(&found.pending, &version)) {
                    (true, _) => "done",
                    (_, true) => "pending",
                    _ => "absent",
                };
                Ok(seen(word, Some(found.to_map())))
            },
        },
        Function {
            name: "upgrade_cluster",
            parameters: "id, version, [options]",
            gives: "the cluster, a map",
            effect: Effect::Writes,
            doc: "Asks RDS to upgrade a cluster and its instances at once, with #{ parameter_group, \
                  instance_parameter_group } of the new family. Wait for it with `rds::wait_cluster`.",
            example: "try { rds::upgrade_cluster(\"none\", \"17\") } catch (e) { e.code } // => \"aws_not_found\"",
            run: |call| {
                let (id, version) = (call.text(0)?, call.text(1)?);
                let options = Options::read(call, 2, &["parameter_group", "instance_parameter_group"])?;
                let asked = ClusterChange {
                    engine_version: Some(version),
                    parameter_group: options.text("parameter_group")?,
                    member_group: options.text("instance_parameter_group")?,
                    ..ClusterChange::default()
                };
                claim(call, &id)?;
                let doing = format!("asking for the upgrade of cluster `{id}`");
                let made = change(call, &doing, None, async |rds| rds.modify_cluster(&id, &asked).await)?;
                Ok(convert::map_to_dynamic(&made.to_map()))
            },
        },
        Function {
            name: "make_cluster_like",
            parameters: "id, example, [options]",
            gives: "#{ changed, different }",
            effect: Effect::Writes,
            doc: "Gives a cluster what RDS does not take with a clone: backups, windows, deletion protection and tags. \
                  `different` is a list of #{ what, wanted, got } of what is left. What belongs to an instance alone, \
                  `rds::make_like` changes. Safe to repeat. Options: every deadline.",
            example: "try { rds::make_cluster_like(\"none\", \"none\") } catch (e) { e.code } // => \"aws_not_found\"",
            run: |call| {
                let (id, example) = (call.text(0)?, call.text(1)?);
                let options = Options::read(call, 2, &["every", "deadline"])?;
                let what = format!("cluster `{id}` to be like `{example}`");
                claim(call, &id)?;
                let liken = async |rds: &Rds, wait: &Wait<'_>| rds.make_cluster_like(&id, &example, wait).await;
                Ok(convert::map_to_dynamic(&wait(call, &options, &what, liken)?.to_map()))
            },
        },
        Function {
            name: "protect_cluster",
            parameters: "id, on, [options]",
            gives: "()",
            effect: Effect::Writes,
            doc: "Turns deletion protection of a cluster on or off and waits until that is so; a cluster that is gone \
                  already is no error. Options: every deadline.",
            example: "rds::protect_cluster(\"none\", false)",
            run: |call| {
                let (id, on): (String, bool) = (call.text(0)?, call.handle(1, "true or false")?);
                let options = Options::read(call, 2, &["every", "deadline"])?;
                call.enter(&[])?;
                wait(call, &options, &format!("the protection of `{id}`"), async |rds, wait| {
                    if rds.find_cluster(&id).await?.is_none() {
                        return Ok(());
                    }
                    rds.protect_cluster(&id, on, wait).await.map(drop)
                })?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "delete_cluster",
            parameters: "id, [options]",
            gives: "()",
            effect: Effect::Destroys,
            doc: "Deletes a cluster with its instances, the readers first, and waits until all is gone; one that is gone \
                  already is no error. It takes a last snapshot only with #{ final_snapshot: NAME }. In an undo clause \
                  what this step did not make stays.",
            example: "rds::delete_cluster(\"none\")",
            run: delete_cluster,
        },
        Function {
            name: "delete_cluster_parameter_group",
            parameters: "name",
            gives: "()",
            effect: Effect::Destroys,
            doc: "Deletes a cluster parameter group, once no cluster uses it any more; one that is gone already is no \
                  error. In an undo clause what this step did not make stays.",
            example: "rds::delete_cluster_parameter_group(\"none\")",
            run: |call| super::rds_settings::delete_group(call, Scope::Cluster),
        },
    ],
    methods: &[],
};

fn clone_cluster(call: &Call) -> Result<Dynamic> {
    let options = Options::read(call, 0, &["source", "cluster", "parameter_group"])?;
    let mut clone = CloneOf {
        source: options.need("source")?,
        cluster: options.need("cluster")?,
        parameter_group: options.text("parameter_group")?,
        ..CloneOf::default()
    };
    let mark = mark(call)?;
    claim(call, &clone.source)?;
    let made = change(call, &format!("asking for cluster `{}`", clone.cluster), None, async |rds| {
        clone.like(&rds.cluster(&clone.source).await?);
        rds.clone_cluster(&clone, &mark).await
    })?;
    Ok(convert::map_to_dynamic(&made.to_map()))
}

fn join_cluster(call: &Call) -> Result<Dynamic> {
    let options = Options::read(call, 0, &["cluster", "instance", "like", "parameter_group", "class"])?;
    let mut member = NewMember {
        cluster: options.need("cluster")?,
        id: options.need("instance")?,
        class: options.text("class")?.unwrap_or_default(),
        parameter_group: options.text("parameter_group")?,
        ..NewMember::default()
    };
    let (mark, like) = (mark(call)?, options.text("like")?);
    claim(call, &member.cluster)?;
    let made = change(call, &format!("asking for instance `{}`", member.id), None, async |rds| {
        if let Some(like) = &like {
            member.like(&rds.instance(like).await?);
        }
        rds.join_cluster(&member, &mark).await
    })?;
    Ok(convert::map_to_dynamic(&made.to_map()))
}

fn delete_cluster(call: &Call) -> Result<Dynamic> {
    let id = call.text(0)?;
    let last = Options::read(call, 1, &["final_snapshot"])?.text("final_snapshot")?;
    let last = last.map_or(FinalSnapshot::Skip, FinalSnapshot::Take);
    let rds = call.host.aws().rds();
    let doing = format!("deleting cluster `{id}`");
    let found = call.host.wait(&call.frame, &doing, async { rds.find_cluster(&id).await })?;
    let Some(cluster) = found else { return Ok(Dynamic::UNIT) };
    if !may_delete(call, Resource::Cluster(&id), &id)? {
        return Ok(Dynamic::UNIT);
    }
    call.wait(&doing, std::slice::from_ref(&cluster.arn), delete_whole(&rds, &cluster, &last))?;
    Ok(Dynamic::UNIT)
}

/// The readers first: without the writer one of them would take over for nothing.
async fn delete_whole(rds: &Rds, cluster: &Cluster, last: &FinalSnapshot) -> Result<()> {
    let wait = Wait { every: LOOK_EVERY, deadline: AT_WORK, ..Wait::default() };
    let mut leaving = vec![];
    for member in cluster.members.iter().rev() {
        leaving.extend(rds.find_instance(&member.id).await?);
        // The data is the cluster's: an instance of one has no snapshots.
        let delete = async || rds.delete_instance(&member.id, &FinalSnapshot::Skip, false).await.map(drop);
        once_it_rests(&format!("instance `{}`", member.id), delete).await?;
    }
    for instance in &leaving {
        rds.wait_instance_gone(instance, &wait).await?;
    }
    let delete = async || rds.delete_cluster(&cluster.id, last).await.map(drop);
    once_it_rests(&format!("cluster `{}`", cluster.id), delete).await?;
    rds.wait_cluster_gone(cluster, &wait).await
}

/// Claims a cluster by its ARN before it is changed.
fn claim(call: &Call, id: &str) -> Result<()> {
    let rds = call.host.aws().rds();
    let arn = async { Ok(rds.cluster(id).await?.arn) };
    let arn = call.host.wait(&call.frame, &format!("describing cluster `{id}`"), arn)?;
    call.enter(&[arn])
}
