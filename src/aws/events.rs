//! Events: what RDS itself tells about an instance or a snapshot. It keeps them for 14 days.

use super::{client::Rds, instance::epoch_ms};
use crate::{
    base::{Map, Result, clock},
    map,
};

/// What events are about.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A DB instance.
    Instance(&'a str),
    /// A DB snapshot.
    Snapshot(&'a str),
    /// A DB cluster.
    Cluster(&'a str),
    /// A DB parameter group.
    ParameterGroup(&'a str),
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What happened, in RDS's words. The API does not tell the event's number.
    pub message: String,
    /// Categories, for example `maintenance`.
    pub categories: Vec<String>,
    /// The identifier of what it is about.
    pub subject: String,
}

impl Event {
    /// The event for scripts and the journal.
    #[must_use]
    pub fn to_map(&self) -> Map {
        map! {
            "at" => clock::text_of_ms(self.at_ms),
            "message" => self.message.as_str(),
            "categories" => self.categories.clone(),
            "subject" => self.subject.as_str(),
        }
    }
}

impl Rds {
    /// Events, oldest first: since that instant (milliseconds since 1970), or of the last hour.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn events(&self, source: Source<'_>, since_ms: Option<u64>) -> Result<Vec<Event>> {
        use aws_sdk_rds::{primitives::DateTime, types::SourceType};
        let (kind, id) = match source {
            Source::Instance(id) => (SourceType::DbInstance, id),
            Source::Snapshot(id) => (SourceType::DbSnapshot, id),
            Source::Cluster(id) => (SourceType::DbCluster, id),
            Source::ParameterGroup(id) => (SourceType::DbParameterGroup, id),
        };
        let since = since_ms.and_then(|ms| i64::try_from(ms / 1000).ok()).map(DateTime::from_secs);
        let call = self.ask().await?.describe_events().source_type(kind).source_identifier(id).set_start_time(since);
        let mut pages = call.into_paginator().send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.aws.asks("DescribeEvents", id).failed(&error))?;
            all.extend(page.events().iter().map(|event| Event {
                at_ms: event.date().and_then(epoch_ms).unwrap_or(0),
                message: event.message().unwrap_or_default().to_owned(),
                categories: event.event_categories().to_vec(),
                subject: event.source_identifier().unwrap_or(id).to_owned(),
            }));
        }
        all.sort_by_key(|event| event.at_ms);
        Ok(all)
    }
}
