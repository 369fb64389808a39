//! The control socket's rules (interface.md section 3), each met by a real unprivileged user.

use crate::support::host::{Home, Host};
use crate::support::process::{WITHIN, copy_program, wait_until};
use crate::support::ssh::public_key;
use crate::support::sshd::put;
use serde_json::Value;
use sshkeyd::sys::clock;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

const CHILD: &str = "SSHKEYD_TEST_CONTROL";

/// The body of the other user's process; nothing in a plain run. A line of its stdin is a request
/// to send on a connection of its own, `#N` opens N more that say nothing, `<` reads them to their
/// end. What is heard goes to stdout, a line each.
#[test]
fn child() {
    let Some(socket) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let mut silent: Vec<UnixStream> = Vec::new();
    println!("\nheard ready");
    for line in std::io::stdin().lines().map(Result::unwrap) {
        if let Some(count) = line.strip_prefix('#') {
            let more =
                (0..count.parse::<usize>().unwrap()).map(|_| UnixStream::connect(&socket).unwrap());
            silent.extend(more);
            println!("heard {} open", silent.len());
        } else if let Some(request) = line.strip_prefix('!') {
            // Asked, and the answer is not read.
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(format!("{request}\n").as_bytes()).unwrap();
            silent.push(stream);
            println!("heard asked");
        } else if line == "<" {
            let answers: Vec<_> = silent.drain(..).map(heard).collect();
            println!("heard {}", answers.join(" | "));
        } else {
            let mut stream = UnixStream::connect(&socket).unwrap();
            // What is too long may be cut off while it is written.
            let _ = stream.write_all(format!("{line}\n").as_bytes());
            println!("heard {}", heard(stream));
        }
    }
}

fn heard(mut stream: UnixStream) -> String {
    let mut text = Vec::new();
    // A server that goes before all is read is heard as a reset, after what it said.
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let end = text
        .char_indices()
        .nth(2000)
        .map_or(text.len(), |(at, _)| at);
    text[..end].to_owned()
}

/// A process of another user.
struct Other {
    child: Child,
    stdin: Option<ChildStdin>,
    heard: BufReader<ChildStdout>,
}

impl Other {
    fn start(host: &Host, uid: u32) -> Self {
        // The test's own binary, where that user may run it.
        let program = host.dir.path().join("other");
        if !program.exists() {
            copy_program(std::env::current_exe().unwrap(), &program);
        }
        let mut command = Command::new("setpriv");
        command
            .args([
                &format!("--reuid={uid}"),
                &format!("--regid={uid}"),
                "--clear-groups",
            ])
            .arg(program)
            .args(["--exact", "control::child", "--nocapture"])
            .env(CHILD, socket(host))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let heard = BufReader::new(child.stdout.take().unwrap());
        let mut other = Self {
            child,
            stdin,
            heard,
        };
        assert_eq!(other.next(), "ready");
        other
    }

    fn next(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.heard.read_line(&mut line).unwrap(),
                0,
                "the other user's process ended"
            );
            if let Some(heard) = line.trim_end_matches('\n').strip_prefix("heard ") {
                return heard.to_owned();
            }
        }
    }

    fn say(&mut self, line: &str) -> String {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
        self.next()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket(host: &Host) -> PathBuf {
    host.dir.path().join("run/agent.sock")
}

/// Root's target and one of `daemon`, and an agent that keeps both.
fn two_targets(keys: usize) -> (Host, Home, Home) {
    let (root, daemon) = (Home::new(), Home::of_daemon());
    let mut host = Host::new()
        .with_file("all")
        .with_home(&root, "all", "")
        .with_home(&daemon, "all", "");
    let last = public_key();
    let keys = (1..keys).map(|_| public_key()).chain([last.clone()]);
    let text: String = keys.map(|key| format!("{key} k\n")).collect();
    host.write_file("all", &text);
    host.up();
    daemon.wait_has(&last, true);
    root.wait_has(&last, true);
    (host, root, daemon)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn everybody_may_connect_to_a_system_agent_and_nobody_to_an_unprivileged_one() {
    let home = Home::new();
    let mut host = Host::new().with_file("all").with_home(&home, "all", "");
    host.write_file("all", &format!("{} k\n", public_key()));
    host.up();
    let socket = socket(&host);
    assert!(
        fs::symlink_metadata(&socket)
            .unwrap()
            .file_type()
            .is_socket()
    );
    assert_eq!(
        (mode(socket.parent().unwrap()), mode(&socket)),
        (0o755, 0o666)
    );
    assert!(host.stop().success());
    assert!(!socket.exists());
    let own = host
        .toml()
        .replace("[agent]", "[agent]\nunprivileged = true");
    host.configure_as(own);
    host.up();
    assert_eq!(mode(&socket), 0o600);
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn another_user_is_told_of_his_own_target_and_may_change_nothing() {
    let (host, root, daemon) = two_targets(1);
    let mut other = Other::start(&host, 1);
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    for (request, field) in [
        ("status", "targets"),
        ("plan", "targets"),
        ("doctor", "reports"),
    ] {
        let said = other.say(&format!("{{\"do\":\"{request}\"}}"));
        assert!(
            !said.contains(root.authorized_keys().to_str().unwrap()),
            "{said}"
        );
        let said = json(said);
        let rows = said[request][field].as_array().unwrap();
        assert_eq!(rows.len(), 1, "{said}");
        assert_eq!(rows[0]["user"], "daemon");
    }
    let denied = |said: String| assert!(said.contains("\"denied\""), "{said}");
    denied(other.say("{\"do\":\"doctor\",\"user\":\"root\"}"));
    for request in ["sync", "unmanage", "seal-image"] {
        denied(other.say(&format!("{{\"do\":\"{request}\"}}")));
    }
    // One who has no target is told of none.
    let mut stranger = Other::start(&host, 65534);
    for request in ["status", "plan"] {
        let said = json(stranger.say(&format!("{{\"do\":\"{request}\"}}")));
        assert_eq!(said[request]["targets"], Value::Array(Vec::new()), "{said}");
    }
    let nobody = stranger.say("{\"do\":\"doctor\"}");
    assert!(
        !nobody.contains("daemon") && !nobody.contains("/root"),
        "{nobody}"
    );
    // A number that is nobody's.
    denied(Other::start(&host, 3_999_999).say("{\"do\":\"status\"}"));
    assert!(root.text().contains("BEGIN sshkeyd"));
    // A link of his tells him nothing of where it leads.
    let secret = root.path().join("secret");
    put(&secret, "x", 0o642);
    fs::remove_file(daemon.authorized_keys()).unwrap();
    std::os::unix::fs::symlink(&secret, daemon.authorized_keys()).unwrap();
    let said = other.say("{\"do\":\"doctor\"}");
    assert!(said.contains("keys-file"), "{said}");
    for told in [secret.to_str().unwrap(), "0642", "writable"] {
        assert!(!said.contains(told), "{told}: {said}");
    }
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn what_is_no_request_or_too_long_is_answered_and_costs_nothing() {
    let (host, _root, _daemon) = two_targets(1);
    let mut other = Other::start(&host, 1);
    for (line, says) in [
        (
            format!("{{\"do\":\"status\",\"x\":\"{}\"}}", "y".repeat(5 * 1024)),
            "at most 4096 bytes",
        ),
        ("x".repeat(60 * 1024), "at most 4096 bytes"),
        ("hello".to_owned(), "not a request"),
        ("{\"do\":\"format\"}".to_owned(), "not a request"),
        (String::new(), "not a request"),
    ] {
        let said = other.say(&line);
        assert!(
            said.contains("\"refused\"") && said.contains(says),
            "{says}: {said}"
        );
    }
    // A request of the longest length that is taken.
    let padded = format!("{{\"do\":\"status\"{}}}", " ".repeat(4095 - 15));
    assert_eq!(padded.len(), 4095);
    assert!(other.say(&padded).contains("\"targets\""));
    host.run(&["status"]).done();
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn one_who_says_nothing_is_let_go_and_keeps_nobody_waiting() {
    let (host, _root, _daemon) = two_targets(1);
    let mut other = Other::start(&host, 1);
    let began = clock::monotonic();
    // Seventeen at once: of the sixteen places four are his.
    assert_eq!(other.say("#17"), "17 open");
    for _ in 0..3 {
        host.run(&["status"]).done();
    }
    host.run(&["plan"]).done();
    // Another user finds room too.
    let said = Other::start(&host, 65534).say("{\"do\":\"status\"}");
    assert!(said.contains("\"status\""), "{said}");
    assert!(
        clock::monotonic() - began < Duration::from_secs(4),
        "they were kept waiting"
    );
    let answers = other.say("<");
    let took = clock::monotonic() - began;
    let answers: Vec<_> = answers.split(" | ").collect();
    let turned_away = answers.iter().filter(|a| a.contains("too many")).count();
    let without_a_word = answers.iter().filter(|a| a.is_empty()).count();
    assert_eq!((turned_away, without_a_word), (13, 4), "{answers:?}");
    assert!((Duration::from_secs(4)..WITHIN).contains(&took), "{took:?}");
    // His places are free again.
    assert!(other.say("{\"do\":\"status\"}").contains("\"targets\""));
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn one_who_does_not_read_keeps_nobody_waiting() {
    let (host, _root, daemon) = two_targets(6000);
    let mut other = Other::start(&host, 1);
    for _ in 0..4 {
        // An answer that no buffer holds.
        assert_eq!(other.say("!{\"do\":\"status\"}"), "asked");
    }
    let began = clock::monotonic();
    assert_eq!(host.status().targets.len(), 2);
    let key = public_key();
    host.write_file("all", &format!("{}{key} new\n", list(&daemon)));
    daemon.wait_has(&key, true);
    assert!(
        clock::monotonic() - began < Duration::from_secs(5),
        "somebody waited for him"
    );
    wait_until("his places to be free", || {
        other.say("{\"do\":\"status\"}").contains("\"targets\"")
    });
}

/// The keys of a home's block, as a source's file has them.
fn list(home: &Home) -> String {
    let text = home.text();
    let keys = text.lines().filter(|line| line.starts_with("ssh-"));
    keys.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_second_sync_within_a_second_is_told_to_wait() {
    let home = Home::new();
    let mut host = Host::new().with_file("all").with_home(&home, "all", "");
    host.write_file("all", &format!("{} k\n", public_key()));
    host.up();
    wait_until("two in one second", || {
        let first = host.run(&["sync"]);
        let second = host.run(&["sync"]);
        first.code == Some(0) && second.code == Some(1) && second.err.contains("less than a second")
    });
}
