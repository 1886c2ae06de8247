//! The tables that people extend: crates, script functions, error codes, the library.

use std::{collections::BTreeSet, path::Path};

use pgrun::{
    api::{Function, MODULES, words::RESERVED},
    base::Code,
    engine::library::STDLIB,
};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Crates in a manifest that no comment stands above.
fn without_reason(manifest: &str) -> Vec<String> {
    let mut missing = vec![];
    let (mut in_crates, mut has_reason) = (false, false);
    for line in manifest.lines() {
        if line.starts_with('[') {
            (in_crates, has_reason) = (line.contains("dependencies"), false);
        } else if line.trim().is_empty() {
            has_reason = false;
        } else if line.starts_with('#') {
            has_reason = true;
        } else if let (true, false, Some((name, _))) = (in_crates, has_reason, line.split_once('=')) {
            missing.push(name.trim().to_owned());
        }
    }
    missing
}

/// Every crate has its reason, in words, above it.
#[test]
fn every_crate_has_a_reason() {
    assert_eq!(without_reason(&read("Cargo.toml")), Vec::<String>::new());
    let planted = "[package]\nname = \"x\"\n[dependencies]\n# Why.\na = \"1\"\nb = \"1\"\n\nc = \"1\"\n[dev-dependencies]\nd = \"1\"\n";
    assert_eq!(without_reason(planted), ["c", "d"]);
}

/// What is wrong with a function's entry.
fn faults(function: &Function) -> Vec<&'static str> {
    let mut faults = vec![];
    if !function.doc.ends_with('.') || function.doc.len() < 10 {
        faults.push("its sentence");
    }
    if function.example.trim().is_empty() || !function.example.contains(function.name) {
        faults.push("its example");
    }
    if function.gives.is_empty() {
        faults.push("what it gives");
    }
    let optional: Vec<bool> = function.parameters.split(", ").map(|name| name.starts_with('[')).collect();
    if !optional.is_sorted() {
        faults.push("an optional parameter before others");
    }
    // A name that Rhai or pgrun has reserved cannot be called.
    let is_reserved = rhai::Engine::new().compile(format!("fn {}() {{ 1 }}", function.name)).is_err();
    if is_reserved || RESERVED.contains(&function.name) {
        faults.push("its reserved name");
    }
    faults
}

/// Every script function says what it does and shows it, under a name that can be called.
#[test]
fn every_script_function_is_explained() {
    for module in MODULES {
        assert!(module.doc.ends_with('.'), "the module `{}` is not explained", module.name);
        let mut names = BTreeSet::new();
        for function in module.functions.iter().chain(module.methods) {
            let faults = faults(function);
            assert!(faults.is_empty(), "`{}::{}`: {faults:?}", module.name, function.name);
            let place = module.methods.iter().any(|method| std::ptr::eq(method, function));
            assert!(names.insert((function.name, place)), "`{}` stands twice in `{}`", function.name, module.name);
        }
    }
    let good = MODULES[0].functions.iter().find(|function| function.name == "ident").unwrap();
    let broken = |change: fn(&mut Function)| {
        let mut function = Function { run: good.run, ..*good };
        change(&mut function);
        faults(&function)
    };
    assert_eq!(broken(|f| f.doc = "Quotes"), ["its sentence"]);
    assert_eq!(broken(|f| f.example = ""), ["its example"]);
    assert_eq!(broken(|f| f.parameters = "[a], b"), ["an optional parameter before others"]);
    assert_eq!(broken(|f| (f.name, f.example) = ("match", "match()")), ["its reserved name"]);
    assert_eq!(broken(|f| (f.name, f.example) = ("step", "step()")), ["its reserved name"]);
}

/// Methods of one name and count would hide each other, whatever module they stand in.
#[test]
fn methods_have_their_own_names() {
    let mut seen: BTreeSet<(&str, usize)> = BTreeSet::new();
    for function in MODULES.iter().flat_map(|module| module.methods) {
        let (least, most) = function.arity();
        for count in least..=most {
            assert!(seen.insert((function.name, count)), "two methods `{}` take {count} arguments", function.name);
        }
    }
}

/// Codes are words that can be typed, each explained.
#[test]
fn every_code_is_explained() {
    let mut names = BTreeSet::new();
    for code in Code::ALL {
        assert!(names.insert(code.name()), "`{}` stands twice", code.name());
        assert!(code.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", code.name());
        assert!(code.means().ends_with('.') && code.act().ends_with('.'), "{}", code.name());
        assert_eq!(Code::named(code.name()), Some(*code));
    }
}

/// Every file of the library is in it, as it is on disk, and says what it is for.
#[test]
fn the_library_is_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let known: BTreeSet<String> = STDLIB.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(files, known);
    for (name, version, text) in STDLIB {
        assert!(text.starts_with("//! "), "std/{name}@{version} does not say what it is for");
    }
}
