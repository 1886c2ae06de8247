//! What the journal of a rehearsed run says in figures.

use crate::{
    base::{Value, clock},
    journal::{Event, Record, StepState, file::History, key_text},
    map,
};

/// Each step with its time.
pub(super) fn steps(history: &History) -> Vec<Value> {
    let step = |key: &Vec<String>| {
        let step = history.state.steps.get(key)?;
        let ms = step.ms.and_then(|ms| i64::try_from(ms).ok());
        Some(Value::Map(map! { "key" => key_text(key), "ms" => ms }))
    };
    history.state.order.iter().filter_map(step).collect()
}

/// From entering the phase `window` for the last time until its end; none for a runbook without one.
pub(super) fn window_ms(history: &History) -> Option<i64> {
    let at = |event: &Event| {
        let is_it = |record: &&Record| record.event == *event && record.key.last().is_some_and(|name| name == "window");
        history.records.iter().rev().find(is_it).and_then(|record| clock::ms_of_text(&record.at))
    };
    let (begun, ended) = (at(&Event::Entered)?, at(&Event::Left)?);
    i64::try_from(ended.checked_sub(begun)?).ok()
}

/// What each run of the rehearsal has measured by its own probe: `before`, and this run's if it has.
pub(super) fn probes(before: Option<&Value>, id: &str, history: &History) -> Vec<Value> {
    let of_this = |probe: &&Value| probe.as_map().and_then(|map| map.get("run")).and_then(Value::as_text) == Some(id);
    let known = before.and_then(Value::as_list).unwrap_or_default();
    let mut all: Vec<Value> = known.iter().filter(|probe| !of_this(probe)).cloned().collect();
    let value = |key: &Vec<String>| match &history.state.steps.get(key)?.state {
        StepState::Done { value, .. } => match Value::from_json(value).ok()? {
            Value::Map(map) if map.contains_key("measured") => Some(map),
            _ => None,
        },
        _ => None,
    };
    if let Some(mut probe) = history.state.order.iter().rev().find_map(value) {
        probe.insert("run".into(), id.into());
        all.push(Value::Map(probe));
    }
    all
}
