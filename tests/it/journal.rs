//! What the log says, where, and what it never says.

use crate::support::host::{Home, Host, read, replace};
use crate::support::process::{Daemon, pause, sshkeyd, wait_for, wait_until};
use crate::support::proxy::Proxy;
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::WorkDir;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

type Entry = BTreeMap<String, String>;

/// systemd's native protocol: `NAME=value`, or a name, a length of eight bytes and a value.
fn parsed(mut bytes: &[u8]) -> Entry {
    let mut entry = Entry::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|b| *b == b'\n').unwrap();
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        let text = String::from_utf8(line.to_vec()).unwrap();
        if let Some((name, value)) = text.split_once('=') {
            entry.insert(name.to_owned(), value.to_owned());
            bytes = rest;
        } else {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap());
            let length = usize::try_from(length).unwrap();
            let value = String::from_utf8(rest[8..8 + length].to_vec()).unwrap();
            entry.insert(text, value);
            bytes = &rest[8 + length + 1..];
        }
    }
    entry
}

/// A journal of our own, which an agent in a mount namespace of its own takes for systemd's.
struct FakeJournal {
    socket: UnixDatagram,
    dir: WorkDir,
    seen: Vec<Entry>,
}

impl FakeJournal {
    fn new() -> Self {
        let dir = WorkDir::new();
        let socket = UnixDatagram::bind(dir.path().join("socket")).unwrap();
        socket.set_nonblocking(true).unwrap();
        let seen = Vec::new();
        Self { socket, dir, seen }
    }

    /// Starts the agent with a stderr that is the journal's, as systemd does.
    fn start(&self, host: &mut Host) {
        host.configure();
        let stderr = self.dir.path().join("stderr");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&stderr)
            .unwrap();
        let about = file.metadata().unwrap();
        let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
            mount --bind \"$1\" /run/systemd/journal && shift && exec \"$@\" 2>>\"$STDERR\"";
        let mut agent = Command::new("unshare");
        agent
            .args(["-m", "sh", "-c", script, "sh"])
            .arg(self.dir.path())
            .arg(env!("CARGO_BIN_EXE_sshkeyd"))
            .args(["agent", "--config"])
            .arg(&host.config)
            .env_remove("RUST_LOG")
            .env_remove("NOTIFY_SOCKET")
            .env("STDERR", &stderr)
            .env("JOURNAL_STREAM", format!("{}:{}", about.dev(), about.ino()))
            .stdin(Stdio::null());
        host.daemon = Some(Daemon::start("agent", &mut agent, host.dir.path()));
    }

    fn stderr(&self) -> String {
        read(&self.dir.path().join("stderr"))
    }

    /// Entries whose message begins so, once there are as many.
    #[track_caller]
    fn wait(&mut self, message: &str, count: usize) -> Vec<Entry> {
        wait_for(&format!("{count} of {message} in the journal"), || {
            let mut bytes = [0; 65536];
            while let Ok(length) = self.socket.recv(&mut bytes) {
                self.seen.push(parsed(&bytes[..length]));
            }
            let of = |e: &&Entry| e["MESSAGE"].starts_with(message);
            let found: Vec<_> = self.seen.iter().filter(of).cloned().collect();
            (found.len() >= count).then_some(found)
        })
    }
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn the_journal_gets_fields_and_fixed_message_ids() {
    let (home, key) = (Home::new(), public_key());
    let mut host = Host::new().with_file("all").with_home(&home, "all", "");
    host.write_file("all", &format!("{key} k\n"));
    let mut journal = FakeJournal::new();
    journal.start(&mut host);
    let added = journal.wait("key added", 1).remove(0);
    let print = key.fingerprint().to_string();
    for (name, value) in [
        ("SSHKEYD_FINGERPRINT", print.as_str()),
        ("SSHKEYD_LOCAL_USER", &home.user),
        ("SSHKEYD_PATH", home.authorized_keys().to_str().unwrap()),
        ("SYSLOG_IDENTIFIER", "sshkeyd"),
        ("PRIORITY", "6"),
    ] {
        assert_eq!(added[name], value, "{added:?}");
    }
    assert!(
        added["MESSAGE"].contains(&print),
        "what journalctl shows: {added:?}"
    );
    // README is what others go by: these ids never change.
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let written = |what: &str, entry: &Entry| {
        let id = &entry["MESSAGE_ID"];
        assert_eq!(id.len(), 32);
        let row = format!("| {what} | `{id}` |");
        assert!(readme.contains(&row), "README has no {row}");
    };
    written("key added", &added);
    let other = public_key();
    host.write_file("all", &format!("{other} k\n"));
    let removed = journal.wait("key removed", 1).remove(0);
    assert_eq!(removed["SSHKEYD_FINGERPRINT"], print);
    written("key removed", &removed);
    let source = host.file("all");
    let text = read(&source);
    fs::remove_file(&source).unwrap();
    let come = journal.wait("condition ", 1).remove(0);
    assert_eq!(come["SSHKEYD_CODE"], "source-not-found");
    assert_eq!(
        (come["SSHKEYD_ABOUT"].as_str(), come["PRIORITY"].as_str()),
        ("all", "4")
    );
    written("condition", &come);
    replace(&source, &text);
    let gone = journal.wait("condition gone", 1).remove(0);
    assert_eq!(gone["SSHKEYD_CODE"], "source-not-found");
    written("condition gone", &gone);
    assert!(host.stop().success());
    assert_eq!(journal.stderr(), "", "an entry stands in the journal once");
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn without_a_journal_lines_go_to_stderr() {
    let (home, key) = (Home::new(), public_key());
    let mut host = Host::new().with_file("all").with_home(&home, "all", "");
    host.write_file("all", &format!("{key} k\n"));
    let journal = FakeJournal::new();
    // A variable that was inherited, beside a stderr that is another.
    host.configure();
    let mut agent = sshkeyd();
    agent.env("JOURNAL_STREAM", "1:1");
    agent.args(["agent", "--config"]).arg(&host.config);
    host.daemon = Some(Daemon::start("agent", &mut agent, host.dir.path()));
    let print = key.fingerprint().to_string();
    wait_until("a line", || {
        let log = host.daemon.as_ref().unwrap().log();
        log.contains("key added") && log.contains(&print)
    });
    assert!(host.stop().success());
    // A journal that goes away: what it does not take is said on stderr.
    let second = public_key();
    let mut journal = journal;
    journal.start(&mut host);
    wait_until("the agent to answer", || {
        host.run(&["status"]).code == Some(0)
    });
    journal.socket = UnixDatagram::unbound().unwrap();
    host.write_file("all", &format!("{second} k\n"));
    let print = second.fingerprint().to_string();
    wait_until("a line all the same", || journal.stderr().contains(&print));
}

#[test]
fn a_condition_is_logged_once_when_it_comes_and_once_when_it_goes() {
    let (home, key) = (Home::new(), public_key());
    let mut host = Host::new().with_file("all").with_home(&home, "all", "");
    let text = format!("{key} k\n");
    host.write_file("all", &text);
    host.up();
    fs::remove_file(host.file("all")).unwrap();
    host.wait_condition("source-not-found");
    for _ in 0..3 {
        host.sync();
        // One sync a second is carried out.
        pause(Duration::from_millis(1100));
    }
    host.write_file("all", &text);
    host.wait_cleared("source-not-found");
    let log = host.daemon.as_ref().unwrap().log();
    let of = |word: &str| {
        let lines = log.lines().filter(|l| l.contains("source-not-found"));
        lines.filter(|line| line.contains(word)).count()
    };
    assert_eq!(
        (of(" condition code"), of(" condition gone code")),
        (1, 1),
        "{log}"
    );
}

/// Everything that must not be said: tokens, session keys, and keys in their whole length.
fn assert_no_secret(what: &str, text: &str, secrets: &[String]) {
    for prefix in [
        "skd_enr_",
        "skd_ses_",
        "skd_api_",
        "PRIVATE KEY",
        "AAAAC3NzaC1lZDI1NTE5",
    ] {
        assert!(!text.contains(prefix), "{what} has {prefix}: {text}");
    }
    for secret in secrets {
        assert!(
            !text.contains(secret.as_str()),
            "{what} has {secret}: {text}"
        );
    }
}

#[test]
fn nothing_that_is_said_at_any_level_is_a_secret() {
    let proxy = Proxy::start();
    let service = Service::start_behind(Some(proxy.address));
    proxy.stand_before(service.address);
    let (home, key, second) = (Home::new(), public_key(), public_key());
    let (_, token) = service.create_instance("web");
    let mut host = Host::new()
        .with_token(&service, &token)
        .with_home(&home, "account", "");
    let start = |host: &mut Host| {
        host.configure();
        let mut agent = sshkeyd();
        agent.env("RUST_LOG", "trace");
        agent.args(["agent", "--config"]).arg(&host.config);
        host.daemon = Some(Daemon::start("agent", &mut agent, host.dir.path()));
        wait_until("the agent to answer", || {
            host.run(&["status"]).code == Some(0)
        });
        host.wait_listed();
    };
    wait_until("the service to answer", || {
        std::net::TcpStream::connect(proxy.address).is_ok()
    });
    start(&mut host);
    let id = service.save(&key, "laptop", &["--wait"]);
    let enrolment = host.dir.path().join("state/sources/account.enrolment");
    let kept: Value = serde_json::from_str(&read(&enrolment)).unwrap();
    let session = kept["session_key"].as_str().unwrap().to_owned();
    let mut logs = Vec::new();
    let mut told = vec![host.run(&["status", "--json"]).done().out];
    service.delete(id);
    home.wait_has(&key, false);
    logs.push(host.daemon.as_ref().unwrap().log());
    assert!(host.stop().success());

    // A session that is dead: it is renewed by signature.
    let mut spoiled = kept;
    let dead = format!("skd_ses_{}", &token[8..session.len()]);
    spoiled["session_key"] = Value::from(dead.clone());
    replace(&enrolment, &spoiled.to_string());
    start(&mut host);
    service.save(&second, "second", &[]);
    home.wait_has(&second, true);
    let renewed: Value = serde_json::from_str(&read(&enrolment)).unwrap();
    let renewed = renewed["session_key"].as_str().unwrap().to_owned();
    assert!(renewed != dead && renewed != session);
    for command in ["status", "plan", "doctor"] {
        told.push(host.run(&[command, "--json"]).out);
        told.push(host.run(&[command]).out);
    }
    logs.push(host.daemon.as_ref().unwrap().log());
    assert!(host.stop().success());

    let blob =
        |key: &sshkeyd::keys::PublicKey| key.to_string().split(' ').nth(1).unwrap().to_owned();
    let token = token.split('.').next().unwrap().to_owned();
    let secrets = [token, session, dead, renewed, blob(&key), blob(&second)];
    for log in &logs {
        assert!(log.contains("TRACE") && log.contains("key added"), "{log}");
        assert_no_secret("the agent's log", log, &secrets);
    }
    for text in &told {
        assert!(text.contains("SHA256:"), "{text}");
        assert_no_secret("what is told", text, &secrets);
    }
    assert_no_secret("the service's log", &service.log(), &secrets);
    // A heartbeat is the status, and little else.
    let bodies = proxy.requests_of("/v1/agent/heartbeat");
    assert!(bodies.len() > 2, "{bodies:?}");
    for body in &bodies {
        assert_no_secret("a heartbeat", body, &secrets);
    }
}
