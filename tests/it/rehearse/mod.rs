//! Whole rehearsals with the real binary: what the README promises, and a run that is killed again and again.

mod aurora;
mod bad_day;
mod chaos;
mod kills;
mod readme;
mod rollback;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The folder of the project.
fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The binary under test, with a home of its own. The cache is everybody's: servers are fetched once.
fn pgrun(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgrun"));
    command.current_dir(project()).env("PGRUN_HOME", home).env("NO_COLOR", "1").env_remove("PGRUN_CRASH");
    command
}

/// Runs a command and says what it printed when it does not end with 0.
fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("the program can be started");
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A folder that servers running as another user can reach too, removed at the end.
fn scratch() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::Builder::new().prefix("pgrun-it-").tempdir().expect("a scratch folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("its mode");
    folder
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
