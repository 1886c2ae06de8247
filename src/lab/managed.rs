//! Master passwords that RDS manages in Secrets Manager (RDS user guide, "Password management with Amazon RDS and AWS
//! Secrets Manager"): the secret of an instance, as data. The password is in the secret only; servers and the state of
//! instances have its SCRAM verifier.

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    instance::{Changes, Instance, InstanceStatus, Work},
    refusal::Refusal,
    rotation::Rotation,
    secret::{Data, StoredSecret},
    site::{ACCOUNT, Site},
    world::World,
};

/// `OwningService` of such a secret.
pub(crate) const OWNER: &str = "rds";

/// RDS rotates it every seven days unless told otherwise.
const AFTER_DAYS: i64 = 7;

/// As long as those that RDS makes, of characters that it accepts itself in a `MasterUserPassword`.
const LENGTH: usize = 28;
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&()*+,-.:;<=>?[]^_{|}~";

/// `MasterUserSecret` of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MasterSecret {
    pub(crate) arn: String,
    pub(crate) kms_key: String,
    pub(crate) rotating: bool,
}

impl MasterSecret {
    /// `SecretStatus`.
    pub(crate) fn status(&self, instance: &Instance) -> &'static str {
        let is_set = match &instance.work {
            Some(Work::Create { .. }) => false,
            Some(Work::Modify(changes)) => changes.verifier.is_none(),
            _ => instance.status != InstanceStatus::Creating,
        };
        match (self.rotating, is_set) {
            (true, _) => "rotating",
            (false, true) => "active",
            (false, false) => "creating",
        }
    }
}

/// The value of a version of the secret.
pub(crate) fn value(master: &str, password: &str) -> Data {
    Data { text: Some(json!({ "username": master, "password": password }).to_string()), binary: None }
}

pub(crate) fn new_password() -> String {
    let mut random = rand::rng();
    (0..LENGTH).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

/// A secret for the master user of an instance, with the verifier of the password in it.
pub(crate) fn make(
    site: &Site,
    instance: &Instance,
    kms_key: Option<&str>,
    now: f64,
) -> Result<(StoredSecret, MasterSecret, String), Refusal> {
    let name = format!("rds!db-{}", uuid::Uuid::new_v4());
    let mut secret = StoredSecret::new(&name, site.region(), now);
    let arn = site.arn("db", &instance.id);
    secret.description = Some(format!("The secret associated with the primary RDS DB instance: {arn}"));
    secret.kms_key = kms_key.map(str::to_owned);
    secret.owning_service = Some(OWNER.to_owned());
    secret.tags = vec![
        ("aws:rds:primaryDBInstanceArn".to_owned(), arn),
        ("aws:secretsmanager:owningService".to_owned(), OWNER.to_owned()),
    ];
    secret.rotation = Rotation { enabled: Some(true), ..Rotation::default() };
    secret.rotation.rules.after_days = Some(AFTER_DAYS);
    secret.rotation.reckon(now);
    let password = new_password();
    secret.put(&uuid::Uuid::new_v4().to_string(), value(&instance.master, &password), &[], now)?;
    let kms_key = kms_key
        .map_or_else(|| format!("arn:aws:kms:{}:{ACCOUNT}:alias/aws/secretsmanager", site.region()), str::to_owned);
    let master = MasterSecret { arn: secret.arn.clone(), kms_key, rotating: false };
    Ok((secret, master, verifier(&password)))
}

/// What the server gets of a password.
pub(crate) fn verifier(password: &str) -> String {
    postgres_protocol::password::scram_sha_256(password.as_bytes())
}

/// The change that sets it.
pub(crate) fn change(password: &str) -> Changes {
    Changes { verifier: Some(verifier(password)), ..Changes::default() }
}

/// Removes the secret of an instance, without a recovery window: RDS deletes it with the instance, and when it shall no
/// longer manage the password.
pub(crate) fn forget(world: &mut World, arn: Option<&str>) {
    world.secrets.retain(|_, secret| Some(secret.arn.as_str()) != arn);
}
