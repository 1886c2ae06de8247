//! Rotation functions. AWS runs a Lambda function; in the lab it is an HTTP server on loopback that is registered for
//! the function's name and gets Lambda's event by POST.
//!
//! It fails a step as a Lambda function does: by an answer other than 2xx, by the header `X-Amz-Function-Error`
//! (Lambda's API reference, `Invoke`), or by no answer in time.

use std::{collections::BTreeMap, time::Duration};

use axum::http::{Method, Uri};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::http;
use crate::{
    base::{Code, Result},
    fail,
};

/// How long a step may take where nothing is said: what AWS's own rotation functions are set up with.
const TIMEOUT_SECONDS: u64 = 30;

/// The longest that Lambda allows.
const LONGEST_SECONDS: u64 = 900;

/// The header by which Lambda says that a function failed.
const FAILED: &str = "x-amz-function-error";

/// A function as it is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// The name in its ARN: `arn:aws:lambda:REGION:ACCOUNT:function:NAME`.
    pub name: String,
    /// Where its event is posted: plain HTTP on loopback.
    pub url: String,
    /// How long each step may take.
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u64,
}

fn timeout_seconds() -> u64 {
    TIMEOUT_SECONDS
}

/// A function with how its last call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The function.
    #[serde(flatten)]
    pub function: Function,
    /// How often it was called.
    pub calls: u32,
    /// The step, the secret, and what went wrong, if anything did.
    pub last: Option<String>,
}

/// The functions of a lab by their names. Part of the state: a lab that goes on with a rotation needs them.
pub(crate) type Functions = BTreeMap<String, Registered>;

impl Function {
    /// A function with the usual timeout.
    #[must_use]
    pub fn new(name: &str, url: &str) -> Self {
        Self { name: name.into(), url: url.into(), timeout_seconds: TIMEOUT_SECONDS }
    }

    /// Refuses what is no function. Its URL must be on loopback: it is told which secrets there are.
    pub(crate) fn check(&self) -> Result<()> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(fits) {
            let wanted = "1 to 64 letters, digits, hyphens and underscores";
            return Err(fail!(Code::Usage, "got the function name `{}`, wanted {wanted}", self.name));
        }
        let uri: Option<Uri> = self.url.parse().ok();
        let is_here = uri.as_ref().is_some_and(|uri| {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let is_loopback = host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
            uri.scheme_str() == Some("http") && (host == "localhost" || is_loopback)
        });
        if !is_here {
            return Err(fail!(Code::Usage, "got the URL `{}`, wanted http:// and an address of loopback", self.url));
        }
        if !(1..=LONGEST_SECONDS).contains(&self.timeout_seconds) {
            let got = self.timeout_seconds;
            return Err(fail!(Code::Usage, "got a timeout of {got} s, wanted 1 to {LONGEST_SECONDS} s"));
        }
        Ok(())
    }

    /// Calls one step (user guide, "Lambda rotation functions").
    pub(crate) async fn call(&self, step: &str, secret: &str, token: &str) -> Result<()> {
        let event = json!({ "Step": step, "SecretId": secret, "ClientRequestToken": token });
        let limit = Duration::from_secs(self.timeout_seconds);
        let answer = http::ask(Method::POST, &self.url, event.to_string(), limit).await?;
        if (200..300).contains(&answer.status) && !answer.headers.contains_key(FAILED) {
            return Ok(());
        }
        let said: String = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
        Err(fail!(Code::LabFailed, "the function {} failed with HTTP {}: {said}", self.name, answer.status))
    }
}

/// The name of the function in an ARN; a version or alias behind it does not matter.
pub(crate) fn name_in(arn: &str) -> Option<&str> {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "lambda", _, _, "function", name] | ["arn", _, "lambda", _, _, "function", name, _] => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Function, name_in};

    #[test]
    fn functions_are_on_loopback() {
        for url in ["http://127.0.0.1:9000/x", "http://localhost:1", "http://[::1]:80/"] {
            assert!(Function::new("rotate", url).check().is_ok(), "{url}");
        }
        for url in ["http://10.0.0.1/", "https://127.0.0.1/", "http://127.0.0.1.evil.org/", "nonsense", ""] {
            assert!(Function::new("rotate", url).check().is_err(), "{url}");
        }
        assert!(Function::new("a b", "http://127.0.0.1/").check().is_err());
        let hasty = Function { timeout_seconds: 0, ..Function::new("a", "http://127.0.0.1/") };
        assert!(hasty.check().unwrap_err().message().contains("got a timeout of 0 s"));
    }

    #[test]
    fn arns_name_functions() {
        assert_eq!(name_in("arn:aws:lambda:eu-west-1:000000000000:function:rotate"), Some("rotate"));
        assert_eq!(name_in("arn:aws:lambda:eu-west-1:000000000000:function:rotate:live"), Some("rotate"));
        assert_eq!(name_in("arn:aws:rds:eu-west-1:000000000000:db:rotate"), None);
        assert_eq!(name_in("rotate"), None);
    }
}
