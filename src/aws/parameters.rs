//! Parameter groups of instances and of clusters: what they hold, and setting values in them.

use aws_sdk_rds::types::{ApplyMethod, DbClusterParameterGroup, DbParameterGroup};

use super::{
    client::Rds,
    instance::found,
    tags::{Mark, Tags},
    versions::Version,
};
use crate::{
    base::{Code, Error, Map, Result, prose},
    fail, map,
};

/// Whose parameter group it is. RDS keeps two kinds, each with names of its own; an instance of a cluster has one of
/// both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of instances.
    Instance,
    /// Of clusters.
    Cluster,
}

/// A parameter group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterGroup {
    /// The name, in lower case.
    pub name: String,
    /// The ARN.
    pub arn: String,
    /// The family, for example `postgres17`.
    pub family: String,
    /// The description.
    pub description: String,
}

impl ParameterGroup {
    /// The group for scripts and the journal.
    #[must_use]
    pub fn to_map(&self) -> Map {
        map! {
            "name" => self.name.as_str(),
            "arn" => self.arn.as_str(),
            "family" => self.family.as_str(),
            "description" => self.description.as_str(),
        }
    }

    fn of_instances(sdk: &DbParameterGroup) -> Self {
        Self {
            name: text(sdk.db_parameter_group_name()),
            arn: text(sdk.db_parameter_group_arn()),
            family: text(sdk.db_parameter_group_family()),
            description: text(sdk.description()),
        }
    }

    fn of_clusters(sdk: &DbClusterParameterGroup) -> Self {
        Self {
            name: text(sdk.db_cluster_parameter_group_name()),
            arn: text(sdk.db_cluster_parameter_group_arn()),
            family: text(sdk.db_parameter_group_family()),
            description: text(sdk.description()),
        }
    }
}

fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

/// A parameter of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The name.
    pub name: String,
    /// The value, if the group has one. It may be a formula such as `{DBInstanceClassMemory/32768}`.
    pub value: Option<String>,
    /// Who set it: `user`, `system` or `engine-default`.
    pub source: String,
    /// Whether a new value holds at once; otherwise after a reboot.
    pub is_dynamic: bool,
    /// Whether it can be set at all.
    pub is_modifiable: bool,
    /// The values RDS takes, as RDS describes them.
    pub allowed: Option<String>,
}

impl Parameter {
    /// The parameter for scripts and the journal.
    #[must_use]
    pub fn to_map(&self) -> Map {
        map! {
            "name" => self.name.as_str(),
            "value" => self.value.as_deref(),
            "source" => self.source.as_str(),
            "is_dynamic" => self.is_dynamic,
            "is_modifiable" => self.is_modifiable,
            "allowed" => self.allowed.as_deref(),
        }
    }

    fn from_sdk(sdk: &aws_sdk_rds::types::Parameter) -> Self {
        Self {
            name: text(sdk.parameter_name()),
            value: sdk.parameter_value().map(str::to_owned),
            source: text(sdk.source()),
            is_dynamic: sdk.apply_type() == Some("dynamic"),
            is_modifiable: sdk.is_modifiable().unwrap_or(false),
            allowed: sdk.allowed_values().map(str::to_owned),
        }
    }
}

/// The parameter group family of a version: `postgres17` for `postgres` at `17.4`.
#[must_use]
pub fn family_of(engine: &str, version: &str) -> String {
    format!("{engine}{}", Version::parse(version).major())
}

/// The most parameters in one call (ModifyDBParameterGroup, RDS API Reference).
const MAX_PER_CALL: usize = 20;

impl Rds {
    /// The parameter group of that name.
    ///
    /// # Errors
    /// `aws_not_found`, and those of AWS.
    pub async fn parameter_group(&self, scope: Scope, name: &str) -> Result<ParameterGroup> {
        let rds = self.ask().await?;
        let found = match scope {
            Scope::Instance => {
                let sent = rds.describe_db_parameter_groups().db_parameter_group_name(name).send().await;
                let answer = sent.map_err(|error| self.aws.asks("DescribeDBParameterGroups", name).failed(&error))?;
                answer.db_parameter_groups().first().map(ParameterGroup::of_instances)
            }
            Scope::Cluster => {
                let call = rds.describe_db_cluster_parameter_groups().db_cluster_parameter_group_name(name);
                let failed = |error| self.aws.asks("DescribeDBClusterParameterGroups", name).failed(&error);
                let answer = call.send().await.map_err(failed)?;
                answer.db_cluster_parameter_groups().first().map(ParameterGroup::of_clusters)
            }
        };
        found.ok_or_else(|| fail!(Code::AwsNotFound, "there is no parameter group `{name}`"))
    }

    /// The parameter group of that name, or `None` when there is none.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn find_parameter_group(&self, scope: Scope, name: &str) -> Result<Option<ParameterGroup>> {
        found(self.parameter_group(scope, name).await)
    }

    /// Creates a parameter group, which carries the step's mark from its first moment.
    ///
    /// # Errors
    /// `aws_error` with `DBParameterGroupAlreadyExists` and others of AWS; `aws_unknown`.
    pub async fn create_parameter_group(
        &self,
        scope: Scope,
        name: &str,
        (family, description): (&str, &str),
        mark: &Mark,
    ) -> Result<ParameterGroup> {
        let (rds, tags) = (self.change().await?, mark.join(&Tags::new()));
        let made = match scope {
            Scope::Instance => {
                let call = rds.create_db_parameter_group().db_parameter_group_name(name);
                let call = call.db_parameter_group_family(family).description(description).set_tags(Some(tags));
                let failed = |error| self.aws.changes("CreateDBParameterGroup", name).failed(&error);
                call.send().await.map_err(failed)?.db_parameter_group().map(ParameterGroup::of_instances)
            }
            Scope::Cluster => {
                let call = rds.create_db_cluster_parameter_group().db_cluster_parameter_group_name(name);
                let call = call.db_parameter_group_family(family).description(description).set_tags(Some(tags));
                let failed = |error| self.aws.changes("CreateDBClusterParameterGroup", name).failed(&error);
                call.send().await.map_err(failed)?.db_cluster_parameter_group().map(ParameterGroup::of_clusters)
            }
        };
        match made {
            Some(group) => Ok(group),
            None => self.parameter_group(scope, name).await,
        }
    }

    /// Deletes a parameter group that nothing uses.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` with `InvalidDBParameterGroupState` and others of AWS; `aws_unknown`.
    pub async fn delete_parameter_group(&self, scope: Scope, name: &str) -> Result<()> {
        let rds = self.change().await?;
        match scope {
            Scope::Instance => {
                let sent = rds.delete_db_parameter_group().db_parameter_group_name(name).send().await;
                sent.map_err(|error| self.aws.changes("DeleteDBParameterGroup", name).failed(&error)).map(drop)
            }
            Scope::Cluster => {
                let sent = rds.delete_db_cluster_parameter_group().db_cluster_parameter_group_name(name).send().await;
                sent.map_err(|error| self.aws.changes("DeleteDBClusterParameterGroup", name).failed(&error)).map(drop)
            }
        }
    }

    /// The parameters of a group: all, or only those with this source (`user`, `system`, `engine-default`).
    ///
    /// # Errors
    /// `aws_not_found`, and those of AWS.
    pub async fn parameters(&self, scope: Scope, group: &str, source: Option<&str>) -> Result<Vec<Parameter>> {
        let (rds, source) = (self.ask().await?, source.map(str::to_owned));
        let mut all = Vec::new();
        match scope {
            Scope::Instance => {
                let call = rds.describe_db_parameters().db_parameter_group_name(group).set_source(source);
                let mut pages = call.into_paginator().send();
                while let Some(page) = pages.next().await {
                    let page = page.map_err(|error| self.aws.asks("DescribeDBParameters", group).failed(&error))?;
                    all.extend(page.parameters().iter().map(Parameter::from_sdk));
                }
            }
            Scope::Cluster => {
                let call = rds.describe_db_cluster_parameters().db_cluster_parameter_group_name(group);
                let mut pages = call.set_source(source).into_paginator().send();
                while let Some(page) = pages.next().await {
                    let failed = |error| self.aws.asks("DescribeDBClusterParameters", group).failed(&error);
                    all.extend(page.map_err(failed)?.parameters().iter().map(Parameter::from_sdk));
                }
            }
        }
        Ok(all)
    }

    /// Sets parameters: dynamic ones at once, static ones with the next reboot. All names are checked before the first
    /// call, since a group of more than twenty values takes several calls and could end up half set.
    ///
    /// # Errors
    /// `require_failed` for a name that does not exist or cannot be set; those of AWS, saying how many values were set.
    pub async fn set_parameters(&self, scope: Scope, group: &str, values: &[(String, String)]) -> Result<()> {
        let known = self.parameters(scope, group, None).await?;
        let mut wanted = Vec::with_capacity(values.len());
        for (name, value) in values {
            wanted.push((name.as_str(), value.as_str(), checked(group, &known, name)?.is_dynamic));
        }
        self.send_parameters(scope, group, &wanted).await
    }

    /// Sets parameters, each with its value and whether it is dynamic, as [`Rds::set_parameters`] without its check.
    pub(super) async fn send_parameters(&self, scope: Scope, group: &str, values: &[(&str, &str, bool)]) -> Result<()> {
        for (nth, some) in values.chunks(MAX_PER_CALL).enumerate() {
            let (rds, some) = (self.change().await?, Some(some.iter().map(setting).collect()));
            let sent = match scope {
                Scope::Instance => {
                    let call = rds.modify_db_parameter_group().db_parameter_group_name(group).set_parameters(some);
                    let failed = |error| self.aws.changes("ModifyDBParameterGroup", group).failed(&error);
                    call.send().await.map(drop).map_err(failed)
                }
                Scope::Cluster => {
                    let call = rds.modify_db_cluster_parameter_group().db_cluster_parameter_group_name(group);
                    let failed = |error| self.aws.changes("ModifyDBClusterParameterGroup", group).failed(&error);
                    call.set_parameters(some).send().await.map(drop).map_err(failed)
                }
            };
            sent.map_err(|error| {
                let before = prose::count(nth * MAX_PER_CALL, "value");
                if nth == 0 { error } else { error.during(format!("{before} of {} set", values.len())) }
            })?;
        }
        Ok(())
    }
}

fn setting((name, value, is_dynamic): &(&str, &str, bool)) -> aws_sdk_rds::types::Parameter {
    let method = if *is_dynamic { ApplyMethod::Immediate } else { ApplyMethod::PendingReboot };
    aws_sdk_rds::types::Parameter::builder().parameter_name(*name).parameter_value(*value).apply_method(method).build()
}

/// The parameter of that name, if it can be set.
fn checked<'a>(group: &str, known: &'a [Parameter], name: &str) -> Result<&'a Parameter, Error> {
    let Some(parameter) = known.iter().find(|parameter| parameter.name == name) else {
        let error = fail!(Code::RequireFailed, "parameter group `{group}` has no parameter `{name}`");
        let near = prose::nearest(name, known.iter().map(|parameter| parameter.name.as_str()));
        return Err(match near {
            Some(near) => error.hint(format!("set `{near}` if that is what was meant")),
            None => error,
        });
    };
    if parameter.is_modifiable {
        Ok(parameter)
    } else {
        Err(fail!(Code::RequireFailed, "RDS does not let parameter `{name}` be set"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Parameter, checked, family_of};

    /// A mistyped or locked parameter is refused before anything is set.
    #[test]
    fn names_are_checked_before_the_first_call() {
        let parameter = |name: &str, is_modifiable| Parameter {
            name: name.into(),
            value: None,
            source: "user".into(),
            is_dynamic: true,
            is_modifiable,
            allowed: None,
        };
        let known = [parameter("work_mem", true), parameter("fsync", false)];
        assert!(checked("g", &known, "work_mem").is_ok());
        assert!(checked("g", &known, "fsync").is_err());
        let error = checked("g", &known, "wrk_mem").unwrap_err();
        assert_eq!(error.hint_text(), Some("set `work_mem` if that is what was meant"));
        assert_eq!(family_of("postgres", "17.4"), "postgres17");
    }
}
