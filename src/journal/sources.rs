//! The texts that a run executes, kept by their content: a resumed run never reads the files that were edited since.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::record::hex;
use crate::{
    base::{Code, Result},
    fail,
};

/// The texts of a run, by canonical name: the runbook's own path, `std/NAME` for the embedded library.
pub type Sources = BTreeMap<String, String>;

/// SHA-256 of a source's text.
#[must_use]
pub fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// Writes every text once and gives the digest of each name. A text that is kept already is not touched, and none is
/// ever half written under its name: the run may need it although this fails.
pub fn keep(folder: &Path, sources: &Sources) -> Result<BTreeMap<String, String>> {
    let io = |error: std::io::Error| {
        fail!(Code::JournalWrite, "the run's sources cannot be kept: {error}").hint("make space or repair the disk")
    };
    fs::create_dir_all(folder).map_err(io)?;
    let mut digests = BTreeMap::new();
    for (name, text) in sources {
        let digest = digest(text);
        let path = folder.join(&digest);
        if !fs::read(&path).is_ok_and(|kept| kept == text.as_bytes()) {
            let draft = folder.join(format!("{digest}.draft"));
            let written = fs::write(&draft, text)
                .and_then(|()| fs::File::open(&draft)?.sync_all())
                .and_then(|()| fs::rename(&draft, &path));
            written.map_err(|error| {
                let _ = fs::remove_file(&draft);
                io(error)
            })?;
        }
        digests.insert(name.clone(), digest);
    }
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok(digests)
}

/// Reads the texts back and checks each against its digest.
pub fn load(folder: &Path, digests: &BTreeMap<String, String>) -> Result<Sources> {
    let read = |(name, wanted): (&String, &String)| {
        let path: PathBuf = folder.join(wanted);
        let text = fs::read_to_string(&path)
            .map_err(|error| fail!(Code::JournalDamaged, "the kept text of `{name}` cannot be read: {error}"))?;
        if digest(&text) != *wanted {
            return Err(fail!(Code::JournalDamaged, "the kept text of `{name}` was changed after the run began"));
        }
        Ok((name.clone(), text))
    };
    digests.iter().map(read).collect()
}
