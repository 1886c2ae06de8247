//! A parameter group belongs to one major version: an upgrade needs a new one, with the settings of the old one as far
//! as the new version takes them.

use std::{collections::BTreeMap, time::Duration};

use super::{
    client::Rds,
    instance::GroupStatus,
    parameters::{Parameter, Scope, family_of},
    tags::{Made, Mark, Resource},
};
use crate::{
    base::{
        Code, Map, Result,
        poll::{self, Patience, Seen},
    },
    fail, map,
};

/// What is carried where.
#[derive(Clone, Debug)]
pub struct Carry {
    /// Whether the settings of an instance are carried, or those of a cluster.
    pub scope: Scope,
    /// The instance or cluster whose settings are carried.
    pub from: String,
    /// The engine version that the new group is for.
    pub version: String,
    /// The new group's name.
    pub name: String,
    /// Values that hold in any case.
    pub set: BTreeMap<String, String>,
}

/// One parameter that is not the same in both groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Its name.
    pub parameter: String,
    /// Its value in the old group.
    pub before: Option<String>,
    /// Its value in the new one.
    pub after: Option<String>,
    /// Why they differ.
    pub why: String,
}

/// What [`Rds::carry_parameters`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// The new group.
    pub name: String,
    /// Its family.
    pub family: String,
    /// The group that the values came from.
    pub from: String,
    /// The parameters that it got, with their values.
    pub values: BTreeMap<String, String>,
    /// Where it differs.
    pub differences: Vec<Deviation>,
}

impl Carried {
    /// For scripts and the journal.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let row = |deviation: &Deviation| {
            map! {
                "parameter" => deviation.parameter.as_str(),
                "before" => deviation.before.as_deref(),
                "after" => deviation.after.as_deref(),
                "why" => deviation.why.as_str(),
            }
        };
        let values: Map = self.values.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        map! {
            "name" => self.name.as_str(),
            "family" => self.family.as_str(),
            "from" => self.from.as_str(),
            "values" => values,
            "differences" => self.differences.iter().map(row).collect::<Vec<Map>>(),
        }
    }
}

/// What is to be set, before it was tried.
struct Plan {
    values: BTreeMap<String, String>,
    differences: Vec<Deviation>,
}

/// A group that was just made is in every answer within this time.
const SHOWN: Patience = Patience { every: Duration::from_secs(1), deadline: Duration::from_secs(60) };

impl Rds {
    /// Makes a parameter group for the new version with every value that somebody has set for the instance, and those
    /// of `set`. Values that the new version does not know or RDS refuses are told, as are defaults that are not what
    /// they were. Safe to repeat: a group of the same step is completed.
    ///
    /// # Errors
    /// `foreign` when a group of that name exists that this step did not make; `require_failed` for a name in `set`
    /// that there is not, `aws_error` for a value of it that RDS refuses; others of AWS.
    pub async fn carry_parameters(&self, carry: &Carry, mark: &Mark) -> Result<Carried> {
        let (family, group) = self.carried_from(carry).await?;
        let scope = carry.scope;
        match self.made_by(Resource::ParameterGroup(scope, &carry.name), mark).await? {
            Made::Ours => {}
            Made::Absent => {
                let description = format!("made by pgrun from {}", group.name);
                self.create_parameter_group(scope, &carry.name, (&family, &description), mark).await?;
            }
            Made::Foreign => {
                let error =
                    fail!(Code::Foreign, "the parameter group `{}` exists, but this step did not make it", carry.name);
                return Err(error.hint("name it as the group to be used, or choose another name"));
            }
        }
        let old = self.parameters(scope, &group.name, None).await?;
        let new = self.parameters_of_new(scope, &carry.name).await?;
        let mut plan = plan(&old, &new, &carry.set, &family);
        if group.status == "pending-reboot" {
            let waits = |known: &&Parameter| known.source == "user" && !known.is_dynamic;
            plan.differences.extend(old.iter().filter(waits).map(|known| Deviation {
                parameter: known.name.clone(),
                before: known.value.clone(),
                after: plan.values.get(&known.name).cloned(),
                why: format!("`{}` waits for a reboot: the value may not be in force there", carry.from),
            }));
        }
        let given: Vec<(String, String)> = missing(&carry.set, &new);
        self.set_parameters(scope, &carry.name, &given).await?;
        let rest = plan.values.clone().into_iter().filter(|(name, _)| !carry.set.contains_key(name)).collect();
        // Whether it is dynamic the new version says, where it lists the parameter.
        let both: Vec<&Parameter> = new.iter().chain(&old).collect();
        for (name, value, why) in self.set_what_goes(carry, &both, missing(&rest, &new)).await? {
            plan.values.remove(&name);
            plan.differences.push(Deviation { parameter: name, before: Some(value), after: None, why });
        }
        plan.differences.sort_by(|a, b| a.parameter.cmp(&b.parameter));
        let from = group.name.clone();
        Ok(Carried { name: carry.name.clone(), family, from, values: plan.values, differences: plan.differences })
    }

    /// Whether [`Rds::carry_parameters`] has nothing left to do: `Ours` when it has not, `Absent` when it has, because
    /// there is no group or a value is missing.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn carried(&self, carry: &Carry, mark: &Mark) -> Result<Made> {
        let scope = carry.scope;
        let made = self.made_by(Resource::ParameterGroup(scope, &carry.name), mark).await?;
        if made != Made::Ours {
            return Ok(made);
        }
        let (family, group) = self.carried_from(carry).await?;
        let old = self.parameters(scope, &group.name, None).await?;
        let new = self.parameters(scope, &carry.name, None).await?;
        let plan = plan(&old, &new, &carry.set, &family);
        Ok(if missing(&plan.values, &new).is_empty() { Made::Ours } else { Made::Absent })
    }

    /// The family of the new group, and the old one.
    async fn carried_from(&self, carry: &Carry) -> Result<(String, GroupStatus)> {
        let (engine, group) = match carry.scope {
            Scope::Instance => {
                let instance = self.instance(&carry.from).await?;
                (instance.engine, instance.parameter_groups.into_iter().next())
            }
            Scope::Cluster => {
                let cluster = self.cluster(&carry.from).await?;
                (cluster.engine, Some(cluster.parameter_group))
            }
        };
        let group = group.ok_or_else(|| fail!(Code::AwsError, "`{}` shows no parameter group", carry.from))?;
        Ok((family_of(&engine, &carry.version), group))
    }

    async fn parameters_of_new(&self, scope: Scope, group: &str) -> Result<Vec<Parameter>> {
        let what = format!("parameter group `{group}` to be shown");
        poll::until(&what, SHOWN, async || match self.parameters(scope, group, None).await {
            Err(error) if error.code() == Code::AwsNotFound => Ok(Seen::NotYet(error.message().to_owned())),
            found => found.map(Seen::Ready),
        })
        .await
    }

    /// Sets values; those that RDS refuses come back with its words. One that is refused takes all of its call with it,
    /// so what was refused together is tried one by one.
    async fn set_what_goes(
        &self,
        carry: &Carry,
        known: &[&Parameter],
        values: Vec<(String, String)>,
    ) -> Result<Vec<(String, String, String)>> {
        let is_dynamic =
            |name: &str| known.iter().find(|known| known.name == name).is_some_and(|known| known.is_dynamic);
        let all: Vec<_> =
            values.iter().map(|(name, value)| (name.as_str(), value.as_str(), is_dynamic(name))).collect();
        match self.send_parameters(carry.scope, &carry.name, &all).await {
            Err(error) if is_refusal(&error) => {}
            done => return done.map(|()| vec![]),
        }
        let mut refused = vec![];
        for one in all {
            match self.send_parameters(carry.scope, &carry.name, &[one]).await {
                Err(error) if is_refusal(&error) => {
                    refused.push((one.0.to_owned(), one.1.to_owned(), error.message().to_owned()));
                }
                done => done?,
            }
        }
        Ok(refused)
    }
}

fn is_refusal(error: &crate::base::Error) -> bool {
    error.fact("aws_code").is_some_and(|code| code.starts_with("InvalidParameter"))
}

/// The values that the group does not have yet.
fn missing(values: &BTreeMap<String, String>, group: &[Parameter]) -> Vec<(String, String)> {
    let has = |(name, value): &(&String, &String)| {
        let is_it = |known: &&Parameter| known.name == **name && known.source == "user";
        group.iter().find(is_it).is_some_and(|known| known.value.as_ref() == Some(value))
    };
    values.iter().filter(|pair| !has(pair)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What is to be set in a group of the new family, and what will differ all the same.
fn plan(old: &[Parameter], new: &[Parameter], set: &BTreeMap<String, String>, family: &str) -> Plan {
    let known: BTreeMap<&str, &Parameter> = new.iter().map(|known| (known.name.as_str(), known)).collect();
    let mut values = BTreeMap::new();
    let mut differences = vec![];
    for before in old {
        let name = &before.name;
        let is_set = before.source == "user" && before.value.is_some();
        let mut differs = |after: Option<&String>, why: String| {
            let (before, after) = (before.value.clone(), after.cloned());
            differences.push(Deviation { parameter: name.clone(), before, after, why });
        };
        if let Some(wanted) = set.get(name) {
            if is_set && before.value.as_ref() != Some(wanted) {
                differs(Some(wanted), "the runbook sets it".into());
            }
            continue;
        }
        let after = known.get(name.as_str());
        // Names with a dot belong to extensions, which RDS does not list all of.
        let may_exist = after.is_some() || (name.contains('.') && !name.starts_with("rds."));
        match after {
            _ if is_set && !may_exist => differs(None, format!("{family} has no such parameter")),
            Some(after) if is_set && !after.is_modifiable => {
                differs(after.value.as_ref(), format!("RDS does not let it be set in {family}"));
            }
            _ if is_set => {
                values.insert(name.clone(), before.value.clone().unwrap_or_default());
            }
            Some(after)
                if after.is_modifiable
                    && after.source != "user"
                    && before.value.is_some()
                    && after.value != before.value =>
            {
                differs(after.value.as_ref(), format!("another default in {family}"));
            }
            _ => {}
        }
    }
    values.extend(set.clone());
    Plan { values, differences }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Parameter, missing, plan};

    fn parameter(name: &str, value: Option<&str>, source: &str, is_modifiable: bool) -> Parameter {
        Parameter {
            name: name.into(),
            value: value.map(Into::into),
            source: source.into(),
            is_dynamic: true,
            is_modifiable,
            allowed: None,
        }
    }

    /// What somebody has set goes over; what cannot, and what is otherwise without anybody's doing, is told.
    #[test]
    fn what_was_set_is_carried_and_the_rest_is_told() {
        let old = [
            parameter("work_mem", Some("8192"), "user", true),
            parameter("old_snapshot_threshold", Some("60"), "user", true),
            parameter("rds.gone", Some("1"), "user", true),
            parameter("cron.database_name", Some("shop"), "user", true),
            parameter("wal_compression", Some("1"), "user", true),
            parameter("rds.force_ssl", Some("0"), "engine-default", true),
            parameter("max_wal_senders", Some("10"), "user", true),
            parameter("jit", Some("1"), "engine-default", true),
        ];
        let new = [
            parameter("work_mem", Some("4096"), "engine-default", true),
            parameter("wal_compression", Some("0"), "system", false),
            parameter("rds.force_ssl", Some("1"), "engine-default", true),
            parameter("max_wal_senders", Some("20"), "user", true),
            parameter("jit", Some("1"), "engine-default", true),
        ];
        let set = BTreeMap::from([("max_wal_senders".to_owned(), "20".to_owned())]);
        let plan = plan(&old, &new, &set, "postgres17");
        let values: Vec<(&str, &str)> = plan.values.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(values, [("cron.database_name", "shop"), ("max_wal_senders", "20"), ("work_mem", "8192")]);
        let told: Vec<(&str, Option<&str>, &str)> = plan
            .differences
            .iter()
            .map(|found| (found.parameter.as_str(), found.after.as_deref(), found.why.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("old_snapshot_threshold", None, "postgres17 has no such parameter"),
                ("rds.gone", None, "postgres17 has no such parameter"),
                ("wal_compression", Some("0"), "RDS does not let it be set in postgres17"),
                ("rds.force_ssl", Some("1"), "another default in postgres17"),
                ("max_wal_senders", Some("20"), "the runbook sets it"),
            ]
        );
        let left = missing(&plan.values, &new);
        assert_eq!(left.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["cron.database_name", "work_mem"]);
    }
}
