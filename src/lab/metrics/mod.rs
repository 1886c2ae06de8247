//! CloudWatch in miniature: what an instance of the lab measures at the moment at which it is asked. There is no
//! history: each metric has one data point, and an answer without one says that the time asked for is over.
//!
//! Names, units and dimensions are those of the user guide, "Amazon CloudWatch metrics for Amazon RDS"; shapes and
//! codes those of the service model of CloudWatch (2010-08-01), which has three protocols, see `told`.

use std::sync::Arc;

use serde_json::Value;

pub(crate) mod told;

mod measure;

use self::told::Told;
use crate::{
    lab::{
        instance::Instance,
        refusal::{Outcome, Refusal},
        site::Site,
    },
};

/// How CloudWatch is named in headers and paths.
pub(crate) const SERVICE: &str = "GraniteServiceVersion20100801";

/// The version that requests of the query protocol name.
pub(crate) const VERSION: &str = "2010-08-01";

const NAMESPACE: &str = "AWS/RDS";

const DIMENSION: &str = "DBInstanceIdentifier";

/// The metrics with their units.
const METRICS: [(&str, &str); 4] = [
    ("CPUUtilization", "Percent"),
    ("DatabaseConnections", "Count"),
    ("FreeStorageSpace", "Bytes"),
    ("FreeableMemory", "Bytes"),
];

/// Answers a call.
pub(crate) fn answer(site: &Arc<Site>, action: &str, asked: &Value) -> Outcome<Told> {
    match action {
        "GetMetricData" => data(site, asked),
        "GetMetricStatistics" => statistics(site, asked),
        "ListMetrics" => list(site, asked),
        _ => Err(Refusal::new("InvalidAction", format!("Could not find operation {action} for version {VERSION}"))),
    }
}

fn text<'a>(asked: &'a Value, name: &str) -> Outcome<&'a str> {
    asked[name].as_str().filter(|text| !text.is_empty()).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Refusal {
    Refusal::new("MissingParameter", format!("The parameter {name} is required."))
}

fn items<'a>(asked: &'a Value, name: &str) -> &'a [Value] {
    asked[name].as_array().map_or(&[], Vec::as_slice)
}

/// A point in time in milliseconds: each protocol writes it in its own way.
fn time_ms(asked: &Value, name: &str) -> Outcome<u64> {
    let wrong = || Refusal::value(format!("The value for parameter {name} is no timestamp."));
    let ms = match &asked[name] {
        Value::Null => return Err(missing(name)),
        Value::Number(seconds) => seconds.as_f64().map(|seconds| seconds * 1000.0),
        Value::String(text) => match text.parse::<jiff::Timestamp>() {
            Ok(at) => return u64::try_from(at.as_millisecond()).map_err(|_| wrong()),
            Err(_) => text.parse::<f64>().ok().map(|seconds| seconds * 1000.0),
        },
        _ => None,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of this age fit")]
    ms.filter(|ms| *ms >= 0.0).map(|ms| ms as u64).ok_or_else(wrong)
}

/// The data point that lies in the time asked for: now, written as the minute that has begun.
fn point(site: &Site, asked: &Value, from_ms: u64, until_ms: u64) -> Outcome<Option<(u64, f64, &'static str)>> {
    if from_ms >= until_ms {
        return Err(Refusal::value("The parameter StartTime must be less than the parameter EndTime."));
    }
    let metric = text(asked, "MetricName")?;
    let known = METRICS.iter().find(|(name, _)| *name == metric);
    let mut dimensions = items(asked, "Dimensions").iter().filter(|one| one["Name"] == DIMENSION);
    let id = dimensions.next().and_then(|one| one["Value"].as_str());
    let now = site.clock.now_ms();
    let minute = now - now % 60_000;
    // A client asks up to the second at which it asks.
    let (Some((name, unit)), Some(id), true) = (known, id, from_ms <= now && until_ms + 60_000 > now) else {
        return Ok(None);
    };
    let instance = site.look(|world| world.instance(id).cloned());
    let value = instance
        .ok()
        .filter(|_| text(asked, "Namespace") == Ok(NAMESPACE))
        .and_then(|found| has(&found, name).then(|| measure::measure(site, &found, name)).flatten());
    Ok(value.map(|value| (minute.max(from_ms), value, *unit)))
}

/// The storage of a cluster grows by itself, so its instances have no free part of it.
fn has(instance: &Instance, metric: &str) -> bool {
    instance.cluster.is_none() || metric != "FreeStorageSpace"
}

fn data(site: &Site, asked: &Value) -> Outcome<Told> {
    let (from, until) = (time_ms(asked, "StartTime")?, time_ms(asked, "EndTime")?);
    let queries = items(asked, "MetricDataQueries");
    if queries.is_empty() {
        return Err(missing("MetricDataQueries"));
    }
    let mut results = Vec::new();
    for query in queries {
        let stat = &query["MetricStat"];
        if stat.is_null() {
            return Err(Refusal::new("ValidationError", "The lab computes no expressions: ask for a MetricStat."));
        }
        let point = point(site, &stat["Metric"], from, until)?;
        let label = query["Label"].as_str().or(stat["Metric"]["MetricName"].as_str()).unwrap_or_default();
        results.push(Told::map([
            ("Id", Told::text(text(query, "Id")?)),
            ("Label", Told::text(label)),
            ("Timestamps", Told::List(point.iter().map(|(at, ..)| Told::Time(*at)).collect())),
            ("Values", Told::List(point.iter().map(|(_, value, _)| Told::Number(*value)).collect())),
            ("StatusCode", Told::text("Complete")),
        ]));
    }
    Ok(Told::map([("MetricDataResults", Told::List(results)), ("Messages", Told::List(vec![]))]))
}

fn statistics(site: &Site, asked: &Value) -> Outcome<Told> {
    let (from, until) = (time_ms(asked, "StartTime")?, time_ms(asked, "EndTime")?);
    text(asked, "Namespace")?;
    let wanted = items(asked, "Statistics");
    if wanted.is_empty() {
        return Err(missing("Statistics"));
    }
    let point = point(site, asked, from, until)?.map(|(at, value, unit)| {
        // Of one value each statistic is that value.
        let known =
            ["Average", "Maximum", "Minimum", "Sum"].into_iter().filter(|name| wanted.iter().any(|w| w == name));
        let mut point = vec![("Timestamp", Told::Time(at)), ("Unit", Told::text(unit))];
        point.extend(known.map(|name| (name, Told::Number(value))));
        if wanted.iter().any(|name| name == "SampleCount") {
            point.push(("SampleCount", Told::Number(1.0)));
        }
        Told::Map(point)
    });
    Ok(Told::map([
        ("Label", Told::text(text(asked, "MetricName")?)),
        ("Datapoints", Told::List(point.into_iter().collect())),
    ]))
}

fn list(site: &Site, asked: &Value) -> Outcome<Told> {
    let fits = |name: &str, id: &str| {
        asked["Namespace"].as_str().is_none_or(|namespace| namespace == NAMESPACE)
            && asked["MetricName"].as_str().is_none_or(|metric| metric == name)
            && items(asked, "Dimensions")
                .iter()
                .all(|one| one["Name"] == DIMENSION && one["Value"].as_str().is_none_or(|value| value == id))
    };
    let instances: Vec<Instance> = site.look(|world| world.instances.values().cloned().collect());
    let all = instances.iter().flat_map(|found| METRICS.iter().map(move |(name, _)| (found, *name)));
    let shown = all.filter(|(found, name)| has(found, name) && fits(name, &found.id)).map(|(found, name)| {
        let dimension = Told::map([("Name", Told::text(DIMENSION)), ("Value", Told::text(&found.id))]);
        Told::map([
            ("Namespace", Told::text(NAMESPACE)),
            ("MetricName", Told::text(name)),
            ("Dimensions", Told::List(vec![dimension])),
        ])
    });
    Ok(Told::map([("Metrics", Told::List(shown.collect()))]))
}
