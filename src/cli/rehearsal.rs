//! What a rehearsal found, for people and as JSON.

use std::{
    collections::BTreeSet,
    fmt::Write,
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};

use super::{exit, picture};
use crate::{
    base::{Code, Error, Map, Value, prose},
    fail,
    lab::Calls,
};

/// One rehearsal and what it found.
pub(super) struct Rehearsal {
    pub(super) runbook: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) facts: Map,
    pub(super) calls: Calls,
    pub(super) failure: Option<Error>,
    pub(super) kept: Option<PathBuf>,
    pub(super) exit: u8,
}

impl Rehearsal {
    fn result(&self) -> &'static str {
        match &self.failure {
            None => "ok",
            Some(error) if error.code() == Code::Refused => "refused",
            Some(_) => "failed",
        }
    }

    /// What the rehearsal left behind.
    pub(super) fn end_state(&self) -> Map {
        self.facts.get("end_state").and_then(Value::as_map).cloned().unwrap_or_default()
    }

    /// Nothing may be left behind that a rehearsal without harm does not leave behind too, and nothing be missing.
    pub(super) fn compare(&mut self, unharmed: &Map) {
        let here = self.end_state();
        let names: BTreeSet<&String> = unharmed.keys().chain(here.keys()).collect();
        let shown = |state: &Map, name: &String| match state.get(name) {
            Some(value) => value.as_text().unwrap_or("there").to_owned(),
            None => "missing".to_owned(),
        };
        let differs = |name: &&&String| unharmed.get(**name) != here.get(**name);
        let different: Vec<String> = names
            .iter()
            .filter(differs)
            .map(|name| format!("{name}: without harm {}, here {}", shown(unharmed, name), shown(&here, name)))
            .collect();
        let are_equal = different.is_empty() && !here.is_empty();
        let mut chaos = self.facts.get("chaos").and_then(Value::as_map).cloned().unwrap_or_default();
        chaos.insert("states_equal".into(), are_equal.into());
        chaos.insert("compared".into(), Value::Int(i64::try_from(names.len()).unwrap_or(i64::MAX)));
        self.facts.insert("chaos".into(), Value::Map(chaos));
        if !are_equal && self.failure.is_none() {
            let what = prose::ticked_list(&different, 10);
            self.failure = Some(fail!(Code::RehearsalFailed, "the end state is another one: {what}"));
            self.exit = exit::FAILED;
        }
    }

    /// The shape that `product` promises; a key is there also where nothing was found out.
    pub(super) fn json(&self) -> Json {
        let fact = |name: &str| self.facts.get(name).map_or(Json::Null, plain_json);
        let steps = self.facts.get("steps").map_or_else(|| json!([]), plain_json);
        json!({
            "schema": 1, "runbook": self.runbook, "result": self.result(), "from": self.from, "to": self.to,
            "writes": fact("writes"), "outage_ms": fact("outage_ms"),
            "application_outage_ms": fact("application_outage_ms"), "laps": fact("laps"),
            "cutover_ms": fact("cutover_ms"), "probes": fact("probes"), "steps": steps,
            "verified": fact("verified"), "waived": fact("waived"), "chaos": fact("chaos"), "calls": self.calls,
            "scale": fact("scale"), "memory": fact("memory"),
            "faults": self.facts.get("faults").map_or_else(|| json!([]), plain_json),
            "failure": self.failure.as_ref().map(ToString::to_string),
        })
    }

    /// What a person reads.
    pub(super) fn report(&self) -> String {
        let map = |name: &str| self.facts.get(name).and_then(Value::as_map).cloned().unwrap_or_default();
        let (writes, outage, application) = (map("writes"), map("outage_ms"), map("application_outage_ms"));
        let mut out = String::from("\n");
        let _ = writeln!(out, "{}  PostgreSQL {} -> {}  {}", self.runbook, self.from, self.to, self.result());
        if let Some(picture) = self.facts.get("series").and_then(Value::as_list).and_then(|s| picture::of_series(s, 76))
        {
            let _ = writeln!(out, "\nwrites over time, b on BLUE, g on GREEN:\n{picture}\n");
        }
        if !writes.is_empty() {
            let number = |name: &str| writes.get(name).and_then(Value::as_int).unwrap_or(-1);
            let (all, lost, doubled) = (number("acknowledged"), number("lost"), number("doubled"));
            let _ = writeln!(out, "  writes acknowledged  {all}, of them lost {lost}, doubled {doubled}");
            if outage.get("median").is_some_and(|median| *median != Value::Null) {
                let _ = writeln!(out, "  outage of a writer   {}", spread(&outage));
                let _ = writeln!(out, "  of an application    {}", spread(&application));
            }
        }
        let laps = self.facts.get("laps").and_then(Value::as_list).unwrap_or_default();
        for lap in laps.iter().filter(|_| laps.len() > 1).filter_map(Value::as_map) {
            let name = lap.get("name").and_then(Value::as_text).unwrap_or_default();
            if let Some(outage) = lap.get("outage_ms").and_then(Value::as_map) {
                let _ = writeln!(out, "    {name:<18} {}", spread(outage));
            }
        }
        if let Some(ms) = self.facts.get("cutover_ms").and_then(Value::as_int) {
            let _ = writeln!(out, "  cutover window       {ms} ms");
        }
        out.push_str(&size(&map("scale"), &map("memory")));
        for probe in self.facts.get("probes").and_then(Value::as_list).unwrap_or_default() {
            let outage = probe.as_map().and_then(|probe| probe.get("outage_ms"));
            if let Some(Value::Float(ms)) = outage {
                let _ = writeln!(out, "  measured by itself   {ms:.0} ms");
            }
        }
        for waiver in self.facts.get("waived").and_then(Value::as_list).unwrap_or_default() {
            let text = |name: &str| waiver.as_map().and_then(|map| map.get(name)).and_then(Value::as_text);
            let text = |name: &str| text(name).unwrap_or_default();
            let _ = writeln!(out, "  waived               {}  {}: {}", text("id"), text("object"), text("reason"));
        }
        for (name, value) in map("verified") {
            let shown = match &value {
                Value::Bool(true) => "yes".to_owned(),
                Value::Bool(false) => "NO".to_owned(),
                other => plain_json(other).to_string(),
            };
            let _ = writeln!(out, "  {:<20} {shown}", name.replace('_', " "));
        }
        if let Some(kills) = map("chaos").get("kills").and_then(Value::as_int).filter(|kills| *kills > 0) {
            let times = prose::count(usize::try_from(kills).unwrap_or(0), "time");
            let random = map("chaos").get("random").and_then(Value::as_int).unwrap_or(0);
            let _ = writeln!(out, "  killed and resumed   {times}, {random} of them at a random instant");
        }
        for struck in self.facts.get("faults").and_then(Value::as_list).unwrap_or_default() {
            let json = plain_json(struck);
            let (kind, action) =
                (json["kind"].as_str().unwrap_or_default(), json["action"].as_str().unwrap_or_default());
            let _ = writeln!(out, "  fault                {kind} of {action}, struck {} calls", json["hits"]);
        }
        if self.facts.get("stopped_by_faults").and_then(Value::as_bool) == Some(true) {
            let _ = writeln!(out, "  the run              stopped, and was taken up when the faults were over");
        }
        if let Some(are_equal) = map("chaos").get("states_equal").and_then(Value::as_bool) {
            let compared = map("chaos").get("compared").and_then(Value::as_int).unwrap_or(0);
            let word = if are_equal { "equal" } else { "NOT EQUAL" };
            let _ = writeln!(out, "  end state            {word} to an unharmed run's, {compared} things compared");
        }
        if let Some(failure) = &self.failure {
            let _ = writeln!(out, "\n{failure}");
        }
        if let Some(folder) = &self.kept {
            let _ = writeln!(out, "\nkept in {}", folder.display());
        }
        out
    }
}

/// How full the stage was, and what that took.
fn size(scale: &Map, memory: &Map) -> String {
    let mut out = String::new();
    let number = |name: &str| scale.get(name).and_then(Value::as_int).unwrap_or(0);
    if !scale.is_empty() {
        let made = ["sequences", "tables", "connections"].map(|name| format!("{} {name}", number(name)));
        let _ = writeln!(out, "  scale                {}, ended {} times", made.join(", "), number("ended"));
    }
    if let Some(kb) = memory.get("peak_kb").and_then(Value::as_int) {
        let _ = writeln!(out, "  memory of the run    {} MB at most", kb / 1024);
    }
    out
}

fn spread(spread: &Map) -> String {
    let ms = |name: &str| match spread.get(name) {
        Some(Value::Float(ms)) => format!("{ms:.0} ms"),
        _ => "?".to_owned(),
    };
    format!("median {}, p95 {}, worst {}", ms("median"), ms("p95"), ms("max"))
}

/// JSON for other programs: numbers as numbers, without the journal's tags.
fn plain_json(value: &Value) -> Json {
    match value {
        Value::Float(number) => json!(number),
        Value::Map(map) => Json::Object(map.iter().map(|(key, value)| (key.clone(), plain_json(value))).collect()),
        Value::List(items) => Json::Array(items.iter().map(plain_json).collect()),
        Value::Lsn(lsn) => json!(lsn.to_string()),
        Value::Decimal(number) => json!(number.to_string()),
        other => other.to_json(),
    }
}

/// One rehearsal stands for itself; several are summed up over `runs`.
pub(super) fn all_json(runs: &[Json], file: &Path) -> Json {
    let Some(first) = runs.first() else {
        return json!({ "schema": 1, "runbook": file.to_string_lossy(), "result": "failed", "runs": [] });
    };
    let mut all = first.clone();
    if runs.len() > 1 {
        let sum = |name: &str| runs.iter().filter_map(|run| run["writes"][name].as_i64()).sum::<i64>();
        let is_ok = runs.iter().all(|run| run["result"] == "ok");
        all["result"] = json!(if is_ok { "ok" } else { "failed" });
        all["writes"] = json!({ "acknowledged": sum("acknowledged"), "lost": sum("lost"), "doubled": sum("doubled") });
        for name in ["outage_ms", "application_outage_ms"] {
            all[name] = pooled(runs, name);
        }
        let windows: Vec<f64> = runs.iter().filter_map(|run| run["cutover_ms"].as_f64()).collect();
        all["cutover_ms"] = json!(crate::load::Spread::of(windows.into_iter().map(Some).collect()).median);
        all["verified"] = worst(runs);
    }
    all["runs"] = json!(runs);
    all
}

/// The spread over the writers of all runs.
fn pooled(runs: &[Json], name: &str) -> Json {
    let writers = runs.iter().filter_map(|run| run[name]["writers"].as_array()).flatten();
    let spread = crate::load::Spread::of(writers.map(Json::as_f64).collect());
    plain_json(&Value::Map(spread.to_map()))
}

/// What holds in every run; of a number, the smallest.
fn worst(runs: &[Json]) -> Json {
    let mut worst = runs[0]["verified"].clone();
    for run in &runs[1..] {
        for (name, value) in run["verified"].as_object().into_iter().flatten() {
            let slot = &mut worst[name];
            match (slot.as_bool(), value.as_bool(), slot.as_i64(), value.as_i64()) {
                (Some(a), Some(b), ..) => *slot = json!(a && b),
                (.., Some(a), Some(b)) => *slot = json!(a.min(b)),
                _ => {}
            }
        }
    }
    worst
}
