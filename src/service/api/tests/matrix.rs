//! Every route of the table, those of tomorrow too: without a key, with a narrow key, with another
//! account's, with what is no request; and every change with its row in the audit log.

mod odd;

use super::super::routes::{Access, Call};
use super::super::{names, routes};
use super::host_keys::HOST_KEY;
use super::*;
use crate::service::permissions::Endpoint;
use crate::wire::ApiKeySecret;
use axum::http::Method;
use std::collections::BTreeSet;

const CATEGORIES: [&str; 11] = [
    "instance_read",
    "instance_write",
    "user_read",
    "user_write",
    "billing_read",
    "billing_write",
    "machine_read",
    "machine_write",
    "misc",
    "team_read",
    "team_write",
];

/// The answer's status and code; its body, unless that is a stream.
struct Seen {
    status: u16,
    code: String,
    body: String,
}

impl Bed {
    fn calls(&self) -> Vec<Call> {
        routes().done().1
    }

    async fn see(&self, token: &str, call: &Call, path: &str, body: Option<Vec<u8>>) -> Seen {
        let mut request = Request::builder().method(call.method.clone()).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match body {
            None => Body::empty(),
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body)
            }
        };
        let request = request.body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get("content-type");
        let streams = kind.is_some_and(|kind| kind == "text/event-stream");
        let bytes = match streams {
            true => Vec::new(),
            false => body.collect().await.unwrap().to_bytes().to_vec(),
        };
        let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let code = json["code"].as_str().or_else(|| json["error"].as_str());
        Seen {
            status: parts.status.as_u16(),
            code: code.unwrap_or_default().replace('_', "-"),
            body: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    /// Rows of the account's log, the newest first: action, outcome, by which key.
    async fn rows(&self, account: i64) -> Vec<(String, String, String)> {
        let rows = self.service.store.audit(account, i64::MAX, 100).await;
        let rows = rows.unwrap().into_iter();
        rows.map(|row| (row.action, row.outcome, row.by_name))
            .collect()
    }
}

fn endpoint(call: &Call) -> Option<Endpoint> {
    match call.access {
        Access::Right(endpoint) | Access::Person(endpoint) => Some(endpoint),
        Access::Anyone | Access::Agent | Access::AnyKey => None,
    }
}

fn is_write(call: &Call) -> bool {
    !call.method.is_safe()
}

/// Things of the first account, by what a path calls them.
struct Things {
    ssh_key: i64,
    api_key: i64,
    instance: i64,
    session: i64,
}

impl Things {
    async fn new(bed: &Bed) -> Self {
        let ssh_key = bed.save(ED).await.id;
        let api_key = bed.key_of(json!({"api": {}})).await.about.id;
        let instance = bed.instance().await.id;
        bed.host_key(instance).await;
        let token = bed.person().await;
        let all = bed.service.store.sessions(1, bed.service.now()).await;
        assert!(!token.is_empty());
        Self {
            ssh_key,
            api_key,
            instance,
            session: all.unwrap().last().unwrap().id,
        }
    }

    /// The path with ids of these things in it, whatever they are of.
    fn path(&self, call: &Call) -> String {
        let mut out = String::new();
        let mut before = "";
        for part in call.path.split('/').skip(1) {
            let id = match (part.starts_with('{'), part, before) {
                (false, ..) => part.to_owned(),
                (_, "{key}", _) | (_, _, "ssh-keys" | "ssh") => self.ssh_key.to_string(),
                (_, _, "api-keys" | "apikeys") => self.api_key.to_string(),
                (_, _, "sessions") => self.session.to_string(),
                _ => self.instance.to_string(),
            };
            out = format!("{out}/{id}");
            before = part;
        }
        if call.path.ends_with('/') && !out.ends_with('/') {
            out.push('/');
        }
        out
    }

    /// The same path for what is not there.
    fn nowhere(call: &Call) -> String {
        let parts = call.path.split('/');
        let parts = parts.map(|part| {
            if part.starts_with('{') {
                "999999"
            } else {
                part
            }
        });
        parts.collect::<Vec<_>>().join("/")
    }
}

#[tokio::test]
async fn no_route_is_open_without_a_key_but_those_that_say_so() {
    let bed = Bed::new().await;
    let things = Things::new(&bed).await;
    let calls = bed.calls();
    assert!(calls.len() > 20);
    let strangers = [
        String::new(),
        "skd_api_x".to_owned(),
        crate::service::token::Token::random(crate::service::token::Kind::Api)
            .reveal()
            .to_owned(),
    ];
    for call in &calls {
        if matches!(call.access, Access::Anyone) {
            continue;
        }
        for token in &strangers {
            let seen = bed
                .see(token, call, &things.path(call), Some(b"{}".to_vec()))
                .await;
            let said = (seen.status, seen.code.as_str());
            let v0 = call.path.starts_with("/api/");
            assert_eq!(said, (401, "unauthorized"), "{call:?}");
            assert_eq!(v0, seen.body.contains("Invalid user key"), "{call:?}");
        }
    }
}

#[tokio::test]
async fn a_key_reaches_what_its_tree_names_and_nothing_else() {
    let bed = Bed::new().await;
    let things = Things::new(&bed).await;
    let agent = bed.agent().await;
    let none = bed.key_of(json!({})).await.key;
    for call in bed.calls() {
        let path = things.path(&call);
        if let Access::Agent = call.access {
            let seen = bed.see(&bed.key, &call, &path, None).await;
            assert_eq!(seen.status, 403, "{call:?}");
            continue;
        }
        if matches!(call.access, Access::Anyone) {
            continue;
        }
        let by_agent = bed.see(&agent.session, &call, &path, None).await;
        assert_eq!(by_agent.status, 403, "{call:?}");
        let Some(endpoint) = endpoint(&call) else {
            continue;
        };
        let expected = match call.access {
            Access::Person(_) => "person-only",
            _ => "scope",
        };
        let seen = bed.see(&none, &call, &path, None).await;
        assert_eq!(
            (seen.status, seen.code.as_str()),
            (403, expected),
            "{call:?}"
        );
        // All but what it wants: its category, and its endpoint within that.
        let word = endpoint.category.word();
        let mut others = json!({});
        for category in CATEGORIES.iter().filter(|category| **category != word) {
            others[category] = json!({});
        }
        assert_eq!(others.as_object().unwrap().len(), CATEGORIES.len() - 1);
        others[word] = json!({"api.something.else": {}});
        let key = bed.key_of(json!({ "api": others })).await;
        let seen = bed.see(&key.key, &call, &path, None).await;
        assert_eq!(
            (seen.status, seen.code.as_str()),
            (403, expected),
            "{call:?}"
        );
        let delete = format!("DELETE /v1/api-keys/{}", key.about.id);
        assert_eq!(bed.own(&delete, None).await.status, 204);
        // And what it wants alone is enough to come in; the handler may find fault with the rest.
        if let Access::Right(_) = call.access {
            let method = call.method.as_str();
            let tree = json!({"api": {word: {endpoint.name: {method: {}}}}});
            let key = bed.key_of(tree).await;
            let seen = bed
                .see(&key.key, &call, &Things::nowhere(&call), None)
                .await;
            assert_ne!(seen.status, 401, "{call:?}");
            assert_ne!(seen.code, "scope", "{call:?}");
            let delete = format!("DELETE /v1/api-keys/{}", key.about.id);
            assert_eq!(bed.own(&delete, None).await.status, 204);
        }
    }
}

/// All that the first account has, as it is read.
async fn state_of(bed: &Bed) -> Vec<String> {
    let mut all = Vec::new();
    for call in bed.calls() {
        let lists = call.method == Method::GET && matches!(call.access, Access::Right(_));
        let changes = [names::AUDIT, names::EVENTS];
        if lists
            && !call.path.contains('{')
            && endpoint(&call).is_some_and(|e| !changes.contains(&e.name))
        {
            all.push(bed.see(&bed.key, &call, call.path, None).await.body);
        }
    }
    assert!(all.len() >= 3, "the lists of keys and instances");
    all
}

#[tokio::test]
async fn another_accounts_things_are_not_there() {
    let bed = Bed::new().await;
    let things = Things::new(&bed).await;
    let other = bed
        .service
        .add_account("b@example.com", None)
        .await
        .unwrap();
    let before = state_of(&bed).await;
    let good = json!({"name": "taken", "label": "taken", "public_key": ED, "ssh_key": ED});
    let mut calls = bed.calls();
    calls.sort_by_key(is_write);
    for call in calls {
        if !matches!(call.access, Access::Right(_)) {
            continue;
        }
        let body = is_write(&call).then(|| good.to_string().into_bytes());
        let path = things.path(&call);
        let seen = bed.see(&other.api_key, &call, &path, body.clone()).await;
        let one = call.path.trim_end_matches('/') == "/api/v0/instances/{id}";
        if one && !is_write(&call) {
            // Vast's clients want it so.
            assert_eq!(seen.body, r#"{"instances":null}"#);
        } else if call.path.contains('{') {
            let missing = bed
                .see(&other.api_key, &call, &Things::nowhere(&call), body)
                .await;
            let (theirs, none) = ((seen.status, &seen.code), (missing.status, &missing.code));
            assert_eq!(theirs, none, "{call:?}");
            assert!(
                (400..500).contains(&seen.status),
                "{call:?} {}",
                seen.status
            );
            if !is_write(&call) {
                assert_eq!(seen.status, 404, "{call:?}");
            }
        }
        let fingerprint = crate::keys::PublicKey::parse_text(ED)
            .unwrap()
            .0
            .fingerprint();
        if !is_write(&call) {
            assert!(!seen.body.contains(&fingerprint.to_string()), "{call:?}");
        }
    }
    assert_eq!(state_of(&bed).await, before);
}

/// A request that a write route does, and the action that the log names it by.
fn good(call: &Call) -> Option<(Option<Value>, &'static str)> {
    let other = Signer::from_seed(&[7; 32]).public().to_string();
    let named = |body: Value, action| Some((Some(body), action));
    let plain = |action| Some((None, action));
    match (call.method.as_str(), call.path) {
        ("POST", "/v1/ssh-keys") => named(json!({"public_key": other}), "ssh-key.add"),
        ("PATCH", "/v1/ssh-keys/{id}") => named(json!({"name": "y"}), "ssh-key.edit"),
        ("DELETE", "/v1/ssh-keys/{id}") => plain("ssh-key.delete"),
        ("POST", "/v1/ssh-keys/{id}/revoke") => plain("ssh-key.revoke"),
        ("POST", "/v1/api-keys") => named(json!({"name": "y"}), "api-key.create"),
        ("PATCH", "/v1/api-keys/{id}") => named(json!({"name": "y"}), "api-key.edit"),
        ("DELETE", "/v1/api-keys/{id}") => plain("api-key.delete"),
        ("POST", "/v1/api-keys/{id}/reset") => plain("api-key.reset"),
        ("POST", "/v1/certificates/user") => {
            named(json!({"public_key": other}), "certificate.user")
        }
        ("POST", "/v1/certificates/revoke") => {
            named(json!({"key_id": "1/0/1"}), "certificate.revoke")
        }
        ("POST", "/v1/instances") => named(json!({"label": "y"}), "instance.create"),
        ("PATCH", "/v1/instances/{id}") => named(json!({"label": "y"}), "instance."),
        ("DELETE", "/v1/instances/{id}") => plain("instance.remove"),
        ("POST", "/v1/instances/{id}/host-keys") => {
            named(json!({"fingerprint": HOST_KEY}), "host-key.approve")
        }
        ("DELETE", "/v1/instances/{id}/host-keys") => plain("host-key.refuse"),
        ("PUT", "/v1/instances/{id}/ssh-keys/{key}") => plain("instance."),
        ("DELETE", "/v1/instances/{id}/ssh-keys/{key}") => plain("instance."),
        ("DELETE", "/v1/sessions/{id}" | "/v1/sessions/current") => plain("session.delete"),
        ("DELETE", "/v1/sessions") => plain("session."),
        _ => None,
    }
}

#[tokio::test]
async fn every_change_leaves_a_row_and_so_does_every_refusal() {
    let mut left_out = BTreeSet::new();
    let calls = Bed::new().await.calls();
    for call in calls.iter().filter(|call| is_write(call)) {
        let Some(endpoint) = endpoint(call) else {
            continue;
        };
        let bed = Bed::new().await;
        let things = Things::new(&bed).await;
        let path = things.path(call);
        let narrow: ApiKeySecret = bed.key_of(json!({})).await;
        let before = bed.rows(1).await.len();
        bed.see(&narrow.key, call, &path, None).await;
        let rows = bed.rows(1).await;
        assert_eq!(rows.len(), before + 1, "{call:?}");
        let (action, outcome, by) = &rows[0];
        let said = (action.as_str(), outcome.as_str(), by.as_str());
        assert_eq!(
            said,
            ("request", "refused", "some"),
            "{call:?} {endpoint:?}"
        );

        let Some((body, action)) = good(call) else {
            if !matches!(call.access, Access::Person(_)) && !call.path.starts_with("/api/") {
                left_out.insert(format!("{} {}", call.method, call.path));
            }
            continue;
        };
        let body = body.map(|body| body.to_string().into_bytes());
        let (path, token, name) = match call.path {
            "/v1/sessions" => (format!("{path}?others=true"), bed.key.clone(), "first"),
            "/v1/instances/{id}/host-keys" if call.method == Method::DELETE => {
                let path = format!("{path}?fingerprint={}", HOST_KEY.replace('+', "%2B"));
                (path, bed.key.clone(), "first")
            }
            "/v1/sessions/current" => (path, bed.person().await, "laptop"),
            _ => (path, bed.key.clone(), "first"),
        };
        let before = bed.rows(1).await.len();
        let seen = bed.see(&token, call, &path, body).await;
        assert!((200..300).contains(&seen.status), "{call:?} {}", seen.body);
        let rows = bed.rows(1).await;
        assert!(rows.len() > before, "{call:?} {rows:?}");
        let (said, outcome, by) = &rows[0];
        assert!(said.starts_with(action), "{call:?} {said}");
        assert_eq!((outcome.as_str(), by.as_str()), ("done", name), "{call:?}");
    }
    assert!(left_out.is_empty(), "give `good` a row for {left_out:?}");
}
