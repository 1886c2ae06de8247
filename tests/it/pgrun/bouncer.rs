//! A pgbouncer from the machine's packages before any server.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Where Debian and others put it.
const PROGRAMS: [&str; 3] = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];

/// Where its database leads.
pub(crate) struct Place {
    pub(crate) port: u16,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

/// A pgbouncer with one database, `Shop-1`, for everybody; it ends with the test.
pub(crate) struct Bouncer {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Bouncer {
    /// `None` where pgbouncer is not installed.
    pub(crate) fn before(place: &Place) -> Option<Self> {
        let Some(program) = PROGRAMS.into_iter().find(|program| Path::new(program).exists()) else {
            println!("skipped: pgbouncer is not installed (apt-get install pgbouncer)");
            return None;
        };
        // It cannot tell which port it took: another one is tried when somebody is quicker.
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            let port = rand::random_range(20_000..30_000);
            write(folder.path(), port, place);
            let mut command = Command::new(program);
            // It does not run as root.
            if nix::unistd::geteuid().is_root() {
                command.args(["-u", "nobody"]);
            }
            command.arg(folder.path().join("pgbouncer.ini"));
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut bouncer = Self { child, port, folder };
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(10) && bouncer.child.try_wait().unwrap().is_none() {
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(bouncer);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("pgbouncer does not come up");
    }

    /// A URL of it.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Its configuration.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("pgbouncer.ini")
    }

    /// Writes another place into its configuration.
    pub(crate) fn lead_to(&self, place: &Place) {
        write(self.folder.path(), self.port, place);
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(folder: &Path, port: u16, place: &Place) {
    let Place { port: there, database, user, password } = place;
    let file = folder.join("pgbouncer.ini");
    let text = format!(
        "[databases]\nShop-1 = host=127.0.0.1 port={there} dbname={database} user={user} password={password}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
         admin_users = admin\npool_mode = transaction\nserver_login_retry = 1\n"
    );
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
}
