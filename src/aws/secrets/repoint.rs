//! Pointing a secret at another server: a new version with another host and port, and nothing else changed.

use serde_json::Value as Json;

use super::{CURRENT, PENDING, Secrets, Summary, Which, json, token};
use crate::{
    base::{Code, Map, Result, Secret},
    fail, map,
};

/// What a repointing did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repointed {
    /// The version that was current before.
    pub from: String,
    /// The version that is current now; the same as `from` when it named the server already.
    pub to: String,
    /// The version of a rotation in progress, which was repointed too, and the one in its place.
    pub pending: Option<(String, String)>,
    /// Why the version of a rotation in progress could not be repointed. It will bring the old host back.
    pub pending_problem: Option<String>,
    /// Fields that still name the old host inside a longer text, such as a URL. pgrun does not guess at those.
    pub still_old: Vec<String>,
}

impl Repointed {
    /// The outcome for scripts and the journal.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let pending = self.pending.as_ref().map(|(from, to)| map! { "from" => from.as_str(), "to" => to.as_str() });
        map! {
            "from" => self.from.as_str(),
            "to" => self.to.as_str(),
            "changed" => self.from != self.to,
            "pending" => pending,
            "pending_problem" => self.pending_problem.as_deref(),
            "still_old" => self.still_old.clone(),
        }
    }
}

/// The stage of a version between its writing and its promotion. A version without any stage may be dropped by Secrets
/// Manager, and `AWSPENDING` belongs to whoever rotates.
const OWN_STAGE: &str = "pgrun-repoint";

/// How often the current version may change under our hands before that is an error: a rotation changes it once.
const TRIES: usize = 5;

impl Secrets {
    /// Makes a current version that differs from the present one in host and port only; every other byte is kept. A
    /// rotation in progress would bring the old host back, so its version is repointed as well. Safe to repeat: the
    /// tokens are derived from run, step and the version that is replaced.
    ///
    /// # Errors
    /// `require_failed` when the value has no `host`, has no `port` though the new one is not 5432, or keeps being
    /// changed by others; `value_guard` when the value is not a JSON object; `aws_not_found`; `aws_unknown`; others of
    /// AWS.
    pub async fn repoint(&self, secret: &str, host: &str, port: u16, run: &str, step: &str) -> Result<Repointed> {
        for _ in 0..TRIES {
            let current = self.get(secret, Which::Stage(CURRENT)).await?;
            let edit = Edit::new(secret, current.text.expose(), host, port)?;
            let to = match &edit.text {
                None => current.version.clone(),
                Some(text) => {
                    let token = token(run, step, &format!("repoint {}", current.version));
                    let made = self.put(secret, &Secret::new(text.as_str()), &token, &[OWN_STAGE]).await?;
                    match self.promote(secret, &made, &current.version).await {
                        // Somebody else moved it in between: begin again from what is current now.
                        Err(error) if error.code() == Code::RequireFailed => continue,
                        done => done?,
                    };
                    made
                }
            };
            let now = self.describe(secret).await?;
            if now.version(OWN_STAGE) == Some(to.as_str()) {
                self.clear_stage(secret, OWN_STAGE, &to).await?;
            }
            // The applications are there by now, so a rotation that cannot be helped is told and not a failure.
            let (pending, pending_problem) = match self.repoint_pending(secret, &now, (host, port), (run, step)).await {
                Err(error) if matches!(error.code(), Code::RequireFailed | Code::ValueGuard) => {
                    (None, Some(error.message().to_owned()))
                }
                pending => (pending?, None),
            };
            return Ok(Repointed { from: current.version, to, pending, pending_problem, still_old: edit.still_old });
        }
        Err(fail!(Code::RequireFailed, "secret `{secret}` was changed by others {TRIES} times while it was repointed")
            .hint("suspend its rotation, then try again"))
    }

    async fn repoint_pending(
        &self,
        secret: &str,
        now: &Summary,
        (host, port): (&str, u16),
        (run, step): (&str, &str),
    ) -> Result<Option<(String, String)>> {
        let Some(pending) = now.pending() else { return Ok(None) };
        let stored = match self.get(secret, Which::Version(pending)).await {
            // RotateSecret labels a version before its function has given it a value.
            Err(error) if error.code() == Code::AwsNotFound => return Ok(None),
            stored => stored?,
        };
        let Some(text) = Edit::new(secret, stored.text.expose(), host, port)?.text else { return Ok(None) };
        let token = token(run, step, &format!("repoint {pending}"));
        let made = self.put(secret, &Secret::new(text), &token, &[PENDING]).await?;
        Ok(Some((pending.to_owned(), made)))
    }
}

/// A secret's text with another host and port.
struct Edit {
    /// The new text; `None` when nothing has to change.
    text: Option<String>,
    /// Fields that name the old host inside a longer text.
    still_old: Vec<String>,
}

impl Edit {
    fn new(secret: &str, text: &str, host: &str, port: u16) -> Result<Self> {
        let members = json::members(text).map_err(|error| error.during(format!("secret `{secret}`")))?;
        let of = |name: &str| members.iter().filter(|member| member.name == name).collect::<Vec<_>>();
        let (hosts, ports) = (of("host"), of("port"));
        if hosts.is_empty() {
            return Err(fail!(Code::RequireFailed, "secret `{secret}` has no field `host` to repoint"));
        }
        if ports.is_empty() && port != 5432 {
            return Err(fail!(
                Code::RequireFailed,
                "secret `{secret}` has no field `port`, and the new server listens on {port}, not on 5432"
            ));
        }
        let old: Vec<Json> = hosts.iter().filter_map(|m| serde_json::from_str(&text[m.value.clone()]).ok()).collect();
        let quoted_host = Json::from(host).to_string();
        let mut places: Vec<(std::ops::Range<usize>, String)> =
            hosts.iter().map(|member| (member.value.clone(), quoted_host.clone())).collect();
        for member in ports {
            // A port written as a text stays a text: drivers are particular about it.
            let is_text = text[member.value.clone()].starts_with('"');
            places.push((member.value.clone(), if is_text { format!("\"{port}\"") } else { port.to_string() }));
        }
        places.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
        let mut edited = text.to_owned();
        for (place, value) in places {
            edited.replace_range(place, &value);
        }
        let names_old = |text: &str| {
            old.iter().filter_map(Json::as_str).any(|old| !old.is_empty() && old != host && text.contains(old))
        };
        let others = members.iter().filter(|m| m.name != "host" && names_old(&text[m.value.clone()]));
        let still_old = others.map(|member| member.name.clone()).collect();
        Ok(Self { text: (edited != text).then_some(edited), still_old })
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, Edit};

    fn edit(text: &str, host: &str, port: u16) -> Option<String> {
        Edit::new("app", text, host, port).unwrap().text
    }

    /// Blanks, order, escapes, unknown fields and the kind of the port survive.
    #[test]
    fn only_host_and_port_change() {
        let text =
            "{ \"port\":\"5432\",\n\t\"pass\\u0077ord\": \"\\u00e9 \\\"host\\\"\" , \"host\" : \"blue\" ,\"x\":1.0}";
        let wanted =
            "{ \"port\":\"6000\",\n\t\"pass\\u0077ord\": \"\\u00e9 \\\"host\\\"\" , \"host\" : \"green\" ,\"x\":1.0}";
        assert_eq!(edit(text, "green", 6000).as_deref(), Some(wanted));
        assert_eq!(edit(wanted, "green", 6000), None);
        assert_eq!(edit(r#"{"host":"b","port":1}"#, "a\"b", 2).as_deref(), Some(r#"{"host":"a\"b","port":2}"#));
    }

    /// A default port need not be written; any other must have a place.
    #[test]
    fn a_missing_port_is_the_default_one() {
        assert_eq!(edit(r#"{"host":"b"}"#, "g", 5432).as_deref(), Some(r#"{"host":"g"}"#));
        let error = Edit::new("app", r#"{"host":"b"}"#, "g", 6000).err().unwrap();
        assert_eq!(error.code(), Code::RequireFailed);
        assert!(Edit::new("app", r#"{"port":1}"#, "g", 6000).is_err());
    }

    /// A URL in another field is named, not guessed at.
    #[test]
    fn fields_that_still_name_the_old_host_are_told() {
        let text = r#"{"host":"blue.rds","port":5432,"url":"postgres://u@blue.rds/app","engine":"postgres"}"#;
        assert_eq!(Edit::new("app", text, "green.rds", 5432).unwrap().still_old, ["url"]);
        assert!(Edit::new("app", text, "blue.rds", 5432).unwrap().still_old.is_empty());
    }
}
