//! Whatever of README.md can be checked: commands and flags, configuration keys and defaults,
//! conditions, exit codes, folders and files.

use super::{no_env, root, text_of};
use sshkeyd::config;
use sshkeyd::sync::{Code, Weight};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Options that every command of the service's own client takes; one sentence names them.
const OF_THE_CLIENT: [&str; 3] = ["--api-key", "--ca-file", "--url"];
const OF_ALL: [&str; 2] = ["--help", "--version"];

fn readme() -> String {
    text_of("README.md")
}

/// What stands below a heading, up to the next of the same rank or above.
fn section<'a>(readme: &'a str, heading: &str) -> &'a str {
    let from = readme
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("README has no {heading}"));
    let below = readme.split_at(from + heading.len() + 2).1;
    let rank = heading.chars().take_while(|c| *c == '#').count();
    let ends: Vec<String> = (1..=rank)
        .map(|r| format!("\n{} ", "#".repeat(r)))
        .collect();
    let end = ends.iter().filter_map(|end| below.find(end.as_str())).min();
    below.split_at(end.unwrap_or(below.len())).0
}

/// The rows of the tables in a text, without head and rule, as trimmed cells.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let mut rows: Vec<Vec<&str>> = Vec::new();
    let mut in_table = false;
    for line in text.lines() {
        let cells = line.strip_prefix("| ").and_then(|l| l.strip_suffix(" |"));
        match cells {
            Some(cells) if in_table => rows.push(cells.split(" | ").map(str::trim).collect()),
            _ => in_table = line.starts_with("|---"),
        }
    }
    rows
}

/// What stands between two backticks, when that is the whole cell.
fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

fn cell<'a>(row: &[&'a str], at: usize) -> &'a str {
    row.get(at).unwrap_or_else(|| panic!("short row: {row:?}"))
}

/// Blocks of shell, here-documents left out, lines that go on joined.
fn shell(readme: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for block in readme.split("\n```sh\n").skip(1) {
        let block = block.split("\n```").next().unwrap_or_default();
        let mut inside: Option<&str> = None;
        for line in block.replace("\\\n", " ").lines() {
            match inside {
                Some(end) if line == end => inside = None,
                Some(_) => {}
                None => {
                    inside = line.contains("<<'END'").then_some("END");
                    lines.push(line.to_owned());
                }
            }
        }
    }
    lines
}

/// Command lines that begin with `sshkeyd`, as words: of the shell blocks and of the text.
fn commands(readme: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    for line in shell(readme) {
        for part in line.split(['|', ';', '(', ')', '&', '>']) {
            let part = part.trim();
            if let Some(line) = part.strip_prefix("cargo run --release -- ") {
                found.push(words(&format!("sshkeyd {line}")));
            }
            let at = ["sshkeyd ", "/usr/bin/sshkeyd "]
                .iter()
                .filter_map(|program| part.find(program))
                .min();
            // A word before it may run it (systemd-run); a path before it is another thing.
            if let Some(at) = at
                && (at == 0 || part.split_at(at).0.ends_with(' '))
            {
                found.push(words(part.split_at(at).1));
            }
        }
    }
    for text in readme.split('`').skip(1).step_by(2) {
        if text.starts_with("sshkeyd ") {
            found.push(words(&text.replace(['[', ']'], " ")));
        }
    }
    found
}

fn help(path: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_sshkeyd"))
        .args(path)
        .arg("--help")
        .env("COLUMNS", "400")
        .output()
        .unwrap();
    assert!(done.status.success(), "sshkeyd {path:?} is no command");
    String::from_utf8(done.stdout).unwrap()
}

/// `--flag`s at the beginning of a help text's lines.
fn flags(help: &str) -> BTreeSet<String> {
    help.lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'))
        .flat_map(|line| line.split([' ', ',', '[', '=']))
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .map(str::to_owned)
        .collect()
}

/// Commands below one, as help lists them.
fn below(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// The command's own words, and those flags among the rest.
fn split<'a>(words: &[&'a str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let mut words = words.iter().skip(1).copied();
    let mut path: Vec<&str> = words.by_ref().take(1).collect();
    if matches!(
        path[..],
        ["account" | "ssh-keys" | "api-keys" | "sessions" | "instances" | "ca" | "krl"]
    ) {
        path.extend(words.by_ref().take(1));
    }
    // These are commands with and without another word.
    let errands: &[&str] = match path[..] {
        ["server"] => &["backup", "restore", "export", "import", "rotate-signer"],
        ["cert"] => &["revoke"],
        _ => &[],
    };
    let errand = words.clone().next();
    path.extend(errand.filter(|word| errands.contains(word)));
    let flags = words
        .filter(|word| word.starts_with("--"))
        .map(|word| word.split('=').next().unwrap_or(word))
        .collect();
    (path, flags)
}

/// Stops where a command line names a command or a flag that the program does not have.
pub(crate) fn assert_command(words: &[&str], place: &str) {
    let (path, named) = split(words);
    let known = flags(&help(&path));
    for flag in named {
        assert!(known.contains(flag), "{place}: {path:?} has no {flag}");
    }
}

#[test]
fn every_command_and_flag_of_readme_exists() {
    let readme = readme();
    let commands = commands(&readme);
    assert!(commands.len() > 25, "where are the commands: {commands:?}");
    for words in &commands {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_command(&words, "README.md");
    }
}

#[test]
fn every_command_and_flag_stands_in_readmes_table() {
    let readme = readme();
    let table = section(&readme, "## Commands");
    let mut named = BTreeMap::new();
    for row in rows(table.split("### ").next().unwrap_or_default()) {
        let line = code(cell(&row, 0)).unwrap_or_else(|| panic!("{row:?}"));
        let line = line.replace(['[', ']'], " ");
        let words: Vec<&str> = line.split_whitespace().collect();
        let (path, flags) = split(&words);
        let flags: BTreeSet<String> = flags.into_iter().map(str::to_owned).collect();
        named.insert(path.join(" "), flags);
    }
    for flag in OF_THE_CLIENT {
        assert!(table.contains(&format!("`{flag}`")), "{flag}");
    }
    let mut there = BTreeMap::new();
    for command in below(&help(&[])) {
        let text = help(&[&command]);
        let inner = below(&text);
        // It does something without one, too: `[COMMAND]`, or a usage of its own before that.
        let usage = text.lines().find(|line| line.starts_with("Usage: "));
        let alone = inner.is_empty() || usage.is_some_and(|line| !line.contains("<COMMAND>"));
        let own = alone.then(|| (command.clone(), flags(&text)));
        there.extend(own);
        for inner in inner {
            let text = help(&[&command, &inner]);
            there.insert(format!("{command} {inner}"), flags(&text));
        }
    }
    for flags in there.values_mut() {
        flags.retain(|f| !OF_THE_CLIENT.contains(&&**f) && !OF_ALL.contains(&&**f));
    }
    assert_eq!(named, there);
}

/// The keys of a file's table in README, with their defaults.
fn keys<'a>(readme: &'a str, heading: &str) -> BTreeMap<&'a str, &'a str> {
    rows(section(readme, heading))
        .into_iter()
        .map(|row| {
            let key = code(cell(&row, 0)).unwrap_or_else(|| panic!("{row:?}"));
            (key, cell(&row, 1))
        })
        .collect()
}

/// The tables of `src/config/raw.rs`: name, fields, and the type of each.
fn shapes() -> BTreeMap<String, Vec<(String, String)>> {
    let raw = text_of("src/config/raw.rs");
    let mut shapes: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut name = None;
    for line in raw.lines().skip_while(|line| *line != "tables! {").skip(1) {
        let line = line.trim();
        match (&name, line.split_once(": ")) {
            (None, _) => name = line.strip_suffix(" {").map(str::to_owned),
            (Some(_), None) => name = None,
            (Some(table), Some((field, kind))) => {
                let kind = kind.replace("Spanned<", "").replace("Vec<", "");
                let kind = kind.trim_end_matches([',', '>']).to_owned();
                let fields = shapes.entry(table.clone()).or_default();
                fields.push((field.to_owned(), kind));
            }
        }
    }
    shapes
}

/// Every key below a table by its dotted name.
fn all_keys(table: &str, before: &str) -> Vec<String> {
    let shapes = shapes();
    let fields = shapes.get(table).unwrap_or_else(|| panic!("{table}"));
    let mut keys = Vec::new();
    for (field, kind) in fields {
        let name = format!("{before}{}", field.replace('_', "-"));
        if shapes.contains_key(kind) {
            keys.extend(all_keys(kind, &format!("{name}.")));
        } else {
            keys.push(name);
        }
    }
    keys
}

#[test]
fn readme_has_every_key_that_is_taken_and_no_other() {
    let readme = readme();
    for (heading, table) in [
        ("### agent.toml", "AgentFile"),
        ("### server.toml", "ServerFile"),
    ] {
        let named = keys(&readme, heading);
        let known = all_keys(table, "");
        assert!(known.len() > 8, "{known:?}");
        for key in &known {
            assert!(named.contains_key(key.as_str()), "{heading} lacks {key}");
        }
        for key in named.keys() {
            let known = known.iter().any(|name| name == key);
            assert!(known, "{heading}: {key} is no key");
        }
    }
}

#[test]
fn the_services_example_has_every_key() {
    let example = text_of("config/server.toml");
    let given = |key: &str| {
        let key = key.strip_prefix("server.").unwrap();
        let begins = |line: &str| {
            line.trim_start_matches("# ")
                .starts_with(&format!("{key} = "))
        };
        example.lines().any(begins)
    };
    let known = all_keys("ServerFile", "");
    assert!(known.len() > 8, "{known:?}");
    for key in &known {
        assert!(given(key), "config/server.toml lacks {key}");
    }
}

/// Settings for the keys below one table that have a default, written out.
fn written(keys: &BTreeMap<&str, &str>, table: &str) -> String {
    let mut text = String::new();
    for (key, default) in keys {
        let below = key.strip_prefix(table).and_then(|k| k.strip_prefix('.'));
        if let (Some(key), Some(value)) = (below, code(default)) {
            let bare = ["true", "false"].contains(&value) || value.parse::<u64>().is_ok();
            let quote = if bare { "" } else { "\"" };
            writeln!(text, "{key} = {quote}{value}{quote}").unwrap();
        }
    }
    assert!(!text.is_empty(), "no defaults below {table}");
    text
}

#[test]
fn the_defaults_of_readme_are_those_of_the_program() {
    let readme = readme();
    let keys = keys(&readme, "### agent.toml");
    let file = |of: &dyn Fn(&str) -> String| {
        let text = format!(
            "[agent]\n{}[[source]]\nname = \"a\"\naccount.urls = [\"https://a.example\"]\n{}\
             [[target]]\nuser = \"root\"\nsources = [\"a\"]\n{}\
             [verify]\n{}[certificates]\n{}[sshd]\n{}[heartbeat]\n{}",
            of("agent"),
            of("source"),
            of("target"),
            of("verify"),
            of("certificates"),
            of("sshd"),
            of("heartbeat"),
        );
        config::agent_from_str(&text, Path::new("agent.toml"), &no_env)
            .unwrap_or_else(|faults| panic!("{faults}\n{text}"))
    };
    assert_eq!(
        file(&|table| written(&keys, table)),
        file(&|_| String::new())
    );

    let keys = self::keys(&readme, "### server.toml");
    let file = |more: &str| {
        let text = format!("[server]\npublic-url = \"https://a.example\"\n{more}");
        config::server_from_str(&text, Path::new("server.toml"), &no_env)
            .unwrap_or_else(|faults| panic!("{faults}\n{text}"))
    };
    // What is PostgreSQL's is refused beside a database that is a file.
    let (of_postgres, others): (Vec<_>, Vec<_>) = written(&keys, "server")
        .lines()
        .map(str::to_owned)
        .partition(|line| line.starts_with("database-"));
    assert_eq!(file(&others.join("\n")), file(""));
    let shared = "database = \"postgres://keys@db.example/keys\"\n";
    let written = format!("{shared}{}", of_postgres.join("\n"));
    assert_eq!(file(&written), file(shared));
}

#[test]
fn the_files_that_readme_writes_are_without_fault() {
    let readme = readme();
    let mut seen = 0;
    for (kind, text) in readme.split("\ncat > ").skip(1).filter_map(|part| {
        let (head, rest) = part.split_once(" <<'END'\n")?;
        Some((head, rest.split_once("\nEND\n")?.0))
    }) {
        let path = Path::new(kind);
        let faults = match kind {
            "agent.toml" => config::agent_from_str(text, path, &no_env).err(),
            "server.toml" => config::server_from_str(text, path, &no_env).err(),
            _ => continue,
        };
        assert!(faults.is_none(), "{}", faults.unwrap());
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[test]
fn readme_has_every_condition_and_no_other() {
    let readme = readme();
    let table = rows(section(&readme, "## What each condition means"));
    let rows: Vec<_> = table
        .iter()
        .map(|row| (code(cell(row, 0)).unwrap(), cell(row, 1), cell(row, 3)))
        .collect();
    let weight = |code: &Code| match code.weight() {
        Weight::Notice => "notice",
        Weight::Warning => "warning",
        Weight::Error => "error",
    };
    let all: Vec<_> = Code::ALL
        .iter()
        .map(|code| (code.as_str(), weight(code), code.todo()))
        .collect();
    assert_eq!(rows, all);
}

#[test]
fn each_condition_has_its_page() {
    let text = text_of("docs/conditions.md");
    let mut pages = BTreeMap::new();
    for page in text.split("\n### ").skip(1) {
        let (code, words) = page.split_once('\n').unwrap();
        let words = words.split("\n## ").next().unwrap();
        let before = pages.insert(code.trim_matches('`'), words.split_whitespace().count());
        assert_eq!(before, None, "{code} twice");
    }
    for code in Code::ALL {
        let words = pages.remove(code.as_str());
        assert!(
            words.is_some_and(|n| n >= 20),
            "{}: {words:?} words",
            code.as_str()
        );
    }
    assert!(pages.is_empty(), "no such conditions: {:?}", pages.keys());
}

#[test]
fn readme_has_every_exit_code() {
    let readme = readme();
    let exits = text_of("src/cli/exit.rs");
    let of_the_enum: BTreeSet<&str> = exits
        .lines()
        .filter_map(|line| {
            line.strip_prefix("    ")?
                .strip_suffix(',')?
                .split_once(" = ")
        })
        .map(|(_, number)| number)
        .collect();
    let rows = rows(section(&readme, "### Exit codes"));
    let named: BTreeSet<&str> = rows.iter().map(|row| cell(row, 0)).collect();
    assert_eq!(named, of_the_enum);
}

#[test]
fn readme_has_every_folder_and_its_files_are_there() {
    let readme = readme();
    let rows = rows(section(&readme, "## How to read the code"));
    let named: BTreeSet<String> = rows
        .iter()
        .map(|row| code(cell(row, 0)).unwrap().to_owned())
        .collect();
    let folders: BTreeSet<String> = std::fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| format!("src/{}", entry.file_name().to_str().unwrap()))
        .collect();
    assert_eq!(named, folders);
    for text in readme.split('`').skip(1).step_by(2) {
        let ours = ["src/", "tests/", "config/", "systemd/", "benches/", ".ci/"];
        if ours.iter().any(|folder| text.starts_with(folder)) {
            let path = text.split(' ').next().unwrap_or(text);
            assert!(root().join(path).exists(), "README names {path}");
        }
    }
    for line in shell(&readme) {
        if let Some(bench) = line.strip_prefix("cargo bench --bench ") {
            assert!(
                root().join(format!("benches/{bench}.rs")).exists(),
                "{line}"
            );
        }
    }
}
