//! `rds::`: what makes one instance like another: settings, parameter groups, names.

use std::collections::BTreeMap;

use rhai::Dynamic;

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    options::Options,
    rds::{ask, change, mark, may_delete, once_it_rests, seen, state, wait},
};
use crate::{
    aws::{Carry, Renaming, Resource, Scope, unlike},
    base::{Code, Map, Result, Value},
    fail,
};

/// The functions.
pub(super) const MODULE: Module = Module {
    name: "rds",
    doc: "What makes one instance like another.",
    functions: &[
        Function {
            name: "carry_parameters",
            parameters: "options",
            gives: "#{ name, family, from, values, differences }",
            effect: Effect::Writes,
            doc: "Makes a parameter group for another version with every value that somebody has set for an instance: \
                  #{ from, version, name, set }, where `from` is the instance and `set` are values that hold in any \
                  case. With `from_cluster` in the place of `from` it is the cluster parameter group. `differences` is a list of #{ parameter, before, after, why }: parameters that the version has \
                  not, values that RDS refuses, other defaults. Safe to repeat; undone by `rds::delete_parameter_group` or \
                  `rds::delete_cluster_parameter_group`.",
            example: "rds::carry_parameters(#{ from: \"blue\", version: rds::instance(\"blue\").engine_version, \
                      name: \"carried\", set: #{ \"work_mem\": 8192 } }).values.work_mem // => \"8192\"",
            run: carry_parameters,
        },
        Function {
            name: "carried_state",
            parameters: "options",
            gives: "#{ state } for a step's check",
            effect: Effect::Reads,
            doc: "Whether `rds::carry_parameters` with the same options has nothing left to do: done, absent while the \
                  group or a value is missing, or foreign.",
            example: "rds::carried_state(#{ from: \"blue\", version: rds::instance(\"blue\").engine_version, \
                      name: \"none\" }).state // => \"absent\"",
            run: |call| {
                let (carry, mark) = (carry(call)?, mark(call)?);
                let doing = format!("comparing parameter group `{}`", carry.name);
                let made = ask(call, &doing, async |rds| rds.carried(&carry, &mark).await)?;
                Ok(state(made, None))
            },
        },
        Function {
            name: "delete_parameter_group",
            parameters: "name",
            gives: "()",
            effect: Effect::Destroys,
            doc: "Deletes a parameter group, once no instance uses it any more; one that is gone already is no error. In \
                  an undo clause what this step did not make stays.",
            example: "rds::delete_parameter_group(\"none\")",
            run: |call| delete_group(call, Scope::Instance),
        },
        Function {
            name: "make_like",
            parameters: "id, example, [options]",
            gives: "#{ changed, different }",
            effect: Effect::Writes,
            doc: "Gives an instance what RDS does not take with a restore: backups, windows, monitoring, Performance \
                  Insights, growth of the storage, deletion protection, tags, and whatever else of the example can be \
                  changed without an outage. `different` is a list of #{ what, wanted, got } of what is left. Safe to \
                  repeat. Options: every deadline.",
            example: "rds::make_like(\"blue\", \"blue\").changed // => []",
            run: |call| {
                let (id, example) = (call.text(0)?, call.text(1)?);
                let options = Options::read(call, 2, &["every", "deadline"])?;
                let what = format!("instance `{id}` to be like `{example}`");
                claim(call, &id)?;
                let done = wait(call, &options, &what, async |rds, wait| rds.make_like(&id, &example, wait).await)?;
                Ok(convert::map_to_dynamic(&done.to_map()))
            },
        },
        Function {
            name: "unlike",
            parameters: "example, id",
            gives: "a list of #{ what, wanted, got }",
            effect: Effect::Reads,
            doc: "Where an instance is not like the example: class, storage, network, backups, monitoring, tags and more; \
                  not the version, the name and the parameter group.",
            example: "rds::unlike(\"blue\", \"blue\") // => []",
            run: |call| {
                let (example, id) = (call.text(0)?, call.text(1)?);
                let found = ask(call, "comparing two instances", async |rds| {
                    Ok(unlike(&rds.instance(&example).await?, &rds.instance(&id).await?))
                })?;
                let rows = found.into_iter().map(|unlike| {
                    crate::map! { "what" => unlike.what, "wanted" => unlike.wanted, "got" => unlike.got }
                });
                Ok(convert::to_dynamic(&Value::from(rows.collect::<Vec<Map>>())))
            },
        },
        Function {
            name: "protect",
            parameters: "id, on, [options]",
            gives: "()",
            effect: Effect::Writes,
            doc: "Turns deletion protection of an instance on or off and waits until that is so; an instance that is gone \
                  already is no error. Options: every deadline.",
            example: "rds::protect(\"blue\", false)",
            run: |call| {
                let (id, on): (String, bool) = (call.text(0)?, call.handle(1, "true or false")?);
                let options = Options::read(call, 2, &["every", "deadline"])?;
                call.enter(&[])?;
                wait(call, &options, &format!("the protection of `{id}`"), async |rds, wait| {
                    match rds.protect(&id, on, wait).await {
                        Err(error) if error.code() == Code::AwsNotFound => Ok(()),
                        done => done.map(|_| ()),
                    }
                })?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "rename_instance",
            parameters: "from, to, [options]",
            gives: "the instance, a map",
            effect: Effect::Writes,
            doc: "Renames an instance and waits until it bears the new name and the old one is free. The endpoint is named \
                  like the instance, so who asks for the old address finds what bears its name next, after some minutes \
                  of DNS. Refused when the new name is taken. Safe to repeat; undone by renaming back. Options: every \
                  deadline.",
            example: "rds::rename_instance(\"blue\", \"renamed\"); rds::rename_instance(\"renamed\", \"blue\").id // => \"blue\"",
            run: |call| {
                let (from, to) = (call.text(0)?, call.text(1)?);
                let options = Options::read(call, 2, &["every", "deadline"])?;
                let what = format!("instance `{from}` to be renamed");
                claim_either(call, &from, &to)?;
                let found = wait(call, &options, &what, async |rds, wait| rds.rename_instance(&from, &to, wait).await)?;
                Ok(convert::map_to_dynamic(&found.to_map()))
            },
        },
        Function {
            name: "rename_state",
            parameters: "from, to",
            gives: "#{ state } for a step's check",
            effect: Effect::Reads,
            doc: "Where a renaming stands, by the names that are there: absent, pending, done, or foreign when both names \
                  are taken.",
            example: "rds::rename_state(\"blue\", \"none\").state // => \"absent\"",
            run: |call| {
                let (from, to) = (call.text(0)?, call.text(1)?);
                let doing = format!("looking for instances `{from}` and `{to}`");
                let word = match ask(call, &doing, async |rds| rds.renaming(&from, &to).await)? {
                    Renaming::NotBegun => "absent",
                    Renaming::UnderWay => "pending",
                    Renaming::Done => "done",
                    Renaming::Taken => "foreign",
                };
                Ok(seen(word, None))
            },
        },
    ],
    methods: &[],
};

/// The options of `carry_parameters`.
fn carry(call: &Call) -> Result<Carry> {
    let options = Options::read(call, 0, &["from", "from_cluster", "version", "name", "set"])?;
    let text = |(name, value): (String, Value)| match value {
        Value::Text(text) => Ok((name, text)),
        Value::Int(number) => Ok((name, number.to_string())),
        Value::Bool(flag) => Ok((name, i32::from(flag).to_string())),
        other => Err(fail!(
            Code::ScriptError,
            "`{}`: the parameter `{name}` is a {}, wanted a text, a number or a truth value",
            call.function.name,
            other.type_name()
        )),
    };
    let set = options.map("set")?.into_iter().map(text).collect::<Result<BTreeMap<_, _>>>()?;
    // RDS keeps names in lower case.
    let name = options.need("name")?.to_ascii_lowercase();
    let (scope, from) = match options.text("from_cluster")? {
        Some(cluster) => (Scope::Cluster, cluster),
        None => (Scope::Instance, options.need("from")?),
    };
    Ok(Carry { scope, from, version: options.need("version")?, name, set })
}

fn carry_parameters(call: &Call) -> Result<Dynamic> {
    let (carry, mark) = (carry(call)?, mark(call)?);
    let doing = format!("carrying the parameters of `{}` over", carry.from);
    let instance = Some(carry.from.as_str()).filter(|_| carry.scope == Scope::Instance);
    let done = change(call, &doing, instance, async |rds| rds.carry_parameters(&carry, &mark).await)?;
    Ok(convert::map_to_dynamic(&done.to_map()))
}

/// Deletes the parameter group that a call names.
pub(super) fn delete_group(call: &Call, scope: Scope) -> Result<Dynamic> {
    let name = call.text(0)?.to_ascii_lowercase();
    if !may_delete(call, Resource::ParameterGroup(scope, &name), &name)? {
        return Ok(Dynamic::UNIT);
    }
    change(call, &format!("deleting parameter group `{name}`"), None, async |rds| {
        let what = format!("parameter group `{name}`");
        once_it_rests(&what, async || rds.delete_parameter_group(scope, &name).await).await
    })?;
    Ok(Dynamic::UNIT)
}

/// Claims an instance by its ARN before it is changed.
fn claim(call: &Call, id: &str) -> Result<()> {
    let rds = call.host.aws().rds();
    let arn = call
        .host
        .wait(&call.frame, &format!("describing instance `{id}`"), async { Ok(rds.instance(id).await?.arn) })?;
    call.enter(&[arn])
}

/// Claims whichever of two names is there: a renaming that is taken up again may be done.
fn claim_either(call: &Call, from: &str, to: &str) -> Result<()> {
    let rds = call.host.aws().rds();
    let arn = call.host.wait(&call.frame, &format!("describing instance `{from}`"), async {
        match rds.find_instance(from).await? {
            Some(found) => Ok(found.arn),
            None => Ok(rds.instance(to).await?.arn),
        }
    })?;
    call.enter(&[arn])
}
