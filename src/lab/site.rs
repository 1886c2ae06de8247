//! What the lab consists of while it runs: its state, its servers, the work under way. Actions and work get it.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    authority::{Authority, instance_host},
    call,
    clock::LabClock,
    fault::{Blow, Faults, On},
    fleet::Fleet,
    group::{self, Parameter},
    instance::Instance,
    ledger::Ledger,
    options::LabOptions,
    postgres::{Catalogue, Facilities, Installation, ServerOptions, ServerUser, Tls, Version, parameters_of},
    refusal::{Outcome, Refusal},
    world::World,
};
use crate::base::{Result, clock as system};

/// The account in every ARN of the lab: no real one has this number.
pub(crate) const ACCOUNT: &str = "000000000000";

/// The bootstrap superuser of every server, as on RDS.
pub(crate) const SUPERUSER: &str = "rdsadmin";

/// So many states of the last seconds are kept for stale answers ..
const PAST_KEPT: usize = 200;

/// .. and none longer than the longest that a fault may ask for.
const PAST_FOR: Duration = Duration::from_secs(60);

/// How long a server may take to start: crash recovery of whatever fits on a laptop.
const START_DEADLINE: Duration = Duration::from_secs(600);

pub(crate) struct Site {
    pub(crate) options: LabOptions,
    pub(crate) catalogue: Catalogue,
    pub(crate) user: Option<ServerUser>,
    pub(crate) fleet: Fleet,
    pub(crate) faults: Faults,
    pub(crate) ledger: Ledger,
    /// Held by whoever takes servers out of the fleet: work, and the watch that starts ended ones again.
    pub(crate) tending: tokio::sync::Mutex<()>,
    pub(crate) clock: LabClock,
    /// A fault of a server lasts.
    pub(crate) disturbed: AtomicBool,
    world: Mutex<World>,
    /// States of the last seconds, each with the instant at which it was over: for answers that are stale.
    past: Mutex<VecDeque<(Instant, Arc<World>)>>,
    jobs: Mutex<JoinSet<()>>,
    /// The parameters of each major version that was looked at.
    parameters: Mutex<BTreeMap<u32, Arc<Vec<Parameter>>>>,
    facilities: Mutex<BTreeMap<Version, Facilities>>,
    authority: Authority,
}

impl Site {
    pub(crate) fn new(
        options: LabOptions,
        catalogue: Catalogue,
        user: Option<ServerUser>,
        world: World,
    ) -> Result<Self> {
        let authority = Authority::open(&options.dir)?;
        Ok(Self {
            options,
            catalogue,
            user,
            fleet: Fleet::default(),
            faults: Faults::of(world.clock.clone()),
            ledger: Ledger::default(),
            tending: tokio::sync::Mutex::new(()),
            clock: world.clock.clone(),
            disturbed: AtomicBool::new(false),
            world: Mutex::new(world),
            past: Mutex::default(),
            jobs: Mutex::new(JoinSet::new()),
            parameters: Mutex::new(BTreeMap::new()),
            facilities: Mutex::new(BTreeMap::new()),
            authority,
        })
    }

    pub(crate) fn region(&self) -> &str {
        &self.options.region
    }

    pub(crate) fn arn(&self, kind: &str, name: &str) -> String {
        format!("arn:aws:rds:{}:{ACCOUNT}:{kind}:{name}", self.region())
    }

    pub(crate) fn instance_folder(&self, instance: &Instance) -> PathBuf {
        self.options.dir.join("instances").join(&instance.folder)
    }

    pub(crate) fn snapshot_folder(&self, folder: &str) -> PathBuf {
        self.options.dir.join("snapshots").join(folder)
    }

    /// Reads the state, or the one that a fault lets the present call see.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        match call::past() {
            Some(past) => look(&past),
            None => look(&lock(&self.world)),
        }
    }

    /// Changes the state and writes it down before anybody can see it. A refused change, and one that cannot be
    /// written, leaves everything as it was.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World) -> Outcome<T>) -> Outcome<T> {
        // What a call changes that sees an old state, such as the day of the last access, is not worth keeping.
        if let Some(past) = call::past() {
            return change(&mut (*past).clone());
        }
        let mut world = lock(&self.world);
        let mut next = world.clone();
        let answer = change(&mut next)?;
        next.save(&self.options.world_file()).map_err(|error| Refusal::internal(&error))?;
        self.ledger.changed(&next);
        self.keep(std::mem::replace(&mut *world, next));
        Ok(answer)
    }

    /// A change that work makes: nothing about it can be refused. When it cannot be written the state in memory goes
    /// on all the same, because the servers have changed already; the next change writes both.
    pub(crate) fn record(&self, change: impl FnOnce(&mut World)) {
        let mut world = lock(&self.world);
        let old = self.faults.may_be_stale().then(|| world.clone());
        change(&mut world);
        self.ledger.changed(&world);
        if let Some(old) = old {
            self.keep(old);
        }
        if let Err(error) = world.save(&self.options.world_file()) {
            tracing::error!(%error, "the lab's state was not written");
        }
    }

    /// Remembers a state that is over, for as long as an answer may be stale.
    fn keep(&self, old: World) {
        if !self.faults.may_be_stale() {
            return;
        }
        let (mut past, now) = (lock(&self.past), system::instant());
        past.push_back((now, Arc::new(old)));
        while past.len() > PAST_KEPT || past.front().is_some_and(|(end, _)| now - *end > PAST_FOR) {
            past.pop_front();
        }
    }

    /// The state that was the present one so long ago; `None` when it still is.
    pub(crate) fn past(&self, ago: Duration) -> Option<Arc<World>> {
        let at = system::instant().checked_sub(ago)?;
        lock(&self.past).iter().find(|(end, _)| *end > at).map(|(_, world)| world.clone())
    }

    /// Work that goes on after the answer. It ends with the lab.
    pub(crate) fn spawn(&self, job: impl Future<Output = ()> + Send + 'static) {
        let mut jobs = lock(&self.jobs);
        while jobs.try_join_next().is_some() {}
        jobs.spawn(job);
    }

    /// Whether a fault of a server still lasts, or one that should run does not.
    pub(crate) fn is_disturbed(&self) -> bool {
        let serving = self.look(|world| {
            let serving = world.instances.values().filter(|instance| instance.status.serves());
            serving.map(|instance| instance.resource.clone()).collect::<Vec<_>>()
        });
        // One that is being started again is out of the fleet meanwhile.
        let runs = |resource: &String| self.fleet.view(resource).is_some_and(|(process, _)| process.is_alive());
        self.disturbed.load(Ordering::Relaxed) || !serving.iter().all(runs)
    }

    /// Ends all work where it stands. What was under way is in the state and begins anew with the next lab.
    pub(crate) async fn end_jobs(&self) {
        let mut jobs = std::mem::take(&mut *lock(&self.jobs));
        jobs.shutdown().await;
    }

    /// As [`Site::end_jobs`], without waiting.
    pub(crate) fn abort_jobs(&self) {
        lock(&self.jobs).abort_all();
    }

    /// One state lasts this long at least; a fault may hold the one that this resource is in for longer.
    pub(crate) async fn dwell(&self, id: &str) {
        self.clock.sleep(self.options.delays.state).await;
        if let Some(strike) = self.faults.strike(On::State, id) {
            system::sleep(Duration::from_millis(strike.hold_ms)).await;
        }
    }

    /// Whether a fault lets the upgrade of this resource fail.
    pub(crate) fn fails_upgrade(&self, id: &str) -> bool {
        self.faults.strike(On::Upgrade, id).is_some_and(|strike| strike.blow == Blow::FailUpgrade)
    }

    /// The installation of a version; remembers its parameters.
    pub(crate) async fn obtain(&self, version: Version) -> Result<Installation> {
        let installation = self.catalogue.obtain(version).await?;
        if !lock(&self.parameters).contains_key(&version.major) {
            let read = Parameter::read_all(&parameters_of(&installation).await?);
            lock(&self.parameters).insert(version.major, Arc::new(read));
        }
        Ok(installation)
    }

    /// What the servers of an installation can do besides serving.
    pub(crate) async fn facilities(&self, installation: &Installation) -> Facilities {
        let known = lock(&self.facilities).get(&installation.version).cloned();
        if let Some(known) = known {
            return known;
        }
        let mut found = self.catalogue.facilities(installation).await;
        if !self.options.hook_library {
            found.library = None;
        }
        lock(&self.facilities).insert(installation.version, found.clone());
        found
    }

    /// The parameters of a major version, or of the nearest one that was looked at; none when none was.
    pub(crate) fn parameters(&self, major: u32) -> Arc<Vec<Parameter>> {
        let known = lock(&self.parameters);
        known.iter().min_by_key(|(known, _)| known.abs_diff(major)).map(|(_, all)| all.clone()).unwrap_or_default()
    }

    /// How the server of an instance is started.
    pub(crate) async fn server_options(&self, installation: &Installation, instance: &Instance) -> ServerOptions {
        let facilities = self.facilities(installation).await;
        let folder = installation.library_folder().await;
        let has = |library: &str| {
            let file =
                |end: &str| folder.as_ref().is_some_and(|folder| folder.join(format!("{library}.{end}")).is_file());
            file("so") || file("dylib")
        };
        let (group, password) = self.look(|world| (world.group_of(instance), world.superuser_password()));
        let mut options = ServerOptions {
            superuser: SUPERUSER.into(),
            password,
            settings: group::settings(group.as_ref(), has),
            hba: Vec::new(),
            library: facilities.library,
            tls: None,
            tls_only: false,
            port: instance.port.or(instance.wanted_port),
            deadline: START_DEADLINE,
            disk_fault_library: self.catalogue.disk_fault_library().await,
        };
        if instance.read_only {
            options.settings.insert(group::READ_ONLY.into(), "on".into());
        }
        if facilities.tls {
            self.certify(instance, &mut options);
        }
        admit(instance, &self.host(instance), &mut options);
        options
    }

    /// The name in an instance's certificate, as RDS would give it for its address.
    pub(crate) fn host(&self, instance: &Instance) -> String {
        instance_host(&instance.id, self.region())
    }

    /// Gives a server its certificate. One that cannot be made leaves it without TLS, which its log shows.
    fn certify(&self, instance: &Instance, options: &mut ServerOptions) {
        let folder = self.instance_folder(instance).join("tls");
        match self.authority.put(&folder, &[self.host(instance), "127.0.0.1".into()], self.user.as_ref()) {
            Ok(()) => {
                let tls = Tls { certificate: folder.join("server.crt"), key: folder.join("server.key") };
                options.tls = Some(tls);
            }
            Err(error) => tracing::error!(instance = instance.id, %error, "no certificate"),
        }
    }

    /// Puts a proxy's certificate into its folder.
    pub(crate) fn certify_proxy(&self, folder: &Path, host: &str) -> Result<()> {
        self.authority.put(folder, &[host.to_owned()], None)
    }

    /// Lets a running server know who may connect, after a change of the instance's name, its parameters, or its IAM
    /// authentication.
    pub(crate) fn settle_access(&self, resource: &str) {
        let Some(instance) = self.look(|world| world.resource(resource).cloned()) else { return };
        let done = self.fleet.with(resource, |server| {
            let options = server.options_mut();
            if options.tls.is_some() {
                self.certify(&instance, options);
            }
            admit(&instance, &self.host(&instance), options);
            server.reload()
        });
        if let Some(Err(error)) = done {
            tracing::warn!(resource, %error, "a change was not applied");
        }
    }
}

/// Who may connect to the server of an instance, and how.
fn admit(instance: &Instance, host: &str, options: &mut ServerOptions) {
    // RDS keeps this database to itself.
    options.hba =
        vec![format!("host rdsadmin {SUPERUSER} 127.0.0.1/32 scram-sha-256"), "host rdsadmin all all reject".into()];
    options.tls_only = options.tls.is_some() && options.settings.get("rds.force_ssl").is_some_and(|on| on == "on");
    if options.library.is_none() {
        return;
    }
    let iam = instance.iam && options.tls.is_some();
    if iam {
        // The library asks for a token where this line says `trust`.
        options.hba.push("hostssl all +rds_iam 127.0.0.1/32 trust".into());
    }
    let (on, hosts) = (if iam { "on" } else { "off" }, format!("{host},127.0.0.1"));
    options.settings.extend([("rdslab.iam".into(), on.into()), ("rdslab.iam_hosts".into(), hosts)]);
}

/// A panic while the lock was held cannot have left half a change: changes are made on a copy, or are one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
