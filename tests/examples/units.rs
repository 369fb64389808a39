//! The systemd units: what they start exists, and where they let it write is where it writes.

use super::readme::assert_command;
use super::{no_env, root, text_of};
use sshkeyd::config;
use std::fs;
use std::path::Path;
use std::process::Command;

const UNITS: [&str; 2] = [
    "systemd/sshkeyd-agent.service",
    "systemd/sshkeyd-server.service",
];
/// Where a package puts the program.
const INSTALLED: &str = "/usr/bin/sshkeyd";

/// The values of a key, comments left out.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.split_once('='))
        .filter_map(|(name, value)| (name == key).then_some(value))
        .collect()
}

#[test]
fn units_start_commands_that_exist() {
    for path in UNITS {
        let unit = text_of(path);
        let [start] = values(&unit, "ExecStart")[..] else {
            panic!("{path}: not one ExecStart");
        };
        let words: Vec<&str> = start.split(' ').collect();
        assert_eq!(words.first(), Some(&INSTALLED), "{path}");
        assert_command(&words, path);
        assert_eq!(values(&unit, "Type"), ["notify"], "{path}");
        assert_eq!(values(&unit, "ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    }
}

#[test]
fn units_own_the_directories_of_the_defaults() {
    let agent = text_of("config/agent.toml");
    let agent = config::agent_from_str(&agent, Path::new("agent.toml"), &no_env).unwrap();
    let unit = text_of("systemd/sshkeyd-agent.service");
    let state = Path::new("/var/lib").join(values(&unit, "StateDirectory").concat());
    assert_eq!(agent.state_dir, state);
    let run = Path::new("/run").join(values(&unit, "RuntimeDirectory").concat());
    assert_eq!(agent.control_socket.parent(), Some(run.as_path()));
    assert_eq!(values(&unit, "RuntimeDirectoryMode"), ["0755"]);

    let server = text_of("config/server.toml");
    let server = config::server_from_str(&server, Path::new("server.toml"), &no_env).unwrap();
    let unit = text_of("systemd/sshkeyd-server.service");
    let state = Path::new("/var/lib").join(values(&unit, "StateDirectory").concat());
    assert!(server.database.starts_with(&state) && server.secrets_dir.starts_with(&state));
}

#[test]
fn the_agents_unit_lets_it_write_in_homes() {
    let unit = text_of("systemd/sshkeyd-agent.service");
    assert!(values(&unit, "ProtectHome").is_empty());
    assert!(!values(&unit, "ProtectSystem").contains(&"strict"));
}

#[test]
fn systemd_takes_the_units() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("left out: systemd-analyze is not here to verify the units");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for path in UNITS {
        // systemd wants to see the program; the one just built stands in for the installed one.
        let unit = text_of(path).replace(INSTALLED, env!("CARGO_BIN_EXE_sshkeyd"));
        let copy = dir.path().join(root().join(path).file_name().unwrap());
        let mut copied = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&copy)
            .unwrap();
        std::io::Write::write_all(&mut copied, unit.as_bytes()).unwrap();
        let said = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&copy)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&said.stderr);
        let ours: Vec<&str> = words.lines().filter(|l| l.contains("sshkeyd")).collect();
        assert!(said.status.success() && ours.is_empty(), "{path}:\n{words}");
    }
}
