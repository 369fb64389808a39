//! What of a file is sent, and what is never sent.

use super::text::{MAX_FILE, read_key};
use super::*;
use crate::cli::exit::exit_of;
use crate::cli::{Cli, Command};
use crate::client::canned::{Canned, Reply};
use clap::Parser as _;
use serde_json::{Value, json};
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

fn add_args(args: &[&str]) -> add::Args {
    match parsed(args).action {
        Action::Add(args) => args,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn type_blob_and_comment_are_sent_and_nothing_else() {
    let key = file(format!("\n  {KEY}   alice@laptop \n\n").as_bytes());
    let (read, comment) = read_key(key.path().to_str().unwrap()).unwrap();
    assert_eq!(read.to_string(), KEY);
    assert_eq!(comment, "alice@laptop");
    let bare = file(KEY.as_bytes());
    let args = add_args(&["add", bare.path().to_str().unwrap()]);
    let new = add::wanted(&args, "").await.unwrap().keys.remove(0);
    assert_eq!(new.public_key, KEY);
    assert!(new.name.is_none() && new.options.is_none() && new.expires_at.is_none());
    assert!(new.scope.is_none());
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
}

#[test]
fn wait_takes_a_time_or_a_minute() {
    let seconds = |args: &[&str]| add_args(args).wait.map(|w| w.as_secs());
    assert_eq!(seconds(&["add", "x.pub"]), None);
    assert_eq!(seconds(&["add", "--wait", "x.pub"]), Some(60));
    assert_eq!(seconds(&["add", "--wait=5m", "x.pub"]), Some(300));
    let only = add_args(&["add", "-", "--only", "web1", "--only", "12"]).only;
    assert_eq!(only, ["web1", "12"]);
    for wrong in [
        &["add", "x", "--wait=soon"] as &[_],
        &["edit", "7"],
        &["edit", "7", "--scope", "none"],
        &["edit", "7", "--name", "x", "--end-sessions"],
    ] {
        let base = ["sshkeyd", "ssh-keys"];
        assert!(
            Cli::try_parse_from(base.iter().chain(wrong)).is_err(),
            "{wrong:?}"
        );
    }
}

const SAVED: &str = r#"{"id":7,"name":"laptop","public_key":"ssh-ed25519 AAAA","fingerprint":"SHA256:x",
"options":"","created_at":"2026-11-22T19:00:00.123Z","expires_at":null,"last_used_at":"2026-11-23T08:00:00Z"}"#;

/// Runs the command against canned answers; gives how it ended, stdout and stderr.
async fn ran(args: &[&str], replies: Vec<Reply>) -> (anyhow::Result<Exit>, String, String) {
    let (end, out, err, _) = asked(args, replies).await;
    (end, out, err)
}

/// The same, and what was asked.
async fn asked(
    args: &[&str],
    replies: Vec<Reply>,
) -> (anyhow::Result<Exit>, String, String, Vec<String>) {
    let server = Canned::plain(replies).await;
    let mut args: Vec<&str> = args.to_vec();
    args.extend(["--url", &server.url, "--api-key", "skd_api_x"]);
    let args = parsed(&args);
    let (mut out, seen) = Output::captured();
    let end = run_in(args, &mut out).await;
    (end, seen.out(), seen.err(), server.requests().await)
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap()
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
            "all",
            saved,
            "2026-11-23T08:00:00Z",
            "never",
            "-"
        ]
    );
    let (_, out, _) = ran(&["list", "--json"], vec![page()]).await;
    let json: Value = serde_json::from_str(&out).unwrap();
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
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["id"], 7);
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
    assert_eq!(exit_of(&error), Exit::NotDone);
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

#[tokio::test]
async fn a_key_goes_by_its_name_or_its_fingerprint_where_one_alone_has_it() {
    let other = SAVED
        .replace("\"id\":7", "\"id\":8")
        .replace("SHA256:x", "SHA256:y");
    let page =
        |rows: &[&str]| Reply::json(&format!(r#"{{"items":[{}],"next":null}}"#, rows.join(",")));
    let gone = || Reply::new("204 No Content", &[], "");
    for name in ["laptop", "SHA256:x"] {
        let replies = vec![page(&[SAVED]), gone()];
        let (_, out, _, asked) = asked(&["delete", name], replies).await;
        assert_eq!(out, "deleted key 7\n");
        assert!(
            asked[1].starts_with("DELETE /v1/ssh-keys/7 HTTP"),
            "{asked:?}"
        );
    }
    let (_, out, _) = ran(
        &["revoke", "SHA256:y"],
        vec![page(&[SAVED, &other]), gone()],
    )
    .await;
    assert!(out.starts_with("revoked key 8"), "{out}");
    let (end, ..) = ran(&["delete", "laptop"], vec![page(&[SAVED, &other])]).await;
    let text = end.unwrap_err().to_string();
    assert!(
        text.contains("7 and 8") && text.contains("give an id"),
        "{text}"
    );
    let (end, ..) = ran(&["delete", "desktop"], vec![page(&[SAVED])]).await;
    assert!(end.unwrap_err().to_string().contains("ssh-keys list"));
}

#[tokio::test]
async fn an_edit_sends_what_was_named_and_nothing_else() {
    let key = file(KEY.as_bytes());
    let path = key.path().to_str().unwrap();
    let edit = [
        "edit",
        "7",
        "--file",
        path,
        "--expires",
        "never",
        "--end-sessions",
    ];
    let (end, out, _, requests) = asked(&edit, vec![Reply::json(SAVED)]).await;
    assert_eq!(end.unwrap(), Exit::Done);
    assert_eq!(out, "changed key 7 \"laptop\" SHA256:x\n");
    let line = "PATCH /v1/ssh-keys/7?end_sessions=true HTTP";
    assert!(requests[0].starts_with(line), "{requests:?}");
    assert_eq!(
        body(&requests[0]),
        json!({"public_key": KEY, "expires_at": null})
    );
    let edit = [
        "edit",
        "7",
        "--options",
        "",
        "--scope",
        "some",
        "--name",
        "x",
    ];
    let (.., requests) = asked(&edit, vec![Reply::json(SAVED)]).await;
    let sent = json!({"options": "", "scope": "some", "name": "x"});
    assert_eq!(body(&requests[0]), sent);
}

#[tokio::test]
async fn a_key_for_one_instance_is_for_no_other_and_is_attached_there() {
    let web = r#"{"id":12,"label":"web1","state":"live","created_at":"2026-11-22T19:00:00Z",
        "last_seen":null,"revision":null,"status":null}"#;
    let key = file(KEY.as_bytes());
    let path = key.path().to_str().unwrap();
    let page = || Reply::json(&format!(r#"{{"items":[{web}],"next":null}}"#));
    let saved = SAVED.replace("\"options\"", "\"scope\":\"some\",\"options\"");
    let created = Reply::new("201 Created", &["Content-Type: application/json"], &saved);
    let replies = vec![page(), created, Reply::new("204 No Content", &[], "")];
    let (end, out, err, requests) = asked(&["add", path, "--only", "web1"], replies).await;
    assert_eq!(end.unwrap(), Exit::Done);
    let told = "saved key 7 \"laptop\" SHA256:x\nkey 7 is for instance 12 \"web1\"\n";
    assert_eq!((out.as_str(), err.as_str()), (told, ""));
    assert_eq!(body(&requests[1])["scope"], "some");
    let line = "PUT /v1/instances/12/ssh-keys/7 HTTP";
    assert!(requests[2].starts_with(line), "{requests:?}");
    // An instance that is not there costs nothing.
    let (end, .., requests) = asked(&["add", path, "--only", "web2"], vec![page()]).await;
    assert!(end.unwrap_err().to_string().contains("web2"));
    assert_eq!(requests.len(), 1);
}

const OTHER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDgnr5iCGEpOFiNHUXyHtMbTfhfJwFUH6nwUyUCDZqSF";

fn keys_of_a_user(lines: &str) -> Reply {
    Reply::new(
        "200 OK",
        &["Content-Type: text/plain; charset=utf-8"],
        lines,
    )
}

#[tokio::test]
async fn the_keys_of_a_user_of_github_are_all_of_them_and_each_is_told() {
    let lines = format!("{KEY}\n{OTHER}\nssh-dss AAAAB3NzaC1kc3MAAACBAOz\n");
    let github = Canned::plain(vec![keys_of_a_user(&lines)]).await;
    let wanted = add::wanted(&add_args(&["add", "gh:alice"]), &github.url).await;
    let wanted = wanted.unwrap();
    let request = github.requests().await.remove(0);
    assert!(request.starts_with("GET /alice.keys HTTP"), "{request}");
    assert!(!request.contains("authorization"), "{request}");
    let named = |n: usize| {
        (
            wanted.keys[n].name.as_deref(),
            wanted.keys[n].public_key.as_str(),
        )
    };
    assert_eq!(named(0), (Some("alice@github 1"), KEY));
    assert_eq!(named(1), (Some("alice@github 2"), OTHER));
    assert_eq!(wanted.rejected[0].at, "gh:alice:3");

    // One that the service refuses is no reason to leave out the next.
    let no = r#"{"title":"x","status":409,"code":"revoked","detail":"it was revoked"}"#;
    let no = Reply::new(
        "409 Conflict",
        &["Content-Type: application/problem+json"],
        no,
    );
    let server = Canned::plain(vec![no, Reply::json(SAVED)]).await;
    let (mut out, seen) = Output::captured();
    let remote = Remote::of_test(&server.url);
    let end = add::save(&remote, &wanted, &[], None, false, &mut out).await;
    assert_eq!(end.unwrap(), Exit::NotDone);
    assert_eq!(seen.out(), "was saved before: key 7 \"laptop\" SHA256:x\n");
    let err = seen.err();
    assert!(
        err.contains("gh:alice:3: ") && err.contains("it was revoked"),
        "{err}"
    );
}

#[tokio::test]
async fn a_name_that_is_none_or_shows_no_key_is_said() {
    let of = async |name: &str, reply: Option<Reply>| {
        let github = Canned::plain(reply.into_iter().collect()).await;
        let args = add_args(&["add", name]);
        let error = add::wanted(&args, &github.url).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(name), "{text}");
        (exit_of(&error.into()), text)
    };
    for name in ["gh:", "gh:../x", "gh:a/b", "gh:a.b", "gh:a?b"] {
        assert_eq!(of(name, None).await.0, Exit::Usage, "{name}");
    }
    let none = Reply::new("404 Not Found", &["Content-Type: text/plain"], "Not Found");
    let (exit, text) = of("gh:alice", Some(none)).await;
    assert!(exit == Exit::NotDone && text.contains("no user"), "{text}");
    let (exit, text) = of("gh:alice", Some(keys_of_a_user(""))).await;
    assert!(exit == Exit::NotDone && text.contains("no key"), "{text}");
    // Somebody between us and GitHub: a page for people is no list.
    let page = Reply::new("200 OK", &["Content-Type: text/html"], KEY);
    let (exit, text) = of("gh:alice", Some(page)).await;
    assert!(
        exit == Exit::NotDone && text.contains("text/html"),
        "{text}"
    );
    let options = keys_of_a_user(&format!("command=\"x\" {KEY}\n"));
    let github = Canned::plain(vec![options]).await;
    let wanted = add::wanted(&add_args(&["add", "gh:alice"]), &github.url).await;
    let wanted = wanted.unwrap();
    assert!(wanted.keys.is_empty() && wanted.rejected[0].why.contains("options"));
}
