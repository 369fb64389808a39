//! Which service is asked with what, and what is said where that cannot be.

use super::super::exit::exit_of;
use super::super::saved::tests::{env_of, keep, login_at};
use super::*;
use crate::client::canned::{Canned, Reply};
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn args(url: Option<&str>, key: Option<&str>) -> RemoteArgs {
    RemoteArgs {
        url: url.map(str::to_owned),
        api_key: key.map(|key| api_key(key).unwrap()),
        ca_file: None,
    }
}

/// The code, and the words.
fn refusal(args: RemoteArgs, home: &Path) -> (Exit, String) {
    let error = args.open_in(&env_of(home)).err().unwrap();
    let text = error.to_string();
    (exit_of(&error.into()), text)
}

#[test]
fn what_is_missing_is_named_with_its_variable() {
    let home = tempfile::tempdir().unwrap();
    let ends = |args| refusal(args, home.path());
    let (exit, text) = ends(args(None, Some("skd_api_x")));
    assert!(
        exit == Exit::Usage && text.contains("SSHKEYD_URL"),
        "{text}"
    );
    let (exit, text) = ends(args(Some("https://a.example"), Some("  ")));
    assert!(
        exit == Exit::NotPermitted && text.contains("SSHKEYD_API_KEY"),
        "{text}"
    );
    assert!(text.contains("sshkeyd login https://a.example`"), "{text}");
    let (exit, text) = ends(args(Some("http://a.example"), Some("skd_api_x")));
    assert!(exit == Exit::Usage && text.contains("https"), "{text}");
    let (exit, text) = ends(args(Some("https://a.example"), Some("skd api")));
    assert!(exit == Exit::Usage && !text.contains("skd api"), "{text}");
    let good = args(Some(" http://127.0.0.1:1\n"), Some("skd_api_x\n"));
    assert!(good.open_in(&env_of(home.path())).is_ok());
}

#[test]
fn the_key_is_no_part_of_debug() {
    let args = args(None, Some("skd_api_secret"));
    assert!(!format!("{args:?}").contains("secret"));
}

#[test]
fn a_session_key_is_for_the_service_that_gave_it() {
    let home = tempfile::tempdir().unwrap();
    keep(home.path(), login_at("https://a.example"));
    let means = |url, key| args(url, key).means(&env_of(home.path()));
    for url in [None, Some("https://a.example/"), Some("https://A.example")] {
        let means = means(url, None).unwrap();
        assert!(means.by_login && means.url == "https://a.example");
        assert_eq!(means.token.0.as_str(), "skd_ses_secret");
    }
    // A key goes before the login, to the service of the login where no other is named.
    let by_key = means(None, Some("skd_api_x")).unwrap();
    assert!(!by_key.by_login && by_key.url == "https://a.example");
    assert_eq!(by_key.token.0.as_str(), "skd_api_x");
    let (exit, text) = refusal(args(Some("https://b.example"), None), home.path());
    assert_eq!(exit, Exit::NotPermitted);
    assert!(
        text.contains("at https://b.example, but at https://a.example"),
        "{text}"
    );
}

#[test]
fn a_login_that_others_could_read_stops_only_who_needs_it() {
    let home = tempfile::tempdir().unwrap();
    let path = keep(home.path(), login_at("https://a.example"));
    set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    let (exit, text) = refusal(args(None, None), home.path());
    assert!(exit == Exit::Config && text.contains("0600"), "{text}");
    let env = env_of(home.path());
    assert!(
        args(Some("https://a.example"), Some("skd_api_x"))
            .open_in(&env)
            .is_ok()
    );
}

#[tokio::test]
async fn an_ended_session_says_to_log_in_and_a_dead_key_says_which() {
    let home = tempfile::tempdir().unwrap();
    let refused = || Reply::new("401 Unauthorized", &[], "");
    let server = Canned::plain(vec![refused(), refused()]).await;
    keep(home.path(), login_at(&server.url));
    let env = env_of(home.path());
    for (key, todo) in [
        (None, "; run `sshkeyd login`"),
        (Some("skd_api_x"), "SSHKEYD_API_KEY"),
    ] {
        let remote = args(None, key).open_in(&env).unwrap();
        let error = remote.ask(remote.ssh_keys()).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(exit_of(&error.into()), Exit::NotPermitted);
        assert!(text.contains(todo), "{text}");
    }
    let seen = server.requests().await;
    assert!(seen[0].contains("authorization: Bearer skd_ses_secret\r\n"));
    assert!(seen[1].contains("authorization: Bearer skd_api_x\r\n"));
}
