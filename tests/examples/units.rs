//! The systemd units: what they start exists, and where they let it write is where it writes.

use super::readme::assert_command;
use super::{no_env, root, text_of};
use sshkeyd::config::{self, Database};
use sshkeyd::sinks::keys_command;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

const AGENT: &str = "systemd/sshkeyd-agent.service";
const SERVER: &str = "systemd/sshkeyd-server.service";
const UNITS: [&str; 2] = [AGENT, SERVER];
/// Where a package puts the program.
const INSTALLED: &str = "/usr/bin/sshkeyd";

/// What systemd-analyze may count against the agent's unit, and the word that the unit's comments
/// must have about it: the function that needs it.
const REASONS: [(&str, &str); 17] = [
    ("UserOrDynamicUser", "User (0.4)"),
    ("ProtectHome", "sinks::KeysFile"),
    (
        "CapabilityBoundingSet_CAP_DAC_FOWNER_IPC_OWNER",
        "DAC_OVERRIDE and FOWNER (0.2)",
    ),
    (
        "CapabilityBoundingSet_CAP_CHOWN_FSETID_SETFCAP",
        "CHOWN (0.2)",
    ),
    ("CapabilityBoundingSet_CAP_KILL", "KILL (0.1)"),
    ("CapabilityBoundingSet_CAP_SYS_PTRACE", "SYS_PTRACE (0.3)"),
    ("SystemCallFilter_privileged", "@privileged (0.2)"),
    ("PrivateNetwork", "client::Http"),
    ("IPAddressDeny", "IPAddressDeny (0.2)"),
    ("RestrictAddressFamilies_AF_INET_INET6", "sinks::proof"),
    ("RestrictAddressFamilies_AF_UNIX", "agent::control"),
    ("RestrictAddressFamilies_AF_NETLINK", "getaddrinfo(3)"),
    ("PrivateUsers", "PrivateUsers (0.2)"),
    ("ProtectProc", "sys::listener"),
    ("ProcSubset", "ProcSubset (0.1)"),
    ("RootDirectoryOrRootImage", "RootDirectory (0.1)"),
    ("DeviceAllow", "DeviceAllow (0.1)"),
];

/// The same, of the service's unit.
const SERVER_REASONS: [(&str, &str); 6] = [
    ("RootDirectoryOrRootImage", "RootDirectory (0.1)"),
    ("DeviceAllow", "DeviceAllow"),
    ("PrivateNetwork", "the network (0.5)"),
    ("IPAddressDeny", "IPAddressDeny (0.2)"),
    ("RestrictAddressFamilies_AF_INET_INET6", "service::listen"),
    ("RestrictAddressFamilies_AF_UNIX", "sd_notify(3)"),
];

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
    assert_eq!(values(&unit, "StateDirectoryMode"), ["0711"]);
    assert_eq!(Path::new(keys_command::INDEX), state.join("keys"));
    let run = Path::new("/run").join(values(&unit, "RuntimeDirectory").concat());
    assert_eq!(agent.control_socket.parent(), Some(run.as_path()));
    assert_eq!(values(&unit, "RuntimeDirectoryMode"), ["0755"]);

    let server = text_of("config/server.toml");
    let server = config::server_from_str(&server, Path::new("server.toml"), &no_env).unwrap();
    let unit = text_of("systemd/sshkeyd-server.service");
    let state = Path::new("/var/lib").join(values(&unit, "StateDirectory").concat());
    let Database::Sqlite(database) = &server.database else {
        panic!("the example's database is a file");
    };
    assert!(database.starts_with(&state) && server.secrets_dir.starts_with(&state));
}

#[test]
fn the_agents_unit_lets_it_write_where_it_writes_and_nowhere_else() {
    let unit = text_of(AGENT);
    assert_eq!(values(&unit, "ProtectSystem"), ["strict"]);
    assert_eq!(values(&unit, "ReadWritePaths"), ["-/home -/root -/etc/ssh"]);
    assert!(values(&unit, "ProtectHome").is_empty());
    // Below the state directory sshkeyd-keys reads its index; the way there is all it gets.
    assert_eq!(values(&unit, "StateDirectoryMode"), ["0711"]);
    // What systemd gives is found by the name that the source asks for.
    let given = values(&unit, "LoadCredential");
    assert!(
        given.iter().any(|line| line.starts_with("enroll-token:")),
        "{given:?}"
    );
}

#[test]
fn what_the_agents_unit_leaves_open_is_named_in_it() {
    judged(AGENT, 3.0, &REASONS);
}

#[test]
fn what_the_services_unit_leaves_open_is_named_in_it() {
    judged(SERVER, 1.5, &SERVER_REASONS);
}

/// systemd's own judgement: at most this, and every point that is left has its reason in the unit.
fn judged(path: &str, most: f64, reasons: &[(&str, &str)]) {
    let said = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--json=short"])
        .arg(root().join(path))
        .output()
        .expect("systemd-analyze is there: apt-get install systemd");
    let points: serde_json::Value = serde_json::from_slice(&said.stdout)
        .unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(&said.stderr)));
    let points = points.as_array().unwrap();
    assert!(points.len() > 60, "{points:?}");
    let unit = text_of(path);
    let comments: Vec<&str> = unit.lines().filter(|line| line.starts_with('#')).collect();
    for point in points.iter().filter(|point| !point["exposure"].is_null()) {
        let name = point["json_field"].as_str().unwrap();
        let reason = reasons.iter().find(|(point, _)| *point == name);
        let (_, word) = reason.unwrap_or_else(|| panic!("open for no reason: {point}"));
        let given = comments.iter().any(|comment| comment.contains(word));
        assert!(given, "{name}: no \"{word}\" in a comment of the unit");
    }
    let told = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(root().join(path))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let (_, score) = told.rsplit_once("service: ").unwrap();
    let score: f64 = score.split(' ').next().unwrap().parse().unwrap();
    assert!(score <= most, "{score}:\n{told}");
}

#[test]
fn sysusers_and_tmpfiles_make_what_the_agent_expects() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = dir.path();
    fs::create_dir(scratch.join("etc")).unwrap();
    let made = |program: &str, file: &str, more: &[&str]| {
        let said = Command::new(program)
            .arg(format!("--root={}", scratch.display()))
            .args(more)
            .arg(root().join(file))
            .output()
            .unwrap_or_else(|fault| panic!("{program}: {fault}; apt-get install systemd"));
        let words = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(
            said.status.success() && !words.contains("gnoring"),
            "{words}"
        );
    };
    made("systemd-sysusers", "systemd/sshkeyd.sysusers", &[]);
    let users = fs::read_to_string(scratch.join("etc/passwd")).unwrap();
    let user = users.lines().find(|line| line.starts_with("sshkeyd-keys:"));
    let fields: Vec<_> = user.unwrap().split(':').collect();
    assert_eq!(fields[5..], ["/", "/usr/sbin/nologin"], "{users}");
    assert_ne!(fields[2], "0");

    made(
        "systemd-tmpfiles",
        "systemd/sshkeyd.tmpfiles",
        &["--create"],
    );
    let mode = |path: &str| fs::metadata(scratch.join(path)).unwrap().mode() & 0o7777;
    let unit = text_of(AGENT);
    let of_unit = |key: &str| u32::from_str_radix(values(&unit, key)[0], 8).unwrap();
    assert_eq!(mode("var/lib/sshkeyd"), of_unit("StateDirectoryMode"));
    assert_eq!(mode("run/sshkeyd"), of_unit("RuntimeDirectoryMode"));
    assert_eq!(mode("var/lib/sshkeyd/keys"), 0o755);
}

#[test]
fn systemd_takes_the_units() {
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
            .expect("systemd-analyze is there: apt-get install systemd");
        let words = String::from_utf8_lossy(&said.stderr);
        let ours: Vec<&str> = words.lines().filter(|l| l.contains("sshkeyd")).collect();
        assert!(said.status.success() && ours.is_empty(), "{path}:\n{words}");
    }
}
