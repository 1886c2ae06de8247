//! Creating, writing and deleting secrets.

use aws_sdk_secretsmanager::types::Tag;
use sha2::{Digest, Sha256};

use super::{Secrets, epoch_ms};
use crate::{
    aws::tags::{Mark, Tags},
    base::{Code, Error, Result, Secret},
    fail,
};

/// When a deleted secret is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// After so many days, 7 to 30. Until then its value cannot be read, its name cannot be used, and it can be
    /// restored.
    After(u8),
    /// At once and for ever.
    Now,
}

/// What a random password is made of.
#[derive(Clone, Debug)]
pub struct Passwords {
    /// How many characters, at most 4,096.
    pub length: u16,
    /// Characters that must not occur.
    pub exclude: String,
    /// Whether other characters than letters and digits may occur.
    pub punctuation: bool,
}

impl Default for Passwords {
    /// 32 characters without those that RDS refuses in a master password (`/`, `"`, `@`) and those that break URLs,
    /// connection strings, shells and environment files.
    fn default() -> Self {
        Self { length: 32, exclude: "/@\"'\\ :%?#&$`;=!{}[]<>|^~*(),".into(), punctuation: true }
    }
}

/// A request token, and so the id of the version that it makes. It depends on nothing but its parts: a repeated step
/// writes under the same token, and Secrets Manager sees that it is the same request.
///
/// It has the form of a UUID (version 8: made by a rule of one's own, RFC 9562), since the version's id is shown.
#[must_use]
pub fn token(run: &str, step: &str, purpose: &str) -> String {
    let mut hash = Sha256::new();
    for part in [run, step, purpose] {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let sum: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&sum[..16]);
    uuid::Builder::from_bytes(bytes)
        .with_variant(uuid::Variant::RFC4122)
        .with_version(uuid::Version::Custom)
        .into_uuid()
        .to_string()
}

impl Secrets {
    /// Creates a secret with its first version, which becomes the current one, and returns the secret's ARN. The same
    /// token and value again change nothing.
    ///
    /// # Errors
    /// `aws_error` with `ResourceExistsException` for a name that is taken, and `InvalidRequestException` for one that
    /// is scheduled for deletion; `aws_unknown`; others of AWS.
    pub async fn create(
        &self,
        name: &str,
        text: &Secret,
        token: &str,
        description: Option<&str>,
        tags: &Tags,
        mark: &Mark,
    ) -> Result<String> {
        let mut all = tags.clone();
        all.extend(mark.tags());
        let tags = all.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        // Safe to repeat, because of the token.
        let call = self.aws.secrets_ask().await?.create_secret().name(name).client_request_token(token);
        let call = call.secret_string(self.aws.learn(text.expose()).expose());
        let sent = call.set_description(description.map(str::to_owned)).set_tags(Some(tags)).send().await;
        let call = self.aws.changes("CreateSecret", name).of_secrets();
        let answer = sent.map_err(|error| call.failed(&error))?;
        Ok(answer.arn().unwrap_or(name).to_owned())
    }

    /// Writes a version and returns its id, which is the token. The stages have to be named: without them Secrets
    /// Manager moves `AWSCURRENT`, and every application would read a password that the database does not have yet.
    /// A stage that is on another version is taken from it without a word, so look first.
    ///
    /// # Errors
    /// `aws_not_found`; `aws_error` with `ResourceExistsException` when the token was used with another value;
    /// `value_guard` for no stages; `aws_unknown`; others of AWS.
    pub async fn put(&self, secret: &str, text: &Secret, token: &str, stages: &[&str]) -> Result<String> {
        if stages.is_empty() {
            return Err(fail!(
                Code::ValueGuard,
                "got no stages for the new version of `{secret}`, wanted at least one"
            ));
        }
        let stages = stages.iter().map(|&stage| stage.to_owned()).collect();
        // Safe to repeat, because of the token.
        let call = self.aws.secrets_ask().await?.put_secret_value().secret_id(secret).client_request_token(token);
        let call = call.secret_string(self.aws.learn(text.expose()).expose());
        let sent = call.set_version_stages(Some(stages)).send().await;
        let call = self.aws.changes("PutSecretValue", secret).of_secrets();
        let answer = sent.map_err(|error| other_value(call.failed(&error), token))?;
        Ok(answer.version_id().unwrap_or(token).to_owned())
    }

    /// Deletes a secret and returns from when on it is gone, in milliseconds since 1970.
    ///
    /// # Errors
    /// `aws_not_found`; `value_guard` for a window that Secrets Manager does not take; `aws_unknown`; others of AWS.
    pub async fn delete(&self, secret: &str, deletion: Deletion) -> Result<Option<u64>> {
        let call = self.aws.secrets_change().await?.delete_secret().secret_id(secret);
        let call = match deletion {
            Deletion::Now => call.force_delete_without_recovery(true),
            Deletion::After(days @ 7..=30) => call.recovery_window_in_days(i64::from(days)),
            Deletion::After(days) => {
                return Err(fail!(Code::ValueGuard, "got {days} days until `{secret}` is gone, wanted 7 to 30"));
            }
        };
        let sent = call.send().await;
        let call = self.aws.changes("DeleteSecret", secret).of_secrets();
        Ok(sent.map_err(|error| call.failed(&error))?.deletion_date().and_then(epoch_ms))
    }

    /// Takes back a deletion that is not done yet.
    ///
    /// # Errors
    /// `aws_not_found`; `aws_unknown`; others of AWS.
    pub async fn restore(&self, secret: &str) -> Result<()> {
        let sent = self.aws.secrets_change().await?.restore_secret().secret_id(secret).send().await;
        let call = self.aws.changes("RestoreSecret", secret).of_secrets();
        sent.map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// A random password, made by Secrets Manager.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn random_password(&self, passwords: &Passwords) -> Result<Secret> {
        let call = self.aws.secrets_ask().await?.get_random_password();
        let call = call.password_length(i64::from(passwords.length)).exclude_characters(&passwords.exclude);
        let sent = call.exclude_punctuation(!passwords.punctuation).require_each_included_type(true).send().await;
        let call = self.aws.asks("GetRandomPassword", "a new password").of_secrets();
        let answer = sent.map_err(|error| call.failed(&error))?;
        let none = || fail!(Code::AwsError, "Secrets Manager gave no password");
        Ok(self.aws.learn(answer.random_password().ok_or_else(none)?))
    }
}

/// Says what `ResourceExistsException` means for a derived token.
fn other_value(error: Error, token: &str) -> Error {
    if error.fact("aws_code") != Some("ResourceExistsException") {
        return error;
    }
    error.hint(format!("version `{token}` exists with another value; read it instead of making a new one"))
}

#[cfg(test)]
mod tests {
    use super::token;

    /// A repeated step must find the version it made; another step must not.
    #[test]
    fn tokens_depend_on_all_their_parts() {
        let one = token("run", "rotate", "create");
        assert_eq!(one, token("run", "rotate", "create"));
        assert_eq!(one.len(), 36);
        for other in [token("run", "rotatec", "reate"), token("runrotate", "", "create"), token("", "", "")] {
            assert_ne!(one, other);
        }
    }
}
