//! A real terminal with somebody at it.

use std::{
    ffi::OsStr,
    io::Write,
    os::fd::OwnedFd,
    path::PathBuf,
    process::Child,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    Pgrun,
    output::{self, Output},
    process::{Stream, code},
};

/// A process at a terminal of 80 columns and 24 lines, which is its controlling terminal.
pub(crate) struct Terminal {
    child: Child,
    command: String,
    journal: PathBuf,
    keyboard: std::fs::File,
    screen: Stream,
    /// How much of the screen was waited for already.
    read: Mutex<usize>,
    /// The files stay as long as the process.
    _folder: Arc<TempDir>,
}

impl Terminal {
    pub(super) fn start<S: AsRef<OsStr>>(place: &Pgrun, arguments: &[S], variables: Vec<(String, String)>) -> Self {
        let (pty, pts) = pty_process::blocking::open().unwrap();
        pty.resize(pty_process::Size::new(24, 80)).unwrap();
        let command = pty_process::blocking::Command::new(env!("CARGO_BIN_EXE_pgrun")).args(arguments).env_clear();
        let child = command.current_dir(place.path("")).envs(variables).spawn(pts).unwrap();
        let shown: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
        let command = format!("pgrun {}", shown.join(" "));
        let keyboard = std::fs::File::from(OwnedFd::from(pty));
        let screen = Stream::read(keyboard.try_clone().unwrap());
        let (journal, folder) = (place.journal(), place.folder.clone());
        Self { child, command, journal, keyboard, screen, read: Mutex::new(0), _folder: folder }
    }

    /// Waits until the screen shows a text that it did not show when the last call returned.
    #[track_caller]
    pub(crate) fn until(&self, text: &str) -> &Self {
        let mut read = self.read.lock().unwrap();
        match self.screen.until_after(*read, text) {
            Some(end) => *read = end,
            None => panic!("`{text}` never came on the screen of `{}`:\n{}", self.command, self.screen.text()),
        }
        self
    }

    /// Types; `\r` is Enter, `\x03` is Ctrl-C.
    pub(crate) fn types(&self, text: &str) -> &Self {
        (&self.keyboard).write_all(text.as_bytes()).unwrap();
        self
    }

    /// Waits for the end. Everything that was on the screen is given as stderr, with its control codes.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Output {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > Duration::from_secs(60) {
                let _ = self.child.kill();
                panic!("`{}` did not end:\n{}", self.command, self.screen.text());
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        Output {
            command: self.command.clone(),
            code: code(status),
            stdout: String::new(),
            stderr: self.screen.end(),
            events: output::events(&self.journal),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a screen shows in the end: carriage returns write over, `ESC [ K` clears to the end of the line, colours are
/// nothing. Enough of a terminal for what pgrun writes outside the line editor.
pub(crate) fn lines_of(screen: &str) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![vec![]];
    let mut column = 0;
    let mut chars = screen.chars().peekable();
    while let Some(c) = chars.next() {
        let line = lines.last_mut().unwrap();
        match c {
            '\n' => lines.push(vec![]),
            '\r' => column = 0,
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                let code: String = std::iter::from_fn(|| chars.next_if(|c| !c.is_ascii_alphabetic())).collect();
                if chars.next() == Some('K') && code.is_empty() {
                    line.truncate(column);
                }
            }
            c => {
                if line.len() <= column {
                    line.resize(column + 1, ' ');
                }
                line[column] = c;
                column += 1;
            }
        }
    }
    lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect()
}
