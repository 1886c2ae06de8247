//! `pgrun lab forward`: a local port that leads to an instance or a proxy, as a tunnel to RDS does. What changes is the
//! name that a client connects to: `verify-full` by `localhost` fails, by the real name at 127.0.0.1 it passes.

use std::path::Path;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    base::{Code, Result},
    fail, lab,
};

/// Forwards until Ctrl-C; `say` is told once where it listens. The place is looked up for each connection: a server
/// may come back on another port.
pub(super) async fn run(dir: &Path, name: &str, port: u16, say: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let (_, host) = place(dir, name)?;
    let failed = |error: std::io::Error| fail!(Code::LabFailed, "port {port} of 127.0.0.1 cannot be had: {error}");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    say(&format!(
        "{at} leads to {name} until Ctrl-C\nits certificate is for {host}: host={host} hostaddr=127.0.0.1\n"
    ))?;
    let mut connections = JoinSet::new();
    let ended = tokio::signal::ctrl_c();
    tokio::pin!(ended);
    loop {
        let mut client = tokio::select! {
            told = &mut ended => {
                return told.map_err(|error| fail!(Code::Internal, "signals cannot be heard: {error}"));
            }
            accepted = listener.accept() => accepted.map_err(failed)?.0,
        };
        while connections.try_join_next().is_some() {}
        let (dir, name) = (dir.to_owned(), name.to_owned());
        connections.spawn(async move {
            let (port, _) = place(&dir, &name)?;
            let lost = |error: std::io::Error| fail!(Code::LabFailed, "a forwarded connection ended: {error}");
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.map_err(lost)?;
            copy_bidirectional(&mut client, &mut server).await.map_err(lost)
        });
    }
}

fn place(dir: &Path, name: &str) -> Result<(u16, String)> {
    lab::place(dir, name)?.ok_or_else(|| {
        fail!(Code::LabFailed, "the lab has no instance or proxy `{name}` that listens").hint("pgrun lab status")
    })
}
