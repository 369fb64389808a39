//! What a login sends and keeps, and what is left when one ends.

use super::super::exit::exit_of;
use super::super::saved::tests::{env_of, keep, login_at};
use super::super::{Cli, Command};
use super::*;
use crate::client::canned::{Canned, Reply};
use clap::Parser as _;
use serde_json::json;
use std::path::Path;

const ANSWER: &str = r#"{"session_key":"skd_ses_new","expires_at":"2026-11-30T19:00:00.5Z",
    "device_token":"dev2"}"#;

fn parsed(args: &[&str]) -> Args {
    let base = ["sshkeyd", "login"];
    let cli = Cli::try_parse_from(base.iter().chain(args)).unwrap_or_else(|e| panic!("{e}"));
    match cli.command {
        Command::Login(args) => args,
        other => panic!("{other:?}"),
    }
}

fn password() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    crate::sys::private_file::replace(&path, b"correct horse\n").unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

/// Logs in at `url` as alice, with nobody at the keyboard.
async fn logged_in(
    url: &str,
    home: &Path,
    more: &[&str],
) -> (Result<Exit, Failed>, String, String) {
    let (_dir, file) = password();
    let mut args = vec![
        url,
        "--email",
        "alice@example.com",
        "--password-file",
        &file,
    ];
    args.extend(more);
    let (mut out, seen) = Output::captured();
    let end = login_in(
        parsed(&args),
        &mut Person::nobody(),
        &env_of(home),
        &mut out,
    )
    .await;
    (end, seen.out(), seen.err())
}

fn kept(home: &Path) -> Option<Login> {
    Saved::load(&env_of(home)).unwrap().login
}

#[tokio::test]
async fn a_login_says_who_and_what_this_is_and_keeps_the_answer() {
    let home = tempfile::tempdir().unwrap();
    let server = Canned::plain(vec![Reply::json(ANSWER)]).await;
    let url = server.url.clone();
    let (end, out, err) = logged_in(&format!("{url}/"), home.path(), &[]).await;
    assert_eq!(end.unwrap(), Exit::Done);
    let told = format!("logged in at {url} as alice@example.com, until 2026-11-30T19:00:00Z\n");
    assert_eq!((out, err), (told, String::new()));
    let request = server.requests().await.remove(0);
    assert!(request.starts_with("POST /v1/login HTTP"), "{request}");
    assert!(!request.contains("authorization"), "{request}");
    let body: Value = serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["email"], "alice@example.com");
    assert_eq!(body["password"], "correct horse");
    assert_eq!(body["device"]["name"], users::hostname());
    assert_eq!(body["device"]["os"], os::pretty_name());
    assert!(body.get("code").is_none() && body.get("device_token").is_none());
    let login = kept(home.path()).unwrap();
    assert_eq!(
        (login.url, login.session_key.0.as_str()),
        (url, "skd_ses_new")
    );
}

#[tokio::test]
async fn another_login_takes_its_place_and_the_session_before_it_ends() {
    let home = tempfile::tempdir().unwrap();
    let other = Canned::plain(vec![Reply::new("204 No Content", &[], "")]).await;
    keep(home.path(), login_at(&other.url));
    let server = Canned::plain(vec![Reply::json(ANSWER)]).await;
    let (end, _, err) = logged_in(&server.url, home.path(), &[]).await;
    assert_eq!(end.unwrap(), Exit::Done);
    assert_eq!(
        err,
        format!("the login at {} was given up for it\n", other.url)
    );
    let ended = other.requests().await.remove(0);
    assert!(
        ended.starts_with("DELETE /v1/sessions/current HTTP"),
        "{ended}"
    );
    assert!(ended.contains("Bearer skd_ses_secret\r\n"), "{ended}");

    // Here again: the service is told by its token that it knows this device.
    let again = vec![Reply::json(ANSWER), Reply::new("401 Unauthorized", &[], "")];
    let server = Canned::plain(again).await;
    let mut login = login_at(&server.url);
    login.session_key = Hidden(Zeroizing::new("skd_ses_old".to_owned()));
    let path = Saved::prepare(&env_of(home.path())).unwrap();
    let mut saved = Saved::load(&env_of(home.path())).unwrap();
    saved.set_device_token(&login.url, "alice@example.com", "dev1".to_owned());
    saved.login = Some(login);
    saved.store(&path).unwrap();
    let (end, _, err) = logged_in(&server.url, home.path(), &[]).await;
    assert_eq!((end.unwrap(), err.as_str()), (Exit::Done, ""));
    let requests = server.requests().await;
    assert!(
        requests[0].contains(r#""device_token":"dev1""#),
        "{requests:?}"
    );
    assert!(
        requests[1].contains("Bearer skd_ses_old\r\n"),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_second_factor_is_given_or_asked_for_and_never_waited_for_in_a_pipe() {
    let wanted = || {
        let body = r#"{"title":"x","status":401,"code":"totp-required","detail":"a code"}"#;
        Reply::new("401 x", &["Content-Type: application/problem+json"], body)
    };
    let home = tempfile::tempdir().unwrap();
    let server = Canned::plain(vec![wanted()]).await;
    let (end, ..) = logged_in(&server.url, home.path(), &[]).await;
    let error = end.unwrap_err();
    assert!(error.to_string().contains("--code"), "{error}");
    assert_eq!(exit_of(&error.into()), Exit::NotPermitted);
    assert!(kept(home.path()).is_none());
    let server = Canned::plain(vec![Reply::json(ANSWER)]).await;
    let (end, ..) = logged_in(&server.url, home.path(), &["--code", "123456"]).await;
    assert_eq!(end.unwrap(), Exit::Done);
    let request = server.requests().await.remove(0);
    assert!(request.contains(r#""code":"123456""#), "{request}");
}

#[tokio::test]
async fn a_refused_login_leaves_the_one_before() {
    let home = tempfile::tempdir().unwrap();
    keep(home.path(), login_at("https://a.example"));
    let body =
        r#"{"title":"x","status":401,"code":"wrong","detail":"e-mail or password is wrong"}"#;
    let refused = Reply::new("401 x", &["Content-Type: application/problem+json"], body);
    let server = Canned::plain(vec![refused]).await;
    let (end, out, _) = logged_in(&server.url, home.path(), &[]).await;
    let error = end.unwrap_err();
    assert_eq!(
        error.to_string(),
        "not signed in: e-mail or password is wrong"
    );
    assert_eq!(exit_of(&error.into()), Exit::NotPermitted);
    assert!(out.is_empty());
    assert_eq!(kept(home.path()).unwrap().url, "https://a.example");
}

#[tokio::test]
async fn without_an_address_or_anybody_to_ask_it_is_usage() {
    let home = tempfile::tempdir().unwrap();
    let refusal = async |args: &[&str]| {
        let (mut out, _seen) = Output::captured();
        let args = parsed(args);
        let end = login_in(args, &mut Person::nobody(), &env_of(home.path()), &mut out).await;
        let error = end.unwrap_err();
        let text = error.to_string();
        assert_eq!(exit_of(&error.into()), Exit::Usage, "{text}");
        text
    };
    assert!(refusal(&[]).await.contains("sshkeyd login https://"));
    assert!(refusal(&["https://a.example"]).await.contains("--email"));
    assert!(refusal(&["http://a.example"]).await.contains("https"));
}

#[tokio::test]
async fn a_logout_leaves_no_key_also_when_the_service_is_away() {
    let home = tempfile::tempdir().unwrap();
    let env = env_of(home.path());
    let logout = async || {
        let (mut out, seen) = Output::captured();
        let end = logout_in(&env, &mut out).await.unwrap();
        (end, seen.out(), seen.err())
    };
    let server = Canned::plain(vec![Reply::new("204 No Content", &[], "")]).await;
    let path = keep(home.path(), login_at(&server.url));
    let (end, out, _) = logout().await;
    assert_eq!(
        (end, out),
        (Exit::Done, format!("logged out of {}\n", server.url))
    );
    let left = std::fs::read_to_string(&path).unwrap();
    assert!(!left.contains("skd_ses_") && left.contains("dev"), "{left}");

    // Nobody listens there any more.
    let gone = server.url.clone();
    server.requests().await;
    keep(home.path(), login_at(&gone));
    let (end, _, err) = logout().await;
    assert_eq!(end, Exit::Unavailable);
    assert!(err.contains("lives until 2026-11-29T19:00:00Z"), "{err}");
    assert!(kept(home.path()).is_none());
    let (end, out, err) = logout().await;
    assert_eq!((end, out.as_str()), (Exit::Done, ""));
    assert_eq!(err, "nobody is logged in here\n");
}

#[test]
fn one_sees_whose_account_it_is_and_by_what_right() {
    let account = Account {
        account: 1,
        email: "alice@example.com".to_owned(),
        key: crate::wire::AccountKey {
            kind: "cli".to_owned(),
            id: 3,
            name: "laptop".to_owned(),
            expires_at: Some("2026-11-29T19:00:00Z".parse().unwrap()),
        },
        rights: json!({"api": {}}),
        totp: true,
    };
    let (mut out, seen) = Output::captured();
    show(&account, "https://a.example", &mut out);
    let told = "alice@example.com, account 1 at https://a.example\n\
                by cli session 3 \"laptop\", until 2026-11-29T19:00:00Z\n\
                may do: everything\na second factor is asked for at login\n";
    assert_eq!(seen.out(), told);
    let tree = json!({"api": {"misc": {}, "user_read": {"api.ssh.keys": {}}}});
    assert_eq!(rights(&tree), "misc, user_read (in part)");
    assert_eq!(rights(&json!({})), "nothing");
}
