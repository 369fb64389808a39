//! What is sent of a key's rights, and that the key itself stands alone.

use super::*;
use crate::cli::exit::exit_of;
use crate::cli::{Cli, Command};
use crate::client::canned::{Canned, Reply};
use clap::Parser as _;
use serde_json::{Value, json};
use std::io::Write as _;

const KEY: &str = r#""id":3,"name":"ci","permissions":{"api":{"user_read":{}}},"addresses":[],
    "tail":"wxyz","created_at":"2026-11-22T19:00:00Z","expires_at":"2026-12-22T19:00:00Z",
    "last_used_at":null"#;

fn secret(more: &str) -> Reply {
    let body = format!(r#"{{"key":"skd_api_new",{KEY}{more}}}"#);
    Reply::new("201 Created", &["Content-Type: application/json"], &body)
}

fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(["sshkeyd", "api-keys"].iter().chain(args))
}

/// Runs the command against canned answers; gives how it ended, stdout, stderr, and what was asked.
async fn ran(
    args: &[&str],
    replies: Vec<Reply>,
) -> (anyhow::Result<Exit>, String, String, Vec<String>) {
    let server = Canned::plain(replies).await;
    let mut all = args.to_vec();
    all.extend(["--url", &server.url, "--api-key", "skd_api_x"]);
    let Command::ApiKeys(args) = parse(&all).unwrap_or_else(|e| panic!("{e}")).command else {
        panic!("{args:?}")
    };
    let (mut out, seen) = Output::captured();
    let end = run_in(args, &mut out).await;
    (end, seen.out(), seen.err(), server.requests().await)
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

#[tokio::test]
async fn a_new_key_stands_alone_on_stdout() {
    let args = [
        "create",
        "ci",
        "--allow",
        "user_read",
        "--allow",
        "misc",
        "--address",
        "203.0.113.0/24",
    ];
    let (end, out, err, asked) = ran(&args, vec![secret("")]).await;
    assert_eq!((end.unwrap(), out.as_str()), (Exit::Done, "skd_api_new\n"));
    assert!(
        err.starts_with("API key 3 \"ci\", for user_read, until 2026-12-22T19:00:00Z; keep it"),
        "{err}"
    );
    assert!(!err.contains("skd_api_new"));
    assert!(asked[0].starts_with("POST /v1/api-keys HTTP"), "{asked:?}");
    let sent = json!({"name": "ci", "permissions": {"api": {"user_read": {}, "misc": {}}},
        "addresses": ["203.0.113.0/24"]});
    assert_eq!(body(&asked[0]), sent);
    let (_, out, ..) = ran(&["create", "ci", "--json"], vec![secret("")]).await;
    let made: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&made["key"], &made["id"]),
        (&json!("skd_api_new"), &json!(3))
    );
}

#[tokio::test]
async fn a_tree_comes_from_a_file_and_a_file_that_is_none_is_not_sent() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(br#"{"api": {"misc": {}}}"#).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let args = ["create", "ci", "--permissions", &path];
    let (.., asked) = ran(&args, vec![secret("")]).await;
    assert_eq!(body(&asked[0])["permissions"], json!({"api": {"misc": {}}}));
    file.write_all(b"x").unwrap();
    let (end, _, _, asked) = ran(&args, vec![]).await;
    let text = end.unwrap_err().to_string();
    assert!(
        text.starts_with(&path) && text.contains("user_read"),
        "{text}"
    );
    assert!(asked.is_empty());
    assert!(parse(&["create", "ci", "--allow", "everything"]).is_err());
    assert!(parse(&["create", "ci", "--allow", "misc", "--permissions", "x"]).is_err());
}

#[tokio::test]
async fn an_edit_sends_what_was_named_and_nothing_else() {
    let changed = || Reply::json(&format!("{{{KEY}}}"));
    let list = Reply::json(&format!(r#"{{"items":[{{{KEY}}}],"next":null}}"#));
    let args = ["edit", "ci", "--expires", "never", "--address", "any"];
    let (end, _, _, asked) = ran(&args, vec![list, changed()]).await;
    assert_eq!(end.unwrap(), Exit::Done);
    assert!(
        asked[1].starts_with("PATCH /v1/api-keys/3 HTTP"),
        "{asked:?}"
    );
    assert_eq!(
        body(&asked[1]),
        json!({"expires_at": null, "addresses": []})
    );
    let (.., asked) = ran(&["edit", "3", "--name", "cd"], vec![changed()]).await;
    assert_eq!(body(&asked[0]), json!({"name": "cd"}));
    assert!(parse(&["edit", "3"]).is_err());
    let (end, ..) = ran(
        &["edit", "3", "--address", "any", "--address", "::1"],
        vec![],
    )
    .await;
    assert_eq!(exit_of(&end.unwrap_err()), Exit::Usage);
}

#[tokio::test]
async fn a_reset_says_where_the_new_key_is_to_go() {
    let (end, out, err, asked) = ran(&["reset", "3"], vec![secret(r#","current":true"#)]).await;
    assert_eq!((end.unwrap(), out.as_str()), (Exit::Done, "skd_api_new\n"));
    assert!(err.contains("SSHKEYD_API_KEY"), "{err}");
    assert!(
        asked[0].starts_with("POST /v1/api-keys/3/reset HTTP"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_key_is_shown_again_for_the_password_and_to_a_person_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    crate::sys::private_file::replace(&path, b"correct horse\n").unwrap();
    let args = ["reveal", "3", "--password-file", path.to_str().unwrap()];
    let (end, out, _, asked) = ran(&args, vec![secret("")]).await;
    assert_eq!((end.unwrap(), out.as_str()), (Exit::Done, "skd_api_new\n"));
    assert_eq!(body(&asked[0]), json!({"password": "correct horse"}));
    let no = r#"{"title":"x","status":403,"code":"person-only","detail":"for a person"}"#;
    let no = Reply::new("403 x", &["Content-Type: application/problem+json"], no);
    let (end, out, ..) = ran(&args, vec![no]).await;
    let error = end.unwrap_err();
    assert!(
        error.to_string().ends_with("ask without SSHKEYD_API_KEY"),
        "{error}"
    );
    assert!(exit_of(&error) == Exit::NotPermitted && out.is_empty());
}

#[tokio::test]
async fn a_listing_shows_tails_and_rights_and_no_key() {
    let page = || Reply::json(&format!(r#"{{"items":[{{{KEY}}}],"next":null}}"#));
    let (_, out, ..) = ran(&["list"], vec![page()]).await;
    let row: Vec<&str> = out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], ["3", "ci", "…wxyz", "user_read", "any"]);
    let (_, out, ..) = ran(&["list", "--json"], vec![page()]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&out).unwrap()["items"][0]["tail"],
        "wxyz"
    );
    let (_, out, ..) = ran(&["show", "3"], vec![Reply::json(&format!("{{{KEY}}}"))]).await;
    assert!(
        out.contains("never used") && out.contains("\"user_read\""),
        "{out}"
    );
}
