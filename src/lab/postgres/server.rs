//! One PostgreSQL server on loopback: made, started, proved to be ours, stopped. It never outlives its value.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;
use rand::Rng as _;

use super::{
    Installation, Process, Scratch, ServerUser, Settings, Shape,
    disk_fault::{self, DiskFault},
    facilities::LIBRARY_NAME,
    freeze::thaw,
    initdb::initdb,
    launch::{end_blocking, launch, lock_port, stop, tell_orphans, write_conf, write_hba},
    place::require_reachable,
    session::{connect, prove},
};
use crate::{
    base::{Result, Secret, poll},
    lab::disk,
};

/// What a server is made with.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The bootstrap superuser that `initdb` makes. `initdb` itself fails on a name with a quote of either kind in it.
    pub superuser: String,
    /// Its password; [`ServerOptions::default`] makes a random one.
    pub password: Secret,
    /// Settings over the lab's base.
    pub settings: Settings,
    /// Lines of `pg_hba.conf` that stand before the general ones.
    pub hba: Vec<String>,
    /// A library of ours that it loads before all others.
    pub library: Option<PathBuf>,
    /// Its certificate; without one it speaks no TLS.
    pub tls: Option<Tls>,
    /// It takes connections by TLS only; the superuser's sessions are excepted.
    pub tls_only: bool,
    /// The port to try first.
    pub port: Option<u16>,
    /// How long a start may take, crash recovery included.
    pub deadline: Duration,
    /// The library that lets its disk fail; without it the disk cannot.
    pub disk_fault_library: Option<PathBuf>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        let letters = rand::rng().sample_iter(rand::distr::Alphanumeric).take(24).map(char::from);
        Self {
            superuser: "postgres".into(),
            password: Secret::new(letters.collect::<String>()),
            settings: Settings::new(),
            hba: Vec::new(),
            library: None,
            tls: None,
            tls_only: false,
            port: None,
            deadline: Duration::from_secs(120),
            disk_fault_library: None,
        }
    }
}

/// The files of a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, in PEM.
    pub certificate: PathBuf,
    /// Its key, readable by the server's user only.
    pub key: PathBuf,
}

impl ServerOptions {
    /// The settings with those that follow from the rest.
    pub(super) fn all_settings(&self) -> Settings {
        let mut all = self.settings.clone();
        let mut set = |name: &str, value: String| drop(all.insert(name.to_owned(), value));
        if let Some(folder) = self.library.as_ref().and_then(|file| file.parent()) {
            let others = self.settings.get("shared_preload_libraries").map_or("", String::as_str);
            let comma = if others.is_empty() { "" } else { "," };
            set("shared_preload_libraries", format!("{LIBRARY_NAME}{comma}{others}"));
            set("dynamic_library_path", format!("$libdir:{}", folder.display()));
        }
        if let Some(tls) = &self.tls {
            set("ssl", "on".into());
            set("ssl_cert_file", tls.certificate.display().to_string());
            set("ssl_key_file", tls.key.display().to_string());
        }
        all
    }
}

/// How a server is stopped (manual, "Shutting Down the Server").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Sessions end, a checkpoint is written.
    Fast,
    /// Nothing is written: the next start recovers from the log, as after a crash.
    Immediate,
}

/// A running server. Its folder holds `data/` and `log/error/`. Dropping it stops it at once, without a checkpoint.
#[derive(Debug)]
pub struct Server {
    installation: Installation,
    folder: PathBuf,
    options: ServerOptions,
    user: Option<ServerUser>,
    port: u16,
    process: Process,
    scratch: Option<Scratch>,
    disk_fault: DiskFault,
}

impl Server {
    /// Makes a database cluster in `folder` and starts it. The folder may exist, its `data/` may not.
    ///
    /// # Errors
    /// `lab_failed` when `initdb` or the start fails, or the server's user cannot reach the folder.
    pub async fn create(installation: &Installation, folder: &Path, options: ServerOptions) -> Result<Self> {
        initdb(installation, folder, &options, &Shape::any()).await?;
        Self::open(installation, folder, options).await
    }

    /// As [`Server::create`], in a folder of its own that goes when the server goes. The shortest way for a test.
    ///
    /// # Errors
    /// As [`Server::create`].
    pub async fn scratch(installation: &Installation, options: ServerOptions) -> Result<Self> {
        let scratch = Scratch::new(ServerUser::choose()?.as_ref())?;
        let mut server = Self::create(installation, scratch.path(), options).await?;
        server.scratch = Some(scratch);
        Ok(server)
    }

    /// Starts the cluster in `folder/data`, which may be a crash image. Waits until it answers and is proved to be
    /// ours.
    ///
    /// # Errors
    /// `lab_failed` with the end of the server's log when it does not come up.
    pub async fn open(installation: &Installation, folder: &Path, options: ServerOptions) -> Result<Self> {
        let user = ServerUser::choose()?;
        require_reachable(folder, user.as_ref())?;
        let folder = folder.canonicalize().map_err(disk::failed("open", folder))?;
        for part in ["log", "log/error"] {
            disk::make_folder(&folder.join(part), 0o750)?;
            disk::give_to(&folder.join(part), user.as_ref())?;
        }
        let (port, process) = launch(installation, &folder, &options, user.as_ref()).await?;
        let installation = installation.clone();
        Ok(Self { installation, folder, options, user, port, process, scratch: None, disk_fault: DiskFault::default() })
    }

    /// Takes over a server that runs already, left behind by a process that was killed; `None` when none serves the
    /// folder.
    ///
    /// # Errors
    /// `timeout` when it runs but does not answer.
    pub async fn adopt(installation: &Installation, folder: &Path, options: ServerOptions) -> Result<Option<Self>> {
        let data = folder.join("data");
        let (Some(process), Some(port)) = (Process::serving(&data), lock_port(&data)) else { return Ok(None) };
        // Whoever was killed may have been copying: its servers stay frozen until somebody thaws them.
        thaw(&process);
        let folder = folder.canonicalize().map_err(disk::failed("open", folder))?;
        let patience = poll::Patience { every: Duration::from_millis(50), deadline: options.deadline };
        let (asked, at) = (options.clone(), folder.clone());
        poll::until("the server to answer again", patience, async move || {
            Ok(match prove(&asked, port, &at).await {
                Ok(()) => poll::Seen::Ready(()),
                Err(error) => poll::Seen::NotYet(error.message().to_owned()),
            })
        })
        .await?;
        let (user, installation) = (ServerUser::choose()?, installation.clone());
        Ok(Some(Self {
            installation,
            folder,
            options,
            user,
            port,
            process,
            scratch: None,
            disk_fault: DiskFault::default(),
        }))
    }

    /// Where clients connect: `postgres://superuser:password@127.0.0.1:port/database`, percent-encoded.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let part =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
        let (user, password) = (part(&self.options.superuser), part(self.options.password.expose()));
        format!("postgres://{user}:{password}@127.0.0.1:{}/{}", self.port, part(database))
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The postmaster.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it runs on.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// True when it loads a library of ours.
    #[must_use]
    pub fn has_library(&self) -> bool {
        self.options.library.is_some()
    }

    /// The bootstrap superuser and its password.
    #[must_use]
    pub fn superuser(&self) -> (&str, &Secret) {
        (&self.options.superuser, &self.options.password)
    }

    /// The folder with `data/` and `log/error/`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The settings over the lab's base; a change takes effect with [`Server::reload`] or the next start.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.options.settings
    }

    /// What it is started with. A change of anything but the superuser and the port takes effect with
    /// [`Server::reload`] or the next start.
    pub fn options_mut(&mut self) -> &mut ServerOptions {
        &mut self.options
    }

    /// The way to the superuser's sessions, for who must not hold the server meanwhile.
    #[must_use]
    pub fn door(&self) -> Door {
        Door { options: self.options.clone(), port: self.port }
    }

    /// A session of the superuser. Its connection runs in a task of its own and ends when the client is dropped.
    ///
    /// # Errors
    /// `lab_failed` with the server's words.
    pub async fn connect(&self, database: &str) -> Result<tokio_postgres::Client> {
        connect(&self.options, self.port, database).await
    }

    /// Writes the settings and who may connect, and lets the server read them again.
    ///
    /// # Errors
    /// `lab_failed` when the file cannot be written.
    pub fn reload(&self) -> Result<()> {
        write_hba(&self.folder, &self.options, self.user.as_ref())?;
        write_conf(&self.folder, &self.options, self.port, self.user.as_ref())?;
        self.process.signal(Signal::SIGHUP);
        Ok(())
    }

    /// Refuses new connections, but for those of the lab itself, or takes them again. Sessions go on.
    ///
    /// # Errors
    /// `lab_failed` when the file cannot be written.
    pub(in crate::lab) fn refuse(&mut self, refuses: bool) -> Result<()> {
        let own = format!("host all {} 127.0.0.1/32 scram-sha-256", self.options.superuser);
        let lines = [own, "host all all all reject".to_owned()];
        self.options.hba.retain(|line| !lines.contains(line));
        if refuses {
            self.options.hba.splice(0..0, lines);
        }
        write_hba(&self.folder, &self.options, self.user.as_ref())?;
        self.process.signal(Signal::SIGHUP);
        Ok(())
    }

    /// What is wrong with its disk.
    pub(in crate::lab) fn disk_fault(&self) -> DiskFault {
        self.disk_fault
    }

    /// Lets its disk fail, or not any more.
    ///
    /// # Errors
    /// `lab_failed` when it cannot be told to the server.
    pub(in crate::lab) fn set_disk_fault(&mut self, fault: DiskFault) -> Result<()> {
        self.disk_fault = fault;
        disk_fault::set(&self.folder, fault)
    }

    /// Stops it and waits until none of its processes is left. A stop that takes longer than 30 s is forced.
    ///
    /// # Errors
    /// `timeout` when even SIGKILL leaves a process.
    pub async fn stop(&self, how: Shutdown) -> Result<()> {
        stop(&self.process, how).await
    }

    /// Starts it again after [`Server::stop`] or a crash, on the same port if that is still free.
    ///
    /// # Errors
    /// As [`Server::open`].
    pub async fn start(&mut self) -> Result<()> {
        self.options.port = Some(self.port);
        (self.port, self.process) = launch(&self.installation, &self.folder, &self.options, self.user.as_ref()).await?;
        Ok(())
    }
}

/// Leads to the superuser's sessions with a server.
#[derive(Clone, Debug)]
pub struct Door {
    options: ServerOptions,
    port: u16,
}

impl Door {
    /// As [`Server::connect`].
    ///
    /// # Errors
    /// As [`Server::connect`].
    pub async fn connect(&self, database: &str) -> Result<tokio_postgres::Client> {
        connect(&self.options, self.port, database).await
    }

    /// The port, and the superuser with its password.
    #[must_use]
    pub fn address(&self) -> (u16, &str, &Secret) {
        (self.port, &self.options.superuser, &self.options.password)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_alive() {
            end_blocking(&self.process);
        } else {
            tell_orphans(&self.folder.join("data"), Signal::SIGKILL);
        }
    }
}
