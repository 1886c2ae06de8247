//! Tags, and how a repeated step recognises its own work.
//!
//! RDS has no idempotency tokens. Whatever a step makes carries two tags in the same call that makes it, so after a
//! crash there is no instant at which the thing exists and its maker is not known.

use std::collections::BTreeMap;

use aws_sdk_rds::types::Tag;
use sha2::{Digest, Sha256};

use super::{client::Rds, parameters::Scope};
use crate::base::{Code, Result};

/// Tags of a resource, by key.
pub type Tags = BTreeMap<String, String>;

const RUN: &str = "pgrun:run";
const STEP: &str = "pgrun:step";

/// The longest value of a tag ("Tagging Amazon RDS resources", RDS User Guide). The guide counts characters; counting
/// bytes is never too long.
const MAX_VALUE_BYTES: usize = 256;

/// Which run and which step made something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    run: String,
    step: String,
}

/// Who made a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It exists and carries this run's and this step's tags.
    Ours,
    /// It exists and was made by somebody else, another run, or another step.
    Foreign,
    /// There is no such resource.
    Absent,
}

impl Made {
    /// `ours`, `foreign` or `absent`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Foreign => "foreign",
            Self::Absent => "absent",
        }
    }
}

/// A resource by its kind and identifier.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// A DB instance.
    Instance(&'a str),
    /// A DB snapshot.
    Snapshot(&'a str),
    /// A DB cluster.
    Cluster(&'a str),
    /// A parameter group.
    ParameterGroup(Scope, &'a str),
}

impl Mark {
    /// The mark of a step. Names of steps are sentences; what a tag cannot carry is replaced, and a check sum of the
    /// whole name keeps two such steps apart.
    #[must_use]
    pub fn new(run: &str, step: &str) -> Self {
        Self { run: tag_value(run), step: tag_value(step) }
    }

    /// The two tags.
    #[must_use]
    pub fn tags(&self) -> Tags {
        Tags::from([(RUN.into(), self.run.clone()), (STEP.into(), self.step.clone())])
    }

    /// Compares with the tags of something that exists.
    #[must_use]
    pub fn made(&self, tags: &Tags) -> Made {
        let ours = tags.get(RUN) == Some(&self.run) && tags.get(STEP) == Some(&self.step);
        if ours { Made::Ours } else { Made::Foreign }
    }

    /// The caller's tags and the mark, in the SDK's form. The mark wins.
    pub(super) fn join(&self, tags: &Tags) -> Vec<Tag> {
        let mut all = tags.clone();
        all.extend(self.tags());
        to_sdk(&all)
    }
}

impl Rds {
    /// Who made this resource, by its tags.
    ///
    /// # Errors
    /// Those of AWS; that it does not exist is an answer, not an error.
    pub async fn made_by(&self, resource: Resource<'_>, mark: &Mark) -> Result<Made> {
        let tags = match resource {
            Resource::Instance(id) => self.find_instance(id).await?.map(|instance| instance.tags),
            Resource::Snapshot(id) => self.find_snapshot(id).await?.map(|snapshot| snapshot.tags),
            Resource::Cluster(id) => self.find_cluster(id).await?.map(|cluster| cluster.tags),
            Resource::ParameterGroup(scope, name) => match self.find_parameter_group(scope, name).await? {
                Some(group) => match self.tags(&group.arn).await {
                    // Deleted between the two questions.
                    Err(error) if error.code() == Code::AwsNotFound => None,
                    tags => Some(tags?),
                },
                None => None,
            },
        };
        Ok(tags.map_or(Made::Absent, |tags| mark.made(&tags)))
    }

    /// The tags of a resource.
    ///
    /// # Errors
    /// `aws_not_found`, and those of AWS.
    pub async fn tags(&self, arn: &str) -> Result<Tags> {
        let sent = self.ask().await?.list_tags_for_resource().resource_name(arn).send().await;
        let answer = sent.map_err(|error| self.aws.asks("ListTagsForResource", arn).failed(&error))?;
        Ok(from_sdk(answer.tag_list()))
    }

    /// Adds tags, or replaces their values.
    ///
    /// # Errors
    /// `aws_not_found`, and those of AWS.
    pub async fn add_tags(&self, arn: &str, tags: &Tags) -> Result<()> {
        let call = self.change().await?.add_tags_to_resource().resource_name(arn).set_tags(Some(to_sdk(tags)));
        call.send().await.map_err(|error| self.aws.changes("AddTagsToResource", arn).failed(&error))?;
        Ok(())
    }

    /// Removes tags by key; keys that are not there do not matter.
    ///
    /// # Errors
    /// `aws_not_found`, and those of AWS.
    pub async fn remove_tags(&self, arn: &str, keys: &[String]) -> Result<()> {
        let call = self.change().await?.remove_tags_from_resource().resource_name(arn);
        let sent = call.set_tag_keys(Some(keys.to_vec())).send().await;
        sent.map_err(|error| self.aws.changes("RemoveTagsFromResource", arn).failed(&error))?;
        Ok(())
    }
}

/// Tags as RDS sends them.
pub(super) fn from_sdk(tags: &[Tag]) -> Tags {
    tags.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))).collect()
}

/// Tags as RDS takes them.
pub(super) fn to_sdk(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// A text that a tag can carry: letters, digits, blanks and `_.:/=+-@`, at most 256 bytes.
pub(super) fn tag_value(text: &str) -> String {
    let allowed = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    if text.len() <= MAX_VALUE_BYTES && text.chars().all(allowed) {
        return text.to_owned();
    }
    let sum = format!("{:x}", Sha256::digest(text.as_bytes()));
    let sum = &sum[..16];
    let mut kept = String::new();
    for c in text.chars().map(|c| if allowed(c) { c } else { '_' }) {
        if kept.len() + c.len_utf8() + 1 + sum.len() > MAX_VALUE_BYTES {
            break;
        }
        kept.push(c);
    }
    format!("{kept}@{sum}")
}

#[cfg(test)]
mod tests {
    use super::{MAX_VALUE_BYTES, Made, Mark, tag_value};

    /// A step's name may be any text; its tag must be valid and must not collide with a similar name's.
    #[test]
    fn every_name_of_a_step_fits_a_tag() {
        assert_eq!(tag_value("prepare/take the snapshot"), "prepare/take the snapshot");
        let strange = tag_value("take \"blue\" 🙂\n");
        assert!(strange.starts_with("take _blue_ __@"), "{strange}");
        assert_ne!(strange, tag_value("take 'blue' 🙂\n"));
        let long = tag_value(&"é".repeat(300));
        assert!(long.len() <= MAX_VALUE_BYTES && long.len() > MAX_VALUE_BYTES - 4, "{}", long.len());
        assert_ne!(long, tag_value(&"é".repeat(301)));
    }

    /// The same step of another run is a stranger: its snapshot holds other data.
    #[test]
    fn only_the_same_run_and_step_is_ours() {
        let mark = Mark::new("r1", "take the snapshot");
        assert_eq!(mark.made(&Mark::new("r1", "take the snapshot").tags()), Made::Ours);
        assert_eq!(mark.made(&Mark::new("r2", "take the snapshot").tags()), Made::Foreign);
        assert_eq!(mark.made(&Mark::new("r1", "restore").tags()), Made::Foreign);
        assert_eq!(mark.made(&super::Tags::new()), Made::Foreign);
    }
}
