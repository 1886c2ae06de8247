//! One connection through an RDS Proxy of the lab: the client logs in here by the secret's password, we log in there
//! with the same, and from then on bytes pass both ways. Nothing is multiplexed: each client has a session of its own,
//! so what pins a session on RDS Proxy has no effect here.
//!
//! The words of refusal are those of the user guide ("Troubleshooting for RDS Proxy"); it gives no SQLSTATEs.

use std::{fs, io, net::SocketAddr, sync::Arc, time::Duration};

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    authority::ca_file,
    proxy::Proxy,
    scram::Scram,
    site::Site,
    wire::{
        CANCEL_REQUEST, Duplex, GSS_REQUEST, SSL_REQUEST, VERSION, pairs, read, read_first, startup, write,
        write_authentication, write_refusal,
    },
};
use crate::{
    base::{Code, Result, Secret, clock},
    fail,
};

/// PostgreSQL's own `authentication_timeout`.
const LOGIN_DEADLINE: Duration = Duration::from_secs(60);

type Stream = Box<dyn Duplex>;

/// What a login needs of the instance behind a proxy.
struct Place {
    port: u16,
    host: String,
}

/// Serves one client until either side ends. What goes wrong concerns this client only.
pub(super) async fn serve(site: Arc<Site>, proxy: String, tls: TlsAcceptor, client: TcpStream) {
    let opened = clock::within(LOGIN_DEADLINE, open(&site, &proxy, &tls, client)).await;
    let done = match opened {
        Some(Ok(Some((mut client, mut server)))) => {
            tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
        }
        Some(Ok(None)) | None => Ok(()),
        Some(Err(error)) => Err(error),
    };
    if let Err(error) = done {
        tracing::debug!(proxy, %error, "a connection through the proxy ended");
    }
}

/// Both connections, logged in; `None` when the client was refused or only wanted to cancel.
async fn open(site: &Site, name: &str, tls: &TlsAcceptor, client: TcpStream) -> io::Result<Option<(Stream, Stream)>> {
    let mut client: Stream = Box::new(client);
    let mut encrypted = false;
    let (version, content) = loop {
        match read_first(&mut *client).await? {
            (SSL_REQUEST, _) if !encrypted => {
                client.write_all(b"S").await?;
                client = Box::new(tls.accept(client).await?);
                encrypted = true;
            }
            (GSS_REQUEST, _) => client.write_all(b"N").await?,
            (CANCEL_REQUEST, key) => {
                if let Some((_, place)) = target(site, name) {
                    let mut server = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], place.port))).await?;
                    write(&mut server, 0, &[&CANCEL_REQUEST.to_be_bytes(), key.as_slice()].concat()).await?;
                }
                return Ok(None);
            }
            (version, content) if version >> 16 == 3 => break (version, content),
            _ => return Ok(None),
        }
    };
    let Some(proxy) = site.look(|world| world.proxies.get(name).cloned()) else { return Ok(None) };
    if proxy.require_tls && !encrypted {
        return refuse(client, "28000", "This RDS Proxy requires TLS connections").await;
    }
    // Protocol options of later minor versions are not ours to promise.
    let parameters: Vec<_> = pairs(&content).into_iter().filter(|(key, _)| !key.starts_with("_pq_.")).collect();
    let user = parameters.iter().find(|(key, _)| key == "user").map(|(_, value)| value.clone()).unwrap_or_default();
    let Some(password) = password(site, &proxy, &user) else {
        let told = format!(
            "This RDS proxy has no credentials for the role {user}. Check the credentials for this role and try again."
        );
        return refuse(client, "28000", &told).await;
    };
    if version != VERSION {
        write(&mut *client, b'v', &[VERSION.to_be_bytes(), [0; 4]].concat()).await?;
    }
    if !knows(&mut *client, &password).await? {
        let told = format!("The password that was provided for the role {user} is wrong.");
        return refuse(client, "28P01", &told).await;
    }
    let Some((ca, place)) = target(site, name) else {
        return refuse(client, "08001", "The database proxy has no available target").await;
    };
    let server = match log_in(&place, &ca, &parameters, &password).await {
        Ok(Ok(server)) => server,
        Ok(Err(told)) => {
            write(&mut *client, b'E', &told).await?;
            return Ok(None);
        }
        Err(error) => return refuse(client, "08001", &format!("The target cannot be reached: {error}")).await,
    };
    write_authentication(&mut *client, 0, &[]).await?;
    Ok(Some((client, server)))
}

async fn refuse(mut client: Stream, state: &str, message: &str) -> io::Result<Option<(Stream, Stream)>> {
    write_refusal(&mut *client, state, message).await?;
    client.shutdown().await?;
    Ok(None)
}

/// The password of a role, as its secret says now. Secrets are read at each login: a rotation counts at once.
fn password(site: &Site, proxy: &Proxy, user: &str) -> Option<Secret> {
    site.look(|world| {
        let named = |secret: &str| world.secrets.values().find(|known| known.arn == secret || known.name == secret);
        proxy.auth.iter().find_map(|auth| {
            let (_, version) = named(&auth.secret).filter(|known| known.deletion.is_none())?.pick(None, None).ok()?;
            let fields: serde_json::Value = serde_json::from_str(version.text.as_ref()?).ok()?;
            let field = |name: &str| fields.get(name)?.as_str();
            field("password").filter(|_| field("username") == Some(user)).map(Secret::new)
        })
    })
}

fn target(site: &Site, name: &str) -> Option<(std::path::PathBuf, Place)> {
    let instance = site.look(|world| world.resource(world.proxies.get(name)?.target.as_ref()?).cloned())?;
    Some((ca_file(&site.options.dir), Place { port: instance.port?, host: site.host(&instance) }))
}

/// True when the client proves that it knows the password.
async fn knows(client: &mut dyn Duplex, password: &Secret) -> io::Result<bool> {
    write_authentication(client, 10, b"SCRAM-SHA-256\0\0").await?;
    let (kind, content) = read(client).await?;
    let Some(first) = (kind == b'p').then(|| initial(&content)).flatten() else { return Ok(false) };
    let Some((scram, answer)) = Scram::begin(password.expose(), &first) else { return Ok(false) };
    write_authentication(client, 11, answer.as_bytes()).await?;
    let (kind, content) = read(client).await?;
    let proof = String::from_utf8_lossy(&content).into_owned();
    let Some(ours) = (kind == b'p').then(|| scram.finish(&proof)).flatten() else { return Ok(false) };
    write_authentication(client, 12, ours.as_bytes()).await?;
    Ok(true)
}

/// The data of a `SASLInitialResponse` for our one mechanism.
fn initial(content: &[u8]) -> Option<String> {
    let rest = content.strip_prefix(b"SCRAM-SHA-256\0")?;
    String::from_utf8(rest.get(4..)?.to_vec()).ok()
}

/// Logs into the instance, by TLS where it has it; its own refusal is the inner error.
async fn log_in(
    place: &Place,
    ca: &std::path::Path,
    parameters: &[(String, String)],
    password: &Secret,
) -> io::Result<Result<Stream, Vec<u8>>> {
    let mut tcp = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], place.port))).await?;
    write(&mut tcp, 0, &SSL_REQUEST.to_be_bytes()).await?;
    let mut server: Stream = if tcp.read_u8().await? == b'S' {
        let name = ServerName::try_from(place.host.clone()).map_err(io::Error::other)?;
        Box::new(connector(ca).map_err(io::Error::other)?.connect(name, tcp).await?)
    } else {
        Box::new(tcp)
    };
    write(&mut *server, 0, &startup(parameters)).await?;
    let mut scram = ScramSha256::new(password.expose().as_bytes(), ChannelBinding::unsupported());
    loop {
        let (kind, content) = read(&mut *server).await?;
        let (code, rest) = content.split_at_checked(4).unwrap_or((&[], &[]));
        match (kind, code) {
            (b'E', _) => return Ok(Err(content)),
            (b'R', [0, 0, 0, 0]) => return Ok(Ok(server)),
            (b'R', [0, 0, 0, 10]) => {
                let first = scram.message();
                let length = u32::try_from(first.len()).unwrap_or_default().to_be_bytes();
                write(&mut *server, b'p', &[b"SCRAM-SHA-256\0", length.as_slice(), first].concat()).await?;
            }
            (b'R', [0, 0, 0, 11]) => {
                scram.update(rest)?;
                write(&mut *server, b'p', scram.message()).await?;
            }
            (b'R', [0, 0, 0, 12]) => scram.finish(rest)?,
            (b'R', _) => return Err(io::Error::other("the instance asks for another kind of authentication")),
            _ => {}
        }
    }
}

/// The proxy's side towards clients, with the certificate in this folder.
pub(super) fn acceptor(folder: &std::path::Path) -> Result<TlsAcceptor> {
    let unusable = |error: String| fail!(Code::LabFailed, "the proxy's certificate cannot be used: {error}");
    let certificates: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(folder.join("server.crt")).map_err(|e| unusable(e.to_string()))?.collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).map_err(|error| unusable(error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(certificates.map_err(|error| unusable(error.to_string()))?, key)
        .map_err(|error| unusable(error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The proxy's side towards instances: it trusts the lab's authority.
fn connector(ca: &std::path::Path) -> Result<TlsConnector> {
    let unusable = |error: String| fail!(Code::LabFailed, "the lab's authority cannot be used: {error}");
    let text = fs::read(ca).map_err(|error| unusable(error.to_string()))?;
    let certificate = CertificateDer::from_pem_slice(&text).map_err(|error| unusable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
