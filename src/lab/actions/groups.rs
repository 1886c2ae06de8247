//! Parameter groups of instances and clusters: made, changed, described. What a group does to a server is in
//! `lab::group`.

use std::{collections::BTreeMap, sync::Arc};

use super::{engines::is_default_group, names::identifier, page::Page, shapes, tags::tags_of};
use crate::lab::{
    group::{Parameter, ParameterGroup, SetParameter, settings},
    instance::ApplyStatus,
    kind::{Engine, Kind},
    postgres::Settings,
    query::Query,
    refusal::{Outcome, Refusal},
    site::Site,
    world::{EventSource, World, tail},
    xml::Element,
};

/// `ModifyDBParameterGroup` takes this many parameters at once (API reference).
const MOST: usize = 20;

/// The engines whose groups there are: a cluster is always one of Aurora, its instances have groups of their own.
fn engines(kind: Kind) -> &'static [Engine] {
    match kind {
        Kind::Instance => &Engine::ALL,
        Kind::Cluster => &[Engine::Aurora],
    }
}

pub(super) fn create(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let name = identifier(query, kind.words().group_name, 255)?;
    let (family, description) = (query.required("DBParameterGroupFamily")?, query.required("Description")?);
    let known = |(engine, major): (Engine, u32)| {
        engines(kind).contains(&engine) && site.catalogue.versions().iter().any(|version| version.major == major)
    };
    if !Engine::of_family(family).is_some_and(known) {
        return Err(Refusal::value(format!("ParameterGroupFamily {family} is not a valid parameter group family")));
    }
    let group = ParameterGroup {
        name: name.clone(),
        family: family.to_owned(),
        description: description.to_owned(),
        parameters: BTreeMap::new(),
        tags: tags_of(query)?,
    };
    let shown = shapes::group(site, kind, &group);
    site.change(|world| {
        if world.groups_of(kind).contains_key(&name) {
            return Err(Refusal::new(
                "DBParameterGroupAlreadyExists",
                format!("Parameter group {name} already exists"),
            ));
        }
        world.groups_mut(kind).insert(name, group);
        Ok(())
    })?;
    Ok(Some(Element::new("Result").child(shown)))
}

pub(super) fn describe(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let page = Page::read(query)?;
    let made = |world: &World| {
        let groups = world.groups_of(kind).values();
        groups.map(|group| (group.name.clone(), shapes::group(site, kind, group))).collect()
    };
    let mut items: Vec<(String, Element)> = site.look(made);
    let majors: std::collections::BTreeSet<u32> = site.catalogue.versions().iter().map(|v| v.major).collect();
    for (engine, major) in engines(kind).iter().flat_map(|engine| majors.iter().map(move |major| (engine, *major))) {
        let (name, family) = (engine.default_group(major), engine.family(major));
        let shown = shapes::group_named(site, kind, &name, &family, &format!("Default parameter group for {family}"));
        items.push((name, shown));
    }
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    if let Some(name) = query.text(kind.words().group_name).map(tail) {
        items.retain(|(known, _)| *known == name);
        if items.is_empty() {
            return Err(Refusal::no_group(&name));
        }
    }
    Ok(Some(page.result(kind.words().group_list, items)))
}

pub(super) fn delete(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let name = tail(query.required(kind.words().group_name)?);
    refuse_default(site, &name)?;
    site.change(|world| {
        world.group(kind, &name)?;
        if let Some(user) = world.all(kind).values().find(|user| user.group == name) {
            return Err(Refusal::new(
                "InvalidDBParameterGroupState",
                format!("One or more database instances are still members of this parameter group {name}: {}", user.id),
            ));
        }
        world.groups_mut(kind).remove(&name);
        Ok(None)
    })
}

fn refuse_default(site: &Site, name: &str) -> Outcome<()> {
    if !is_default_group(site, name) {
        return Ok(());
    }
    Err(Refusal::value(format!("Default DBParameterGroup cannot be modified or deleted: {name}")))
}

/// One change of a parameter; without a value it goes back to the default.
struct Change {
    name: String,
    value: Option<SetParameter>,
    is_static: bool,
}

pub(super) fn modify(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let changes = |all: &[Parameter]| {
        let items = query.items("Parameters", "Parameter");
        if items.is_empty() || items.len() > MOST {
            return Err(Refusal::value(format!("A request names 1 to {MOST} parameters, got {}.", items.len())));
        }
        items.iter().map(|item| change_of(item, all, true)).collect::<Outcome<Vec<Change>>>()
    };
    apply(site, query, kind, |_, all| changes(all))
}

pub(super) fn reset(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let everything = query.boolean("ResetAllParameters")?.unwrap_or(false);
    apply(site, query, kind, |group, all| {
        if everything {
            let is_static = |name: &String| all.iter().any(|known| known.name == *name && known.is_static);
            let back = |name: &String| Change { name: name.clone(), value: None, is_static: is_static(name) };
            return Ok(group.parameters.keys().map(back).collect());
        }
        query.items("Parameters", "Parameter").iter().map(|item| change_of(item, all, false)).collect()
    })
}

/// Reads and checks one parameter of a request against those of the engine. A machine without any installation knows
/// none; then every name is taken.
fn change_of(item: &Query, all: &[Parameter], sets: bool) -> Outcome<Change> {
    let (name, method) = (item.required("ParameterName")?, item.text("ApplyMethod").unwrap_or("pending-reboot"));
    // The name becomes a line of `postgresql.conf`.
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {
        return Err(Refusal::value(format!("Could not find parameter with name: {name}")));
    }
    let known = all.iter().find(|known| known.name == name);
    // Names with a dot belong to extensions, whose parameters the engine does not list.
    if known.is_none() && !all.is_empty() && (!name.contains('.') || name.starts_with("rds.")) {
        return Err(Refusal::value(format!("Could not find parameter with name: {name}")));
    }
    if known.is_some_and(|known| !known.modifiable) {
        return Err(Refusal::value(format!("The parameter {name} cannot be modified.")));
    }
    if !["immediate", "pending-reboot"].contains(&method) {
        return Err(Refusal::value(format!("Invalid apply method {method}: wanted immediate or pending-reboot.")));
    }
    let is_static = known.is_some_and(|known| known.is_static);
    if is_static && method == "immediate" {
        return Err(Refusal::combination(format!(
            "cannot use immediate apply method for static parameter (parameter {name})"
        )));
    }
    let value = match item.raw("ParameterValue") {
        Some(value) if sets => {
            check_value(name, value, known)?;
            Some(SetParameter { value: value.to_owned(), method: method.to_owned() })
        }
        None if sets => return Err(Refusal::value(format!("The parameter {name} has no value."))),
        _ => None,
    };
    Ok(Change { name: name.to_owned(), value, is_static: is_static || method == "pending-reboot" })
}

fn check_value(name: &str, value: &str, known: Option<&Parameter>) -> Outcome<()> {
    let Some(Parameter { data_type: "integer" | "float", allowed: Some(allowed), .. }) = known else { return Ok(()) };
    let formula = value.starts_with('{');
    let within = || {
        let (low, high) = allowed.get(1..)?.find('-').map(|at| allowed.split_at(at + 1))?;
        let number: f64 = value.parse().ok()?;
        Some((low.parse::<f64>().ok()?..=high.strip_prefix('-')?.parse::<f64>().ok()?).contains(&number))
    };
    if formula || within().unwrap_or(false) {
        return Ok(());
    }
    Err(Refusal::value(format!("Invalid parameter value: {value} for: {name} allowed values are: {allowed}")))
}

/// Changes the group, and the servers that use it: dynamic parameters at once, static ones with their next start.
fn apply(
    site: &Arc<Site>,
    query: &Query,
    kind: Kind,
    decide: impl FnOnce(&ParameterGroup, &[Parameter]) -> Outcome<Vec<Change>>,
) -> Outcome<Option<Element>> {
    let name = tail(query.required(kind.words().group_name)?);
    refuse_default(site, &name)?;
    let (changed, users) = site.change(|world: &mut World| {
        let group = world.group_mut(kind, &name)?;
        let all = site.parameters(major_of(&group.family));
        let changed = decide(group, &all)?;
        for change in &changed {
            match &change.value {
                Some(value) => drop(group.parameters.insert(change.name.clone(), value.clone())),
                None => drop(group.parameters.remove(&change.name)),
            }
        }
        if changed.iter().any(|change| change.is_static) {
            for user in world.all_mut(kind).values_mut().filter(|user| user.group == name) {
                user.group_status = ApplyStatus::PendingReboot;
            }
        }
        let users = world.all(kind).values().filter(|user| user.group == name);
        let servers = users.flat_map(|user| world.servers_of(user));
        // Only what changes now is set: a library list is none of it, so which libraries exist does not matter.
        let users: Vec<(String, Settings)> = servers
            .map(|server| (server.resource.clone(), settings(world.group_of(server).as_ref(), |_| true)))
            .collect();
        let message = format!("Updated parameter group {name}");
        world.event(EventSource::ParameterGroup, &name, "configuration change", message);
        Ok((changed, users))
    })?;
    for (resource, fresh) in users {
        site.fleet.with(&resource, |server| {
            for change in changed.iter().filter(|change| !change.is_static) {
                match fresh.get(&change.name) {
                    Some(value) => drop(server.settings_mut().insert(change.name.clone(), value.clone())),
                    None => drop(server.settings_mut().remove(&change.name)),
                }
            }
        });
        site.settle_access(&resource);
    }
    Ok(Some(Element::new("Result").text(kind.words().group_name, name)))
}

fn major_of(family: &str) -> u32 {
    Engine::of_family(family).map(|(_, major)| major).unwrap_or_default()
}

pub(super) fn describe_parameters(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let page = Page::read(query)?;
    let name = tail(query.required(kind.words().group_name)?);
    let (major, set) = match Engine::of_default_group(&name).filter(|_| is_default_group(site, &name)) {
        Some((_, major)) => (major, BTreeMap::new()),
        None => site.look(|world| {
            let group = world.group(kind, &name)?;
            Ok((major_of(&group.family), group.parameters.clone()))
        })?,
    };
    let mut all: Vec<Parameter> = site.parameters(major).to_vec();
    let unlisted: Vec<&String> = set.keys().filter(|name| !all.iter().any(|known| known.name == **name)).collect();
    all.extend(unlisted.into_iter().map(|name| Parameter {
        name: name.clone(),
        is_static: false,
        data_type: "string",
        allowed: None,
        default: String::new(),
        description: String::new(),
        modifiable: true,
    }));
    let items = all.iter().map(|parameter| (parameter.name.clone(), shape(parameter, set.get(&parameter.name))));
    // What the lab and RDS set themselves is `system`, what nobody set is `engine-default`.
    let source = query.text("Source");
    let shown = items.filter(|(name, _)| {
        source.is_none_or(|source| (source == "user") == set.contains_key(name) && source != "system")
    });
    Ok(Some(page.result("Parameters", shown.collect())))
}

fn shape(parameter: &Parameter, set: Option<&SetParameter>) -> Element {
    let default = Some(&parameter.default).filter(|value| !value.is_empty());
    let usual = if parameter.is_static { "pending-reboot" } else { "immediate" };
    Element::new("Parameter")
        .text("ParameterName", &parameter.name)
        .maybe("ParameterValue", set.map(|set| &set.value).or(default))
        .text("Description", &parameter.description)
        .text("Source", if set.is_some() { "user" } else { "engine-default" })
        .text("ApplyType", if parameter.is_static { "static" } else { "dynamic" })
        .text("DataType", parameter.data_type)
        .maybe("AllowedValues", parameter.allowed.as_ref())
        .text("IsModifiable", parameter.modifiable)
        .text("ApplyMethod", set.map_or(usual, |set| &set.method))
}
