//! The shape of the source: arrows point down, and some words stand in some folders only.
//!
//! Reads `src` as text and holds what `src/lib.rs` draws. The checker itself is tried on sources that it
//! must refuse, so that it cannot pass by seeing nothing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[path = "layering/cases.rs"]
mod cases;
#[path = "layering/source.rs"]
mod source;

use cases::{BAD, GOOD};
use source::{Source, Use};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Folders by layer, lowest first. A folder uses those before its own line, and itself. `trust`
/// stands above `keys`: a signature is by a key, and a KRL names keys.
const LAYERS: [&[&str]; 9] = [
    &["keys"],
    &["trust"],
    &["sync"],
    &["wire"],
    &["config", "sys"],
    &["client"],
    &["sources", "sinks"],
    &["agent", "service"],
    &["cli", "demo"],
];

/// Arrows that the lines would allow and the text beside them does not: wire names keys and trust.
const FORBIDDEN: [(&str, &str); 1] = [("wire", "sync")];

/// Arrows that the lines would not allow: the command that starts the demo.
const PERMITTED: [(&str, &str); 1] = [("cli/demo.rs", "demo")];

/// What the program's entry may name.
const ENTRY: [&str; 2] = ["cli", "client"];

const PURE: [&str; 4] = ["keys", "trust", "sync", "wire"];

/// Paths that no pure folder names: I/O, clock, async, logging, chance.
const IMPURE: [&str; 13] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::time::SystemTime",
    "std::time::Instant",
    "tokio",
    "tracing",
    "rand",
    "getrandom",
    "jiff::Zoned",
];

/// Words that no pure folder holds, however they came into scope.
const IMPURE_WORDS: [&str; 3] = ["SystemTime", "Instant", "async"];

/// Crates, and the only paths (by their beginning) that may name them.
const ONLY: [(&str, &[&str]); 14] = [
    ("reqwest", &["client/"]),
    ("axum", &["service/"]),
    ("hyper", &["service/"]),
    ("hyper_util", &["service/"]),
    ("rusqlite", &["service/"]),
    (
        "tokio_postgres",
        &["service/store/db/", "service/store/postgres/"],
    ),
    ("nix", &["sys/"]),
    ("rustix", &["sys/"]),
    ("signal_hook", &["sys/"]),
    ("notify", &["sys/watch.rs"]),
    ("russh", &["sinks/proof", "demo/"]),
    ("anyhow", &["cli/", "demo/"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/"]),
];

const PRINTS: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];
const PRINTERS: [&str; 1] = ["cli/output.rs"];
const STREAMS: [&str; 2] = ["stdout", "stderr"];
const STREAM_HOLDERS: [&str; 2] = ["cli/output.rs", "cli/logging.rs"];

const MAX_LINES: usize = 400;

/// Everything that is wrong with one file, as `path:line: what`.
fn faults(path: &str, text: &str, test_only: bool) -> Vec<String> {
    let source = Source::read(path, text);
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!("{path}:1: begins without //!"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        faults.push(format!("{path}:{lines}: over {MAX_LINES} lines"));
    }
    let mut fault = |line: usize, what: String| faults.push(format!("{path}:{line}: {what}"));
    for used in &source.uses {
        if let Some(what) = wrong_arrow(path, used) {
            fault(used.line, what);
        }
    }
    for (line, what) in &source.escapes {
        fault(*line, what.clone());
    }
    if !test_only {
        for used in source.uses.iter().filter(|used| !used.in_test) {
            if let Some(what) = banned_path(path, used) {
                fault(used.line, what);
            }
        }
        for (line, word, bang) in source.words() {
            if let Some(what) = banned_word(path, word, bang) {
                fault(line, what);
            }
        }
    }
    faults
}

fn folder(path: &str) -> Option<&str> {
    path.split_once('/').map(|(folder, _)| folder)
}

fn layer(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|line| line.contains(&folder))
}

fn wrong_arrow(path: &str, used: &Use) -> Option<String> {
    if used.path.first().is_some_and(|s| s == "sshkeyd") {
        let to = used.path.get(1).map_or("*", String::as_str);
        return (path != "main.rs" || !ENTRY.contains(&to))
            .then(|| format!("names sshkeyd::{to}; the entry names {ENTRY:?}"));
    }
    let to = used.folder.as_deref()?;
    let Some(from) = folder(path) else {
        // lib.rs declares the folders; it is the map.
        return None;
    };
    if to.is_empty() || to == "*" {
        return used
            .imports
            .then(|| "imports the root, where every folder is".to_owned());
    }
    if from == to || PERMITTED.contains(&(path, to)) {
        return None;
    }
    match (layer(from), layer(to)) {
        (None, _) => Some(format!("folder {from} stands on no layer")),
        (_, None) => Some(format!("names {to}, which stands on no layer")),
        (Some(own), Some(other)) if other < own && !FORBIDDEN.contains(&(from, to)) => None,
        _ => Some(format!("{from} may not use {to}")),
    }
}

fn banned_path(path: &str, used: &Use) -> Option<String> {
    let name = used.path.join("::");
    let is_in = |prefix: &str| name == prefix || name.starts_with(&format!("{prefix}::"));
    // A lone word may be anybody's variable; imported, or with something behind it, it is a crate.
    if used.path.len() < 2 && !used.imports {
        return None;
    }
    if folder(path).is_some_and(|f| PURE.contains(&f))
        && let Some(found) = IMPURE.iter().find(|prefix| is_in(prefix))
    {
        return Some(format!("{found} in a pure folder"));
    }
    for (name, places) in ONLY {
        if is_in(name) && !places.iter().any(|place| path.starts_with(place)) {
            return Some(format!("{name} stands in {places:?} only"));
        }
    }
    if used.imports && used.path.len() == 1 && name == "std" {
        return Some("imports std whole, which hides what is used of it".to_owned());
    }
    let ends = |stream: &&&str| name.ends_with(&format!("io::{stream}"));
    let stream = STREAMS.iter().find(ends)?;
    (!STREAM_HOLDERS.contains(&path)).then(|| format!("{stream} stands in {STREAM_HOLDERS:?} only"))
}

fn banned_word(path: &str, word: &str, bang: bool) -> Option<String> {
    if bang && PRINTS.contains(&word) && !PRINTERS.contains(&path) {
        return Some(format!("{word}! stands in {PRINTERS:?} only"));
    }
    let pure = folder(path).is_some_and(|f| PURE.contains(&f));
    (pure && IMPURE_WORDS.contains(&word)).then(|| format!("{word} in a pure folder"))
}

fn files(below: &Path, into: &mut Vec<String>, root: &Path) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into, root);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(
                path.strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
}

#[test]
fn the_source_has_its_shape() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&root, &mut paths, &root);
    paths.sort();
    let texts: Vec<(String, String)> = paths
        .into_iter()
        .map(|path| (path.clone(), fs::read_to_string(root.join(&path)).unwrap()))
        .collect();
    let test_only: BTreeSet<String> = texts
        .iter()
        .flat_map(|(path, text)| Source::read(path, text).test_modules)
        .collect();
    let is_test = |path: &str| {
        let module = path.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        let mut parts = module.match_indices('/').map(|(at, _)| &module[..at]);
        test_only.contains(module) || parts.any(|part| test_only.contains(part))
    };
    let faults: Vec<String> = texts
        .iter()
        .flat_map(|(path, text)| faults(path, text, is_test(path)))
        .collect();
    assert!(
        texts.len() > 20,
        "where is the source: {} files",
        texts.len()
    );
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn each_bad_source_is_caught() {
    for (path, text, said) in BAD {
        let found = faults(path, &format!("//! x\n{text}\n"), false);
        assert!(
            found.iter().any(|f| f.contains(said)),
            "{path}: {text}\n  {found:?}"
        );
    }
}

#[test]
fn a_file_without_its_words_or_with_too_many_is_caught() {
    assert_eq!(faults("keys/line.rs", "use std::fmt;\n", false).len(), 1);
    assert_eq!(
        faults("keys/line.rs", &"//! x\n".repeat(MAX_LINES), false),
        [""; 0]
    );
    assert_eq!(
        faults("keys/line.rs", &"//! x\n".repeat(MAX_LINES + 1), false).len(),
        1
    );
}

#[test]
fn good_sources_pass() {
    for (path, text) in GOOD {
        let found = faults(path, &format!("//! x\n{text}\n"), false);
        assert!(found.is_empty(), "{path}: {text}\n  {found:?}");
    }
    let in_tests = faults("sync/plan/tests.rs", "//! x\nuse std::fs;\n", true);
    assert!(in_tests.is_empty(), "{in_tests:?}");
}

#[test]
fn modules_of_tests_are_known_by_their_declaration() {
    let declared = |path, text| Source::read(path, text).test_modules;
    assert_eq!(
        declared("client/mod.rs", "#[cfg(test)]\npub(crate) mod canned;"),
        ["client/canned"]
    );
    assert_eq!(
        declared("client/api.rs", "#[cfg(test)] mod tests;"),
        ["client/api/tests"]
    );
    assert!(declared("client/api.rs", "mod tests;").is_empty());
}
