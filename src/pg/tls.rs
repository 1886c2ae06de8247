//! TLS as PostgreSQL clients mean it: `require` encrypts and asks nobody, `verify-full` asks for chain and name.
//! One rustls and one crypto provider with the AWS SDK; never a process-wide default.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::target::{SslMode, Target};
use crate::{
    base::{Code, Error, Result},
    fail,
};

/// What libpq also reads when `sslrootcert` is not given.
const ROOT_CERT_VARIABLE: &str = "PGSSLROOTCERT";

/// The TLS settings of a target, for a session.
pub(super) fn connector(target: &Target) -> Result<MakeRustlsConnect> {
    Ok(MakeRustlsConnect::new(config(target)?))
}

/// The TLS settings of a target. Reads the file of certificates under `verify-full`, nothing otherwise.
///
/// # Errors
/// `pg_tls` when that file is missing or holds no certificate.
pub fn config(target: &Target) -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fail!(Code::Internal, "rustls offers no protocol version: {error}"))?;
    let config = if target.ssl_mode == SslMode::VerifyFull {
        builder.with_root_certificates(roots(target)?).with_no_client_auth()
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))).with_no_client_auth()
    };
    Ok(config)
}

/// The authorities that `verify-full` trusts: those of the file and no others.
fn roots(target: &Target) -> Result<RootCertStore> {
    let from_env = || std::env::var_os(ROOT_CERT_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let Some(file) = target.ssl_root_cert.clone().or_else(from_env) else {
        return Err(fail!(Code::PgTls, "`sslmode=verify-full` for {} needs a file of certificates", target.label())
            .hint("give sslrootcert=FILE, or export PGSSLROOTCERT=FILE (RDS: global-bundle.pem)"));
    };
    let shown = file.display().to_string();
    let unusable = |why: String| -> Error {
        fail!(Code::PgTls, "the certificates in `{shown}` cannot be used: {why}")
            .hint("sslrootcert must be a PEM file (RDS: global-bundle.pem)")
    };
    let entries = CertificateDer::pem_file_iter(&file).map_err(|error| unusable(error.to_string()))?;
    let certificates: Vec<_> = entries.collect::<Result<_, _>>().map_err(|error| unusable(error.to_string()))?;
    let mut store = RootCertStore::empty();
    let (usable, _) = store.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(unusable("no certificate in it".into()));
    }
    Ok(store)
}

/// Accepts whatever certificate the server shows, but still makes the server prove that it holds the key to it:
/// without that, channel binding and the session's keys would hang in the air.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
