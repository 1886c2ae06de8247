//! Where modules come from: the embedded library, and files beside the runbook, never above its root.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::ThreadId,
};

use rhai::{Dynamic, Engine, Module, ModuleResolver, Position, Scope, Shared};

use crate::{
    api::bridge::{self, Script},
    base::{Code, Result, prose},
    fail,
    journal::sources::Sources,
};

/// The embedded library: name, version, text. One line for each file of `stdlib/`.
pub const STDLIB: &[(&str, u32, &str)] = &[
    ("applications", 1, include_str!("../../stdlib/applications.rhai")),
    ("cutover", 1, include_str!("../../stdlib/cutover.rhai")),
    ("fence", 1, include_str!("../../stdlib/fence.rhai")),
    ("inventory", 1, include_str!("../../stdlib/inventory.rhai")),
    ("maintenance", 1, include_str!("../../stdlib/maintenance.rhai")),
    ("redirect", 1, include_str!("../../stdlib/redirect.rhai")),
    ("replication", 1, include_str!("../../stdlib/replication.rhai")),
    ("servers", 1, include_str!("../../stdlib/servers.rhai")),
    ("upgrade", 1, include_str!("../../stdlib/upgrade.rhai")),
    ("verification", 1, include_str!("../../stdlib/verification.rhai")),
];

/// The modules of a library: name and version of each.
pub type Shelf = Vec<(String, u32)>;

/// The modules of this program's library.
#[must_use]
pub fn shelf_here() -> Shelf {
    STDLIB.iter().map(|(name, version, _)| ((*name).to_owned(), *version)).collect()
}

/// The modules of the library that a run was begun with: an upgraded program must not give it newer ones.
#[must_use]
pub fn shelf_kept(sources: &Sources) -> Shelf {
    let kept = |name: &String| {
        let (stem, version) = name.strip_prefix("std/")?.split_once('@')?;
        Some((stem.to_owned(), version.parse().ok()?))
    };
    sources.keys().filter_map(kept).collect()
}

/// The canonical name of an import: `std/NAME@VERSION`, or the path from the runbook's root.
///
/// # Errors
/// `script_syntax` for a module that the library lacks, and for paths above the root.
pub fn canonical(importer: &str, path: &str, shelf: &[(String, u32)]) -> Result<String> {
    if let Some(name) = path.strip_prefix("std/") {
        return library_name(name, shelf);
    }
    if path.is_empty() || Path::new(path).is_absolute() {
        return Err(fail!(Code::ScriptSyntax, "got the import {path:?}, wanted `std/NAME` or a relative path"));
    }
    let folder = if importer.starts_with("std/") {
        Path::new("")
    } else {
        Path::new(importer).parent().unwrap_or(Path::new(""))
    };
    let mut parts: Vec<String> = vec![];
    for part in folder.join(path).components() {
        match part {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::ParentDir if parts.pop().is_some() => {}
            Component::CurDir => {}
            _ => return Err(fail!(Code::ScriptSyntax, "the import {path:?} leads out of the runbook's folder")),
        }
    }
    let name = parts.join("/");
    Ok(if Path::new(&name).extension().is_some() { name } else { format!("{name}.rhai") })
}

fn library_name(name: &str, shelf: &[(String, u32)]) -> Result<String> {
    let (stem, wanted) = match name.split_once('@') {
        Some((stem, version)) => (stem, Some(version)),
        None => (name, None),
    };
    let versions: Vec<u32> = shelf.iter().filter(|(found, _)| found == stem).map(|(_, version)| *version).collect();
    if versions.is_empty() {
        let names: Vec<&str> = shelf.iter().map(|(name, _)| name.as_str()).collect();
        let error = fail!(Code::ScriptSyntax, "there is no module `std/{stem}`");
        return Err(match prose::nearest(stem, names.iter().copied()) {
            Some(near) => error.hint(format!("meant `std/{near}`?")),
            None => error.hint(format!("the library has {}", prose::ticked_list(&names, 20))),
        });
    }
    let version = match wanted {
        None => versions.iter().max().copied(),
        Some(text) => versions.iter().copied().find(|version| version.to_string() == text),
    };
    version.map(|version| format!("std/{stem}@{version}")).ok_or_else(|| {
        let has: Vec<String> = versions.iter().map(ToString::to_string).collect();
        let wanted = wanted.unwrap_or_default();
        fail!(Code::ScriptSyntax, "`std/{stem}` has version {}, the script wants @{wanted}", has.join(", "))
    })
}

/// The text behind a canonical name; `root` is the runbook's folder.
pub fn read(root: &Path, name: &str) -> Result<String> {
    if name.starts_with("std/") {
        let found = STDLIB.iter().find(|(stem, version, _)| format!("std/{stem}@{version}") == name);
        return found
            .map(|(_, _, text)| (*text).to_owned())
            .ok_or_else(|| fail!(Code::ScriptSyntax, "no module `{name}`"));
    }
    let path = root.join(name);
    let outside = || fail!(Code::ScriptSyntax, "the module `{name}` lies outside the runbook's folder");
    let missing = |error: std::io::Error| fail!(Code::ScriptSyntax, "the module `{name}` cannot be read: {error}");
    // A symbolic link may lead out although the path does not.
    let real = path.canonicalize().map_err(missing)?;
    if !real.starts_with(root.canonicalize().map_err(missing)?) {
        return Err(outside());
    }
    std::fs::read_to_string(&real).map_err(missing)
}

/// Where a runbook stands: the folder that no import of it may leave (the nearest one above with a `pgrun.toml`, else
/// its own), and its canonical name, the path from there.
///
/// # Errors
/// The file system's own, when the runbook's folder cannot be reached.
pub fn place_of(runbook: &Path) -> std::io::Result<(PathBuf, String)> {
    let folder = runbook.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Not the path as it was typed: above `.` or `..` nothing would be found.
    let folder = folder.canonicalize()?;
    let root = folder.ancestors().find(|above| above.join("pgrun.toml").is_file()).unwrap_or(&folder).to_owned();
    let path = folder.join(runbook.file_name().unwrap_or_default());
    let name = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
    Ok((root, name))
}

/// Resolves imports from the texts that were collected when the run began.
#[derive(Clone)]
pub struct Resolver {
    sources: Arc<Sources>,
    shelf: Arc<Shelf>,
    loaded: Arc<Mutex<BTreeMap<String, Shared<Module>>>>,
    /// By thread: two branches may load one module at the same time.
    loading: Arc<Mutex<Vec<(ThreadId, String)>>>,
}

impl Resolver {
    /// A resolver over collected texts.
    #[must_use]
    pub fn new(sources: Arc<Sources>) -> Self {
        let shelf = Arc::new(shelf_kept(&sources));
        Self { sources, shelf, loaded: Arc::default(), loading: Arc::default() }
    }

    /// Since Rhai 1.26 a closure that a module returns cannot be called outside it: this finds it again by its name.
    /// Two modules with the same closure text share a name; they also share its meaning unless it calls private
    /// functions, so that case is refused.
    pub(super) fn find_closures_of_modules(&self, engine: &mut Engine) {
        let loaded = self.loaded.clone();
        #[expect(deprecated, reason = "Rhai marks this call as volatile in this way; the version is pinned")]
        engine.on_missing_function(move |name, arguments, _, mut context| {
            if !name.starts_with("anon$") {
                return Ok(None);
            }
            let owners: Vec<Shared<Module>> = {
                let modules = loaded.lock().unwrap_or_else(PoisonError::into_inner);
                let owns = |module: &&Shared<Module>| module.get_script_fn(name, arguments.len()).is_some();
                modules.values().filter(owns).cloned().collect()
            };
            match owners.as_slice() {
                [] => Ok(None),
                [owner] => {
                    let mut inner = context.new_frame().with_new_caching_layer().with_namespace(owner.clone());
                    // A call takes its arguments, and these may be the caller's own: `filter` would keep empty shells.
                    let mut copies: Vec<Dynamic> = arguments.iter().map(|argument| Dynamic::clone(argument)).collect();
                    let mut copies: Vec<&mut Dynamic> = copies.iter_mut().collect();
                    inner.call_fn_raw(name, false, false, &mut copies).map(Some)
                }
                _ => {
                    let error =
                        fail!(Code::ScriptError, "two modules have the same closure, and it is called outside both");
                    Err(bridge::raise(error.hint("let the modules' functions take plain values"), None, Position::NONE))
                }
            }
        });
    }

    fn load(&self, engine: &Engine, name: &str, at: Position) -> Script<Shared<Module>> {
        if let Some(module) = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(module.clone());
        }
        let text = self.sources.get(name).ok_or_else(|| {
            bridge::raise(fail!(Code::ScriptSyntax, "the module `{name}` was not there when the run began"), None, at)
        })?;
        let mut ast = engine.compile(text)?;
        ast.set_source(name);
        let module: Shared<Module> = Module::eval_ast_as_new(Scope::new(), &ast, engine)?.into();
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), module.clone());
        Ok(module)
    }
}

impl ModuleResolver for Resolver {
    fn resolve(&self, engine: &Engine, from: Option<&str>, path: &str, at: Position) -> Script<Shared<Module>> {
        let name =
            canonical(from.unwrap_or_default(), path, &self.shelf).map_err(|error| bridge::raise(error, from, at))?;
        let turn = (std::thread::current().id(), name.clone());
        {
            let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
            // The check has found it before; a script that was never checked would load for ever.
            if loading.contains(&turn) {
                return Err(bridge::raise(fail!(Code::ScriptSyntax, "the imports go round at `{name}`"), from, at));
            }
            loading.push(turn.clone());
        }
        let module = self.load(engine, &name, at);
        self.loading.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != turn);
        module.map_err(|raised| bridge::in_module(&name, raised, at))
    }
}

#[cfg(test)]
mod tests {
    use super::{canonical, shelf_here, shelf_kept};
    use crate::journal::sources::Sources;

    #[test]
    fn imports_are_named_from_the_root_and_never_leave_it() {
        assert_eq!(canonical("main.rhai", "lib/a", &[]).unwrap(), "lib/a.rhai");
        assert_eq!(canonical("lib/a.rhai", "b", &[]).unwrap(), "lib/b.rhai");
        assert_eq!(canonical("lib/a.rhai", "../c.rhai", &[]).unwrap(), "c.rhai");
        for path in ["../x", "/etc/passwd", "", "std/no_such_module"] {
            assert!(canonical("main.rhai", path, &shelf_here()).is_err(), "{path}");
        }
    }

    /// A run that pauses for days is taken up by a newer pgrun, with the library it was begun with.
    #[test]
    fn a_run_keeps_its_library() {
        let kept = Sources::from([("std/fence@1".into(), String::new()), ("main.rhai".into(), String::new())]);
        let shelf = shelf_kept(&kept);
        assert_eq!(canonical("main.rhai", "std/fence", &shelf).unwrap(), "std/fence@1");
        assert!(canonical("main.rhai", "std/fence@2", &shelf).is_err());
        let newer = [("fence".to_owned(), 1), ("fence".to_owned(), 2)];
        assert_eq!(canonical("main.rhai", "std/fence", &newer).unwrap(), "std/fence@2");
        assert_eq!(canonical("main.rhai", "std/fence@1", &newer).unwrap(), "std/fence@1");
    }
}
