//! RDS Proxy: made, described, pointed at an instance, deleted. Each has its one target group, `default`.

use std::sync::Arc;

use super::{names::identifier, page::Page, tags::tags_of};
use crate::{
    base::clock,
    lab::{
        instance::Instance,
        proxy::{Proxy, ProxyAuth, proxy_host},
        query::Query,
        refusal::{Outcome, Refusal},
        site::Site,
        work,
        world::World,
        xml::Element,
    },
};

pub(super) fn create(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let name = identifier(query, "DBProxyName", 62)?;
    if query.required("EngineFamily")? != "POSTGRESQL" {
        return Err(Refusal::value("The lab's proxies are for the engine family POSTGRESQL."));
    }
    let auth = query.items("Auth", "member").iter().map(auth).collect::<Outcome<Vec<ProxyAuth>>>()?;
    if auth.is_empty() {
        return Err(Refusal::value("A proxy of the lab needs at least one secret in Auth."));
    }
    let letters = uuid::Uuid::new_v4().simple().to_string();
    let proxy = Proxy {
        name: name.clone(),
        resource: format!("prx-0{}", &letters[..16]),
        port: None,
        auth,
        role: query.required("RoleArn")?.to_owned(),
        subnets: query.texts("VpcSubnetIds", "member"),
        security_groups: query.texts("VpcSecurityGroupIds", "member"),
        require_tls: query.boolean("RequireTLS")?.unwrap_or(false),
        idle_timeout: query.integer("IdleClientTimeout")?.unwrap_or(1800),
        created_ms: site.clock.now_ms(),
        target: None,
        tags: tags_of(query)?,
    };
    let shown = shape(site, &proxy, proxy.status());
    site.change(|world: &mut World| {
        if world.proxies.contains_key(&name) {
            return Err(Refusal::new("DBProxyAlreadyExistsFault", format!("DBProxy {name} already exists.")));
        }
        world.proxies.insert(name.clone(), proxy);
        Ok(())
    })?;
    work::begin_proxy(site, &name);
    Ok(Some(Element::new("Result").child(shown)))
}

fn auth(item: &Query) -> Outcome<ProxyAuth> {
    if item.text("IAMAuth").is_some_and(|iam| iam != "DISABLED") {
        return Err(Refusal::value("The lab's proxies take no IAM authentication."));
    }
    Ok(ProxyAuth {
        secret: item.required("SecretArn")?.to_owned(),
        description: item.text("Description").map(str::to_owned),
    })
}

pub(super) fn describe(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let page = Page::read(query)?;
    let found: Vec<Proxy> = site.look(|world| match query.text("DBProxyName") {
        Some(name) => Ok(vec![known(world, name)?.clone()]),
        None => Ok(world.proxies.values().cloned().collect()),
    })?;
    let items = found.iter().map(|proxy| (proxy.name.clone(), shape(site, proxy, proxy.status()).named("member")));
    Ok(Some(page.result("DBProxies", items.collect())))
}

pub(super) fn delete(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let name = query.required("DBProxyName")?;
    let gone = site.change(|world: &mut World| {
        let proxy = known(world, name)?.clone();
        world.proxies.remove(&proxy.name);
        Ok(proxy)
    })?;
    Ok(Some(Element::new("Result").child(shape(site, &gone, "deleting"))))
}

pub(super) fn register(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let name = query.required("DBProxyName")?;
    default_group(query)?;
    let ids = query.texts("DBInstanceIdentifiers", "member");
    let [id] = ids.as_slice() else {
        return Err(Refusal::value("A proxy of the lab has one instance behind it."));
    };
    let instance = site.change(|world: &mut World| {
        let instance = world.instance(id)?.clone();
        let proxy = known(world, name)?;
        if proxy.target.is_some() {
            return Err(Refusal::new(
                "DBProxyTargetAlreadyRegisteredFault",
                format!("The proxy {name} has a target already."),
            ));
        }
        if let Some(proxy) = world.proxies.get_mut(&name.to_ascii_lowercase()) {
            proxy.target = Some(instance.resource.clone());
        }
        Ok(instance)
    })?;
    Ok(Some(Element::new("Result").list("DBProxyTargets", [target_shape(&instance)])))
}

pub(super) fn describe_targets(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let page = Page::read(query)?;
    default_group(query)?;
    let instance = site.look(|world| {
        let proxy = known(world, query.required("DBProxyName")?)?;
        Ok(proxy.target.as_ref().and_then(|resource| world.resource(resource).cloned()))
    })?;
    let items = instance.iter().map(|instance| (instance.id.clone(), target_shape(instance)));
    Ok(Some(page.result("Targets", items.collect())))
}

fn default_group(query: &Query) -> Outcome<()> {
    match query.text("TargetGroupName") {
        None | Some("default") => Ok(()),
        Some(name) => {
            Err(Refusal::absent("DBProxyTargetGroupNotFoundFault", format!("DBProxyTargetGroup {name} not found.")))
        }
    }
}

fn known<'a>(world: &'a World, name: &str) -> Outcome<&'a Proxy> {
    let found = world.proxies.get(&name.to_ascii_lowercase());
    found.ok_or_else(|| Refusal::absent("DBProxyNotFoundFault", format!("DBProxy {name} not found.")))
}

fn shape(site: &Site, proxy: &Proxy, status: &str) -> Element {
    let auth = |auth: &ProxyAuth| {
        Element::new("member")
            .maybe("Description", auth.description.as_ref())
            .text("AuthScheme", "SECRETS")
            .text("SecretArn", &auth.secret)
            .text("IAMAuth", "DISABLED")
            .text("ClientPasswordAuthType", "POSTGRES_SCRAM_SHA_256")
    };
    let texts = |texts: &[String]| texts.iter().map(|text| Element::new("member").value(text)).collect::<Vec<_>>();
    let created = clock::text_of_ms(proxy.created_ms);
    Element::new("DBProxy")
        .text("DBProxyName", &proxy.name)
        .text("DBProxyArn", site.arn("db-proxy", &proxy.resource))
        .text("Status", status)
        .text("EngineFamily", "POSTGRESQL")
        .text("VpcId", "vpc-lab")
        .list("VpcSecurityGroupIds", texts(&proxy.security_groups))
        .list("VpcSubnetIds", texts(&proxy.subnets))
        .list("Auth", proxy.auth.iter().map(auth))
        .text("RoleArn", &proxy.role)
        .text("Endpoint", proxy_host(&proxy.name, site.region()))
        .text("RequireTLS", proxy.require_tls)
        .text("IdleClientTimeout", proxy.idle_timeout)
        .text("DebugLogging", false)
        .text("CreatedDate", &created)
        .text("UpdatedDate", &created)
}

fn target_shape(instance: &Instance) -> Element {
    let state = if instance.status.serves() { "AVAILABLE" } else { "UNAVAILABLE" };
    Element::new("member")
        .text("Endpoint", "127.0.0.1")
        .text("RdsResourceId", &instance.id)
        .maybe("Port", instance.port)
        .text("Type", "RDS_INSTANCE")
        .text("Role", "READ_WRITE")
        .child(Element::new("TargetHealth").text("State", state))
}
