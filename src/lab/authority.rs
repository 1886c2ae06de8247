//! The lab's certificate authority, and the names that certificates are for. Its key never leaves the lab's folder;
//! `ca.pem` is what clients give as `sslrootcert`.
//!
//! On RDS the authorities are Amazon's, and their bundle is downloaded (user guide, "Using SSL/TLS to encrypt a
//! connection to a DB instance"). Addresses have the same shape there: the identifier, a part that is one for each
//! account and region, the region.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use sha2::{Digest as _, Sha256};

use super::{disk, postgres::ServerUser};
use crate::{
    base::{Code, Error, Result},
    fail,
};

/// The authority's certificate in the lab's folder.
const CA_FILE: &str = "ca.pem";

/// Where the authority's certificate of a lab is, for `sslrootcert`.
#[must_use]
pub fn ca_file(dir: &Path) -> PathBuf {
    dir.join(CA_FILE)
}

/// The authority of one lab.
pub(crate) struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// Takes the authority of this folder, or makes it.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let (certificate, key) = (dir.join(CA_FILE), dir.join("ca.key"));
        if !certificate.is_file() || !key.is_file() {
            let fresh = KeyPair::generate().map_err(|error| unusable(&error))?;
            let made = params()?.self_signed(&fresh).map_err(|error| unusable(&error))?;
            // The key first: a certificate without it would be taken for whole.
            disk::write_file(&key, fresh.serialize_pem().as_bytes(), 0o600, None)?;
            disk::write_file(&certificate, made.pem().as_bytes(), 0o644, None)?;
        }
        let text = fs::read_to_string(&key).map_err(disk::failed("read", &key))?;
        let key = KeyPair::from_pem(&text).map_err(|error| unusable(&error))?;
        Ok(Self(Issuer::new(params()?, key)))
    }

    /// A certificate and its key for these names and addresses, in PEM.
    pub(crate) fn certify(&self, names: &[String]) -> Result<(String, String)> {
        let mut params = CertificateParams::new(names).map_err(|error| unusable(&error))?;
        // A common name may have 64 characters; names are looked for in the other field only (RFC 6125).
        params.distinguished_name.push(DnType::CommonName, "pgrun lab server");
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(|error| unusable(&error))?;
        let made = params.signed_by(&key, &self.0).map_err(|error| unusable(&error))?;
        Ok((made.pem(), key.serialize_pem()))
    }

    /// Puts a certificate for these names into `folder` unless it is there. `names` is written down beside it.
    pub(crate) fn put(&self, folder: &Path, names: &[String], owner: Option<&ServerUser>) -> Result<()> {
        let (certificate, key, known) = (folder.join("server.crt"), folder.join("server.key"), folder.join("names"));
        let wanted = names.join("\n");
        if fs::read_to_string(&known).is_ok_and(|known| known == wanted) && certificate.is_file() && key.is_file() {
            return Ok(());
        }
        let (certificate_text, key_text) = self.certify(names)?;
        disk::make_folder(folder, 0o700)?;
        disk::give_to(folder, owner)?;
        disk::write_file(&key, key_text.as_bytes(), 0o600, owner)?;
        disk::write_file(&certificate, certificate_text.as_bytes(), 0o644, owner)?;
        disk::write_file(&known, wanted.as_bytes(), 0o644, owner)
    }
}

fn params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).map_err(|error| unusable(&error))?;
    params.distinguished_name.push(DnType::CommonName, "pgrun lab authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn unusable(error: &rcgen::Error) -> Error {
    fail!(Code::LabFailed, "the lab's certificates cannot be made: {error}")
        .hint("remove ca.pem and ca.key from the lab's folder")
}

/// `ID.xxxxxxxxxxxx.REGION.rds.amazonaws.com`.
pub(crate) fn instance_host(id: &str, region: &str) -> String {
    format!("{id}.{}.{region}.rds.amazonaws.com", account_part(region))
}

/// Twelve letters and digits for account and region; the lab has one account.
pub(crate) fn account_part(region: &str) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let sum = Sha256::digest(format!("{}/{region}", super::site::ACCOUNT));
    sum.iter().take(12).map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{Authority, CA_FILE, instance_host};

    #[test]
    fn the_authority_is_made_once_and_its_key_is_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        Authority::open(folder.path()).unwrap();
        let mode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(CA_FILE), mode("ca.key")), (0o644, 0o600));
        let first = std::fs::read(folder.path().join(CA_FILE)).unwrap();
        let again = Authority::open(folder.path()).unwrap();
        assert_eq!(std::fs::read(folder.path().join(CA_FILE)).unwrap(), first);
        let names = vec![instance_host("blue", "eu-west-1")];
        again.put(&folder.path().join("tls"), &names, None).unwrap();
        let made = std::fs::read(folder.path().join("tls/server.crt")).unwrap();
        again.put(&folder.path().join("tls"), &names, None).unwrap();
        assert_eq!(std::fs::read(folder.path().join("tls/server.crt")).unwrap(), made);
        again.put(&folder.path().join("tls"), &["other".to_owned()], None).unwrap();
        assert_ne!(std::fs::read(folder.path().join("tls/server.crt")).unwrap(), made);
    }
}
