//! Engine versions: what this machine can run is what the lab offers. And subnet groups, of which any name is one.

use std::{collections::BTreeSet, sync::Arc};

use super::{page::Page, shapes};
use crate::lab::{
    kind::Engine,
    postgres::Version,
    query::Query,
    refusal::{Outcome, Refusal},
    site::Site,
    world::tail,
    xml::Element,
};

pub(super) fn describe_versions(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let page = Page::read(query)?;
    let all = site.catalogue.versions();
    let newest = query.boolean("DefaultOnly")?.unwrap_or(false).then(|| site.catalogue.newest()).flatten();
    // As on RDS a major version alone stands for all of its minor ones here.
    let wanted = |engine: Engine, version: Version| {
        query.text("Engine").is_none_or(|text| text == engine.text())
            && query
                .text("EngineVersion")
                .is_none_or(|text| text == version.to_string() || text == version.major.to_string())
            && query.text("DBParameterGroupFamily").is_none_or(|text| text == engine.family(version.major))
            && newest.is_none_or(|newest| newest == version)
    };
    let both = Engine::ALL.into_iter().flat_map(|engine| all.iter().map(move |version| (engine, *version)));
    let shown = both.filter(|(engine, version)| wanted(*engine, *version));
    let items = shown.map(|(engine, version)| (format!("{} {version}", engine.text()), shape(engine, version, &all)));
    Ok(Some(page.result("DBEngineVersions", items.collect())))
}

fn shape(engine: Engine, version: Version, all: &[Version]) -> Element {
    let described = match engine {
        Engine::Postgres => "PostgreSQL",
        Engine::Aurora => "Aurora PostgreSQL",
    };
    let targets = all.iter().filter(|to| **to > version).map(|to| {
        Element::new("UpgradeTarget")
            .text("Engine", engine.text())
            .text("EngineVersion", to)
            .text("Description", format!("{described} {to}"))
            .text("AutoUpgrade", false)
            .text("IsMajorVersionUpgrade", to.major != version.major)
    });
    Element::new("DBEngineVersion")
        .text("Engine", engine.text())
        .text("EngineVersion", version)
        .text("MajorEngineVersion", version.major)
        .text("DBParameterGroupFamily", engine.family(version.major))
        .text("DBEngineDescription", described)
        .text("DBEngineVersionDescription", format!("{described} {version}"))
        .list("ValidUpgradeTarget", targets)
        .list("ExportableLogTypes", ["postgresql"].map(|log| Element::new("member").value(log)))
        .text("SupportsReadReplica", false)
        .text("Status", "available")
}

pub(super) fn describe_subnet_groups(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let page = Page::read(query)?;
    let mut names: BTreeSet<String> =
        site.look(|world| world.databases().filter_map(|database| database.subnet_group.clone()).collect());
    names.insert("default".into());
    if let Some(name) = query.text("DBSubnetGroupName").map(tail) {
        if !names.contains(&name) {
            return Err(Refusal::absent("DBSubnetGroupNotFoundFault", format!("DB subnet group '{name}' not found.")));
        }
        names = BTreeSet::from([name]);
    }
    let items = names.into_iter().map(|name| (name.clone(), shapes::subnet_group(site, &name, "DBSubnetGroup")));
    Ok(Some(page.result("DBSubnetGroups", items.collect())))
}

/// True for the name of a group that RDS makes by itself.
pub(super) fn is_default_group(site: &Site, name: &str) -> bool {
    let found = Engine::of_default_group(name);
    found.is_some_and(|(_, major)| site.catalogue.versions().iter().any(|version| version.major == major))
}
