//! A version of a secret with its value. The value is a [`Secret`] from the first moment, and the redactor knows every
//! part of it that is one.

use serde_json::Value as Json;

use super::{CURRENT, Secrets, epoch_ms};
use crate::{
    base::{
        Code, Map, Result, Secret, Value, clock,
        poll::{self, Patience, Seen},
    },
    fail, map,
};

/// Which version of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// The one that a stage is on.
    Stage(&'a str),
    /// The one with this id.
    Version(&'a str),
}

/// A version of a secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The ARN of the secret.
    pub arn: String,
    /// The name of the secret.
    pub name: String,
    /// The id of the version.
    pub version: String,
    /// The stages on this version.
    pub stages: Vec<String>,
    /// The whole value.
    pub text: Secret,
    /// When the version was made, in milliseconds since 1970.
    pub created_ms: Option<u64>,
}

/// Parts of a field's name that say the field is secret, in lower case.
const SECRET_WORDS: [&str; 8] = ["pass", "pwd", "secret", "token", "key", "credential", "private", "auth"];

impl Stored {
    /// Names and times for scripts and the journal: no value, not even a field.
    #[must_use]
    pub fn to_map(&self) -> Map {
        map! {
            "arn" => self.arn.as_str(),
            "name" => self.name.as_str(),
            "version" => self.version.as_str(),
            "stages" => self.stages.clone(),
            "created" => self.created_ms.map(clock::text_of_ms),
        }
    }

    /// The fields of a JSON value that are not secret, such as `host`, `port` and `username`.
    ///
    /// # Errors
    /// `value_guard` when the value is not a JSON object. The message does not show the value.
    pub fn fields(&self) -> Result<Map> {
        let object = self.object()?;
        let password = object.get("password").and_then(Json::as_str).unwrap_or_default();
        let public = object.iter().filter(|(name, value)| !is_secret(name, value, password));
        Ok(public.map(|(name, value)| (name.clone(), Value::from_plain_json(value))).collect())
    }

    /// One field as a secret, whatever its name. Numbers and other JSON come as their JSON text.
    ///
    /// # Errors
    /// As [`Stored::fields`].
    pub fn secret(&self, field: &str) -> Result<Option<Secret>> {
        Ok(self.object()?.get(field).map(|value| Secret::new(plain(value))))
    }

    /// The field `password`.
    ///
    /// # Errors
    /// As [`Stored::fields`]; `value_guard` when there is no such field.
    pub fn password(&self) -> Result<Secret> {
        let none = || fail!(Code::ValueGuard, "secret `{}` has no field `password`", self.name);
        self.secret("password")?.ok_or_else(none)
    }

    fn object(&self) -> Result<serde_json::Map<String, Json>> {
        match serde_json::from_str(self.text.expose()) {
            Ok(Json::Object(object)) => Ok(object),
            // serde_json's own message would quote the text.
            _ => Err(fail!(Code::ValueGuard, "the value of secret `{}` is not a JSON object", self.name)),
        }
    }

    /// Every text in the value that must be masked wherever it appears.
    fn parts(&self) -> Vec<String> {
        let mut parts = vec![self.text.expose().to_owned()];
        if let Ok(object) = self.object() {
            let password = object.get("password").and_then(Json::as_str).unwrap_or_default();
            let secret = object.iter().filter(|(name, value)| is_secret(name, value, password));
            parts.extend(secret.map(|(_, value)| plain(value)));
        }
        parts
    }
}

/// Whether a field must not be shown: by its name, because the password is in it, or because it is a URL with one.
fn is_secret(name: &str, value: &Json, password: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if SECRET_WORDS.iter().any(|word| name.contains(word)) {
        return value.is_string() || value.is_object() || value.is_array();
    }
    let text = plain(value);
    let has_password = !password.is_empty() && text.contains(password);
    has_password || text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Secrets {
    /// A version of a secret with its value.
    ///
    /// # Errors
    /// `aws_not_found` for a secret, version or stage that does not exist; `aws_error` for a secret scheduled for
    /// deletion and for binary values; those of AWS.
    pub async fn get(&self, secret: &str, which: Which<'_>) -> Result<Stored> {
        let call = self.aws.secrets_ask().await?.get_secret_value().secret_id(secret);
        let sent = match which {
            Which::Stage(stage) => call.version_stage(stage),
            Which::Version(id) => call.version_id(id),
        };
        let call = self.aws.asks("GetSecretValue", secret).of_secrets();
        let answer = sent.send().await.map_err(|error| call.failed(&error))?;
        let Some(text) = answer.secret_string() else {
            return Err(fail!(Code::AwsError, "the value of secret `{secret}` is binary, wanted text"));
        };
        let stored = Stored {
            arn: answer.arn().unwrap_or_default().to_owned(),
            name: answer.name().unwrap_or(secret).to_owned(),
            version: answer.version_id().unwrap_or_default().to_owned(),
            stages: answer.version_stages().to_vec(),
            text: self.aws.learn(text),
            created_ms: answer.created_date().and_then(epoch_ms),
        };
        for part in stored.parts() {
            self.aws.learn(&part);
        }
        Ok(stored)
    }

    /// The version that applications read.
    ///
    /// # Errors
    /// As [`Secrets::get`].
    pub async fn current(&self, secret: &str) -> Result<Stored> {
        self.get(secret, Which::Stage(CURRENT)).await
    }

    /// A version that this process has just written. Secrets Manager is eventually consistent, so a read straight
    /// after a write may miss; for a few seconds that is not taken for an answer.
    ///
    /// # Errors
    /// As [`Secrets::get`]; `timeout` when it does not appear.
    pub async fn read_back(&self, secret: &str, version: &str) -> Result<Stored> {
        let what = format!("version `{version}` of secret `{secret}` to be readable");
        poll::until(&what, Patience::ms(250, 15_000), async || match self.get(secret, Which::Version(version)).await {
            Err(error) if error.code() == Code::AwsNotFound => Ok(Seen::NotYet("not found".to_owned())),
            stored => stored.map(Seen::Ready),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::{Secret, Stored};

    fn stored(text: &str) -> Stored {
        Stored {
            arn: "arn".into(),
            name: "app".into(),
            version: "v".into(),
            stages: vec![],
            text: Secret::new(text),
            created_ms: None,
        }
    }

    /// What a script may see, and what it may only pass on.
    #[test]
    fn secret_fields_are_not_among_the_plain_ones() {
        let stored = stored(
            r#"{"host":"h","port":5432,"username":"u","password":"p4ss","api_key":"k","url":"postgres://u:x@h/d",
                "dsn":"user=u password=p4ss"}"#,
        );
        let names: Vec<String> = stored.fields().unwrap().into_keys().collect();
        assert_eq!(names, ["host", "port", "username"]);
        assert_eq!(stored.password().unwrap().expose(), "p4ss");
        assert_eq!(stored.secret("port").unwrap().unwrap().expose(), "5432");
        assert_eq!(stored.parts().len(), 5);
    }

    /// An error about a value must not contain it.
    #[test]
    fn a_value_that_is_no_object_is_not_shown() {
        for text in ["hunter2", "[\"hunter2\"]", "{\"password\": hunter2}"] {
            let error = stored(text).fields().unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        assert!(stored("{}").password().is_err());
    }
}
