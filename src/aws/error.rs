//! From the SDK's errors to pgrun's: which code, whether the outcome is known, and what AWS itself said.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_rds::{
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};

use super::{
    client::Aws,
    retry::{chain, never_sent},
};
use crate::{
    base::{Code, Error},
    fail,
};

/// One call, as its errors name it.
pub(super) struct Call<'a> {
    aws: &'a Aws,
    service: &'static str,
    action: &'static str,
    subject: &'a str,
    changes: bool,
}

impl Aws {
    /// A question to RDS about `subject`.
    pub(super) fn asks<'a>(&'a self, action: &'static str, subject: &'a str) -> Call<'a> {
        Call { aws: self, service: "rds", action, subject, changes: false }
    }

    /// A change that RDS is told to make to `subject`.
    pub(super) fn changes<'a>(&'a self, action: &'static str, subject: &'a str) -> Call<'a> {
        Call { aws: self, service: "rds", action, subject, changes: true }
    }
}

impl Call<'_> {
    /// The same call, of Secrets Manager.
    pub(super) fn of_secrets(self) -> Self {
        Self { service: "secretsmanager", ..self }
    }

    /// The same call, of CloudWatch.
    pub(super) fn of_metrics(self) -> Self {
        Self { service: "monitoring", ..self }
    }

    /// The error of pgrun that says what happened to this call.
    pub(super) fn failed<E>(&self, error: &SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let request_id = error.request_id().map(str::to_owned);
        let status = error.raw_response().map(|answer| answer.status().as_u16());
        let mut told = match error {
            SdkError::ServiceError(answer) => match answer.err().code() {
                Some(code) => self.answered(code, answer.err().message(), status),
                // The SDK's form of "this is not the XML I know".
                None => self.no_answer(&format!("the answer cannot be read: {}", root_cause(error))),
            },
            SdkError::TimeoutError(_) => self.no_answer(&format!("no answer came: {}", root_cause(error))),
            SdkError::ResponseError(_) => self.no_answer(&format!("the answer cannot be read: {}", root_cause(error))),
            _ => self.not_delivered(error),
        };
        if let Some(status) = status {
            told = told.detail("http_status", status.to_string());
        }
        if let Some(id) = request_id {
            told = told.detail("request_id", id);
        }
        tracing::debug!(action = self.action, subject = self.subject, code = told.code().name(), "AWS call failed");
        told
    }

    /// AWS answered with an error.
    fn answered(&self, aws_code: &str, words: Option<&str>, status: Option<u16>) -> Error {
        let words = self.aws.redactor().clean(words.unwrap_or("without a reason")).trim_end_matches('.').to_owned();
        let code = match code_of(aws_code) {
            Code::AwsError if status.is_some_and(|status| status >= 500) => {
                if self.changes {
                    Code::AwsUnknown
                } else {
                    Code::AwsUnavailable
                }
            }
            code => code,
        };
        let what = if code == Code::AwsUnknown { "may have taken effect, AWS failed" } else { "was refused" };
        let error = fail!(code, "{} of `{}` {what}: {words} ({aws_code})", self.action, self.subject);
        let error = match code {
            Code::AwsDenied => error.hint(format!("allow `{}:{}` for these credentials", self.service, self.action)),
            Code::AwsCredentials if is_about_time(aws_code, &words) => error.hint(SET_CLOCK),
            Code::AwsCredentials => error.hint(LOG_IN),
            Code::AwsNotFound => match self.aws.place() {
                Some(place) => error.hint(format!("this is {place}; check the name, AWS_REGION and AWS_PROFILE")),
                None => error,
            },
            _ => error,
        };
        error.detail("aws_code", aws_code)
    }

    /// The request left, or may have left, and nothing usable came back.
    fn no_answer(&self, what: &str) -> Error {
        let code = if self.changes { Code::AwsUnknown } else { Code::AwsUnavailable };
        fail!(code, "{} of `{}`: {}", self.action, self.subject, self.aws.redactor().clean(what))
    }

    /// The SDK gave up before an answer: no credentials, no connection, or a connection lost midway.
    fn not_delivered(&self, error: &(dyn StdError + 'static)) -> Error {
        let reason = self.aws.redactor().clean(&root_cause(error)).into_owned();
        if let Some(problem) = chain(error).find_map(|cause| cause.downcast_ref::<CredentialsError>()) {
            let (code, what) = match problem {
                CredentialsError::ProviderTimedOut(_) => (Code::AwsCredentials, "did not come in time"),
                CredentialsError::InvalidConfiguration(_) => (Code::AwsCredentials, "are configured wrongly"),
                _ => (Code::AwsCredentials, "cannot be found or used"),
            };
            let hint = if reason.contains("feature") { NO_SSO } else { LOG_IN };
            return fail!(code, "{} of `{}` was not sent: AWS credentials {what}: {reason}", self.action, self.subject)
                .hint(hint);
        }
        if never_sent(error) {
            let error = fail!(Code::AwsUnavailable, "{} of `{}` was not sent: {reason}", self.action, self.subject);
            return error.hint("check the network, AWS_REGION and AWS_ENDPOINT_URL");
        }
        self.no_answer(&format!("the connection failed: {reason}"))
    }
}

const LOG_IN: &str = "run `aws sts get-caller-identity`; if it fails too, `aws sso login` or correct AWS_PROFILE";
const SET_CLOCK: &str = "the clock of this machine is more than five minutes off: compare `date -u` with another machine, set \
                         it (`timedatectl set-ntp true`), then resume";

/// AWS refuses what seems to be signed at another time (RDS user guide and IAM, "Signing AWS API requests").
fn is_about_time(aws_code: &str, words: &str) -> bool {
    let told = ["Signature expired", "Signature not yet current"].iter().any(|begin| words.starts_with(begin));
    told || matches!(aws_code, "RequestTimeTooSkewed" | "RequestExpired")
}

const NO_SSO: &str = "run `eval \"$(aws configure export-credentials --format env)\"` in this shell first";

/// Codes that mean "later". RDS answers `Throttling` with HTTP 400 and does not model it; the rest is the SDK's list.
const THROTTLED: [&str; 9] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "SlowDown",
    "PriorRequestNotComplete",
];

/// Codes that mean "not with these keys" (RDS and Secrets Manager API references, "Common Errors").
const CREDENTIALS: [&str; 13] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidAccessKeyId",
    "AuthFailure",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestTimeTooSkewed",
];

/// Codes that mean "known, but not allowed".
const DENIED: [&str; 5] =
    ["AccessDenied", "AccessDeniedException", "NotAuthorized", "UnauthorizedOperation", "OptInRequired"];

/// pgrun's code for one of AWS's.
fn code_of(aws_code: &str) -> Code {
    let is_not_found = ["NotFound", "NotFoundFault", "NotFoundException"].iter().any(|end| aws_code.ends_with(end));
    match aws_code {
        code if THROTTLED.contains(&code) => Code::AwsThrottled,
        code if CREDENTIALS.contains(&code) => Code::AwsCredentials,
        code if DENIED.contains(&code) => Code::AwsDenied,
        _ if is_not_found => Code::AwsNotFound,
        _ => Code::AwsError,
    }
}

/// The innermost words: the outer ones are the SDK's "dispatch failure" and "io error".
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map_or_else(|| error.to_string(), ToString::to_string).trim_end_matches(['.', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Code, code_of};

    /// RDS names the same thing with and without `Fault`; Secrets Manager has its own word.
    #[test]
    fn codes_of_aws_fall_into_few_of_pgrun() {
        let cases = [
            ("DBInstanceNotFound", Code::AwsNotFound),
            ("DBLogFileNotFoundFault", Code::AwsNotFound),
            ("ResourceNotFoundException", Code::AwsNotFound),
            ("Throttling", Code::AwsThrottled),
            ("AccessDeniedException", Code::AwsDenied),
            ("ExpiredToken", Code::AwsCredentials),
            ("InvalidClientTokenId", Code::AwsCredentials),
            ("InvalidParameterCombination", Code::AwsError),
            ("DBInstanceAlreadyExists", Code::AwsError),
        ];
        for (aws, code) in cases {
            assert_eq!(code_of(aws), code, "{aws}");
        }
    }
}
