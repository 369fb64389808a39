//! What each call sends, and what it makes of the answer.

use super::super::HttpOptions;
use super::super::canned::{Canned, Reply};
use super::*;
use crate::wire::{HeartbeatAnswer, NewSshKey, RevokeCertificates};

const TOKEN: &str = "skd_ses_secret";

fn api(url: &str) -> Api {
    let http = Http::try_new(&HttpOptions::default()).unwrap();
    Api::try_new(http, url, Some(Zeroizing::new(TOKEN.to_owned()))).unwrap()
}

async fn asked<T, E: fmt::Debug>(
    reply: Reply,
    call: impl AsyncFnOnce(Api) -> Result<T, E>,
) -> (T, String) {
    let server = Canned::plain(vec![reply]).await;
    let result = call(api(&server.url)).await.unwrap();
    (result, server.requests().await.remove(0))
}

const KEY: &str = r#"{"id":7,"name":"laptop","public_key":"ssh-ed25519 AAAA","fingerprint":"SHA256:x",
"options":"","created_at":"2026-11-22T19:00:00Z","expires_at":null,"last_used_at":null,"new_field":1}"#;

#[tokio::test]
async fn a_snapshot_is_held_and_named_by_its_etag() {
    let first = Reply::new(
        "200 OK",
        &["Content-Type: application/json", "ETag: \"42-1\""],
        r#"{"payload":"e30=","signatures":["s"]}"#,
    );
    let server = Canned::plain(vec![first, Reply::new("304 Not Modified", &[], "")]).await;
    let api = api(&server.url);
    let wait = Duration::from_secs(300);
    let Fetched::New { snapshot, etag, .. } = api.snapshot(None, wait, "run1").await.unwrap()
    else {
        panic!("unchanged")
    };
    assert_eq!(snapshot.payload, "e30=");
    let again = api
        .snapshot(etag.as_deref(), wait * 9, "run1")
        .await
        .unwrap();
    assert!(matches!(again, Fetched::Unchanged { .. }));
    for (request, tagged) in server.requests().await.iter().zip([false, true]) {
        assert!(
            request.starts_with("GET /v1/agent/snapshot?wait=300 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("x-sshkeyd-run: run1\r\n"), "{request}");
        assert!(
            request.contains("authorization: Bearer skd_ses_secret\r\n"),
            "{request}"
        );
        assert_eq!(
            request.contains("if-none-match: \"42-1\"\r\n"),
            tagged,
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_no_answer() {
    let server = Canned::plain(vec![Reply::new("304 Not Modified", &[], "")]).await;
    let error = api(&server.url)
        .snapshot(None, Duration::ZERO, "r")
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn broken_or_foreign_json_is_never_an_empty_list() {
    for body in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"items":[{"id":1}]}"#,
        r#"{"items":[]} trailing"#,
    ] {
        let server = Canned::plain(vec![Reply::json(body)]).await;
        let error = api(&server.url).ssh_keys().await.unwrap_err();
        assert!(
            matches!(error, ClientError::Malformed { .. }),
            "{body}: {error}"
        );
    }
}

#[tokio::test]
async fn a_saved_key_says_whether_it_is_new() {
    for (status, new) in [("201 Created", true), ("200 OK", false)] {
        let reply = Reply::new(status, &["Content-Type: application/json"], KEY);
        let wanted = NewSshKey {
            public_key: "ssh-ed25519 AAAA".to_owned(),
            ..NewSshKey::default()
        };
        let ((key, created), request) =
            asked(reply, async |api| api.add_ssh_key(&wanted).await).await;
        assert_eq!((key.id, created), (7, new));
        assert!(
            request.starts_with("POST /v1/ssh-keys HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.ends_with("\r\n\r\n{\"public_key\":\"ssh-ed25519 AAAA\"}"),
            "{request}"
        );
        assert!(
            request.contains("content-type: application/json\r\n"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn paths_and_queries_are_the_interfaces() {
    let gone = || Reply::new("204 No Content", &[], "");
    let ((), request) = asked(gone(), async |api| api.delete_ssh_key(7, false).await).await;
    assert!(
        request.starts_with("DELETE /v1/ssh-keys/7 HTTP/1.1\r\n"),
        "{request}"
    );
    let ((), request) = asked(gone(), async |api| api.delete_ssh_key(7, true).await).await;
    assert!(
        request.starts_with("DELETE /v1/ssh-keys/7?end_sessions=true "),
        "{request}"
    );

    let rollout = r#"{"id":7,"fingerprint":"SHA256:x","revision":1,"instances":[],"counts":
        {"total":0,"live":0,"proved":0,"written":0,"wanted":0,"refused":0,"offline":0}}"#;
    let wait = Some(Duration::from_secs(99));
    let (_, request) = asked(Reply::json(rollout), async |api| api.rollout(7, wait).await).await;
    assert!(
        request.starts_with("GET /v1/ssh-keys/7/rollout?wait=60 "),
        "{request}"
    );
    let (_, request) = asked(Reply::json(rollout), async |api| api.rollout(7, None).await).await;
    assert!(
        request.starts_with("GET /v1/ssh-keys/7/rollout HTTP"),
        "{request}"
    );

    let page = r#"{"items":[],"next":null}"#;
    let (_, request) = asked(Reply::json(page), async |api| api.instances().await).await;
    assert!(request.starts_with("GET /v1/instances HTTP"), "{request}");
    let beat = r#"{"next_in":30,"revision":42}"#;
    let (nonce, request) = asked(
        Reply::json(r#"{"nonce":"n","at":"2026-11-22T19:00:00Z"}"#),
        async |api| api.nonce().await,
    )
    .await;
    assert_eq!(nonce.nonce, "n");
    assert!(request.starts_with("GET /v1/agent/nonce HTTP"), "{request}");
    assert!(serde_json::from_str::<HeartbeatAnswer>(beat).is_ok());
}

#[tokio::test]
async fn instances_are_read_page_after_page_and_never_in_a_circle() {
    let row = |id| {
        format!(
            r#"{{"id":{id},"label":"a","state":"never","created_at":"2026-11-22T19:00:00Z",
                "last_seen":null,"revision":null,"status":null}}"#
        )
    };
    let page = |id, next| Reply::json(&format!(r#"{{"items":[{}],"next":{next}}}"#, row(id)));
    let server = Canned::plain(vec![page(7, r#""7""#), page(9, "null")]).await;
    let all = api(&server.url).instances().await.unwrap();
    let ids: Vec<i64> = all.items.iter().map(|i| i.id).collect();
    assert_eq!((ids, all.next), (vec![7, 9], None));
    let requests = server.requests().await;
    assert!(requests[1].starts_with("GET /v1/instances?after=7 HTTP"));

    let server = Canned::plain(vec![page(7, r#""7""#), page(7, r#""7""#)]).await;
    let circle = api(&server.url).instances().await;
    assert!(matches!(circle, Err(ClientError::Malformed { .. })));
}

#[tokio::test]
async fn a_service_below_a_path_is_called_below_it() {
    let server = Canned::plain(vec![Reply::json(r#"{"items":[]}"#)]).await;
    api(&format!("{}/keys//", server.url))
        .ssh_keys()
        .await
        .unwrap();
    let request = server.requests().await.remove(0);
    assert!(
        request.starts_with("GET /keys/v1/ssh-keys HTTP"),
        "{request}"
    );
}

#[tokio::test]
async fn no_token_means_no_header_and_another_token_another_header() {
    let server = Canned::plain(vec![
        Reply::json(r#"{"items":[]}"#),
        Reply::json(r#"{"items":[]}"#),
    ])
    .await;
    let http = Http::try_new(&HttpOptions::default()).unwrap();
    let bare = Api::try_new(http, &server.url, None).unwrap();
    bare.ssh_keys().await.unwrap();
    let other = bare
        .with_token(Zeroizing::new("skd_api_two".to_owned()))
        .unwrap();
    other.ssh_keys().await.unwrap();
    let requests = server.requests().await;
    assert!(!requests[0].contains("authorization"), "{requests:?}");
    assert!(
        requests[1].contains("authorization: Bearer skd_api_two\r\n"),
        "{requests:?}"
    );
}

#[tokio::test]
async fn the_token_shows_in_no_error_and_no_debug() {
    let server = Canned::plain(vec![Reply::new("401 Unauthorized", &[], "")]).await;
    let api = api(&server.url);
    let error = api.ssh_keys().await.unwrap_err();
    assert!(!format!("{api:?} {error:?} {error}").contains("secret"));
    let bad = api
        .with_token(Zeroizing::new("skd_ses_secret\n".to_owned()))
        .unwrap_err();
    assert!(matches!(bad, ClientError::Setup { .. }) && !bad.to_string().contains("secret"));
}

#[test]
fn an_address_with_a_query_is_no_service() {
    let http = Http::try_new(&HttpOptions::default()).unwrap();
    for bad in [
        "https://a.example?x=1",
        "https://a.example/#x",
        "http://a.example",
    ] {
        assert!(Api::try_new(http.clone(), bad, None).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_revocation_list_is_bytes_and_a_page_is_none() {
    let typed = |kind: &str| Reply::new("200 OK", &[&format!("Content-Type: {kind}")], "SSHKRL\n");
    let reply = typed("application/octet-stream");
    let (bytes, request) = asked(reply, async |api| api.krl().await).await;
    assert_eq!(bytes, b"SSHKRL\n");
    assert!(request.starts_with("GET /v1/krl HTTP/1.1\r\n"), "{request}");
    let server = Canned::plain(vec![typed("text/html")]).await;
    let error = api(&server.url).krl().await.unwrap_err();
    assert!(matches!(error, ClientError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn a_revocation_names_one_thing_and_ends_sessions_only_where_that_is_asked_for() {
    let which = RevokeCertificates {
        serial: Some(7),
        ..RevokeCertificates::default()
    };
    for (end, path) in [(false, ""), (true, "?end_sessions=true")] {
        let reply = Reply::new("204 No Content", &[], "");
        let call = async |api: Api| api.revoke_certificates(&which, end).await;
        let ((), request) = asked(reply, call).await;
        let line = format!("POST /v1/certificates/revoke{path} HTTP/1.1\r\n");
        assert!(request.starts_with(&line), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"serial\":7}"), "{request}");
    }
}
