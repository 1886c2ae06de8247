//! A runbook's parameters: read from the literal map in its text, given on the command line, checked before anything
//! runs.

use std::{collections::BTreeMap, path::Path};

use rhai::{Dynamic, ImmutableString, Map};
use serde_json::Value as Json;

use super::passwords;
use crate::{
    api::convert,
    base::{Code, Lsn, Redactor, Result, Secret, Value, prose, span},
    fail,
    journal::RunState,
};

/// The declared parameters, in alphabetical order.
pub type Declaration = BTreeMap<String, Parameter>;

/// One parameter as the runbook declares it.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its type.
    pub kind: &'static Kind,
    /// What it is for.
    pub help: String,
    /// Its value when none is given; without one the parameter must be given.
    pub otherwise: Option<Json>,
}

/// A type of parameters.
#[derive(Debug)]
pub struct Kind {
    /// The word in the declaration.
    pub name: &'static str,
    /// An example, for `--help` and errors.
    pub example: &'static str,
    read: fn(&Json) -> Option<Json>,
}

/// Every type.
pub const KINDS: &[Kind] = &[
    Kind { name: "text", example: "some text", read: read_text },
    Kind { name: "int", example: "42", read: |json| number(json)?.as_i64().map(Json::from) },
    Kind { name: "number", example: "0.5", read: |json| number(json)?.as_f64().map(Json::from) },
    Kind { name: "bool", example: "true", read: read_bool },
    Kind { name: "list", example: "[\"a\",\"b\"]", read: read_list },
    Kind { name: "map", example: "{\"a\":1}", read: |json| parsed(json).filter(Json::is_object) },
    Kind { name: "duration", example: "90s", read: |json| checked(json, |text| span::parse_duration(text).is_ok()) },
    Kind { name: "size", example: "20GB", read: |json| checked(json, |text| span::parse_size(text).is_ok()) },
    Kind { name: "version", example: "17.4", read: |json| checked(json, is_version) },
    Kind { name: "lsn", example: "0/16B3748", read: |json| checked(json, |text| text.parse::<Lsn>().is_ok()) },
    Kind { name: "rds-instance", example: "orders-blue", read: read_rds_name },
    Kind { name: "rds-cluster", example: "orders", read: read_rds_name },
    Kind { name: "secret", example: "prod/orders/app", read: |json| checked(json, |text| !text.trim().is_empty()) },
    Kind { name: "url", example: "postgres://user@host/db", read: |json| checked(json, is_url) },
    Kind { name: "file", example: "apps.toml", read: |json| checked(json, |text| Path::new(text).is_file()) },
];

/// Reads the map that stands in `params(..)`.
///
/// # Errors
/// `script_syntax` naming the parameter and what is wrong with its declaration.
pub fn declaration(literal: Option<&Dynamic>) -> Result<Declaration> {
    let wrong = |text: String| fail!(Code::ScriptSyntax, "{text}");
    let Some(map) = literal.and_then(|literal| literal.clone().try_cast::<Map>()) else {
        return Err(wrong("`params` takes a literal map, so that it can be read without running the script".into())
            .hint("params(#{ blue: #{ type: \"rds-instance\", help: \"the instance to upgrade\" } })"));
    };
    let mut declared = Declaration::new();
    for (name, entry) in map {
        let Some(entry) = entry.clone().try_cast::<Map>() else {
            return Err(wrong(format!(
                "the parameter `{name}` is declared by {}, not by a map",
                convert::a_type(&entry)
            )));
        };
        if let Some(key) = entry.keys().find(|key| !["type", "help", "otherwise"].contains(&key.as_str())) {
            return Err(wrong(format!("the parameter `{name}` has the key `{key}`, wanted type, help and otherwise")));
        }
        let text = |key: &str| entry.get(key).and_then(|value| value.clone().try_cast::<ImmutableString>());
        let kind_name = text("type").ok_or_else(|| wrong(format!("the parameter `{name}` has no type")))?;
        let kind = KINDS.iter().find(|kind| kind.name == kind_name.as_str()).ok_or_else(|| {
            let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            wrong(format!("the parameter `{name}` has the type `{kind_name}`"))
                .hint(format!("the types are {}", prose::ticked_list(&names, 20)))
        })?;
        let help = text("help").ok_or_else(|| wrong(format!("the parameter `{name}` has no help")))?.to_string();
        let otherwise = match entry.get("otherwise") {
            None => None,
            Some(value) => {
                let json = plain_json(&convert::to_value(value, &format!("the default of `{name}`"))?);
                let read = (kind.read)(&json);
                Some(
                    read.ok_or_else(|| wrong(format!("the default of `{name}` is {json}, which is no {}", kind.name)))?,
                )
            }
        };
        declared.insert(name.to_string(), Parameter { kind, help, otherwise });
    }
    Ok(declared)
}

/// The JSON that a person would have given, without the journal's tags.
fn plain_json(value: &Value) -> Json {
    match value {
        Value::Float(number) => Json::from(*number),
        Value::List(items) => Json::Array(items.iter().map(plain_json).collect()),
        Value::Map(map) => Json::Object(map.iter().map(|(key, value)| (key.clone(), plain_json(value))).collect()),
        other => other.to_json(),
    }
}

/// Parameters ready for a run.
pub struct Given {
    /// As scripts see them.
    pub script: Map,
    /// As the journal keeps them: without those that hold a secret.
    pub journal: Json,
    /// Names of those that hold a secret.
    pub secret: Vec<String>,
}

/// Values from the command line and a file, before they are checked. `--set` wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<String, Json>);

impl Values {
    /// Takes `NAME=VALUE`; a name given twice becomes a list.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(fail!(Code::Usage, "got `--set {assignment}`, wanted `--set NAME=VALUE`"));
        };
        let value = Json::from(value);
        match self.0.get_mut(name) {
            None => drop(self.0.insert(name.into(), value)),
            Some(Json::Array(items)) => items.push(value),
            Some(other) => *other = Json::Array(vec![other.take(), value]),
        }
        Ok(())
    }

    /// Takes the values of a file that are not set yet; TOML by its name, else JSON.
    pub fn read_file(&mut self, path: &Path) -> Result<()> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| fail!(Code::NoSuchFile, "the parameter file `{shown}` cannot be read: {error}"))?;
        let is_toml = path.extension().is_some_and(|extension| extension == "toml");
        let parsed: Result<Json, String> = if is_toml {
            toml::from_str(&text).map_err(|error| error.to_string())
        } else {
            serde_json::from_str(&text).map_err(|error| error.to_string())
        };
        let Json::Object(map) = parsed.map_err(|error| fail!(Code::ParamType, "`{shown}` cannot be read: {error}"))?
        else {
            return Err(fail!(Code::ParamType, "`{shown}` holds no map of parameters"));
        };
        for (name, value) in map {
            self.0.entry(name).or_insert(value);
        }
        Ok(())
    }

    /// These values, which may only be those that held a password, with all others as the run's journal holds them.
    ///
    /// # Errors
    /// `param_missing` for a password that was not given again, `refused` for any other value: a run keeps its
    /// parameters.
    pub fn of_run(&self, run: &str, params: &Json, secret: &[String]) -> Result<Self> {
        if let Some(name) = self.0.keys().find(|name| !secret.contains(name)) {
            return Err(fail!(Code::Refused, "a resumed run keeps its parameters, and `{name}` held no password")
                .hint("leave it out, or start a new run with another value"));
        }
        if let Some(name) = secret.iter().find(|name| !self.0.contains_key(*name)) {
            return Err(fail!(
                Code::ParamMissing,
                "the parameter `{name}` held a password, which the journal does not keep"
            )
            .hint(RunState::resume_command(run, None, secret)));
        }
        let mut all = self.clone();
        for (name, value) in params.as_object().into_iter().flatten() {
            all.0.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Ok(all)
    }

    /// Checks everything against the declaration.
    ///
    /// # Errors
    /// `param_unknown`, `param_missing`, `param_type`, each naming the parameter, what was got and what is wanted.
    pub fn check(&self, declared: &Declaration, redactor: &Redactor) -> Result<Given> {
        if let Some(name) = self.0.keys().find(|name| !declared.contains_key(*name)) {
            let error = fail!(Code::ParamUnknown, "the runbook has no parameter `{name}`");
            let names = declared.keys().map(String::as_str);
            return Err(match prose::nearest(name, names) {
                Some(near) => error.hint(format!("meant `{near}`?")),
                None => error.hint("its parameters are shown by `pgrun RUNBOOK --help`"),
            });
        }
        let mut given = Given { script: Map::new(), journal: Json::Object(serde_json::Map::new()), secret: vec![] };
        for (name, parameter) in declared {
            let Some(json) = self.0.get(name).or(parameter.otherwise.as_ref()) else {
                let kind = parameter.kind;
                return Err(fail!(Code::ParamMissing, "the parameter `{name}` is missing: {}", parameter.help)
                    .hint(format!("--set {name}={}", kind.example)));
            };
            let value = (parameter.kind.read)(json).ok_or_else(|| {
                let kind = parameter.kind;
                let got = if passwords::holds(json) { "***".into() } else { json.to_string() };
                fail!(
                    Code::ParamType,
                    "the parameter `{name}` is {got}, wanted {} such as {}",
                    convert::with_article(kind.name),
                    kind.example
                )
            })?;
            given.take(name, parameter.kind, value, redactor)?;
        }
        given.hide_known_secrets(redactor);
        Ok(given)
    }
}

impl Given {
    fn take(&mut self, name: &str, kind: &Kind, value: Json, redactor: &Redactor) -> Result<()> {
        let script = match kind.name {
            "url" => Dynamic::from(Secret::new(value.as_str().unwrap_or_default())),
            "lsn" => Dynamic::from(value.as_str().unwrap_or_default().parse::<Lsn>()?),
            _ => passwords::conceal(&value),
        };
        self.script.insert(name.into(), script);
        if passwords::learn(&value, redactor) {
            self.secret.push(name.to_owned());
        } else if let Json::Object(map) = &mut self.journal {
            map.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// Keeps out of the journal what another parameter has shown to be a secret.
    fn hide_known_secrets(&mut self, redactor: &Redactor) {
        let Json::Object(map) = &mut self.journal else { return };
        let known = map.iter().filter(|(_, value)| redactor.finds(&value.to_string()));
        let names: Vec<String> = known.map(|(name, _)| name.clone()).collect();
        for name in names {
            map.shift_remove(&name);
            self.secret.push(name);
        }
        self.secret.sort();
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn read_text(json: &Json) -> Option<Json> {
    match json {
        Json::String(_) => Some(json.clone()),
        Json::Number(number) => Some(Json::from(number.to_string())),
        _ => None,
    }
}

fn checked(json: &Json, fits: impl Fn(&str) -> bool) -> Option<Json> {
    read_text(json).filter(|text| text.as_str().is_some_and(fits))
}

fn number(json: &Json) -> Option<Json> {
    parsed(json).filter(Json::is_number)
}

fn parsed(json: &Json) -> Option<Json> {
    match json {
        Json::String(text) => serde_json::from_str(text).ok(),
        other => Some(other.clone()),
    }
}

fn read_bool(json: &Json) -> Option<Json> {
    match json {
        Json::Bool(_) => Some(json.clone()),
        Json::String(text) => match text.as_str() {
            "true" | "yes" | "on" => Some(true.into()),
            "false" | "no" | "off" => Some(false.into()),
            _ => None,
        },
        _ => None,
    }
}

/// JSON text, a repeated `--set`, or one plain word.
fn read_list(json: &Json) -> Option<Json> {
    match json {
        Json::Array(_) => Some(json.clone()),
        Json::String(text) if text.trim_start().starts_with('[') => parsed(json).filter(Json::is_array),
        Json::String(text) if text.is_empty() => Some(Json::Array(vec![])),
        Json::String(_) => Some(Json::Array(vec![json.clone()])),
        _ => None,
    }
}

/// RDS keeps identifiers in lower case: 1 to 63 letters, digits and single hyphens, beginning with a letter
/// (RDS user guide, "Naming constraints in Amazon RDS").
fn read_rds_name(json: &Json) -> Option<Json> {
    let name = json.as_str()?.to_ascii_lowercase();
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let shape = name.starts_with(|c: char| c.is_ascii_alphabetic()) && !name.ends_with('-') && !name.contains("--");
    (letters && shape && name.len() <= 63).then(|| Json::from(name))
}

#[cfg(test)]
mod tests {
    use super::{Declaration, Values, declaration};
    use crate::base::{Code, Redactor};

    fn declared(text: &str) -> Declaration {
        let map = rhai::Engine::new().eval::<rhai::Dynamic>(text).unwrap();
        declaration(Some(&map)).unwrap()
    }

    #[test]
    fn values_are_typed_and_errors_name_the_parameter() {
        let declared = declared(
            r#"#{ blue: #{ type: "rds-instance", help: "b" }, n: #{ type: "int", help: "n", otherwise: 3 },
                  roles: #{ type: "list", help: "r", otherwise: [] }, d: #{ type: "duration", help: "d", otherwise: "10s" } }"#,
        );
        let mut values = Values::default();
        let missing = values.check(&declared, &Redactor::default()).err().unwrap();
        assert_eq!((missing.code(), missing.hint_text()), (Code::ParamMissing, Some("--set blue=orders-blue")));
        for set in ["blue=Orders-Blue", "n=5", "roles=a", "roles=b"] {
            values.set(set).unwrap();
        }
        let given = values.check(&declared, &Redactor::default()).unwrap();
        assert_eq!(given.journal.to_string(), r#"{"blue":"orders-blue","d":"10s","n":5,"roles":["a","b"]}"#);
        let mut wrong = values.clone();
        wrong.set("d2=1s").unwrap();
        assert_eq!(wrong.check(&declared, &Redactor::default()).err().unwrap().hint_text(), Some("meant `d`?"));
        let mut wrong = Values::default();
        wrong.set("blue=x").unwrap();
        wrong.set("n=many").unwrap();
        assert_eq!(wrong.check(&declared, &Redactor::default()).err().unwrap().code(), Code::ParamType);
    }

    #[test]
    fn a_password_in_a_url_is_kept_out_of_the_journal() {
        let declared = declared(r#"#{ db: #{ type: "url", help: "where" } }"#);
        for url in ["postgres://u:p%40ssword1@h/db", "postgres://u@h/db?password=p%40ssword1"] {
            let mut values = Values::default();
            values.set(&format!("db={url}")).unwrap();
            let redactor = Redactor::default();
            let given = values.check(&declared, &redactor).unwrap();
            assert_eq!(given.journal.to_string(), "{}");
            assert_eq!(given.secret, ["db"]);
            assert_eq!(redactor.clean("x p@ssword1 y p%40ssword1"), "x *** y ***");
        }
        let mut values = Values::default();
        values.set("db=postgres://u@h/db").unwrap();
        assert_eq!(values.check(&declared, &Redactor::default()).unwrap().secret.len(), 0);
    }
}
