//! What of a file is sent, and what is never sent.

use super::*;
use crate::cli::{Cli, Command};
use crate::client::canned::{Canned, Reply};
use clap::Parser as _;
use std::io::Write as _;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHo2mWjC1LJ5oWS9tJc1m7xOKpRjDsv9HXQ5oHH5VfQE";

fn file(text: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    file
}

fn parsed(args: &[&str]) -> Args {
    let base = ["sshkeyd", "ssh-keys"];
    let cli = Cli::try_parse_from(base.iter().chain(args)).unwrap_or_else(|e| panic!("{e}"));
    match cli.command {
        Command::SshKeys(args) => args,
        other => panic!("{other:?}"),
    }
}

fn add_args(args: &[&str]) -> AddArgs {
    match parsed(args).action {
        Action::Add(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn type_blob_and_comment_are_sent_and_nothing_else() {
    let key = file(format!("\n  {KEY}   alice@laptop \n\n").as_bytes());
    let (read, comment) = read_key(key.path().to_str().unwrap()).unwrap();
    assert_eq!(read.to_string(), KEY);
    assert_eq!(comment, "alice@laptop");
    let bare = file(KEY.as_bytes());
    let new = new_key(&add_args(&["add", bare.path().to_str().unwrap()])).unwrap();
    assert_eq!(new.public_key, KEY);
    assert!(new.name.is_none() && new.options.is_none() && new.expires_at.is_none());
}

#[test]
fn a_file_that_is_no_public_key_stays_here() {
    let error = |text: &[u8]| {
        let file = file(text);
        read_key(file.path().to_str().unwrap())
            .unwrap_err()
            .to_string()
    };
    let private = error(b"-----BEGIN OPENSSH PRIVATE KEY-----\nSECRET\n");
    assert!(
        private.contains("private key") && private.contains("nothing was sent"),
        "{private}"
    );
    assert!(!private.contains("SECRET"));
    assert!(error(&[b'a'; MAX_FILE + 1]).contains("64 KiB"));
    assert!(error(b"\xff\xfe").contains("not an SSH public key"));
    assert!(error(b"").contains("empty"));
    assert!(error(format!("{KEY}\n{KEY}\n").as_bytes()).contains("more than one key"));
    let missing = read_key("/nonexistent/id.pub").unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent/id.pub: "), "{missing}");
    assert!(
        read_key("gh:alice")
            .unwrap_err()
            .to_string()
            .contains("GitHub")
    );
}

#[test]
fn wait_takes_a_time_or_a_minute() {
    let seconds = |args: &[&str]| add_args(args).wait.map(|w| w.as_secs());
    assert_eq!(seconds(&["add", "x.pub"]), None);
    assert_eq!(seconds(&["add", "--wait", "x.pub"]), Some(60));
    assert_eq!(seconds(&["add", "--wait=5m", "x.pub"]), Some(300));
    let only = add_args(&["add", "-", "--wait", "--only", "web1"]).only;
    assert_eq!(only.as_deref(), Some("web1"));
    for wrong in [
        &["add", "x", "--only", "web1"] as &[_],
        &["add", "x", "--wait=soon"],
    ] {
        let base = ["sshkeyd", "ssh-keys"];
        assert!(
            Cli::try_parse_from(base.iter().chain(wrong)).is_err(),
            "{wrong:?}"
        );
    }
}

#[test]
fn an_expiry_counts_from_now_and_stays_in_the_calendar() {
    let now: Timestamp = "2026-11-22T19:00:00Z".parse().unwrap();
    let at = expiry(now, Duration::from_secs(30 * 86_400)).unwrap();
    assert_eq!(at.to_string(), "2026-12-22T19:00:00Z");
    assert!(expiry(now, Duration::from_secs(u64::MAX)).is_err());
}

const SAVED: &str = r#"{"id":7,"name":"laptop","public_key":"ssh-ed25519 AAAA","fingerprint":"SHA256:x",
"options":"","created_at":"2026-11-22T19:00:00.123Z","expires_at":null,"last_used_at":"2026-11-23T08:00:00Z"}"#;

/// Runs the command against canned answers, on a thread of its own as `main` does.
async fn ran(args: &[&str], replies: Vec<Reply>) -> (anyhow::Result<Exit>, String, String) {
    let server = Canned::plain(replies).await;
    let mut args: Vec<&str> = args.to_vec();
    args.extend(["--url", &server.url, "--api-key", "skd_api_x"]);
    let args = parsed(&args);
    let (mut out, seen) = Output::captured();
    let end = tokio::task::spawn_blocking(move || run(args, &mut out))
        .await
        .unwrap();
    (end, seen.out(), seen.err())
}

#[tokio::test]
async fn a_listing_is_a_table_or_json() {
    let page = || Reply::json(&format!(r#"{{"items":[{SAVED}],"next":null}}"#));
    let (end, out, _) = ran(&["list"], vec![page()]).await;
    assert_eq!(end.unwrap(), Exit::Done);
    let row: Vec<&str> = out.lines().nth(1).unwrap().split_whitespace().collect();
    let saved = "2026-11-22T19:00:00Z";
    assert_eq!(
        row,
        [
            "7",
            "laptop",
            "ssh-ed25519",
            "SHA256:x",
            saved,
            "2026-11-23T08:00:00Z",
            "never",
            "-"
        ]
    );
    let (_, out, _) = ran(&["list", "--json"], vec![page()]).await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["items"][0]["id"], 7);
}

#[tokio::test]
async fn a_saved_key_is_named_even_where_its_rollout_is_not_known() {
    let key = file(KEY.as_bytes());
    let path = key.path().to_str().unwrap();
    let created = || Reply::new("201 Created", &["Content-Type: application/json"], SAVED);
    let (end, out, _) = ran(&["add", path], vec![created()]).await;
    assert_eq!(end.unwrap(), Exit::Done);
    assert_eq!(out, "saved key 7 \"laptop\" SHA256:x\n");

    let gone = Reply::new("404 Not Found", &[], "");
    let (end, out, _) = ran(&["add", path, "--wait", "--json"], vec![created(), gone]).await;
    assert!(end.is_err());
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&out).unwrap()["id"],
        7
    );
}

#[tokio::test]
async fn the_services_refusal_is_shown_in_its_words() {
    let body = r#"{"title":"Bad Request","status":400,"code":"later","detail":"not yet"}"#;
    let reply = Reply::new(
        "400 Bad Request",
        &["Content-Type: application/problem+json"],
        body,
    );
    let (end, out, _) = ran(&["delete", "7", "--end-sessions"], vec![reply]).await;
    let error = end.unwrap_err();
    assert_eq!(crate::cli::exit::exit_of(&error), Exit::NotDone);
    assert_eq!(error.to_string(), "refused: not yet");
    assert!(out.is_empty());
}

#[tokio::test]
async fn a_deletion_waits_for_the_end_of_its_sessions() {
    let gone = || Reply::new("204 No Content", &[], "");
    let rollout = |answer: &str| {
        let body = format!(
            r#"{{"id":7,"fingerprint":"SHA256:x","revision":9,"counts":{{"total":1,"live":1,
            "proved":0,"written":0,"wanted":0,"refused":1,"offline":0}},
            "end_sessions":{{"id":3,"asked_at":"2026-11-22T19:00:00Z",
            "until":"2026-11-29T19:00:00Z","open":true}},
            "instances":[{{"instance":1,"label":"web","instance_state":"live","state":"refused",
            "why":"deleted","offline_since":null,"proved_after_ms":null{answer}}}]}}"#
        );
        let headers = ["Content-Type: application/json", "ETag: \"e\""];
        Reply::new("200 OK", &headers, &body)
    };
    let end = |outcome: &str| {
        rollout(&format!(
            r#","end_sessions":{{"outcome":"{outcome}","ended":2,"left":0,
            "at":"2026-11-22T19:00:01Z"}}"#
        ))
    };
    let wait = ["delete", "7", "--end-sessions", "--wait"];
    let (done, out, err) = ran(&wait, vec![gone(), rollout(""), end("ended")]).await;
    assert_eq!(done.unwrap(), Exit::Done);
    let told = "deleted key 7\n2 sessions ended, 1 of 1 have answered\n\
                instance 1 \"web\": 2 sessions ended\n";
    assert_eq!(out, told);
    assert!(
        err.starts_with("0 sessions ended, 0 of 1 have answered, 1 to come\n"),
        "{err}"
    );
    let (done, ..) = ran(&wait, vec![gone(), end("not-mapped")]).await;
    assert_eq!(done.unwrap(), Exit::NotDone);

    let (done, out, _) = ran(&["delete", "7", "--end-sessions"], vec![gone()]).await;
    assert_eq!(
        (done.unwrap(), out.as_str()),
        (Exit::Done, "deleted key 7\n")
    );
    let unfit = ["sshkeyd", "ssh-keys", "delete", "7", "--wait"];
    assert!(Cli::try_parse_from(unfit).is_err());
}
