//! The house's habits that no compiler checks: who may use whom, sizes, words, versions.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// The longest file, in lines.
const LINES_MAX: usize = 600;

/// Which of our crates each may use. A line here is a change of architecture: the same commit has
/// a line in ARCHITECTURE.md.
const MAY_USE: &[(&str, &[&str])] = &[
    ("twoticks-core", &[]),
    ("twoticks-wire", &[]),
    ("twoticks-store", &["twoticks-core"]),
    ("twoticks-server", &["twoticks-core", "twoticks-store", "twoticks-wire"]),
    ("twoticks-emulator", &["twoticks-core", "twoticks-server", "twoticks-store", "twoticks-wire"]),
    (
        "twoticks",
        &[
            "twoticks-core",
            "twoticks-emulator",
            "twoticks-server",
            "twoticks-store",
            "twoticks-wire",
        ],
    ),
];
/// The crates that do no I/O, and what brings it.
const PURE: &[&str] = &["twoticks-core", "twoticks-wire"];
const BRINGS_IO: &[&str] =
    &["tokio", "tokio-util", "axum", "hyper", "hyper-util", "tracing", "tower", "tower-http"];
/// Only the program says `anyhow`.
const ONLY_THE_PROGRAM: &[&str] = &["anyhow", "clap", "tracing-subscriber"];
/// Modules are named after what they offer.
const NO_NAMES: &[&str] = &["utils", "util", "helpers", "common", "misc"];
/// Folders of somebody's machine: no file names a path below them.
const NO_FOLDERS: &[&str] = &["root", "home", "tmp", "work"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn manifest(path: &Path) -> Table {
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn names(manifest: &Table, section: &str) -> BTreeSet<String> {
    let section = manifest.get(section).and_then(Value::as_table);
    section.into_iter().flat_map(|it| it.keys().cloned()).collect()
}

fn crates() -> Vec<(String, Table)> {
    let folder = root().join("crates");
    let mut crates: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, manifest(&entry.path().join("Cargo.toml")))
        })
        .collect();
    crates.sort_by(|a, b| a.0.cmp(&b.0));
    crates
}

/// All files below `folder` with one of the endings.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                // Data are what others wrote; the rest is made, not written.
                if !["data", "target", ".git", ".work", "node_modules", "corpus", "artifacts"]
                    .contains(&name.as_str())
                {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn our_crates_use_each_other_in_one_direction() {
    let crates = crates();
    assert_eq!(crates.len(), MAY_USE.len(), "each crate has a line in MAY_USE");
    for (name, manifest) in crates {
        let (_, allowed) = MAY_USE.iter().find(|(known, _)| *known == name).unwrap();
        for used in names(&manifest, "dependencies") {
            let is_ours = used.starts_with("twoticks");
            assert!(!is_ours || allowed.contains(&used.as_str()), "{name} must not use {used}");
        }
    }
}

#[test]
fn what_is_pure_stays_pure() {
    for (name, manifest) in crates() {
        let used = names(&manifest, "dependencies");
        for brings in BRINGS_IO {
            assert!(
                !PURE.contains(&name.as_str()) || !used.contains(*brings),
                "{name} must not use {brings}"
            );
        }
        for only in ONLY_THE_PROGRAM {
            assert!(name == "twoticks" || !used.contains(*only), "{name} must not use {only}");
        }
    }
}

#[test]
fn every_version_stands_in_the_root_manifest_only() {
    let root = manifest(&root().join("Cargo.toml"));
    let known = root["workspace"]["dependencies"].as_table().unwrap();
    for (name, manifest) in crates() {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (used, how) in manifest.get(section).and_then(Value::as_table).into_iter().flatten()
            {
                let is_shared = how.get("workspace").and_then(Value::as_bool) == Some(true);
                assert!(is_shared, "{name}: write `{used}.workspace = true`");
                assert!(known.contains_key(used), "{name}: {used} is not in the root manifest");
            }
        }
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{name}");
    }
}

#[test]
fn no_dependency_is_there_for_nothing() {
    let root = manifest(&root().join("Cargo.toml"));
    let mut used = BTreeSet::new();
    for (_, manifest) in crates() {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            used.extend(names(&manifest, section));
        }
    }
    let known = root["workspace"]["dependencies"].as_table().unwrap();
    for name in known.keys().filter(|name| *name != "twoticks") {
        assert!(used.contains(name), "nobody uses {name}; take it out of the root manifest");
    }
}

#[test]
fn files_are_short_and_named_after_what_they_offer() {
    for path in files(&root().join("crates"), &[".rs"]) {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines; split it", shown(&path));
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(!NO_NAMES.contains(&name), "{}: name it after what it offers", shown(&path));
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for path in files(&root().join("crates"), &[".rs"]) {
        if path.ends_with("tests.rs") {
            // It is about the module that it stands in.
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let first = text.lines().find(|line| !line.is_empty()).unwrap_or_default();
        assert!(first.starts_with("//!"), "{} begins with a doc comment", shown(&path));
    }
}

#[test]
fn what_is_left_to_do_names_its_issue() {
    for path in files(&root(), &[".rs", ".md", ".toml", ".html", ".css", ".sh", ".py"]) {
        if path.ends_with("tests/tidy.rs") || path.ends_with("docs/style.md") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            for word in ["TODO", "FIXME"] {
                let Some((_, rest)) = line.split_once(word) else { continue };
                let issue = rest.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
                let is_named = issue.is_some_and(|(number, _)| number.parse::<u32>().is_ok());
                let place = format!("{}:{}", shown(&path), number + 1);
                assert!(is_named, "{place}: write `{word}(#12)`");
            }
        }
    }
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    for path in files(&root(), &[".rs", ".md", ".toml", ".html", ".css", ".sh", ".py", "justfile"])
    {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            for folder in NO_FOLDERS {
                let place = format!("{}:{}", shown(&path), number + 1);
                assert!(!line.contains(&format!("/{folder}/")), "{place} names `/{folder}/`");
            }
        }
    }
}
