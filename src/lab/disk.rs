//! Files and folders of the lab: what `std::fs` does, with errors that name the path. Nothing here knows PostgreSQL.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, fchown},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

use super::postgres::ServerUser;
use crate::{
    base::{Code, Error, Result},
    fail,
};

/// Turns an I/O error into the lab's error: what was done, to which path, and the system's own words.
pub(crate) fn failed<'a>(doing: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |error| fail!(Code::LabFailed, "cannot {doing} `{}`: {error}", path.display())
}

/// Makes a folder and its parents. The folder gets `mode` whatever the umask says; parents get 0755, so that a server
/// running as another user can pass through.
pub(crate) fn make_folder(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed("make the folder", path))?;
    set_mode(path, mode)
}

/// Sets the permission bits.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("set the permissions of", path))
}

/// Gives a path to the user that servers run as; nothing to do when that is us.
pub(crate) fn give_to(path: &Path, user: Option<&ServerUser>) -> Result<()> {
    let Some(user) = user else { return Ok(()) };
    chown(path, Some(user.uid), Some(user.gid)).map_err(failed("change the owner of", path))
}

/// Writes a whole file with the given mode and owner: to a temporary name first, then renamed, so that a reader sees
/// the old text or the new one and never half of it. No fsync: the lab survives a killed process, not a power cut.
pub(crate) fn write_file(path: &Path, text: &[u8], mode: u32, owner: Option<&ServerUser>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    remove_file(&temporary)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .map_err(failed("write", &temporary))?;
    io::Write::write_all(&mut file, text).map_err(failed("write", &temporary))?;
    // By the open file, not by its name: the folder may belong to the server's user, who could put a link there.
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed("set the permissions of", &temporary))?;
    if let Some(user) = owner {
        fchown(&file, Some(user.uid), Some(user.gid)).map_err(failed("change the owner of", &temporary))?;
    }
    fs::rename(&temporary, path).map_err(failed("replace", path))
}

/// Opens a log for writing at its end, and never through a link; the server's user shall own it.
pub(crate) fn append_to(path: &Path, owner: Option<&ServerUser>) -> Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.create(true).append(true).mode(0o640).custom_flags(OFlag::O_NOFOLLOW.bits());
    let file = options.open(path).map_err(failed("open", path))?;
    if let Some(user) = owner {
        fchown(&file, Some(user.uid), Some(user.gid)).map_err(failed("change the owner of", path))?;
    }
    Ok(file)
}

/// Removes a file; one that is not there is no error.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a folder with everything in it; one that is not there is no error.
pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The entries of a folder, sorted by name; none when it does not exist.
pub(crate) fn entries(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{make_folder, write_file};

    /// A file with secrets must not be readable by others for even a moment, nor keep an old mode.
    #[test]
    fn a_written_file_has_the_mode_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        make_folder(&path, 0o700).unwrap();
        let file = path.join("world.json");
        std::fs::write(&file, "old").unwrap();
        write_file(&file, b"new", 0o600, None).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
