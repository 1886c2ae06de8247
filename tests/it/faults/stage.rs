//! A pair of instances of the lab of which one follows the other, made once for all faults. The runs are those of the
//! runbooks `bluegreen-again` and `bluegreen-rollback`: each goes over to the other side, so the stage need not be put
//! back. What they import is the library's own cutover, with a gate before each step of its window at which the test
//! can hold it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use aws_sdk_rds::types::{ApplyMethod, Parameter};
use pgrun::{
    base::poll::{self, Patience, Seen},
    lab::{FaultDesk, LabOptions, postgres::Process},
    pg::{Session, Settings, Target},
};
use tokio::runtime::Runtime;

use crate::{
    lab::stage::{self as lab, PASSWORD},
    pgrun::Pgrun,
};

/// BLUE and GREEN, as places in lists.
pub(super) const NAMES: [&str; 2] = ["blue", "green"];

/// Roles of applications: by `app` they write, `clerk` has a secret too, `batch` is not fenced.
const ROLES: [&str; 3] = ["app", "clerk", "batch"];

/// The password of each. No word of a message is like it: secrets are masked there.
pub(super) const ROLE_PASSWORD: &str = "staple-of-roles";

/// What RDS would not have by itself. The last one is how long an apply worker that lost its server rests: five seconds
/// otherwise, which no test has to wait for.
const SETTINGS: [(&str, &str); 3] =
    [("max_prepared_transactions", "5"), ("wal_writer_delay", "10"), ("wal_retrieve_retry_interval", "100")];

const TABLE: &str = "CREATE TABLE public.t (id bigserial PRIMARY KEY, v text)";

/// Waits while the file `hold` names the gate, and no longer than pgrun lives.
const GATE: &str = "#!/bin/sh\n[ \"$(cat hold 2>/dev/null)\" = \"$1\" ] || exit 0\ntouch reached\n\
     while [ -e hold ] && kill -0 $PPID 2>/dev/null; do sleep 0.02; done\nrm -f reached\n";

const PREPARE: &str = r#"//! Lets GREEN follow BLUE, closed, as after the phase `prepare` of an upgrade.
import "std/replication" as replication;
let blue = pg::connect(#{ instance: "blue", secret: "m", database: "postgres" });
let green = pg::connect(#{ instance: "green", secret: "m", database: "postgres" });
let names = replication::names("blue");
let streams = replication::streams(blue, green, names, step "list" { blue.databases() });
step "prepare" {
    secrets::create_login(names.secret, #{ username: names.role });
    for side in [blue, green] {
        pg::install_own(side);
        pg::make_replication_role(side, names.role, secrets::password(names.secret));
    }
    replication::publish(streams, []);
    replication::publish(replication::reversed(streams), []);
    replication::make_slots(streams);
    replication::subscribe(streams, #{ instance: "blue" }, names, "prefer");
    pg::forbid_logins(green, ["master", names.role]);
    for s in streams { pg::enable_subscription(s.to, s.subscription); }
}
"#;

/// Both instances, and who has the applications.
pub(super) struct Stage {
    runtime: Runtime,
    lab: Option<lab::Stage>,
    pub(super) pgrun: Pgrun,
    /// The master's URL of each instance.
    urls: [String; 2],
    folder: PathBuf,
    /// The side that the applications use.
    pub(super) open: usize,
    /// The last run, which the next one continues.
    pub(super) last: String,
    /// How many runs there were.
    pub(super) runs: u32,
    /// The steps of the window and those behind it, as they are called at their gates.
    pub(super) steps: Vec<String>,
}

/// Stages that no test uses now.
type Free = Mutex<Vec<Stage>>;

/// Ends with the last test that uses it; a static that held it would never be dropped.
static FREE: Mutex<Weak<Free>> = Mutex::new(Weak::new());

/// Runs a test on a stage; there are as many as tests at once. One that fails takes its stage down, and the next one
/// makes a fresh one.
pub(super) fn on_stage(test: impl FnOnce(&mut Stage)) {
    let free = {
        let mut known = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        known.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Free::default());
            *known = Arc::downgrade(&made);
            made
        })
    };
    let found = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut stage = found.unwrap_or_else(Stage::set);
    test(&mut stage);
    free.lock().unwrap_or_else(PoisonError::into_inner).push(stage);
}

impl Stage {
    fn set() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (lab, urls, folder) = runtime.block_on(instances());
        let pgrun = Pgrun::new()
            .env("AWS_ENDPOINT_URL", lab.lab.url())
            .env("AWS_REGION", lab.lab.region())
            .env("AWS_ACCESS_KEY_ID", "lab")
            .env("AWS_SECRET_ACCESS_KEY", "lab");
        let read = |path: &str| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let (cutover, steps) = gated(&read("stdlib/cutover.rhai"));
        pgrun.write("cutover.rhai", &cutover);
        for book in ["again", "rollback"] {
            let text = read(&format!("runbooks/bluegreen-{book}.rhai"));
            assert_eq!(text.matches("\"std/cutover\"").count(), 1);
            pgrun.write(&format!("{book}.rhai"), &text.replace("\"std/cutover\"", "\"cutover\""));
        }
        pgrun.write("prepare.rhai", PREPARE);
        pgrun.write("gate", GATE);
        let runnable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(pgrun.path("gate"), runnable).unwrap();
        pgrun.pgrun(&["prepare.rhai", "--run-id", "prepare"]).exit(0);
        Self { runtime, lab: Some(lab), pgrun, urls, folder, open: 0, last: "prepare".into(), runs: 0, steps }
    }

    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Work that goes on while the test does other things.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(work)
    }

    /// The side that does not have the applications.
    pub(super) fn other(&self) -> usize {
        1 - self.open
    }

    /// Where a role logs in on each side.
    pub(super) fn logins(&self, role: &str) -> [String; 2] {
        self.urls.clone().map(|url| url.replace(&format!("master:{PASSWORD}"), &format!("{role}:{ROLE_PASSWORD}")))
    }

    /// The master's URL of a side, for a session that is not taken for an application's.
    pub(super) fn url(&self, side: usize) -> String {
        format!("{}?application_name=pgrun/test", self.urls[side])
    }

    /// A session of pgrun's as the master.
    pub(super) fn master(&self, side: usize) -> Session {
        Session::new(Target::parse(&self.urls[side]).unwrap(), Settings::of_run("test"))
    }

    /// Runs statements as the master and gives the first column of their rows, one line each.
    #[track_caller]
    pub(super) fn sql(&self, side: usize, sql: &str) -> String {
        self.try_sql(side, sql).unwrap()
    }

    pub(super) fn try_sql(&self, side: usize, sql: &str) -> Result<String, tokio_postgres::Error> {
        self.wait(ask(&self.url(side), sql))
    }

    /// Waits until a statement of the master gives this.
    pub(super) fn await_sql(&self, side: usize, sql: &str, wanted: &str) {
        let told = poll::until(wanted, Patience::ms(10, 30_000), async || {
            let seen = ask(&self.url(side), sql).await.unwrap();
            Ok(if seen == wanted { Seen::Ready(()) } else { Seen::NotYet(seen) })
        });
        self.wait(told).unwrap();
    }

    /// A session of a role.
    pub(super) fn session(&self, url: &str) -> tokio_postgres::Client {
        self.wait(lab::connect(url))
    }

    /// Whether the applications may log in on a side.
    pub(super) fn is_open(&self, side: usize) -> bool {
        self.sql(side, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'") == "t"
    }

    /// The states of all attempts of a run on a side, oldest first.
    pub(super) fn states(&self, side: usize, run: &str) -> String {
        let all =
            format!("SELECT attempt || ' ' || state FROM pgrun.decision WHERE run = '{run}' ORDER BY attempt, closes");
        self.sql(side, &all).replace('\n', ", ")
    }

    pub(super) fn desk(&self) -> FaultDesk {
        self.lab.as_ref().unwrap().lab.fault_desk()
    }

    pub(super) fn secrets(&self) -> &aws_sdk_secretsmanager::Client {
        &self.lab.as_ref().unwrap().secrets
    }

    /// What stands in a secret.
    pub(super) fn secret(&self, name: &str) -> serde_json::Value {
        let told = self.wait(self.secrets().get_secret_value().secret_id(name).send()).unwrap();
        serde_json::from_str(told.secret_string().unwrap()).unwrap()
    }

    pub(super) fn put_secret(&self, name: &str, value: &serde_json::Value) {
        let put = self.secrets().put_secret_value().secret_id(name).secret_string(value.to_string());
        self.wait(put.send()).unwrap();
    }

    /// The port of a side.
    pub(super) fn port(&self, side: usize) -> u64 {
        port_of(&self.urls[side])
    }

    fn postmaster(&self, side: usize) -> Process {
        Process::serving(&self.folder.join("instances").join(NAMES[side]).join("data")).unwrap()
    }

    /// Kills every process of a side. The lab starts it again, as RDS does; this returns when it answers.
    pub(super) fn crash(&self, side: usize) {
        let killed = self.postmaster(side);
        killed.end();
        self.wait(poll::until("the killed server to be back", Patience::ms(20, 60_000), async || {
            let begun = ask(&self.url(side), "SELECT 1").await;
            Ok(begun.map_or_else(|error| Seen::NotYet(error.to_string()), |_| Seen::Ready(())))
        }))
        .unwrap();
        assert_ne!(self.postmaster(side), killed);
    }

    /// Lets every process of a side stand still until the value is dropped.
    pub(super) fn freeze(&self, side: usize) -> Frozen {
        let postmaster = self.postmaster(side);
        stop(&postmaster);
        let mut all = postmaster.descendants();
        all.iter().for_each(stop);
        all.push(postmaster);
        Frozen(all)
    }

    /// Lets the process stand still that sends a side's changes.
    pub(super) fn freeze_walsender(&self, side: usize) -> Frozen {
        let pid = "SELECT active_pid FROM pg_replication_slots WHERE active";
        let sender = Process::of(self.sql(side, pid).parse().unwrap()).unwrap();
        stop(&sender);
        Frozen(vec![sender])
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.lab.take();
    }
}

/// Processes that stand still; they go on when it is dropped, whatever became of the test.
pub(super) struct Frozen(Vec<Process>);

impl Drop for Frozen {
    fn drop(&mut self) {
        for process in &self.0 {
            process.signal(nix::sys::signal::Signal::SIGCONT);
        }
    }
}

fn stop(process: &Process) {
    process.signal(nix::sys::signal::Signal::SIGSTOP);
}

async fn ask(url: &str, sql: &str) -> Result<String, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let messages = client.simple_query(sql).await;
    drop(client);
    let _ = connection.await;
    let values = messages?.into_iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    });
    Ok(values.collect::<Vec<_>>().join("\n"))
}

fn port_of(url: &str) -> u64 {
    url.rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap()
}

/// A lab with both instances, their table and roles, and the secrets. Master users are superusers, so that roles look
/// alike on both, as on a copy.
async fn instances() -> (lab::Stage, [String; 2], PathBuf) {
    let (from, to) = lab::pair().await;
    let scratch = lab::scratch();
    let options = LabOptions { hook_library: false, ..lab::options(&scratch) };
    let folder = options.dir.clone();
    let stage = lab::Stage::set_with(scratch, options).await;
    for (name, version) in NAMES.into_iter().zip([from, to]) {
        let group = lab::logical_group(&stage.rds, &version.to_string()).await;
        let more = SETTINGS.map(|(name, value)| {
            let made = Parameter::builder().parameter_name(name).parameter_value(value);
            made.apply_method(ApplyMethod::PendingReboot).build()
        });
        let change = stage.rds.modify_db_parameter_group().db_parameter_group_name(group);
        change.set_parameters(Some(more.to_vec())).send().await.unwrap();
        lab::create(&stage.rds, name, &version.to_string()).await;
    }
    let mut urls = [String::new(), String::new()];
    for (url, name) in urls.iter_mut().zip(NAMES) {
        lab::settle(&stage.rds, name, "available").await;
        *url = lab::url(&stage.rds, name).await;
        for role in ROLES {
            ask(url, &format!("CREATE ROLE {role} LOGIN PASSWORD '{ROLE_PASSWORD}'")).await.unwrap();
        }
        ask(url, TABLE).await.unwrap();
        let all = ROLES.join(", ");
        ask(url, &format!("GRANT ALL ON public.t TO {all}; GRANT ALL ON SEQUENCE public.t_id_seq TO {all}"))
            .await
            .unwrap();
    }
    let port = port_of(&urls[0]);
    for (name, user, password) in
        [("m", "master", PASSWORD), ("app", "app", ROLE_PASSWORD), ("clerk", "clerk", ROLE_PASSWORD)]
    {
        let login = serde_json::json!({
            "username": user, "password": password, "host": "127.0.0.1", "port": port, "dbname": "postgres",
        });
        stage.secrets.create_secret().name(name).secret_string(login.to_string()).send().await.unwrap();
    }
    (stage, urls, folder)
}

/// The text of the cutover with a gate before each step from the window to the proof, and the names of these steps.
fn gated(text: &str) -> (String, Vec<String>) {
    let from = text.find("let turned = phase \"window\"").unwrap();
    let to = text.find("phase \"prove\"").unwrap();
    let (mut gated, mut names) = (text[..from].to_owned(), vec![]);
    for line in text[from..to].split_inclusive('\n') {
        let code = line.trim_start();
        let behind = code.split_once(" = ").filter(|_| code.starts_with("let ")).map_or(code, |(_, behind)| behind);
        if let Some(named) = behind.strip_prefix("step ") {
            let name = named[1..].split(['"', '`']).next().unwrap();
            let name = name.replace("${o.from_name}", "FROM").replace("${o.to_name}", "TO");
            gated.extend([
                "step \"gate: ",
                name.as_str(),
                "\" with #{ retry: \"safe\" } { gate(\"",
                name.as_str(),
                "\") }\n",
            ]);
            names.push(name);
        }
        gated += line;
    }
    assert!(names.len() >= 8, "the steps of the window were not found: {names:?}");
    gated += &text[to..];
    gated += "\nfn gate(name) {\n    hook(#{ command: [\"./gate\", name] }).exit\n}\n";
    (gated, names)
}
