//! DB parameter groups: what they hold, and setting values in them.

use aws_sdk_rds::types::ApplyMethod;

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

/// A DB parameter group.
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
}

/// The parameter group family of a PostgreSQL version: `postgres17` for `17.4`.
#[must_use]
pub fn family_of(version: &str) -> String {
    format!("postgres{}", Version::parse(version).major())
}

/// The most parameters in one call (ModifyDBParameterGroup, RDS API Reference).
const MAX_PER_CALL: usize = 20;

impl Rds {
    /// The parameter group of that name.
    ///
    /// # Errors
    /// `aws_not_found`, and those of AWS.
    pub async fn parameter_group(&self, name: &str) -> Result<ParameterGroup> {
        let sent = self.ask().await?.describe_db_parameter_groups().db_parameter_group_name(name).send().await;
        let answer = sent.map_err(|error| self.aws.asks("DescribeDBParameterGroups", name).failed(&error))?;
        let groups = answer.db_parameter_groups();
        let group = groups.first().ok_or_else(|| fail!(Code::AwsNotFound, "there is no parameter group `{name}`"))?;
        Ok(from_sdk(group))
    }

    /// The parameter group of that name, or `None` when there is none.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn find_parameter_group(&self, name: &str) -> Result<Option<ParameterGroup>> {
        found(self.parameter_group(name).await)
    }

    /// Creates a parameter group, which carries the step's mark from its first moment.
    ///
    /// # Errors
    /// `aws_error` with `DBParameterGroupAlreadyExists` and others of AWS; `aws_unknown`.
    pub async fn create_parameter_group(
        &self,
        name: &str,
        family: &str,
        description: &str,
        tags: &Tags,
        mark: &Mark,
    ) -> Result<ParameterGroup> {
        let call = self.change().await?.create_db_parameter_group().db_parameter_group_name(name);
        let call = call.db_parameter_group_family(family).description(description).set_tags(Some(mark.join(tags)));
        let answer = call.send().await.map_err(|e| self.aws.changes("CreateDBParameterGroup", name).failed(&e))?;
        match answer.db_parameter_group() {
            Some(group) => Ok(from_sdk(group)),
            None => self.parameter_group(name).await,
        }
    }

    /// Deletes a parameter group that nothing uses.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` with `InvalidDBParameterGroupState` and others of AWS; `aws_unknown`.
    pub async fn delete_parameter_group(&self, name: &str) -> Result<()> {
        let sent = self.change().await?.delete_db_parameter_group().db_parameter_group_name(name).send().await;
        sent.map_err(|e| self.aws.changes("DeleteDBParameterGroup", name).failed(&e))?;
        Ok(())
    }

    /// The parameters of a group: all, or only those with this source (`user`, `system`, `engine-default`).
    ///
    /// # Errors
    /// `aws_not_found`, and those of AWS.
    pub async fn parameters(&self, group: &str, source: Option<&str>) -> Result<Vec<Parameter>> {
        let call = self.ask().await?.describe_db_parameters().db_parameter_group_name(group);
        let mut pages = call.set_source(source.map(str::to_owned)).into_paginator().send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.aws.asks("DescribeDBParameters", group).failed(&error))?;
            all.extend(page.parameters().iter().map(|parameter| Parameter {
                name: parameter.parameter_name().unwrap_or_default().to_owned(),
                value: parameter.parameter_value().map(str::to_owned),
                source: parameter.source().unwrap_or_default().to_owned(),
                is_dynamic: parameter.apply_type() == Some("dynamic"),
                is_modifiable: parameter.is_modifiable().unwrap_or(false),
                allowed: parameter.allowed_values().map(str::to_owned),
            }));
        }
        Ok(all)
    }

    /// Sets parameters: dynamic ones at once, static ones with the next reboot. All names are checked before the first
    /// call, since a group of more than twenty values takes several calls and could end up half set.
    ///
    /// # Errors
    /// `require_failed` for a name that does not exist or cannot be set; those of AWS, saying how many values were set.
    pub async fn set_parameters(&self, group: &str, values: &[(String, String)]) -> Result<()> {
        let known = self.parameters(group, None).await?;
        let mut wanted = Vec::with_capacity(values.len());
        for (name, value) in values {
            wanted.push((name.as_str(), value.as_str(), checked(group, &known, name)?.is_dynamic));
        }
        self.send_parameters(group, &wanted).await
    }

    /// Sets parameters, each with its value and whether it is dynamic, as [`Rds::set_parameters`] without its check.
    pub(super) async fn send_parameters(&self, group: &str, values: &[(&str, &str, bool)]) -> Result<()> {
        for (nth, some) in values.chunks(MAX_PER_CALL).enumerate() {
            let call = self.change().await?.modify_db_parameter_group().db_parameter_group_name(group);
            let sent = call.set_parameters(Some(some.iter().map(setting).collect())).send().await;
            sent.map_err(|error| {
                let before = prose::count(nth * MAX_PER_CALL, "value");
                let error = self.aws.changes("ModifyDBParameterGroup", group).failed(&error);
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

fn from_sdk(group: &aws_sdk_rds::types::DbParameterGroup) -> ParameterGroup {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    ParameterGroup {
        name: text(group.db_parameter_group_name()),
        arn: text(group.db_parameter_group_arn()),
        family: text(group.db_parameter_group_family()),
        description: text(group.description()),
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
        assert_eq!(family_of("17.4"), "postgres17");
    }
}
