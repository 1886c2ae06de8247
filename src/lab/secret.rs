//! One secret of Secrets Manager: its versions and its staging labels. The requests about it are read in
//! `actions/secrets`.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{
    refusal::{Outcome, Refusal},
    rotation::Rotation,
    site::ACCOUNT,
};

pub(crate) const CURRENT: &str = "AWSCURRENT";
pub(crate) const PENDING: &str = "AWSPENDING";
pub(crate) const PREVIOUS: &str = "AWSPREVIOUS";

/// AWS removes versions without a label when there are more than this many (user guide, "quotas") ..
const KEPT_VERSIONS: usize = 100;

/// .. but none that is younger than a day.
const KEPT_SECONDS: f64 = 86_400.0;

/// All versions of a secret together bear this many labels (user guide, "quotas").
const MAX_LABELS: usize = 20;

/// The value of a version: a text or base64 of bytes. The lab keeps values in its state file, as AWS keeps them in its
/// store: they are the secrets of a rehearsal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) text: Option<String>,
    pub(crate) binary: Option<String>,
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredVersion {
    /// None from the beginning of a rotation until its function has put a value (API reference, `DescribeSecret`:
    /// "Secrets Manager creates an AWSPENDING version ID before creating the new secret version").
    pub(crate) data: Option<Data>,
    /// Seconds since 1970.
    pub(crate) created: f64,
    /// Versions of one second have an order too.
    pub(crate) number: u64,
    /// The day on which its value was read last.
    #[serde(default)]
    pub(crate) accessed: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredSecret {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) description: Option<String>,
    pub(crate) kms_key: Option<String>,
    pub(crate) tags: Vec<(String, String)>,
    /// The service that manages it, such as `rds`.
    pub(crate) owning_service: Option<String>,
    pub(crate) created: f64,
    pub(crate) changed: f64,
    pub(crate) accessed: Option<f64>,
    /// When it will be deleted; until then it can be restored and not be used.
    pub(crate) deletion: Option<f64>,
    pub(crate) versions: BTreeMap<String, StoredVersion>,
    /// Each label is on one version: a map from label to version cannot hold it otherwise.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) next_number: u64,
    #[serde(default)]
    pub(crate) rotation: Rotation,
    /// The resource policy, as it was given.
    #[serde(default)]
    pub(crate) policy: Option<String>,
}

impl StoredSecret {
    /// A secret without versions. The six characters behind the name are AWS's way to tell apart secrets of one name
    /// that lived one after the other.
    pub(crate) fn new(name: &str, region: &str, now: f64) -> Self {
        let suffix: String = rand::rng().sample_iter(rand::distr::Alphanumeric).take(6).map(char::from).collect();
        Self {
            name: name.to_owned(),
            arn: format!("arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:{name}-{suffix}"),
            description: None,
            kms_key: None,
            tags: Vec::new(),
            owning_service: None,
            created: now,
            changed: now,
            accessed: None,
            deletion: None,
            versions: BTreeMap::new(),
            labels: BTreeMap::new(),
            next_number: 0,
            rotation: Rotation::default(),
            policy: None,
        }
    }

    /// True when this text names it: its name, its ARN, or its ARN without the six characters at the end.
    pub(crate) fn is_called(&self, id: &str) -> bool {
        self.name == id || self.arn == id || self.arn.rsplit_once('-').is_some_and(|(short, _)| short == id)
    }

    /// The labels of a version.
    pub(crate) fn labels_of(&self, version: &str) -> Vec<String> {
        self.labels.iter().filter(|(_, on)| *on == version).map(|(label, _)| label.clone()).collect()
    }

    /// Refuses while it is scheduled for deletion.
    pub(crate) fn require_live(&self) -> Outcome<()> {
        if self.deletion.is_none() {
            return Ok(());
        }
        Err(invalid_request("You can't perform this operation on the secret because it was marked for deletion."))
    }

    /// Refuses while another service manages it (API reference: the cause of `InvalidRequestException`).
    pub(crate) fn require_unmanaged(&self) -> Outcome<()> {
        let Some(owner) = &self.owning_service else { return Ok(()) };
        Err(invalid_request(format!(
            "The secret is managed by another service ({owner}), and you must use that service to update it."
        )))
    }

    /// The version that bears AWSPENDING while another one, or none, bears AWSCURRENT: a rotation that is not complete.
    pub(crate) fn unfinished(&self) -> Option<&str> {
        let pending = self.labels.get(PENDING).map(String::as_str);
        pending.filter(|pending| self.labels.get(CURRENT).is_none_or(|current| current != pending))
    }

    /// Adds a version that has no value yet, with AWSPENDING: what a rotation begins with.
    pub(crate) fn begin_version(&mut self, token: &str, now: f64) {
        self.version(token, now);
        self.attach(PENDING, token);
        self.changed = now;
    }

    /// Removes a version with its labels. Where somebody made it the current one meanwhile, it loses AWSPENDING only.
    pub(crate) fn drop_version(&mut self, token: &str, now: f64) {
        if self.labels.get(CURRENT).is_some_and(|current| current == token) {
            self.labels.remove(PENDING);
        } else {
            self.labels.retain(|_, on| on != token);
            self.versions.remove(token);
        }
        self.changed = now;
    }

    fn version(&mut self, token: &str, now: f64) -> &mut StoredVersion {
        let number = self.next_number + 1;
        self.versions.entry(token.to_owned()).or_insert_with(|| {
            self.next_number = number;
            StoredVersion { data: None, created: now, number, accessed: None }
        })
    }

    /// Refuses when the secret would bear too many labels with these.
    fn require_room(&self, labels: &[String]) -> Outcome<()> {
        let all: BTreeSet<&String> = self.labels.keys().chain(labels).collect();
        if all.len() <= MAX_LABELS {
            return Ok(());
        }
        Err(Refusal::new("LimitExceededException", "All versions of a secret can have up to 20 staging labels."))
    }

    /// Puts a label on a version: the one place where labels move. What AWSCURRENT leaves becomes AWSPREVIOUS.
    pub(crate) fn attach(&mut self, label: &str, version: &str) {
        let left = self.labels.insert(label.to_owned(), version.to_owned()).filter(|left| left != version);
        if label == CURRENT {
            if let Some(left) = left {
                self.labels.insert(PREVIOUS.to_owned(), left);
            }
            if self.labels.get(PREVIOUS).is_some_and(|previous| previous == version) {
                self.labels.remove(PREVIOUS);
            }
        }
        self.forget_empty();
    }

    /// A version without value and without label can be seen by nobody.
    fn forget_empty(&mut self) {
        let labels = &self.labels;
        self.versions.retain(|id, version| version.data.is_some() || labels.values().any(|on| on == id));
    }

    /// Adds a value under the caller's token. The same token with the same value is a replay: it changes nothing,
    /// wherever the labels are by now. With another value it is refused.
    pub(crate) fn put(&mut self, token: &str, data: Data, labels: &[String], now: f64) -> Outcome<()> {
        match self.versions.get(token).and_then(|version| version.data.as_ref()) {
            Some(known) if *known == data => return Ok(()),
            Some(_) => return Err(self.token_in_use(token)),
            None => {}
        }
        self.require_room(labels)?;
        self.version(token, now).data = Some(data);
        for label in labels {
            self.attach(label, token);
        }
        if labels.is_empty() || !self.labels.contains_key(CURRENT) {
            self.attach(CURRENT, token);
        }
        self.changed = now;
        self.prune(now);
        Ok(())
    }

    pub(crate) fn token_in_use(&self, token: &str) -> Refusal {
        Refusal::new(
            "ResourceExistsException",
            format!(
                "You can't use ClientRequestToken {token} because that value is already in use for a version of \
                 secret {}.",
                self.arn
            ),
        )
    }

    fn prune(&mut self, now: f64) {
        while self.versions.len() > KEPT_VERSIONS {
            let removable = |(id, version): &(&String, &StoredVersion)| {
                self.labels_of(id).is_empty() && now - version.created > KEPT_SECONDS
            };
            let oldest = self.versions.iter().filter(removable).min_by_key(|(_, version)| version.number);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { return };
            self.versions.remove(&oldest);
        }
    }

    /// Moves or removes a label. A label that is attached is taken away only from the version that the caller names:
    /// this makes the move of AWSCURRENT a compare-and-swap.
    pub(crate) fn move_label(&mut self, label: &str, to: Option<&str>, from: Option<&str>, now: f64) -> Outcome<()> {
        if to.is_none() && from.is_none() {
            return Err(invalid_parameter("You must provide MoveToVersionId, RemoveFromVersionId, or both."));
        }
        for version in [to, from].into_iter().flatten() {
            if !self.versions.contains_key(version) {
                return Err(not_found(format!("Secrets Manager can't find the specified secret version: {version}")));
            }
        }
        match (self.labels.get(label).map(String::as_str), from) {
            (Some(on), None) if to != Some(on) => {
                return Err(invalid_parameter(format!(
                    "The parameter RemoveFromVersionId can't be empty. Staging label {label} is currently attached to \
                     version {on}, so you must explicitly reference that version in RemoveFromVersionId."
                )));
            }
            (on, Some(from)) if on != Some(from) => {
                return Err(invalid_parameter(format!(
                    "The staging label {label} is not attached to version {from}, which RemoveFromVersionId names."
                )));
            }
            _ => {}
        }
        match to {
            Some(to) if label == CURRENT && self.versions.get(to).is_none_or(|version| version.data.is_none()) => {
                return Err(no_value_of(to));
            }
            Some(to) => {
                self.require_room(&[label.to_owned()])?;
                self.attach(label, to);
            }
            None if label == CURRENT => {
                return Err(invalid_parameter(
                    "You can only move staging label AWSCURRENT to a different secret version. It can't be completely \
                     removed.",
                ));
            }
            None => {
                self.labels.remove(label);
                self.forget_empty();
            }
        }
        self.changed = now;
        Ok(())
    }

    /// The version that a request names by id, by label, by both, or not at all.
    /// One that has no value yet is not there for readers.
    pub(crate) fn pick(&self, version: Option<&str>, label: Option<&str>) -> Outcome<(&str, &Data)> {
        let stage = label.unwrap_or(CURRENT);
        let by_label = self.labels.get(stage).map(String::as_str);
        let has_value = |id: &&str| self.versions.get(*id).is_some_and(|version| version.data.is_some());
        let id = match version {
            Some(id) if label.is_some() && by_label != Some(id) => {
                return Err(invalid_request(
                    "You provided a VersionStage that is not associated to the provided VersionId.",
                ));
            }
            Some(id) => id,
            None => by_label.filter(has_value).ok_or_else(|| {
                not_found(format!("Secrets Manager can't find the specified secret value for staging label: {stage}"))
            })?,
        };
        let found = self.versions.get_key_value(id).and_then(|(id, version)| Some((id, version.data.as_ref()?)));
        found.map(|(id, data)| (id.as_str(), data)).ok_or_else(|| no_value_of(id))
    }
}

fn no_value_of(version: &str) -> Refusal {
    not_found(format!("Secrets Manager can't find the specified secret value for VersionId: {version}"))
}

pub(crate) fn invalid_request(message: impl Into<String>) -> Refusal {
    Refusal::new("InvalidRequestException", message)
}

pub(crate) fn invalid_parameter(message: impl Into<String>) -> Refusal {
    Refusal::new("InvalidParameterException", message)
}

pub(crate) fn not_found(message: impl Into<String>) -> Refusal {
    Refusal::new("ResourceNotFoundException", message)
}

#[cfg(test)]
mod tests {
    use super::{CURRENT, Data, PREVIOUS, StoredSecret};

    fn secret() -> StoredSecret {
        StoredSecret::new("app", "eu-west-1", 0.0)
    }

    fn data(text: &str) -> Data {
        Data { text: Some(text.into()), binary: None }
    }

    fn labels(secret: &StoredSecret) -> String {
        let pairs: Vec<String> = secret.labels.iter().map(|(label, on)| format!("{label}={on}")).collect();
        pairs.join(" ")
    }

    /// moto ends with two AWSCURRENT here, winterbaume with two AWSPREVIOUS.
    #[test]
    fn a_rotation_moves_the_labels_as_aws_does() {
        let mut secret = secret();
        secret.put("1", data("a"), &[], 0.0).unwrap();
        secret.put("2", data("b"), &["AWSPENDING".into()], 1.0).unwrap();
        assert_eq!(labels(&secret), "AWSCURRENT=1 AWSPENDING=2");
        secret.move_label(CURRENT, Some("2"), Some("1"), 2.0).unwrap();
        assert_eq!(labels(&secret), "AWSCURRENT=2 AWSPENDING=2 AWSPREVIOUS=1");
        secret.put("3", data("c"), &[], 3.0).unwrap();
        assert_eq!(labels(&secret), "AWSCURRENT=3 AWSPENDING=2 AWSPREVIOUS=2");
        secret.move_label(CURRENT, Some("2"), Some("3"), 4.0).unwrap();
        assert_eq!(labels(&secret), "AWSCURRENT=2 AWSPENDING=2 AWSPREVIOUS=3");
    }

    #[test]
    fn a_move_is_a_compare_and_swap() {
        let mut secret = secret();
        secret.put("1", data("a"), &[], 0.0).unwrap();
        secret.put("2", data("b"), &["AWSPENDING".into()], 0.0).unwrap();
        for from in [None, Some("2")] {
            let refused = secret.move_label(CURRENT, Some("2"), from, 0.0).unwrap_err();
            assert_eq!(refused.code, "InvalidParameterException");
        }
        let refused = secret.move_label(CURRENT, None, Some("1"), 0.0).unwrap_err();
        assert_eq!(refused.code, "InvalidParameterException");
        assert_eq!(
            secret.move_label(CURRENT, Some("9"), Some("1"), 0.0).unwrap_err().code,
            "ResourceNotFoundException"
        );
        assert_eq!(labels(&secret), "AWSCURRENT=1 AWSPENDING=2", "a refused move changes nothing");
        secret.move_label("AWSPENDING", None, Some("2"), 0.0).unwrap();
        assert!(secret.pick(Some("2"), None).is_ok(), "a version without labels is still readable by id");
        assert_eq!(secret.pick(Some("2"), Some(CURRENT)).unwrap_err().code, "InvalidRequestException");
        assert!(!secret.labels.contains_key(PREVIOUS));
    }

    /// What a rotation function sees before its first step.
    #[test]
    fn a_version_begins_without_a_value() {
        let mut secret = secret();
        secret.put("1", data("a"), &[], 0.0).unwrap();
        secret.begin_version("2", 1.0);
        assert_eq!((labels(&secret).as_str(), secret.unfinished()), ("AWSCURRENT=1 AWSPENDING=2", Some("2")));
        for asked in [secret.pick(Some("2"), None), secret.pick(None, Some("AWSPENDING"))] {
            assert_eq!(asked.unwrap_err().code, "ResourceNotFoundException");
        }
        let early = secret.move_label(CURRENT, Some("2"), Some("1"), 1.0).unwrap_err();
        assert_eq!(early.code, "ResourceNotFoundException", "AWSCURRENT always has a value");
        secret.put("2", data("b"), &["AWSPENDING".into()], 2.0).unwrap();
        assert!(secret.pick(Some("2"), Some("AWSPENDING")).is_ok());
        secret.move_label(CURRENT, Some("2"), Some("1"), 3.0).unwrap();
        assert_eq!(secret.unfinished(), None);
        secret.begin_version("3", 4.0);
        secret.move_label("AWSPENDING", None, Some("3"), 4.0).unwrap();
        assert!(!secret.versions.contains_key("3"), "nothing is left of it");
    }

    #[test]
    fn replays_change_nothing_and_old_versions_go_after_a_day() {
        let mut secret = secret();
        secret.put("1", data("a"), &[], 0.0).unwrap();
        secret.put("2", data("b"), &[], 0.0).unwrap();
        secret.put("1", data("a"), &[], 9.0).unwrap();
        assert_eq!(labels(&secret), "AWSCURRENT=2 AWSPREVIOUS=1");
        assert_eq!(secret.put("1", data("other"), &[], 9.0).unwrap_err().code, "ResourceExistsException");
        for n in 3..150 {
            secret.put(&format!("{n}"), data("x"), &[], 10.0).unwrap();
        }
        assert_eq!(secret.versions.len(), 149, "none is younger than a day");
        secret.put("last", data("x"), &[], 100_000.0).unwrap();
        assert_eq!(secret.versions.len(), 100);
        assert!(!secret.versions.contains_key("1") && secret.versions.contains_key("149"));
    }
}
