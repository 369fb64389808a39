//! What is shipped beside the program must be true: configuration examples, systemd units, README.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop where it stands"
)]

#[path = "examples/readme.rs"]
mod readme;
#[path = "examples/units.rs"]
mod units;

use sshkeyd::config::{self, Faults};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn no_env(_: &str) -> Option<OsString> {
    None
}

#[test]
fn every_example_loads() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("config")).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if let Err(faults) = config::check(&path, &no_env) {
            panic!("{faults}");
        }
        seen += 1;
    }
    assert!(seen >= 2);
}

/// The example with every commented key and table in force.
fn uncommented(name: &str) -> String {
    let path = root().join("config").join(name);
    let text = std::fs::read_to_string(path).expect("the project ships this example");
    let setting = |line: &&str| {
        let key = line.split(['=', ' ', ']']).next().unwrap_or("");
        let of_a_key = |c: char| c.is_ascii_lowercase() || "-.[".contains(c);
        !key.is_empty() && key.chars().all(of_a_key) && (line.contains(" = ") || line.contains(']'))
    };
    text.lines()
        .map(|line| line.strip_prefix("# ").filter(setting).unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn every_commented_key_is_known() {
    let text = uncommented("agent.toml");
    let faults = config::agent_from_str(&text, Path::new("agent.toml"), &no_env).unwrap_err();
    assert_known(&faults);
    // What is PostgreSQL's is refused beside a database that is a file.
    let file = "sqlite:/var/lib/sshkeyd-server/sshkeyd.db";
    let text = uncommented("server.toml").replace(file, "postgres://keys@db.example/keys");
    let faults = config::server_from_str(&text, Path::new("server.toml"), &no_env).unwrap_err();
    assert_known(&faults);
}

/// Nothing but what is not there on this machine.
fn assert_known(faults: &Faults) {
    let known = |what: &str| {
        let elided = what.contains('…') || what.starts_with("no signer's key");
        let together = what.contains("in an unprivileged agent");
        elided || together || what.contains("does not") || what.starts_with("no \"")
    };
    for fault in faults.iter() {
        assert!(known(&fault.what), "{fault}");
    }
}
