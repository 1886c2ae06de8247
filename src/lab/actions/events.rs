//! `DescribeEvents`.

use std::sync::Arc;

use super::page::Page;
use crate::{
    base::clock,
    lab::{
        query::Query,
        refusal::{Outcome, Refusal},
        site::Site,
        world::{Event, EventSource, tail},
        xml::Element,
    },
};

/// Without a time, the last hour is shown.
const USUAL_MINUTES: i64 = 60;

/// The longest `Duration`: 14 days.
const MOST_MINUTES: i64 = 20_160;

pub(super) fn describe(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let page = Page::read(query)?;
    let (kind, id) = (query.text("SourceType"), query.text("SourceIdentifier").map(tail));
    if id.is_some() && kind.is_none() {
        return Err(Refusal::combination("SourceType must be provided when SourceIdentifier is."));
    }
    let categories = query.texts("EventCategories", "EventCategory");
    let minutes = query.integer("Duration")?.unwrap_or(USUAL_MINUTES);
    if !(0..=MOST_MINUTES).contains(&minutes) {
        return Err(Refusal::value(format!("Duration must be between 0 and {MOST_MINUTES} minutes.")));
    }
    let until = query.time_ms("EndTime")?.unwrap_or_else(|| site.clock.now_ms());
    let span = u64::try_from(minutes).unwrap_or(0) * 60_000;
    let from = query.time_ms("StartTime")?.unwrap_or_else(|| until.saturating_sub(span));
    let fits = |event: &Event| {
        (from..=until).contains(&event.at_ms)
            && kind.is_none_or(|kind| kind == event.source.text())
            && id.as_ref().is_none_or(|id| *id == event.id)
            && (categories.is_empty() || categories.contains(&event.category))
    };
    let items = site.look(|world| {
        let shown = world.events.iter().enumerate().filter(|(_, event)| fits(event));
        shown.map(|(number, event)| (format!("{}/{number}", event.at_ms), shape(site, event))).collect()
    });
    Ok(Some(page.result("Events", items)))
}

fn shape(site: &Site, event: &Event) -> Element {
    let kind = match event.source {
        EventSource::Instance => "db",
        EventSource::Snapshot => "snapshot",
        EventSource::ParameterGroup => "pg",
        EventSource::Cluster => "cluster",
        EventSource::ClusterSnapshot => "cluster-snapshot",
        EventSource::Deployment => "deployment",
    };
    Element::new("Event")
        .text("SourceIdentifier", &event.id)
        .text("SourceType", event.source.text())
        .text("Message", &event.message)
        .list("EventCategories", [Element::new("EventCategory").value(&event.category)])
        .text("Date", clock::text_of_ms(event.at_ms))
        .text("SourceArn", site.arn(kind, &event.id))
}
