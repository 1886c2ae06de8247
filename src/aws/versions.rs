//! Engine versions and where they can be upgraded to.

use std::cmp::Ordering;

use super::client::Rds;
use crate::{
    base::{Code, Map, Result, prose},
    fail, map,
};

/// A version to which another can be upgraded directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeTarget {
    /// The version, for example `17.4`.
    pub version: String,
    /// Whether the major version changes.
    pub is_major: bool,
    /// Whether RDS would upgrade to it by itself, in a maintenance window.
    pub is_automatic: bool,
}

impl UpgradeTarget {
    /// The target for scripts and the journal.
    #[must_use]
    pub fn to_map(&self) -> Map {
        map! {
            "version" => self.version.as_str(),
            "is_major" => self.is_major,
            "is_automatic" => self.is_automatic,
        }
    }
}

/// A version as numbers: `17.10` is newer than `17.4`, and `11.22-rds.20240509` newer than `11.22`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    numbers: Vec<u64>,
}

impl Version {
    /// Reads every run of digits.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|run| run.parse().ok());
        Self { numbers: numbers.collect() }
    }

    /// The major version; zero if the text held no number. Before 10 it had two parts, which pgrun does not meet.
    #[must_use]
    pub fn major(&self) -> u64 {
        self.numbers.first().copied().unwrap_or(0)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers)
    }
}

/// Picks the wanted version out of the valid targets: the very version, or the newest of a major version such as `17`.
///
/// # Errors
/// `require_failed`, naming what is possible.
pub fn choose_target(from: &str, wanted: &str, targets: &[UpgradeTarget]) -> Result<UpgradeTarget> {
    let exact = targets.iter().find(|target| target.version == wanted);
    let is_major = !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_digit());
    let newest = || {
        let of_major =
            targets.iter().filter(|t| is_major && Version::parse(&t.version).major() == Version::parse(wanted).major());
        of_major.max_by_key(|target| Version::parse(&target.version))
    };
    exact.or_else(newest).cloned().ok_or_else(|| {
        let mut names: Vec<&str> = targets.iter().map(|target| target.version.as_str()).collect();
        names.sort_by_key(|name| std::cmp::Reverse(Version::parse(name)));
        let error = fail!(
            Code::RequireFailed,
            "RDS cannot upgrade {from} to `{wanted}`; valid targets are {}",
            prose::ticked_list(&names, 12)
        );
        match prose::nearest(wanted, names.iter().copied()) {
            Some(near) => error.hint(format!("set the target to {near}")),
            None => error,
        }
    })
}

impl Rds {
    /// All versions to which `version` of `engine` can be upgraded directly, newest first.
    ///
    /// # Errors
    /// `aws_not_found` when RDS does not know the version; those of AWS.
    pub async fn upgrade_targets(&self, engine: &str, version: &str) -> Result<Vec<UpgradeTarget>> {
        // Without `include_all` a version that can no longer be created is not listed, and so has no targets.
        let call = self.ask().await?.describe_db_engine_versions().engine(engine).engine_version(version);
        let mut pages = call.include_all(true).into_paginator().send();
        let mut is_known = false;
        let mut targets = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.aws.asks("DescribeDBEngineVersions", version).failed(&error))?;
            for known in page.db_engine_versions() {
                is_known = true;
                targets.extend(known.valid_upgrade_target().iter().map(|target| UpgradeTarget {
                    version: target.engine_version().unwrap_or_default().to_owned(),
                    is_major: target.is_major_version_upgrade().unwrap_or(false),
                    is_automatic: target.auto_upgrade().unwrap_or(false),
                }));
            }
        }
        if !is_known {
            return Err(fail!(Code::AwsNotFound, "RDS does not know version `{version}` of `{engine}`"));
        }
        targets.sort_by_key(|target| std::cmp::Reverse(Version::parse(&target.version)));
        targets.dedup();
        Ok(targets)
    }

    /// The upgrade target that `wanted` means: the very version, or the newest of a major version.
    ///
    /// # Errors
    /// As [`choose_target`] and [`Rds::upgrade_targets`].
    pub async fn upgrade_target(&self, engine: &str, version: &str, wanted: &str) -> Result<UpgradeTarget> {
        choose_target(version, wanted, &self.upgrade_targets(engine, version).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::{UpgradeTarget, Version, choose_target};

    fn targets() -> Vec<UpgradeTarget> {
        ["15.19", "16.9", "17.4", "17.10", "17.10-R2"]
            .into_iter()
            .map(|version| UpgradeTarget { version: version.into(), is_major: true, is_automatic: false })
            .collect()
    }

    /// As texts, 17.10 would be older than 17.4.
    #[test]
    fn versions_compare_as_numbers() {
        assert!(Version::parse("17.10") > Version::parse("17.4"));
        assert!(Version::parse("11.22-rds.20240509") > Version::parse("11.22-rds.20240418"));
        assert_eq!(Version::parse("17.4").major(), 17);
    }

    /// A major version means its newest minor; anything else means itself.
    #[test]
    fn a_target_is_exact_or_the_newest_of_its_major() {
        assert_eq!(choose_target("15.18", "17.4", &targets()).unwrap().version, "17.4");
        assert_eq!(choose_target("15.18", "17", &targets()).unwrap().version, "17.10-R2");
        let error = choose_target("15.18", "17.5", &targets()).unwrap_err();
        assert!(error.message().contains("valid targets are `17.10-R2`, `17.10`"), "{error}");
        assert_eq!(error.hint_text(), Some("set the target to 17.4"));
        assert!(choose_target("15.18", "18", &targets()).is_err());
        assert!(choose_target("15.18", "", &targets()).is_err());
    }
}
