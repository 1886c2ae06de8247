//! A process of pgrun that still runs: watched, signalled, killed. It never outlives its test.

use std::{
    io::Read,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use tempfile::TempDir;

use super::{
    Pgrun,
    output::{self, Output},
};

/// Longer than anything here takes, also on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child whose outputs are read as they come.
pub(crate) struct Running {
    child: Child,
    command: String,
    journal: PathBuf,
    stdout: Stream,
    stderr: Stream,
    /// The files stay as long as the process.
    _folder: Arc<TempDir>,
}

impl Running {
    pub(super) fn start(mut command: Command, place: &Pgrun) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = Stream::read(child.stdout.take().unwrap());
        let stderr = Stream::read(child.stderr.take().unwrap());
        let (journal, folder) = (place.journal(), place.folder.clone());
        Self { child, command: words(&command), journal, stdout, stderr, _folder: folder }
    }

    /// Waits until standard error holds a text.
    #[track_caller]
    pub(crate) fn until_stderr(&self, text: &str) {
        self.until(text, &self.stderr);
    }

    /// Waits until standard output holds a text.
    #[track_caller]
    pub(crate) fn until_stdout(&self, text: &str) {
        self.until(text, &self.stdout);
    }

    /// Waits until the journal holds an event, given as `kind key`.
    #[track_caller]
    pub(crate) fn until_event(&mut self, event: &str) {
        let begun = Instant::now();
        let has_come = || output::events(&self.journal).iter().any(|found| found == event);
        while !has_come() {
            let has_ended = self.child.try_wait().unwrap().is_some() && !has_come();
            assert!(!has_ended && begun.elapsed() < PATIENCE, "`{event}` never came\n{}", self.stderr.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a file is there.
    #[track_caller]
    pub(crate) fn until_file(&mut self, path: &std::path::Path) {
        let begun = Instant::now();
        while !path.exists() {
            let has_ended = self.child.try_wait().unwrap().is_some();
            let shown = || format!("`{}` never came\n{}", path.display(), self.stderr.text());
            assert!(!has_ended && begun.elapsed() < PATIENCE, "{}", shown());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn until(&self, text: &str, stream: &Stream) {
        assert!(
            stream.until(text),
            "`{text}` never came\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout.text(),
            self.stderr.text()
        );
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// It is to die at a crash point: anything else fails.
    #[track_caller]
    pub(crate) fn expect_death(&mut self) {
        let status = self.child.wait().unwrap();
        let died = status.signal() == Some(Signal::SIGABRT as i32);
        assert!(died, "`{}` did not come to its crash point ({status})\n{}", self.command, self.stderr.text());
    }

    /// `kill -9`, then what it left behind.
    pub(crate) fn kill(self) -> Output {
        self.signal(Signal::SIGKILL);
        self.finish()
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Output {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                self.signal(Signal::SIGKILL);
                panic!("`{}` did not end\n{}", self.command, self.stderr.text());
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        Output {
            command: self.command.clone(),
            code: code(status),
            stdout: self.stdout.end(),
            stderr: self.stderr.end(),
            events: output::events(&self.journal),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As a shell gives it.
pub(super) fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A command as one would type it.
pub(super) fn words(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once("pgrun".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// A stream that a thread collects.
pub(super) struct Stream {
    shared: Arc<(Mutex<Collected>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    ended: bool,
}

impl Stream {
    pub(super) fn read(mut from: impl Read + Send + 'static) -> Self {
        let shared: Arc<(Mutex<Collected>, Condvar)> = Arc::default();
        let filled = shared.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal whose other side is gone gives an error instead of an end.
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                filled.0.lock().unwrap().bytes.extend(&buffer[..count]);
                filled.1.notify_all();
            }
            filled.0.lock().unwrap().ended = true;
            filled.1.notify_all();
        });
        Self { shared, reader: Some(reader) }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.0.lock().unwrap().bytes).into_owned()
    }

    /// Waits for a text; false when the stream ended without it.
    pub(super) fn until(&self, text: &str) -> bool {
        self.until_after(0, text).is_some()
    }

    /// Waits for a text behind a place, and gives the place behind it.
    pub(super) fn until_after(&self, from: usize, text: &str) -> Option<usize> {
        let begun = Instant::now();
        let (collected, changed) = &*self.shared;
        let mut collected = collected.lock().unwrap();
        loop {
            let found = collected.bytes[from..].windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                return Some(from + at + text.len());
            }
            if collected.ended || begun.elapsed() > PATIENCE {
                return None;
            }
            collected = changed.wait_timeout(collected, Duration::from_millis(100)).unwrap().0;
        }
    }

    pub(super) fn end(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text()
    }
}
