//! Certificates for this folder's tests, and what is asked of a service for one.

use super::*;
use crate::cli::saved::Hidden;
use crate::cli::{Cli, Command};
use crate::client::canned::{Canned, Reply};
use crate::keys::PublicKey;
use crate::trust::{Certificate, Limits, NewCertificate, Role, Signer};
use clap::Parser as _;
use jiff::SignedDuration;
use std::ffi::OsString;

pub(super) fn asker() -> Asker {
    Asker {
        url: "https://keys.example.com".to_owned(),
        tag: "0badcafe".to_owned(),
    }
}

/// So many seconds after the time at which these tests play.
pub(super) fn at(second: i64) -> Timestamp {
    let begin: Timestamp = "2026-11-22T19:00:00Z".parse().unwrap();
    begin + SignedDuration::from_secs(second)
}

/// The CA of users.
pub(super) fn ca() -> Signer {
    Signer::from_seed(&[7; 32])
}

/// The key that certificates are over.
pub(super) fn key() -> Signer {
    Signer::from_seed(&[1; 32])
}

fn text_of(key: &PublicKey, principal: &str, after: Timestamp, before: Timestamp) -> String {
    let principals = [principal.to_owned()];
    let new = NewCertificate {
        role: Role::User,
        key,
        serial: 12,
        key_id: "7/0/3",
        principals: &principals,
        valid_after: after,
        valid_before: before,
        limits: &Limits::none(),
    };
    ca().certify(&new, &[3; 32]).unwrap()
}

/// A certificate, good from one second to another.
pub(super) fn certificate_text(principal: &str, after: i64, before: i64) -> String {
    text_of(&key().public(), principal, at(after), at(before))
}

pub(super) fn certificate(principal: &str, after: i64, before: i64) -> Certificate {
    Certificate::parse(&certificate_text(principal, after, before)).unwrap()
}

fn want(args: &[&str]) -> Want {
    let base = ["sshkeyd", "cert"];
    let cli = Cli::try_parse_from(base.iter().chain(args)).unwrap_or_else(|e| panic!("{e}"));
    match cli.command {
        Command::Cert(args) => args.want,
        other => panic!("{other:?}"),
    }
}

/// A home with a key, and a service that gives a certificate over it.
struct Stage {
    home: tempfile::TempDir,
    server: Canned,
}

impl Stage {
    async fn new(replies: Vec<Reply>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let ssh = home.path().join(".ssh");
        std::fs::create_dir(&ssh).unwrap();
        let public = format!("{} alice\n", key().public());
        crate::sys::own_file::replace(&ssh.join("id_ed25519.pub"), 0o644, public.as_bytes())
            .unwrap();
        Self {
            home,
            server: Canned::plain(replies).await,
        }
    }

    /// Runs the command as a process would, beside the runtime of this test.
    async fn run(&self, args: &[&str]) -> (anyhow::Result<Exit>, String, String) {
        let url = self.server.url.clone();
        let mut all = vec!["--url", &url, "--api-key", "skd_api_x"];
        all.extend(args);
        let want = want(&all);
        let home = self.home.path().as_os_str().to_owned();
        let run = move || {
            let env = |name: &str| -> Option<OsString> { (name == "HOME").then(|| home.clone()) };
            let (mut out, seen) = Output::captured();
            let ended = get(&want, &env, &mut out);
            (ended, seen.out(), seen.err())
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }
}

/// The two answers of a service: a certificate of so many seconds, and its CAs.
fn answers(seconds: i64) -> Vec<Reply> {
    let second = clock::now().as_second();
    let time = |second| Timestamp::from_second(second).unwrap();
    let (after, before) = (time(second - 60), time(second + seconds));
    let certificate = text_of(&key().public(), "account:7", after, before);
    let answer = serde_json::json!({
        "certificate": certificate, "serial": 12, "key_id": "7/0/3",
        "principals": ["account:7"], "valid_after": after, "valid_before": before,
    });
    let cas = serde_json::json!({"user_ca": [ca().public().to_string()], "host_ca": []});
    let json = ["Content-Type: application/json"];
    vec![
        Reply::new("201 Created", &json, &answer.to_string()),
        Reply::json(&cas.to_string()),
    ]
}

#[tokio::test]
async fn one_that_is_needed_is_asked_for_once() {
    let stage = Stage::new(answers(3600)).await;
    let (ended, out, err) = stage.run(&["--if-needed", "--ttl", "1h"]).await;
    assert_eq!(ended.unwrap(), Exit::Done, "{err}");
    assert!(
        out.starts_with("certificate 12 for account:7, good until "),
        "{out}"
    );
    // The service gives no third answer: who asks again fails.
    let (ended, out, err) = stage.run(&["--if-needed", "--quiet"]).await;
    assert_eq!((ended.unwrap(), &*out, &*err), (Exit::Done, "", ""));
    let (ended, out, _) = stage.run(&["--if-needed", "--json"]).await;
    ended.unwrap();
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&told["renewed"], &told["place"]),
        (&false.into(), &"file".into())
    );
    let requests = stage.server.requests().await;
    assert!(requests[0].starts_with("POST /v1/certificates/user "));
    let body = requests[0].split("\r\n\r\n").nth(1).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = serde_json::json!({"public_key": key().public().to_string(), "ttl": "1h"});
    assert_eq!(body, expected);
    assert!(requests[1].starts_with("GET /v1/ca "));
}

#[tokio::test]
async fn another_login_has_no_use_for_the_certificate_of_the_one_before() {
    let stage = Stage::new(answers(3600)).await;
    stage.run(&["--if-needed"]).await.0.unwrap();
    let there = Place::meant(
        Some(&stage.home.path().join(".ssh/id_ed25519")),
        false,
        false,
        &|_| None,
    )
    .unwrap();
    let url = stage.server.url.clone();
    let of = |token: &str| {
        let token = Hidden(zeroize::Zeroizing::new(token.to_owned()));
        there.present(&Asker::of(url.clone(), &token)).unwrap()
    };
    assert!(of("skd_api_x").is_some());
    assert!(of("skd_api_y").is_none());
}

#[tokio::test]
async fn a_service_that_is_away_costs_nothing_while_one_is_good_and_is_told_when_none_is() {
    // Good for ten seconds of seventy: due.
    let stage = Stage::new(answers(10)).await;
    stage.run(&["--if-needed"]).await.0.unwrap();
    let (ended, out, err) = stage.run(&["--if-needed", "--quiet"]).await;
    assert_eq!((ended.unwrap(), &*out, &*err), (Exit::Done, "", ""));
    let lock = stage.home.path().join(".config/sshkeyd/cert.lock");
    let word = std::fs::read_to_string(&lock).unwrap();
    let left: Missed = serde_json::from_str(&word).unwrap();
    // The next one does not try again.
    stage.run(&["--if-needed"]).await.0.unwrap();
    let again: Missed = serde_json::from_str(&std::fs::read_to_string(&lock).unwrap()).unwrap();
    assert_eq!(left, again);
    std::fs::remove_file(stage.home.path().join(".ssh/id_ed25519-cert.pub")).unwrap();
    let (ended, out, _) = stage.run(&["--if-needed", "--quiet"]).await;
    let error = ended.unwrap_err();
    assert_eq!(super::super::exit::exit_of(&error), Exit::Unavailable);
    assert!(out.is_empty());
}

#[tokio::test]
async fn a_service_without_certificates_is_called_so() {
    let problem = r#"{"type":"about:blank","title":"Not Found","status":404,"code":"not-found"}"#;
    let reply = Reply::new(
        "404 Not Found",
        &["Content-Type: application/problem+json"],
        problem,
    );
    let stage = Stage::new(vec![reply]).await;
    let error = stage.run(&[]).await.0.unwrap_err().to_string();
    assert!(error.contains("has no certificates"), "{error}");
}

#[test]
fn a_command_line_says_one_thing() {
    let tried = |args: &[&str]| {
        let base = ["sshkeyd", "cert"];
        Cli::try_parse_from(base.iter().chain(args)).is_ok()
    };
    for good in [
        &[] as &[_],
        &["id.pub", "--beside", "--ttl", "8h"],
        &["--agent", "--if-needed", "--quiet"],
        &["revoke", "--serial", "7"],
        &["revoke", "--key-id", "1/2/3", "--end-sessions"],
    ] {
        assert!(tried(good), "{good:?}");
    }
    for wrong in [
        &["id.pub", "--agent"] as &[_],
        &["--agent", "--beside"],
        &["--quiet", "--json"],
        &["--ttl", "soon"],
        &["--ttl", "0s"],
        &["revoke"],
        &["revoke", "--serial", "7", "--key-id", "x"],
        &["--agent", "revoke", "--serial", "7"],
    ] {
        assert!(!tried(wrong), "{wrong:?}");
    }
}
