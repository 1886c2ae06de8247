//! What a process left behind, and comparisons that show all of it when they fail.

use std::path::Path;

/// The end of a process.
pub(crate) struct Output {
    pub(crate) command: String,
    /// Its exit code; 128 and the signal's number when a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) events: Vec<String>,
}

impl Output {
    /// The exit code is `code`.
    #[track_caller]
    pub(crate) fn exit(self, code: i32) -> Self {
        self.wants(self.code == code, &format!("wanted exit code {code}, got {}", self.code));
        self
    }

    /// Standard output is exactly this.
    #[track_caller]
    pub(crate) fn stdout(self, text: &str) -> Self {
        self.wants(self.stdout == text, &format!("wanted this stdout:\n{text}"));
        self
    }

    #[track_caller]
    pub(crate) fn stdout_has(self, text: &str) -> Self {
        self.wants(self.stdout.contains(text), &format!("wanted in stdout: {text}"));
        self
    }

    #[track_caller]
    pub(crate) fn stderr_has(self, text: &str) -> Self {
        self.wants(self.stderr.contains(text), &format!("wanted in stderr: {text}"));
        self
    }

    #[track_caller]
    pub(crate) fn stderr_lacks(self, text: &str) -> Self {
        self.wants(!self.stderr.contains(text), &format!("not wanted in stderr: {text}"));
        self
    }

    /// The last line of standard error is exactly this.
    #[track_caller]
    pub(crate) fn last_line(self, text: &str) -> Self {
        let last = self.stderr.trim_end().lines().last().unwrap_or_default().to_owned();
        self.wants(last == text, &format!("wanted as last line of stderr: {text}"));
        self
    }

    /// The journal holds exactly these events, each as `kind key`; `run_started` goes without saying.
    #[track_caller]
    pub(crate) fn journal(self, events: &[&str]) -> Self {
        let found: Vec<&str> = self.events.iter().map(String::as_str).filter(|event| *event != "run_started").collect();
        self.wants(found == events, &format!("wanted these events:\n{}", events.join("\n")));
        self
    }

    /// The journal's last events are these.
    #[track_caller]
    pub(crate) fn journal_ends(self, events: &[&str]) -> Self {
        let from = self.events.len().saturating_sub(events.len());
        self.wants(self.events[from..] == *events, &format!("wanted these events last:\n{}", events.join("\n")));
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(json) => json,
            Err(error) => panic!("stdout is no JSON: {error}\n{}", self.shown()),
        }
    }

    /// Fails with everything there is to see unless a condition holds.
    #[track_caller]
    pub(crate) fn wants(&self, holds: bool, wanted: &str) {
        assert!(holds, "{wanted}\n{}", self.shown());
    }

    fn shown(&self) -> String {
        format!(
            "--- {} (exit {})\n--- stdout\n{}--- stderr\n{}--- journal\n{}\n",
            self.command,
            self.code,
            self.stdout,
            self.stderr,
            self.events.join("\n")
        )
    }
}

/// The events of a journal as `kind key`; nothing where there is no file.
pub(super) fn events(journal: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    let event = |line: &str| {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { return format!("(torn) {line}") };
        let key = line["key"].as_array().into_iter().flatten().filter_map(|part| part.as_str());
        let key = key.collect::<Vec<_>>().join(" / ");
        format!("{} {key}", line["kind"].as_str().unwrap_or_default()).trim_end().to_owned()
    };
    text.lines().map(event).collect()
}
