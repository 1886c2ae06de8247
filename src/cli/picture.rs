//! A load as a picture: one column for a stretch of time, its height the writes that were acknowledged.

use crate::base::{Map, Value};

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Two lines: the bars, and below them where the writes went (`b` for the first endpoint, `g` for the second).
pub(super) fn of_series(series: &[Value], width: usize) -> Option<String> {
    let ticks: Vec<(i64, Option<&str>)> = series.iter().filter_map(Value::as_map).filter_map(tick).collect();
    if ticks.is_empty() || width == 0 {
        return None;
    }
    let per_column = ticks.len().div_ceil(width);
    let columns: Vec<&[(i64, Option<&str>)]> = ticks.chunks(per_column).collect();
    // The mean, but nothing where a tenth of a second had no write at all: an outage must not vanish in an average.
    let height = |column: &&[(i64, Option<&str>)]| -> i64 {
        let is_silent = column.iter().any(|(ok, _)| *ok == 0);
        let sum: i64 = column.iter().map(|(ok, _)| *ok).sum();
        if is_silent { 0 } else { sum / i64::try_from(column.len()).unwrap_or(1) }
    };
    let heights: Vec<i64> = columns.iter().map(height).collect();
    let highest = heights.iter().copied().max().unwrap_or(0).max(1);
    let bar = |height: &i64| {
        if *height == 0 { ' ' } else { BARS[usize::try_from((height * 7) / highest).unwrap_or(0).min(7)] }
    };
    let first = ticks.iter().find_map(|(_, endpoint)| *endpoint);
    let place = |column: &&[(i64, Option<&str>)]| match column.iter().rev().find_map(|(_, endpoint)| *endpoint) {
        None => '·',
        at if at == first => 'b',
        Some(_) => 'g',
    };
    let bars: String = heights.iter().map(bar).collect();
    let places: String = columns.iter().map(place).collect();
    Some(format!("{bars}\n{places}"))
}

fn tick(map: &Map) -> Option<(i64, Option<&str>)> {
    let probes = map.get("probes").and_then(Value::as_map)?;
    Some((probes.get("ok").and_then(Value::as_int)?, probes.get("endpoint").and_then(Value::as_text)))
}

#[cfg(test)]
mod tests {
    use super::of_series;
    use crate::{base::Value, map};

    #[test]
    fn an_outage_is_a_gap_and_the_switch_is_seen() {
        let tick = |ok: i64, endpoint: Option<&str>| {
            Value::Map(map! { "probes" => map! { "ok" => ok, "endpoint" => endpoint } })
        };
        let series = [tick(10, Some("a:1")), tick(5, Some("a:1")), tick(0, None), tick(10, Some("b:2"))];
        assert_eq!(of_series(&series, 80).unwrap(), "█▄ █\nbb·g");
        assert_eq!(of_series(&series, 2).unwrap(), "█ \nbg");
        assert!(of_series(&[], 80).is_none());
    }
}
