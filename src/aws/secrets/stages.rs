//! Moving stages from version to version.

use super::{CURRENT, PENDING, Secrets};
use crate::{
    base::{Code, Error, Result},
    fail,
};

/// What a promotion found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// The version that was current before.
    pub from: String,
    /// The version that is current now.
    pub to: String,
    /// It was current already: an earlier try had done it.
    pub was_done: bool,
}

impl Secrets {
    /// Makes `to` the current version if `from` still is: UpdateSecretVersionStage is a compare-and-swap. Secrets
    /// Manager moves `AWSPREVIOUS` along. When the answer is an error or does not come, the labels tell what happened.
    ///
    /// # Errors
    /// `require_failed` when somebody else made another version current; `aws_not_found`; `aws_unknown` when even the
    /// labels cannot be read; others of AWS.
    pub async fn promote(&self, secret: &str, to: &str, from: &str) -> Result<Promotion> {
        let done = |was_done| Promotion { from: from.to_owned(), to: to.to_owned(), was_done };
        if to == from {
            return Ok(done(true));
        }
        let Err(error) = self.move_stage(secret, CURRENT, Some(to), Some(from)).await else { return Ok(done(false)) };
        if matches!(error.code(), Code::AwsDenied | Code::AwsCredentials | Code::AwsNotFound) {
            return Err(error);
        }
        let Ok(now) = self.describe(secret).await else { return Err(error) };
        match now.version(CURRENT) {
            Some(current) if current == to => Ok(done(true)),
            Some(current) if current == from => Err(definite(error)),
            current => Err(fail!(
                Code::RequireFailed,
                "AWSCURRENT of secret `{secret}` is on version `{}`, wanted it on `{from}`: somebody else writes this \
                 secret",
                current.unwrap_or("none")
            )),
        }
    }

    /// Puts a stage on the version `to` and takes it from the version `from`. Without `to` it is only taken away.
    ///
    /// # Errors
    /// `aws_error` with `InvalidParameterException` when the stage is not on `from`; `aws_not_found`; `aws_unknown`;
    /// others of AWS.
    pub async fn move_stage(&self, secret: &str, stage: &str, to: Option<&str>, from: Option<&str>) -> Result<()> {
        let call = self.aws.secrets_change().await?.update_secret_version_stage().secret_id(secret);
        let call = call.version_stage(stage).set_move_to_version_id(to.map(str::to_owned));
        let sent = call.set_remove_from_version_id(from.map(str::to_owned)).send().await;
        let call = self.aws.changes("UpdateSecretVersionStage", secret).of_secrets();
        sent.map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// The version of a rotation in progress, if there is one.
    ///
    /// # Errors
    /// `aws_not_found`, and others of AWS.
    pub async fn pending(&self, secret: &str) -> Result<Option<String>> {
        Ok(self.describe(secret).await?.pending().map(str::to_owned))
    }

    /// Takes `AWSPENDING` off a version; if it is not there, nothing happens. While the label sits on a version that
    /// is not current, RotateSecret refuses to begin.
    ///
    /// # Errors
    /// `aws_not_found`; `aws_unknown`; others of AWS.
    pub async fn clear_pending(&self, secret: &str, version: &str) -> Result<()> {
        self.clear_stage(secret, PENDING, version).await
    }

    pub(super) async fn clear_stage(&self, secret: &str, stage: &str, version: &str) -> Result<()> {
        let Err(error) = self.move_stage(secret, stage, None, Some(version)).await else { return Ok(()) };
        match self.describe(secret).await {
            Ok(now) if now.version(stage) != Some(version) => Ok(()),
            _ => Err(error),
        }
    }
}

/// The labels were read afterwards and show that the call had no effect.
fn definite(error: Error) -> Error {
    if error.code() != Code::AwsUnknown {
        return error;
    }
    let mut known = Error::new(Code::AwsUnavailable, error.message());
    for (name, value) in error.details() {
        known = known.detail(name.clone(), value);
    }
    known
}
