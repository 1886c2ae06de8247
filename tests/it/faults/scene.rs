//! One run over the stage while applications write: begun, held at a gate, resumed, and accounted for at its end.

use std::time::Duration;

use pgrun::{
    base::poll::{self, Patience, Seen},
    lab::postgres::Process,
};

use super::stage::{NAMES, Stage};
use crate::{
    pg::writers::{Writers, require_exactly_once},
    pgrun::{Output, Running},
};

/// Gates of the window, by the steps behind them.
pub(super) const DRAIN: &str = "wait until TO has FROM's last write";
pub(super) const TURN: &str = "turn the replication round, copy the sequences";
pub(super) const DECIDE: &str = "decide for TO";
pub(super) const OPEN: &str = "open TO";

/// Between two writes of one client: often enough that each attempt meets some, and the machine has other work.
const PACE: Duration = Duration::from_millis(8);

/// A run, its writers, and what they were promised.
pub(super) struct Scene<'a> {
    pub(super) stage: &'a mut Stage,
    pub(super) run: String,
    /// The side that is left.
    pub(super) from: usize,
    /// The side that takes over.
    pub(super) to: usize,
    pub(super) writers: Writers,
    /// Further rows that were acknowledged.
    pub(super) promised: Vec<String>,
    sets: Vec<String>,
    begun: bool,
}

impl Stage {
    /// Begins to write. The run has these parameters besides.
    pub(super) fn scene(&mut self, sets: &[&str]) -> Scene<'_> {
        self.runs += 1;
        let run = format!("r{}", self.runs);
        let (from, to, urls) = (self.open, self.other(), self.logins("app"));
        let writers = self.wait(async { Writers::start(&urls, from, &run, PACE) });
        self.wait(writers.await_writes(from, 20));
        let sets = sets.iter().map(|&set| set.to_owned()).collect();
        Scene { stage: self, run, from, to, writers, promised: vec![], sets, begun: false }
    }
}

impl Scene<'_> {
    /// The run begun, or resumed, which will wait at a gate.
    pub(super) fn go_to(&mut self, gate: &str) -> Running {
        assert!(self.stage.steps.iter().any(|step| step == gate), "no gate `{gate}` among {:?}", self.stage.steps);
        let mut running = self.start(gate, &[]);
        running.until_file(&self.stage.pgrun.path("reached"));
        running
    }

    /// The run begun, or resumed; it goes as far as it can. `gate` holds it on its way if there is such a one.
    pub(super) fn start(&mut self, gate: &str, variables: &[(&str, &str)]) -> Running {
        let question = if self.from == 0 { "cutover=blue" } else { "rollback=green" };
        self.start_with(gate, variables, &["--answer", question])
    }

    /// The same with other answers.
    pub(super) fn start_with(&mut self, gate: &str, variables: &[(&str, &str)], more: &[&str]) -> Running {
        let pgrun = &self.stage.pgrun;
        let _ = std::fs::remove_file(pgrun.path("reached"));
        pgrun.write("hold", gate);
        let book = if self.from == 0 { "again.rhai" } else { "rollback.rhai" };
        let mut arguments = vec!["resume", &self.run];
        if !self.begun {
            arguments = vec![book, "--run-id", &self.run, "--continues", &self.stage.last];
            let sets = ["blue=blue", "green=green", "master=m", "sslmode=prefer", "secrets=[\"app\",\"clerk\"]"];
            arguments
                .extend(sets.into_iter().chain(self.sets.iter().map(String::as_str)).flat_map(|set| ["--set", set]));
        }
        arguments.extend(more);
        self.begun = true;
        pgrun.start_with(&arguments, variables)
    }

    /// Goes up to the question before the window, which it leaves open.
    #[track_caller]
    pub(super) fn wait_at_the_question(&mut self) {
        self.start_with("", &[], &[]).finish().exit(75).stderr_has("waits for a person: Move the applications?");
    }

    /// Opens the gate.
    pub(super) fn release(&self) {
        std::fs::remove_file(self.stage.pgrun.path("hold")).unwrap();
    }

    /// The run goes on from its gate to its end.
    pub(super) fn release_and_finish(&self, running: Running) -> Output {
        self.release();
        running.finish()
    }

    /// A step as it is called in this direction.
    pub(super) fn step(&self, name: &str) -> String {
        let upper = |side: usize| NAMES[side].to_uppercase();
        name.replace("FROM", &upper(self.from)).replace("TO", &upper(self.to))
    }

    /// The guardian of a run that stands in its window; it goes when the decision has fallen.
    pub(super) fn guardian(running: &Running) -> Option<Process> {
        let all = Process::of(running.pid()).unwrap().descendants();
        let is_guardian = |process: &Process| {
            let words = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            words.split(|byte| *byte == 0).nth(1) == Some(b"guard")
        };
        all.into_iter().find(is_guardian)
    }

    /// The output names a side as one that has only just been started.
    #[track_caller]
    pub(super) fn names_restart(&self, output: &Output, side: usize) {
        let place = format!(":{}/postgres as master, ", self.stage.port(side));
        let told = output.stderr.lines().find(|line| line.trim_start().starts_with("restarted: "));
        output.wants(told.is_some_and(|line| line.contains(&place)), &format!("wanted a restart told of {place}"));
    }

    /// The applications write again where they wrote, and not elsewhere.
    #[track_caller]
    pub(super) fn is_back(&self) {
        self.stage.wait(self.writers.await_more(self.from));
        assert!(self.stage.is_open(self.from) && !self.stage.is_open(self.to));
    }

    /// The changes flow again: an apply worker that lost its server rests before it tries anew, and before it closes
    /// anything the run does not wait for long.
    pub(super) fn flows_again(&self) {
        self.stage.await_sql(self.from, "SELECT count(*) FROM pg_replication_slots WHERE active", "1");
    }

    /// Nobody writes anywhere.
    #[track_caller]
    pub(super) fn is_closed(&self) {
        assert!(!self.stage.is_open(self.from) && !self.stage.is_open(self.to));
    }

    /// The decision has fallen: the side that was left stays closed.
    #[track_caller]
    pub(super) fn is_decided(&self) {
        let states = self.stage.states(self.from, &self.run);
        assert!(states.ends_with(" green") && !self.stage.is_open(self.from), "{states}");
    }

    /// Resumes the run to its end.
    #[track_caller]
    pub(super) fn pass(&mut self) {
        self.start("", &[]).finish().exit(75).stderr_has("the gate `finalize` waits for a person");
    }

    /// The applications are on the other side, whatever was acknowledged is on both, once, and so it stays.
    #[track_caller]
    pub(super) fn end(self) {
        self.is_decided();
        let Self { stage, run, to, from, writers, promised, .. } = self;
        assert!(stage.is_open(to));
        for secret in ["app", "clerk"] {
            assert_eq!(stage.secret(secret)["port"].as_u64(), Some(stage.port(to)), "the secret {secret}");
        }
        stage.wait(writers.await_more(to));
        let (mut acknowledged, outage) = stage.wait(writers.end());
        println!("{run}: {} writes, outage {outage:?}", acknowledged.len());
        acknowledged.extend(promised);
        let last = format!("the last of {run}");
        stage.sql(to, &format!("INSERT INTO public.t (v) VALUES ('{last}')"));
        acknowledged.push(last.clone());
        let sessions = [from, to].map(|side| stage.master(side));
        stage.wait(async {
            poll::until("the way back to flow", Patience::ms(10, 30_000), async || {
                let there = sessions[0].exists("SELECT FROM public.t WHERE v = $1", &[last.as_str().into()]).await?;
                Ok(if there { Seen::Ready(()) } else { Seen::NotYet("the last row is not there".into()) })
            })
            .await
            .unwrap();
            for session in &sessions {
                require_exactly_once(session, &acknowledged).await;
            }
        });
        (stage.open, stage.last) = (to, run);
    }
}
