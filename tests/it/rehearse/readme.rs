//! The README is true: every line of its `sh` blocks runs, with the built binary in the place of `cargo run`.

use super::{pgrun, project, scratch, succeed};

/// What a newcomer types works, the main job included.
#[test]
fn every_command_of_the_readme_works() {
    let readme = std::fs::read_to_string(project().join("README.md")).unwrap();
    let home = scratch();
    let mut commands = 0;
    for line in shell_lines(&readme) {
        // This test is part of it.
        if line == "cargo test" {
            continue;
        }
        let arguments = line
            .strip_prefix("cargo run --release -- ")
            .or_else(|| line.strip_prefix("pgrun "))
            .unwrap_or_else(|| panic!("the README has the line `{line}`, which this test cannot run"));
        succeed(pgrun(home.path()).args(arguments.split_whitespace()));
        commands += 1;
    }
    assert!(commands >= 3, "the README shows at least three commands");
}

/// The lines between ```` ```sh ```` and ```` ``` ````.
fn shell_lines(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = vec![];
    for line in text.lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside && !line.is_empty() => lines.push(line),
            _ => {}
        }
    }
    lines
}

/// The manual that the README lists is the manual there is.
#[test]
fn the_readme_lists_every_page_of_the_manual() {
    let readme = std::fs::read_to_string(project().join("README.md")).unwrap();
    for page in super::files(&project().join("src/manual")) {
        let name = page.strip_prefix(project()).unwrap().to_string_lossy().into_owned();
        assert!(readme.contains(&format!("({name})")), "the README does not link to {name}");
    }
}
