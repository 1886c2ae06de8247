//! Which two versions a rehearsal upgrades between. Pure; what exists is said by `catalogue`.

use std::collections::BTreeSet;

use super::{Version, fetch::install_hint};
use crate::{
    base::{Code, Result},
    fail,
};

/// Below this major version `pg_upgrade` drops logical slots without a word, from it on it keeps or refuses them
/// (manual, "pg_upgrade", 17). Snapshot, upgrade, restore in that order works below it only.
const KEEPS_SLOTS: u32 = 17;

/// The default pair: the highest target, from a source below 17, and of two possible sources one that is installed.
/// Installed versions are enough when they have two majors of which one is a source; otherwise what can be fetched
/// counts as well. A version that is named wins over all of this.
///
/// # Errors
/// `lab_missing` naming what is wanted; `usage` when the named versions are in the wrong order.
pub fn pair(
    installed: &[Version],
    fetchable: &[Version],
    from: Option<u32>,
    to: Option<u32>,
) -> Result<(Version, Version)> {
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return Err(fail!(Code::Usage, "an upgrade goes to a higher major version, got {from} to {to}"));
    }
    for named in [from, to].into_iter().flatten() {
        if newest(installed, named).or(newest(fetchable, named)).is_none() {
            return Err(fail!(Code::LabMissing, "PostgreSQL {named} is neither installed nor fetchable here")
                .hint(install_hint(&[named])));
        }
    }
    let everything = [installed, fetchable].concat();
    let found = best(installed, installed, from, to).or_else(|| best(installed, &everything, from, to));
    found.ok_or_else(|| {
        let majors: BTreeSet<String> = everything.iter().map(|version| version.major.to_string()).collect();
        let found = if majors.is_empty() { "none".into() } else { majors.into_iter().collect::<Vec<_>>().join(", ") };
        let wanted = [from.unwrap_or(KEEPS_SLOTS - 1), to.unwrap_or(KEEPS_SLOTS + 1)];
        fail!(Code::LabMissing, "a rehearsal upgrades from one major version to a higher one; found: {found}")
            .hint(install_hint(&wanted))
    })
}

fn best(
    installed: &[Version],
    candidates: &[Version],
    from: Option<u32>,
    to: Option<u32>,
) -> Option<(Version, Version)> {
    let majors: BTreeSet<u32> = candidates.iter().map(|version| version.major).collect();
    let is_installed = |major: u32| newest(installed, major).is_some();
    let sources = majors.iter().filter(|major| from.map_or(**major < KEEPS_SLOTS, |from| **major == from));
    let targets = |source: u32| majors.iter().copied().filter(move |m| *m > source && to.is_none_or(|to| *m == to));
    let (source, target) = sources
        .filter_map(|source| Some((*source, targets(*source).max()?)))
        .max_by_key(|(source, target)| (*target, is_installed(*source), *source))?;
    let of = |major: u32| newest(installed, major).or(newest(candidates, major));
    Some((of(source)?, of(target)?))
}

fn newest(versions: &[Version], major: u32) -> Option<Version> {
    versions.iter().copied().filter(|version| version.major == major).max()
}

#[cfg(test)]
mod tests {
    use super::{Version, pair};

    fn versions(texts: &[&str]) -> Vec<Version> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn chosen(installed: &[&str], from: Option<u32>, to: Option<u32>) -> String {
        let fetchable = versions(&["16.14", "17.10", "18.4", "18.6"]);
        match pair(&versions(installed), &fetchable, from, to) {
            Ok((from, to)) => format!("{from} -> {to}"),
            Err(error) => error.code().name().into(),
        }
    }

    #[test]
    fn the_default_pair() {
        assert_eq!(chosen(&["15.18"], None, None), "15.18 -> 18.6", "one installed: the other is fetched");
        assert_eq!(chosen(&["15.18", "17.2"], None, None), "15.18 -> 17.2", "two installed: nothing is fetched");
        assert_eq!(chosen(&["13.1", "14.1", "16.3"], None, None), "14.1 -> 16.3");
        assert_eq!(chosen(&["17.2", "18.1"], None, None), "16.14 -> 18.1", "no source installed");
        assert_eq!(chosen(&["18.1"], None, None), "16.14 -> 18.1");
        assert_eq!(chosen(&[], None, None), "16.14 -> 18.6");
        assert_eq!(pair(&[], &[], None, None).unwrap_err().code().name(), "lab_missing");
    }

    #[test]
    fn named_versions_win() {
        assert_eq!(chosen(&["15.18"], None, Some(17)), "15.18 -> 17.10");
        assert_eq!(chosen(&["15.18"], Some(17), Some(18)), "17.10 -> 18.6");
        assert_eq!(chosen(&["15.18", "16.1", "17.1"], Some(15), Some(16)), "15.18 -> 16.1");
        assert_eq!(chosen(&["15.18"], Some(18), Some(17)), "usage");
        assert_eq!(chosen(&["15.18"], Some(12), None), "lab_missing");
        assert_eq!(chosen(&["15.18"], Some(18), None), "lab_missing", "there is no higher one");
    }
}
