//! The whole way of an order, with a real sshd and real clients: deletion, snapshot, agent, the end
//! of just those sessions, and what the owner reads of it.
//!
//! sshd has a `/dev/log` of its own in a mount namespace of its own: `sshkeyd syslog-socket`.

use crate::support::host::Host;
use crate::support::logins::LoggedSshd;
use crate::support::process::{Daemon, wait_for, wait_until};
use crate::support::service::Service;
use crate::support::sshd::{KeyPair, User};
use sshkeyd::wire::{Instance, OrderOutcome, RolloutState, Session};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// A machine of the account: sshd, its log, the agent, two users.
struct Machine {
    // Dropped in this order: who writes goes before what is written.
    host: Host,
    sshd: LoggedSshd,
    _log: Daemon,
    service: Service,
    instance: i64,
    alice: User,
    bob: User,
}

impl Machine {
    fn start() -> Self {
        let (service, sshd) = (Service::start(), LoggedSshd::start("StrictModes yes"));
        let (alice, bob) = (User::new(), User::new());
        let (host, instance) = Host::new()
            .with_ssh_server(sshd.address, &sshd.host_key)
            .of_new_instance(&service, "web");
        let mut host = host
            .with_target(&alice, "account", "")
            .with_target(&bob, "account", "")
            .with_sessions("auth-log = \"syslog-socket\"");
        host.configure();
        let mut log = sshd.syslog_socket(&host.config);
        let log = Daemon::start("syslog-socket", &mut log, sshd.dir());
        wait_until("the log's socket", || sshd.dev_log().exists());
        host.up();
        host.wait_listed();
        Self {
            host,
            sshd,
            _log: log,
            service,
            instance,
            alice,
            bob,
        }
    }

    fn pair(&self, name: &str) -> (KeyPair, i64) {
        let pair = self.sshd.pair(name);
        let id = self.service.save(&pair.public, name, &["--wait"]);
        (pair, id)
    }

    /// A session that answers, or with `-N` one that only stands.
    fn enter(&self, user: &User, key: &KeyPair, flags: &[&str]) -> Client {
        let mut ssh = self.sshd.openssh("ssh", key);
        ssh.args(flags).arg(format!("{}@127.0.0.1", user.name));
        if !flags.contains(&"-N") {
            ssh.arg("stty -echo 2>/dev/null; echo $$; exec cat");
        }
        let mut child = ssh
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut client = Client {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            runs: None,
        };
        if !flags.contains(&"-N") {
            client.runs = Some(client.line().trim().parse().unwrap());
        }
        client
    }

    /// Live sessions by a key, as the owner is told.
    fn told(&self, key: &KeyPair) -> Vec<Session> {
        let instance = self.instance.to_string();
        let shown = self
            .service
            .run(&["instances", "show", &instance, "--json"]);
        let shown: Instance = shown.done().json();
        let fingerprint = Some(key.public.fingerprint().to_string());
        let sessions = shown.status.unwrap().sessions.into_iter();
        sessions.filter(|s| s.fingerprint == fingerprint).collect()
    }

    fn wait_told(&self, key: &KeyPair, count: usize) -> Vec<Session> {
        wait_for(&format!("{count} sessions"), || {
            Some(self.told(key)).filter(|told| told.len() == count)
        })
    }
}

/// A person's end of a session; killed when it is dropped.
struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// What runs at the other end.
    runs: Option<u32>,
}

impl Client {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Whether the other end still answers.
    fn answers(&mut self) -> bool {
        writeln!(self.stdin, "ping").is_ok() && self.line().trim() == "ping"
    }

    fn is_over(&mut self) -> bool {
        let at_the_other_end = self.runs.is_none_or(is_gone);
        at_the_other_end && self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process is gone, or is only waited for.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_none_or(|state| state == 'Z')
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn deleting_a_key_with_its_sessions_ends_each_kind_of_them_and_no_other() {
    let mut machine = Machine::start();
    let ((lost, id), (kept, _)) = (machine.pair("lost"), machine.pair("kept"));
    let (alice, bob) = (&machine.alice, &machine.bob);
    let mut ending = [
        machine.enter(alice, &lost, &[]),
        machine.enter(alice, &lost, &["-tt"]),
        machine.enter(bob, &lost, &[]),
        machine.enter(alice, &lost, &["-N"]),
    ];
    let mut staying = [
        machine.enter(alice, &kept, &[]),
        machine.enter(bob, &kept, &["-tt"]),
    ];
    let told = machine.wait_told(&lost, 4);
    machine.wait_told(&kept, 2);
    let monitors: Vec<u32> = told.iter().map(|session| session.pid).collect();
    assert!(!monitors.iter().any(|pid| is_gone(*pid)), "{told:?}");
    assert!(told.iter().all(|session| !session.unproved), "{told:?}");
    let shown = machine
        .service
        .run(&["instances", "show", "web"])
        .done()
        .out;
    assert_eq!(shown.matches("\"lost\"").count(), 4, "{shown}");
    let keys = machine.service.run(&["ssh-keys", "list", "--json"]).done();
    let keys: serde_json::Value = keys.json();
    assert!(keys["items"][0]["last_used_at"].is_string(), "{keys}");

    let delete = [
        "ssh-keys",
        "delete",
        &id.to_string(),
        "--end-sessions",
        "--wait",
    ];
    let said = machine.service.run(&delete).done();
    assert!(
        said.out.contains("instance 1 \"web\": 4 sessions ended"),
        "{said:?}"
    );
    assert!(monitors.iter().all(|pid| is_gone(*pid)), "{told:?}");
    wait_until("the clients to end", || {
        ending.iter_mut().all(Client::is_over)
    });
    for client in &mut staying {
        assert!(client.answers(), "a session by another key");
    }
    let refused = machine
        .sshd
        .openssh("ssh", &lost)
        .args([&format!("{}@127.0.0.1", alice.name), "true"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(255), "{refused:?}");
    let rollout = machine.service.rollout(id);
    let end = rollout.instances[0].end_sessions.unwrap();
    assert_eq!(
        (end.outcome, end.ended, end.left),
        (OrderOutcome::Ended, 4, 0)
    );
    wait_until("sshd's refusal to be told", || {
        let instance = &machine.service.rollout(id).instances[0];
        instance.state == RolloutState::Refused
            && instance.why.as_deref() == Some("deleted; sshd refuses it")
    });
    machine.wait_told(&lost, 0);
    assert_eq!(machine.told(&kept).len(), 2);

    // Saved again, it is as good as any: the old order does not touch its sessions, also not after
    // a restart of the agent.
    machine.service.save(&lost.public, "found", &["--wait"]);
    let mut again = machine.enter(&machine.alice, &lost, &[]);
    machine.wait_told(&lost, 1);
    assert!(machine.host.stop().success());
    machine.host.up();
    machine.host.wait_listed();
    machine.wait_told(&lost, 1);
    assert!(again.answers() && staying[0].answers());
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn revoking_a_key_ends_its_sessions_and_a_plain_deletion_does_not() {
    let machine = Machine::start();
    let ((stolen, id), (plain, plain_id)) = (machine.pair("stolen"), machine.pair("plain"));
    let mut thief = machine.enter(&machine.alice, &stolen, &["-tt"]);
    let mut person = machine.enter(&machine.alice, &plain, &[]);
    machine.wait_told(&stolen, 1);
    machine.wait_told(&plain, 1);
    machine.service.delete(plain_id);
    let revoke = ["ssh-keys", "revoke", &id.to_string()];
    machine.service.run(&revoke).done();
    wait_until("the thief's end", || thief.is_over());
    wait_until("the order's result", || {
        let end = machine.service.rollout(id).instances[0].end_sessions;
        end.is_some_and(|end| (end.outcome, end.ended) == (OrderOutcome::Ended, 1))
    });
    assert!(person.answers(), "its key is deleted; the session stays");
    assert_eq!(machine.told(&plain).len(), 1);
}
