//! Secrets Manager: versions, stages, and moving them by compare-and-swap.
//!
//! A stage such as `AWSCURRENT` is a label on exactly one version. What pgrun writes it writes under tokens derived
//! from run and step: the token becomes the version's id, and the same token with the same value again does nothing.

mod json;
mod repoint;
mod stages;
mod stored;
mod write;

use std::collections::BTreeMap;

use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};

pub use repoint::Repointed;
pub use stages::Promotion;
pub use stored::{Stored, Which};
pub use write::{Deletion, Passwords, token};

use super::{client::Aws, instance::tags_map, tags::Tags};
use crate::{
    base::{Map, Result, Value, clock},
    map,
};

/// The stage that applications read.
pub const CURRENT: &str = "AWSCURRENT";
/// The stage of the version before; moved by Secrets Manager itself.
pub const PREVIOUS: &str = "AWSPREVIOUS";
/// The stage of a rotation in progress.
pub const PENDING: &str = "AWSPENDING";

/// Secrets Manager. A secret is named by its name or its ARN.
#[derive(Clone, Debug)]
pub struct Secrets {
    pub(super) aws: Aws,
}

/// What is known of a secret without its values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The ARN.
    pub arn: String,
    /// The name.
    pub name: String,
    /// The description.
    pub description: String,
    /// Which version each stage is on.
    pub stages: BTreeMap<String, String>,
    /// Whether Secrets Manager rotates it.
    pub rotation_enabled: bool,
    /// The function that rotates it.
    pub rotation_lambda: Option<String>,
    /// When it is rotated next, in milliseconds since 1970.
    pub next_rotation_ms: Option<u64>,
    /// The AWS service that owns it, for example `rds`: such a secret must not be written by others.
    pub owning_service: Option<String>,
    /// When it was scheduled for deletion, in milliseconds since 1970.
    pub deleted_ms: Option<u64>,
    /// Tags.
    pub tags: Tags,
}

impl Summary {
    /// The version that the stage is on.
    #[must_use]
    pub fn version(&self, stage: &str) -> Option<&str> {
        self.stages.get(stage).map(String::as_str)
    }

    /// The version of a rotation in progress: it carries `AWSPENDING` and is not the current one. Secrets Manager
    /// leaves the label on the current version after a rotation.
    #[must_use]
    pub fn pending(&self) -> Option<&str> {
        self.version(PENDING).filter(|pending| self.version(CURRENT) != Some(pending))
    }

    /// The summary for scripts and the journal.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let stages: Map = self.stages.iter().map(|(stage, id)| (stage.clone(), Value::from(id.as_str()))).collect();
        map! {
            "arn" => self.arn.as_str(),
            "name" => self.name.as_str(),
            "description" => self.description.as_str(),
            "stages" => stages,
            "pending" => self.pending(),
            "rotation_enabled" => self.rotation_enabled,
            "rotation_lambda" => self.rotation_lambda.as_deref(),
            "next_rotation" => self.next_rotation_ms.map(clock::text_of_ms),
            "owning_service" => self.owning_service.as_deref(),
            "deleted" => self.deleted_ms.map(clock::text_of_ms),
            "tags" => tags_map(&self.tags),
        }
    }
}

impl Secrets {
    /// What is known of a secret without its values.
    ///
    /// # Errors
    /// `aws_not_found`, and those of AWS.
    pub async fn describe(&self, secret: &str) -> Result<Summary> {
        let sent = self.aws.secrets_ask().await?.describe_secret().secret_id(secret).send().await;
        let call = self.aws.asks("DescribeSecret", secret).of_secrets();
        let answer = sent.map_err(|error| call.failed(&error))?;
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Ok(Summary {
            arn: text(answer.arn()),
            name: text(answer.name()),
            description: text(answer.description()),
            stages: stages(answer.version_ids_to_stages()),
            rotation_enabled: answer.rotation_enabled().unwrap_or(false),
            rotation_lambda: answer.rotation_lambda_arn().map(str::to_owned),
            next_rotation_ms: answer.next_rotation_date().and_then(epoch_ms),
            owning_service: answer.owning_service().map(str::to_owned),
            deleted_ms: answer.deleted_date().and_then(epoch_ms),
            tags: tags(answer.tags()),
        })
    }

    /// All secrets whose name begins with a prefix; with `deleted`, those scheduled for deletion too.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn list(&self, prefix: &str, deleted: bool) -> Result<Vec<Summary>> {
        let filter = Filter::builder().key(FilterNameStringType::Name).values(prefix).build();
        let call = self.aws.secrets_ask().await?.list_secrets().include_planned_deletion(deleted);
        let call = if prefix.is_empty() { call } else { call.filters(filter) };
        let mut pages = call.into_paginator().send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            let call = self.aws.asks("ListSecrets", prefix).of_secrets();
            let page = page.map_err(|error| call.failed(&error))?;
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            all.extend(page.secret_list().iter().map(|entry| Summary {
                arn: text(entry.arn()),
                name: text(entry.name()),
                description: text(entry.description()),
                stages: stages(entry.secret_versions_to_stages()),
                rotation_enabled: entry.rotation_enabled().unwrap_or(false),
                rotation_lambda: entry.rotation_lambda_arn().map(str::to_owned),
                next_rotation_ms: entry.next_rotation_date().and_then(epoch_ms),
                owning_service: entry.owning_service().map(str::to_owned),
                deleted_ms: entry.deleted_date().and_then(epoch_ms),
                tags: tags(entry.tags()),
            }));
        }
        // Secrets Manager's filter looks at the words of a name, so `app` finds `my/app` too.
        all.retain(|summary| summary.name.starts_with(prefix));
        Ok(all)
    }
}

type StagesOfVersions = std::collections::HashMap<String, Vec<String>>;

/// Turned around: each stage is on one version.
fn stages(of_versions: Option<&StagesOfVersions>) -> BTreeMap<String, String> {
    let pairs = of_versions.into_iter().flatten();
    pairs.flat_map(|(id, stages)| stages.iter().map(move |stage| (stage.clone(), id.clone()))).collect()
}

fn tags(sdk: &[aws_sdk_secretsmanager::types::Tag]) -> Tags {
    sdk.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))).collect()
}

/// Milliseconds since 1970.
fn epoch_ms(at: &aws_sdk_secretsmanager::primitives::DateTime) -> Option<u64> {
    at.to_millis().ok().and_then(|ms| u64::try_from(ms).ok())
}
