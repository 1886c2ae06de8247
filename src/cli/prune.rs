//! `pgrun runs --prune`: shows which runs are old, asks, and removes them.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{args, exit, has_terminal, ui::Ui};
use crate::{
    api::{Answer, Operator, Question, Stop, Wanted},
    base::{Code, Config, Result, prose, span},
    fail,
    journal::{OldRun, Removal, RunFolder, Survey, lock::Swept},
};

const DAY: Duration = Duration::from_secs(86400);

/// `pgrun runs --prune`
pub(super) fn run(ui: &Ui, config: &Config, args: &args::RunsArgs) -> u8 {
    let pruning =
        span::parse_duration(&args.older_than).map_err(|error| error.with_code(Code::Usage)).and_then(|span| {
            let folder = RunFolder::new(&config.home);
            let survey = folder.survey(span)?;
            Ok(Pruning { ui, args, folder, survey, span, removed: vec![], swept: Swept::default() })
        });
    match pruning {
        Ok(mut pruning) => pruning.run(),
        Err(error) => exit::of(ui, Err(error)),
    }
}

struct Pruning<'a> {
    ui: &'a Ui,
    args: &'a args::RunsArgs,
    folder: RunFolder,
    survey: Survey,
    span: Duration,
    removed: Vec<String>,
    swept: Swept,
}

impl Pruning<'_> {
    fn run(&mut self) -> u8 {
        let (ui, old) = (self.ui, &self.survey.old);
        for (run, why) in &self.survey.kept {
            ui.remark(&format!("`{run}` is kept: {why}"));
        }
        if !old.is_empty() && !self.args.json {
            ui.print(&table(old));
        }
        let allowed = if old.is_empty() || self.args.yes { Answer::Yes(String::new()) } else { self.ask() };
        let result = match allowed {
            Answer::Yes(_) => self.remove(),
            Answer::No => Err(fail!(Code::Declined, "the answer was no: nothing was removed")),
            Answer::Nobody | Answer::Unfit(_) => {
                Err(fail!(Code::NeedsAnswer, "nobody is here to say whether {} may go", self.sum()))
            }
        };
        self.report();
        let Err(error) = result else { return exit::DONE };
        let is_open = error.code() == Code::NeedsAnswer;
        let code = exit::of(ui, Err(error));
        if is_open {
            let json = if self.args.json { " --json" } else { "" };
            let span = prose::shell_word(&self.args.older_than);
            ui.remark(&format!("pgrun runs --prune --older-than {span} --yes{json}"));
        }
        code
    }

    fn ask(&self) -> Answer {
        // With --json the list stands on stdout when all is over; who is asked has to see it before.
        if self.args.json && has_terminal() {
            self.ui.remark(table(&self.survey.old).trim_end());
        }
        self.ui.for_run(has_terminal(), &Stop::default()).ask(&Question {
            gate: "prune".into(),
            text: format!("Remove {} for good?", self.sum()),
            shows: None,
            wanted: Wanted::Yes,
        })
    }

    fn remove(&mut self) -> Result<()> {
        for old in &self.survey.old {
            match self.folder.remove(&old.run, self.span)? {
                Removal::Done => self.removed.push(old.run.clone()),
                Removal::TakenUp => self.ui.remark(&format!("`{}` is kept: a process took it up meanwhile", old.run)),
            }
        }
        self.swept = self.folder.sweep()?;
        Ok(())
    }

    /// Tells what is gone, also before an error.
    fn report(&self) {
        let is_removed = |old: &&OldRun| self.removed.contains(&old.run);
        let bytes: u64 = self.survey.old.iter().filter(is_removed).map(|old| old.bytes).sum();
        if self.args.json {
            let row = |old: &OldRun| {
                json!({
                    "run": old.run, "state": old.status.name(), "runbook": old.runbook, "ended": old.ended,
                    "age_s": old.age.as_secs(), "bytes": old.bytes, "removed": is_removed(&old),
                })
            };
            let runs: Vec<Json> = self.survey.old.iter().map(row).collect();
            let kept: Vec<Json> = self.survey.kept.iter().map(|(run, why)| json!({ "run": run, "why": why })).collect();
            self.ui.print_json(&json!({
                "schema": 1, "older_than_s": self.span.as_secs(), "runs": runs, "kept": kept, "removed_bytes": bytes,
                "swept": { "claims": self.swept.claims, "drafts": self.swept.drafts },
            }));
            return;
        }
        if !self.removed.is_empty() {
            let runs = prose::count(self.removed.len(), "run");
            self.ui.remark(&format!("removed {runs}, {}", span::size_text(bytes)));
        } else if self.survey.old.is_empty() {
            self.ui.remark(&format!("no run is over since {} or longer", self.args.older_than));
        }
        if self.swept.claims + self.swept.drafts > 0 {
            let (claims, drafts) = (prose::count(self.swept.claims, "claim"), prose::count(self.swept.drafts, "draft"));
            self.ui.remark(&format!("removed {claims} and {drafts} that dead processes had left"));
        }
    }

    /// `2 runs (3.4 MB)`
    fn sum(&self) -> String {
        let bytes = self.survey.old.iter().map(|old| old.bytes).sum();
        format!("{} ({})", prose::count(self.survey.old.len(), "run"), span::size_text(bytes))
    }
}

fn table(old: &[OldRun]) -> String {
    let mut lines = vec![["run", "state", "over since", "size", "runbook"].map(str::to_owned).to_vec()];
    lines.extend(old.iter().map(|old| {
        vec![
            old.run.clone(),
            old.status.name().to_owned(),
            age(old.age),
            span::size_text(old.bytes),
            old.runbook.clone(),
        ]
    }));
    Ui::table(&lines)
}

fn age(age: Duration) -> String {
    match usize::try_from(age.as_secs() / DAY.as_secs()) {
        Ok(days @ 1..) => prose::count(days, "day"),
        _ => span::duration_text(age),
    }
}
