//! How pgrun reaches AWS: settings, clients, time limits. Nothing is resolved or opened before the first call.

use std::{fmt, sync::Arc, time::Duration};

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, future},
};
use aws_sdk_rds::config::retry::{RetryPartition, TokenBucket};
use tokio::sync::OnceCell;

use super::{retry::OnlyWhenCertain, secrets::Secrets};
use crate::{
    base::{Code, Redactor, Result, Secret},
    fail,
};

/// Where AWS is and who asks. What is `None` is decided by the SDK's own rules: `AWS_PROFILE`, `AWS_REGION`,
/// `AWS_ENDPOINT_URL`, the shared configuration files, container and instance roles (AWS SDKs and Tools Reference
/// Guide).
#[derive(Clone, Debug)]
pub struct Settings {
    /// The profile in the shared configuration files.
    pub profile: Option<String>,
    /// The region, for example `eu-west-1`.
    pub region: Option<String>,
    /// The base URL of every service, for example the lab's.
    pub endpoint: Option<String>,
    /// Keys to use instead of the SDK's chain.
    pub keys: Option<Keys>,
    /// Tries of one call, the first included. Eight survive seven throttled answers, in about ten seconds.
    pub attempts: u32,
    /// The longest time for one try. The SDK has no limit of its own, and a silent peer would hold a run for ever.
    pub attempt_limit: Duration,
    /// The longest time for a call with all its tries and the pauses between them.
    pub call_limit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            profile: None,
            region: None,
            endpoint: None,
            keys: None,
            attempts: 8,
            attempt_limit: Duration::from_secs(30),
            call_limit: Duration::from_secs(120),
        }
    }
}

/// Access keys given by hand.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The access key's id; not a secret.
    pub id: String,
    /// The secret access key.
    pub secret: Secret,
    /// The session token of temporary keys.
    pub token: Option<Secret>,
}

/// A lazy handle to one AWS account and region. Clones share their clients and connections.
#[derive(Clone)]
pub struct Aws(Arc<Inner>);

struct Inner {
    settings: Settings,
    redactor: Redactor,
    clients: OnceCell<Clients>,
}

/// One client of each service for questions and one for changes, which differ in what may be tried again; CloudWatch is
/// only asked.
struct Clients {
    region: String,
    endpoint: Option<String>,
    rds_ask: aws_sdk_rds::Client,
    rds_change: aws_sdk_rds::Client,
    metrics: aws_sdk_cloudwatch::Client,
    secrets_ask: aws_sdk_secretsmanager::Client,
    secrets_change: aws_sdk_secretsmanager::Client,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Aws {
    /// A handle. Region and credentials are looked for at the first call, so a runbook that never needs AWS never asks.
    #[must_use]
    pub fn connect(settings: Settings, redactor: Redactor) -> Self {
        Self(Arc::new(Inner { settings, redactor, clients: OnceCell::new() }))
    }

    /// RDS.
    #[must_use]
    pub fn rds(&self) -> Rds {
        Rds { aws: self.clone() }
    }

    /// Secrets Manager.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        Secrets { aws: self.clone() }
    }

    /// The region that calls go to.
    ///
    /// # Errors
    /// `config` when no region is set anywhere.
    pub async fn region(&self) -> Result<String> {
        Ok(self.clients().await?.region.clone())
    }

    /// The base URL that replaces AWS's own endpoints, if one is set; the lab's, for example.
    ///
    /// # Errors
    /// As [`Aws::region`].
    pub async fn endpoint(&self) -> Result<Option<String>> {
        Ok(self.clients().await?.endpoint.clone())
    }

    /// Where requests go, in words; none before the first one.
    pub(super) fn place(&self) -> Option<String> {
        let clients = self.0.clients.get()?;
        let endpoint = clients.endpoint.as_ref().map(|url| format!(" at {url}")).unwrap_or_default();
        Some(format!("region {}{endpoint}", clients.region))
    }

    pub(super) fn redactor(&self) -> &Redactor {
        &self.0.redactor
    }

    /// Wraps a text that AWS sent as a secret, known to the redactor before anybody can print it.
    pub(super) fn learn(&self, text: &str) -> Secret {
        let secret = Secret::new(text);
        self.0.redactor.learn(&secret);
        secret
    }

    pub(super) async fn metrics(&self) -> Result<&aws_sdk_cloudwatch::Client> {
        Ok(&self.clients().await?.metrics)
    }

    pub(super) async fn secrets_ask(&self) -> Result<&aws_sdk_secretsmanager::Client> {
        Ok(&self.clients().await?.secrets_ask)
    }

    pub(super) async fn secrets_change(&self) -> Result<&aws_sdk_secretsmanager::Client> {
        Ok(&self.clients().await?.secrets_change)
    }

    async fn clients(&self) -> Result<&Clients> {
        self.0.clients.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Clients> {
        let settings = &self.0.settings;
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(settings.attempts.max(1))
                    .with_initial_backoff(Duration::from_millis(300))
                    .with_max_backoff(Duration::from_secs(5)),
            )
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(settings.attempt_limit.min(Duration::from_secs(5)))
                    .operation_attempt_timeout(settings.attempt_limit)
                    .operation_timeout(settings.call_limit)
                    .build(),
            );
        // CloudTrail shows it as `app/pgrun`, which tells an auditor who moved the database.
        if let Ok(name) = AppName::new("pgrun") {
            loader = loader.app_name(name);
        }
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(keys) = &settings.keys {
            loader = loader.credentials_provider(keys.credentials());
        }
        let config = self.watched(loader.load().await);
        let Some(region) = config.region() else {
            return Err(fail!(Code::Config, "no AWS region is set").hint("export AWS_REGION=eu-west-1"));
        };
        tracing::debug!(region = region.as_ref(), endpoint = config.endpoint_url(), "AWS configured");
        Ok(Clients {
            region: region.to_string(),
            endpoint: config.endpoint_url().map(str::to_owned),
            rds_ask: aws_sdk_rds::Client::from_conf(rds(&config).build()),
            rds_change: aws_sdk_rds::Client::from_conf(rds(&config).retry_classifier(OnlyWhenCertain).build()),
            metrics: aws_sdk_cloudwatch::Client::from_conf(
                aws_sdk_cloudwatch::config::Builder::from(&config).retry_partition(retry_partition()).build(),
            ),
            secrets_ask: aws_sdk_secretsmanager::Client::from_conf(secrets(&config).build()),
            secrets_change: aws_sdk_secretsmanager::Client::from_conf(
                secrets(&config).retry_classifier(OnlyWhenCertain).build(),
            ),
        })
    }

    /// Puts the redactor behind the credentials' provider: keys are refreshed during long runs.
    fn watched(&self, config: SdkConfig) -> SdkConfig {
        let Some(inner) = config.credentials_provider() else { return config };
        let watched = Watched { inner, redactor: self.0.redactor.clone() };
        config.into_builder().credentials_provider(SharedCredentialsProvider::new(watched)).build()
    }
}

/// The SDK's retry budget is shared by a whole process and meant for fleets; one run with its few calls must not be
/// refused a retry because an hour ago it was throttled.
fn retry_partition() -> RetryPartition {
    RetryPartition::custom("pgrun").token_bucket(TokenBucket::unlimited()).build()
}

fn rds(config: &SdkConfig) -> aws_sdk_rds::config::Builder {
    aws_sdk_rds::config::Builder::from(config).retry_partition(retry_partition())
}

fn secrets(config: &SdkConfig) -> aws_sdk_secretsmanager::config::Builder {
    aws_sdk_secretsmanager::config::Builder::from(config).retry_partition(retry_partition())
}

impl Keys {
    fn credentials(&self) -> Credentials {
        let token = self.token.as_ref().map(|token| token.expose().to_owned());
        Credentials::new(&self.id, self.secret.expose(), token, None, "pgrun")
    }
}

/// Hands on what the inner provider gives, after the redactor has seen it.
struct Watched {
    inner: SharedCredentialsProvider,
    redactor: Redactor,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl ProvideCredentials for Watched {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let credentials = self.inner.provide_credentials().await?;
            self.redactor.learn(&Secret::new(credentials.secret_access_key()));
            if let Some(token) = credentials.session_token() {
                self.redactor.learn(&Secret::new(token));
            }
            Ok(credentials)
        })
    }
}

/// RDS. Identifiers are compared as RDS does it, in lower case.
#[derive(Clone, Debug)]
pub struct Rds {
    pub(super) aws: Aws,
}

impl Rds {
    /// The client for questions: repeated until answered.
    pub(super) async fn ask(&self) -> Result<&aws_sdk_rds::Client> {
        Ok(&self.aws.clients().await?.rds_ask)
    }

    /// The client for changes: repeated only where AWS cannot have acted.
    pub(super) async fn change(&self) -> Result<&aws_sdk_rds::Client> {
        Ok(&self.aws.clients().await?.rds_change)
    }
}
