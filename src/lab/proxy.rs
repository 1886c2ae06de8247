//! One RDS Proxy as data. Its connections are in `relay`, its listener in `work/proxies`.

use serde::{Deserialize, Serialize};

use super::{authority::account_part, instance::Tags};

/// A DB proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Proxy {
    pub(crate) name: String,
    /// `prx-..`: another proxy of the same name has another one.
    pub(crate) resource: String,
    /// Where it listens; none before it first did.
    pub(crate) port: Option<u16>,
    /// The secrets whose logins it takes.
    pub(crate) auth: Vec<ProxyAuth>,
    pub(crate) role: String,
    pub(crate) subnets: Vec<String>,
    pub(crate) security_groups: Vec<String>,
    pub(crate) require_tls: bool,
    pub(crate) idle_timeout: i64,
    pub(crate) created_ms: u64,
    /// The instance behind it, by its resource id: it may be renamed.
    pub(crate) target: Option<String>,
    pub(crate) tags: Tags,
}

/// A login of a proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProxyAuth {
    pub(crate) secret: String,
    pub(crate) description: Option<String>,
}

impl Proxy {
    /// `available` once it listens.
    pub(crate) fn status(&self) -> &'static str {
        if self.port.is_some() { "available" } else { "creating" }
    }
}

/// `NAME.proxy-xxxxxxxxxxxx.REGION.rds.amazonaws.com`.
pub(crate) fn proxy_host(name: &str, region: &str) -> String {
    format!("{name}.proxy-{}.{region}.rds.amazonaws.com", account_part(region))
}
