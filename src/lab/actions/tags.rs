//! Tags of instances, clusters, their snapshots and parameter groups, and of blue/green deployments. pgrun knows its
//! own work by them.

use std::sync::Arc;

use super::shapes::tag_list;
use crate::lab::{
    instance::Tags,
    kind::Kind,
    query::Query,
    refusal::{Outcome, Refusal},
    site::Site,
    world::World,
    xml::Element,
};

/// A resource bears this many tags (user guide, "Tagging Amazon RDS resources").
const MOST: usize = 50;

/// The tags in a request, checked.
pub(super) fn tags_of(query: &Query) -> Outcome<Tags> {
    let mut tags = Tags::default();
    for item in query.items("Tags", "Tag") {
        let (key, value) = (item.required("Key")?, item.raw("Value").unwrap_or_default());
        if key.len() > 128 || value.len() > 256 || key.starts_with("aws:") {
            return Err(Refusal::value(format!(
                "Tag {key:?}: keys have up to 128 characters and do not begin with aws:, values up to 256."
            )));
        }
        tags.add(Tags(vec![(key.to_owned(), value.to_owned())]));
    }
    Ok(tags)
}

/// What an ARN can name that bears tags.
#[derive(Clone, Copy)]
enum Bearer {
    Database(Kind),
    Snapshot(Kind),
    Group(Kind),
    Deployment,
}

impl Bearer {
    /// `arn:aws:rds:REGION:ACCOUNT:KIND:NAME`.
    fn of(arn: &str) -> Outcome<Self> {
        let part = arn.split(':').nth(5);
        if part == Some("deployment") {
            return Ok(Self::Deployment);
        }
        let found = [Kind::Instance, Kind::Cluster].into_iter().find_map(|kind| match kind.words() {
            words if part == Some(words.arn) => Some(Self::Database(kind)),
            words if part == Some(words.snapshot_arn) => Some(Self::Snapshot(kind)),
            words if part == Some(words.group_arn) => Some(Self::Group(kind)),
            _ => None,
        });
        found.ok_or_else(|| Refusal::value(format!("Invalid resource name: {arn}")))
    }

    fn tags<'a>(self, world: &'a World, arn: &str) -> Outcome<&'a Tags> {
        match self {
            Self::Database(kind) => world.database(kind, arn).map(|found| &found.tags),
            Self::Snapshot(kind) => world.snapshot(kind, arn).map(|found| &found.tags),
            Self::Group(kind) => world.group(kind, arn).map(|found| &found.tags),
            Self::Deployment => world.deployment(arn).map(|found| &found.tags),
        }
    }

    fn tags_mut<'a>(self, world: &'a mut World, arn: &str) -> Outcome<&'a mut Tags> {
        match self {
            Self::Database(kind) => world.database_mut(kind, arn).map(|found| &mut found.tags),
            Self::Snapshot(kind) => world.snapshot_mut(kind, arn).map(|found| &mut found.tags),
            Self::Group(kind) => world.group_mut(kind, arn).map(|found| &mut found.tags),
            Self::Deployment => world.deployment_mut(arn).map(|found| &mut found.tags),
        }
    }
}

pub(super) fn add(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let (arn, new) = (query.required("ResourceName")?, tags_of(query)?);
    let bearer = Bearer::of(arn)?;
    site.change(|world| {
        let tags = bearer.tags_mut(world, arn)?;
        tags.add(new);
        if tags.0.len() > MOST {
            return Err(Refusal::value(format!("A resource can have up to {MOST} tags.")));
        }
        Ok(None)
    })
}

pub(super) fn remove(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let (arn, keys) = (query.required("ResourceName")?, query.texts("TagKeys", "member"));
    let bearer = Bearer::of(arn)?;
    site.change(|world| {
        bearer.tags_mut(world, arn)?.remove(&keys);
        Ok(None)
    })
}

pub(super) fn list(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let arn = query.required("ResourceName")?;
    let bearer = Bearer::of(arn)?;
    let tags = site.look(|world| bearer.tags(world, arn).cloned())?;
    Ok(Some(Element::new("Result").list("TagList", tag_list(&tags))))
}
