//! A load over TLS, with the certificates that its caller trusts.

use std::sync::Arc;

use pgrun::load::{Endpoint, Load, Probes};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::stage::{Stage, plan, until};

fn trusting(pem: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// Every session of the load is encrypted, and a server that another authority vouches for gets no password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_speaks_tls_as_its_caller_says() {
    let mut stage = Stage::new().await;
    let Some(certificate) = stage.speak_tls().await else {
        println!("not run: this build of PostgreSQL has no TLS");
        return;
    };
    let endpoint = Endpoint { host: "localhost".into(), tls: Some(trusting(&certificate)), ..stage.endpoint() };
    let load = Load::start(plan().probes(Probes::new(endpoint.clone(), None))).await.unwrap();
    until(&load, "work", |status| status.acknowledged > 20).await;
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE ssl AND application_name = 'pgrun/load'";
    assert_eq!(stage.number(encrypted).await, 4);
    let proof = load.stop().await.verify(&endpoint).await.unwrap();
    assert!(proof.holds(), "{proof:?}");

    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let wary = Endpoint { tls: Some(trusting(&stranger)), ..endpoint };
    let brief = pgrun::load::Plan { start_limit: std::time::Duration::from_millis(300), ..plan() };
    let error = Load::start(brief.probes(Probes::new(wary, None))).await.err().unwrap();
    assert!(error.message().contains("certificate"), "{error:?}");
}
