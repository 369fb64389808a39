//! What is believed of a journal, and a stand-in for journalctl; tests/it has the real one.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn entry(uid: &str, program: &str, message: &str) -> String {
    format!(
        r#"{{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1","__MONOTONIC_TIMESTAMP":"5000000","_BOOT_ID":"x","_PID":"812","_UID":"{uid}","_EXE":"{program}","MESSAGE":{message}}}"#
    )
}

const WORDS: &str = r#""Accepted password for al from 192.0.2.1 port 5 ssh2""#;

#[test]
fn only_the_kernels_fields_are_believed() {
    let now = Duration::from_secs(9);
    let read = |line: &str| parse(line.as_bytes())?.report(now);
    for program in ["/usr/sbin/sshd", "/usr/lib/openssh/sshd-session"] {
        let report = read(&entry("0", program, WORDS)).unwrap();
        assert_eq!((report.pid, report.proved), (812, true));
        assert_eq!(report.age, Some(Duration::from_secs(4)));
    }
    assert_eq!(read(&entry("1000", "/usr/sbin/sshd", WORDS)), None);
    assert_eq!(read(&entry("0", "/usr/bin/logger", WORDS)), None);
    assert_eq!(read(&entry("0", "/usr/sbin/sshd", "[1,2]")), None);
    assert_eq!(
        read(&entry("0", "/usr/sbin/sshd", "\"Connection closed\"")),
        None
    );
    let without = entry("0", "x", WORDS).replace("\"_EXE\":\"x\",", "");
    assert_eq!(read(&without), None);
    assert_eq!(read("{}"), None);
}

/// A stand-in for journalctl: no journal runs where these tests do.
fn journalctl(dir: &Path, script: &str) -> PathBuf {
    let path = dir.join("journalctl");
    let script = format!("#!/bin/sh\n{script}\n");
    crate::sys::private_file::replace(&path, script.as_bytes()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn the_past_is_read_and_then_followed_from_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let line = entry("0", "/usr/sbin/sshd", WORDS);
    let later = line.replace("i=2", "i=3").replace("812", "813");
    let script = format!(
        "echo \"$*\" >> {0}/args\ncase \"$*\" in\n\
         *--follow*) echo '{later}'; exec sleep 1000 ;;\n*) echo '{line}' ;;\nesac",
        dir.path().display()
    );
    let mut journal = Journal::of(journalctl(dir.path(), &script), None);
    let pids = |reports: Vec<Report>| reports.iter().map(|r| r.pid).collect::<Vec<_>>();
    assert_eq!(pids(journal.read().await), [812]);
    assert_eq!(journal.trouble(), None);
    let mut next = Vec::new();
    while next.is_empty() {
        journal.changed().await;
        next = pids(journal.read().await);
    }
    assert_eq!(next, [813]);
    assert_eq!(journal.cursor().as_deref(), Some("s=1;i=3"));
    let args = std::fs::read_to_string(dir.path().join("args")).unwrap();
    let args: Vec<_> = args.lines().collect();
    assert!(!args[0].contains("--after-cursor") && args[0].contains("_UID=0"));
    assert!(args[1].contains("--after-cursor=s=1;i=2"), "{args:?}");
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_is_said_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo 'Failed to seek to cursor' >&2; exit 1";
    let mut journal = Journal::of(journalctl(dir.path(), script), Some("old".into()));
    assert!(journal.read().await.is_empty());
    let trouble = journal.trouble().unwrap();
    assert!(trouble.contains("Failed to seek"), "{trouble}");
    assert_eq!(journal.cursor(), None);
    journalctl(
        dir.path(),
        &format!("echo '{}'", entry("0", "/usr/sbin/sshd", WORDS)),
    );
    journal.changed().await;
    assert_eq!(journal.read().await.len(), 1);
    assert_eq!(journal.trouble(), None);
    let mut none = Journal::of(dir.path().join("none"), None);
    assert!(none.read().await.is_empty() && none.trouble().is_some());
}
