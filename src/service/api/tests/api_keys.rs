//! API keys: what is made, shown, edited, reset and deleted, and by whom it may not be.

mod held_to;
mod secrets;

use super::*;
use crate::service::store::{Actor, NewSession, SessionKind};
use crate::service::token::{Kind, Token};
use crate::wire::{ApiKey, ApiKeySecret, Page};

impl Bed {
    /// A key as this token may make it.
    pub(super) async fn key_by(&self, token: &str, body: Value) -> Reply {
        self.call(token, "POST /v1/api-keys", Some(body)).await
    }

    /// A key of this tree.
    pub(super) async fn key_of(&self, permissions: Value) -> ApiKeySecret {
        let body = json!({"name": "some", "permissions": permissions});
        self.key_by(&self.key, body).await.of(201)
    }

    /// A person's session, of a command line.
    pub(super) async fn person(&self) -> String {
        let token = Token::random(Kind::Session);
        let new = NewSession {
            kind: SessionKind::Cli,
            hash: token.hash(),
            name: "laptop".to_owned(),
            os: "Debian".to_owned(),
            expires_at: self.service.now() + SignedDuration::from_hours(168),
        };
        let (actor, now) = (Actor::server(1), self.service.now());
        self.service
            .store
            .add_session(actor, new, None, now)
            .await
            .unwrap();
        token.reveal().to_owned()
    }

    async fn works(&self, token: &str) -> bool {
        let reply = self.call(token, "GET /v1/api-keys", None).await;
        assert!(reply.status == 200 || reply.status == 401, "{}", reply.json);
        reply.status == 200
    }
}

#[tokio::test]
async fn a_key_is_made_and_the_secret_stands_there_only() {
    let bed = Bed::new().await;
    let body = json!({"name": " ci \u{e9}", "permissions": {"api": {"user_read": {}}},
        "addresses": ["203.0.113.9/24", "2001:DB8::1", "203.0.113.0/24"],
        "expires_at": "2026-12-01T00:00:00Z"});
    let reply = bed.key_by(&bed.key, body).await;
    assert_eq!(reply.headers["cache-control"], "no-store");
    let made: ApiKeySecret = reply.of(201);
    assert!(made.key.starts_with("skd_api_") && made.key.ends_with(&made.about.tail));
    assert_eq!(made.about.name, "ci \u{e9}");
    assert_eq!(made.about.addresses, ["203.0.113.0/24", "2001:db8::1"]);
    let path = format!("GET /v1/api-keys/{}", made.about.id);
    let shown = bed.own(&path, None).await;
    assert_eq!(shown.json.get("key"), None);
    assert_eq!(shown.of::<ApiKey>(200), made.about);
    let listed = bed.own("GET /v1/api-keys", None).await;
    assert!(!listed.json.to_string().contains(&made.key));
    let page: Page<ApiKey> = listed.of(200);
    assert_eq!(page.items[1], made.about);
    assert!(page.items[0].current, "the one that asks");
    assert_eq!(page.items[0].permissions, json!({"api": {}}));
    let default: ApiKeySecret = bed.key_by(&bed.key, json!({"name": "x"})).await.of(201);
    assert_eq!(default.about.permissions, json!({"api": {}}));
    assert!(bed.works(&default.key).await);
    assert!(!bed.works(&made.key).await, "from nowhere");
}

#[tokio::test]
async fn a_reset_key_keeps_its_id_and_its_old_secret_is_dead() {
    let bed = Bed::new().await;
    let made: ApiKeySecret = bed.key_by(&bed.key, json!({"name": "x"})).await.of(201);
    let id = made.about.id;
    let again: ApiKeySecret = bed
        .own(&format!("POST /v1/api-keys/{id}/reset"), None)
        .await
        .of(200);
    assert_eq!(again.about.id, id);
    assert_ne!(again.key, made.key);
    assert!(!bed.works(&made.key).await);
    assert!(bed.works(&again.key).await);
    // By itself, too.
    let path = format!("POST /v1/api-keys/{id}/reset");
    let own: ApiKeySecret = bed.call(&again.key, &path, None).await.of(200);
    assert!(own.about.current && bed.works(&own.key).await);
    let gone = bed.own(&format!("DELETE /v1/api-keys/{id}"), None).await;
    assert_eq!(gone.status, 204);
    assert!(!bed.works(&own.key).await);
    let gone = bed.own(&path, None).await;
    assert_eq!(gone.code(), (404, "not-found"));
}

#[tokio::test]
async fn an_edit_changes_what_it_names_under_the_tag_that_is_there() {
    let bed = Bed::new().await;
    let end = "2026-12-01T00:00:00Z";
    let body = json!({"name": "x", "expires_at": end, "addresses": ["203.0.113.9"]});
    let made: ApiKeySecret = bed.key_by(&bed.key, body).await.of(201);
    let path = format!("/v1/api-keys/{}", made.about.id);
    let (get, patch) = (format!("GET {path}"), format!("PATCH {path}"));
    let first = bed.own(&get, None).await.etag();
    let known = [("if-match", first.as_str())];
    let body = Some(json!({"name": "y"}));
    let reply = bed.call_with(&bed.key, &patch, &known, body.clone()).await;
    let second = reply.etag();
    let key: ApiKey = reply.of(200);
    assert_eq!(
        (key.name.as_str(), key.expires_at),
        ("y", made.about.expires_at)
    );
    assert_eq!(bed.own(&get, None).await.etag(), second);
    let late = bed.call_with(&bed.key, &patch, &known, body).await;
    assert_eq!(late.code(), (412, "changed"));
    for call in [format!("DELETE {path}"), format!("POST {path}/reset")] {
        let late = bed.call_with(&bed.key, &call, &known, None).await;
        assert_eq!(late.code(), (412, "changed"));
    }
    let body = json!({"expires_at": null, "addresses": [], "permissions": {"api": {"misc": {}}}});
    let key: ApiKey = bed.own(&patch, Some(body)).await.of(200);
    assert_eq!((key.name.as_str(), key.expires_at), ("y", None));
    assert!(key.addresses.is_empty());
    let narrow = bed.call(&made.key, "GET /v1/api-keys", None).await;
    assert_eq!(narrow.code(), (403, "scope"), "in force at once");
    assert!(made.about.addresses == ["203.0.113.9"]);
}

#[tokio::test]
async fn a_use_is_noted_and_changes_no_tag() {
    let bed = Bed::new().await;
    let made: ApiKeySecret = bed.key_by(&bed.key, json!({"name": "x"})).await.of(201);
    let path = format!("GET /v1/api-keys/{}", made.about.id);
    let before = bed.own(&path, None).await;
    assert_eq!(before.json["last_used_at"], Value::Null);
    bed.pass(60);
    assert!(bed.works(&made.key).await);
    for _ in 0..2 {
        let after = bed.own(&path, None).await;
        assert_eq!(before.etag(), after.etag());
        let used = after.of::<ApiKey>(200).last_used_at;
        assert_eq!(used, Some(bed.service.now()));
        bed.service.write_uses().await;
    }
}

#[tokio::test]
async fn a_key_ends_in_time() {
    let bed = Bed::new().await;
    let end = (bed.service.now() + SignedDuration::from_secs(10)).to_string();
    let body = json!({"name": "x", "expires_at": end});
    let made: ApiKeySecret = bed.key_by(&bed.key, body).await.of(201);
    bed.pass(9);
    assert!(bed.works(&made.key).await);
    bed.pass(1);
    assert!(!bed.works(&made.key).await);
    // Its owner sees it, and may give it more time.
    let patch = format!("PATCH /v1/api-keys/{}", made.about.id);
    let more = json!({"expires_at": "2027-01-01T00:00:00Z"});
    bed.own(&patch, Some(more)).await.of::<ApiKey>(200);
    assert!(bed.works(&made.key).await);
}

#[tokio::test]
async fn what_is_no_key_is_refused_by_name() {
    let bed = Bed::new().await;
    let many: Vec<String> = (0..65).map(|n| format!("10.0.0.{n}")).collect();
    let table = [
        (json!({"name": ""}), "bad-name"),
        (json!({"name": "x".repeat(129)}), "bad-name"),
        (json!({"name": "a\u{1b}[2J"}), "bad-name"),
        (json!({"name": "a\u{0}"}), "bad-name"),
        (
            json!({"name": "x", "permissions": {"api": {"x": {}}}}),
            "bad-permissions",
        ),
        (json!({"name": "x", "permissions": []}), "bad-permissions"),
        (
            json!({"name": "x", "addresses": ["example.com"]}),
            "bad-address",
        ),
        (json!({"name": "x", "addresses": many}), "bad-address"),
        (
            json!({"name": "x", "expires_at": "2026-11-22T19:00:00Z"}),
            "expired",
        ),
        (json!({"name": "x", "expires_at": "tomorrow"}), "bad-json"),
        (json!({}), "bad-json"),
    ];
    let made: ApiKeySecret = bed.key_by(&bed.key, json!({"name": "x"})).await.of(201);
    let patch = format!("PATCH /v1/api-keys/{}", made.about.id);
    for (body, code) in table {
        let reply = bed.key_by(&bed.key, body.clone()).await;
        assert_eq!(reply.code(), (400, code), "{}", reply.json);
        if body != json!({}) {
            let reply = bed.own(&patch, Some(body)).await;
            assert_eq!(reply.code(), (400, code), "{}", reply.json);
        }
    }
    let place = json!({"name": "x", "permissions": {"api": {"user_reed": {}}}});
    let said = bed.key_by(&bed.key, place).await;
    let detail = said.json["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("permissions/api/user_reed: "),
        "{detail}"
    );
}

#[tokio::test]
async fn an_account_has_two_hundred_keys() {
    let bed = Bed::new().await;
    for n in 1..200 {
        let body = json!({"name": n.to_string()});
        bed.key_by(&bed.key, body).await.of::<ApiKeySecret>(201);
    }
    let more = bed.key_by(&bed.key, json!({"name": "x"})).await;
    assert_eq!(more.code(), (409, "too-many-api-keys"));
}

/// What a key can do to another: make one like it, and with one that is there all else.
async fn all_of(bed: &Bed, by: &str, target: &Value, narrowed: &Value) -> Vec<(u16, String)> {
    let made: ApiKeySecret = bed.key_by(&bed.key, target.clone()).await.of(201);
    let path = format!("/v1/api-keys/{}", made.about.id);
    let mut codes = Vec::new();
    for (call, body) in [
        ("POST /v1/api-keys".to_owned(), Some(target.clone())),
        (format!("PATCH {path}"), Some(json!({"name": "z"}))),
        (format!("PATCH {path}"), Some(narrowed.clone())),
        (format!("POST {path}/reset"), None),
        (format!("DELETE {path}"), None),
    ] {
        let reply = bed.call(by, &call, body).await;
        let (status, code) = reply.code();
        codes.push((status, code.to_owned()));
    }
    codes
}

#[tokio::test]
async fn no_key_has_to_do_with_one_that_is_wider_than_itself() {
    let bed = Bed::new().await;
    let end = "2026-12-01T00:00:00Z";
    let write = json!({"api": {"user_read": {}, "user_write": {}}});
    let read = json!({"api": {"user_read": {}}});
    let narrow = bed.key_of(write.clone()).await.key;
    let body = json!({"name": "until", "permissions": write, "expires_at": end});
    let until: ApiKeySecret = bed.key_by(&bed.key, body).await.of(201);
    let done: Vec<u16> = vec![201, 200, 200, 200, 204];
    let table = [
        (&narrow, json!({"permissions": read}), true),
        (&narrow, json!({"permissions": write}), true),
        (
            &narrow,
            json!({"permissions": write, "expires_at": end}),
            true,
        ),
        (
            &narrow,
            json!({"permissions": write, "addresses": ["::1"]}),
            true,
        ),
        (&narrow, json!({}), false),
        (
            &narrow,
            json!({"permissions": {"api": {"misc": {}}}}),
            false,
        ),
        (
            &until.key,
            json!({"permissions": read, "expires_at": end}),
            true,
        ),
        (&until.key, json!({"permissions": read}), false),
        (
            &until.key,
            json!({"permissions": read, "expires_at": "2026-12-01T00:00:01Z"}),
            false,
        ),
        (&bed.key, json!({}), true),
    ];
    for (by, mut target, allowed) in table {
        target["name"] = json!("target");
        // Narrowed to nothing, and still what it was is not the caller's to touch.
        let narrowed = json!({"permissions": {}, "expires_at": "2026-11-23T00:00:00Z"});
        let codes = all_of(&bed, by, &target, &narrowed).await;
        if allowed {
            let statuses: Vec<u16> = codes.into_iter().map(|(status, _)| status).collect();
            assert_eq!(statuses, done, "{target}");
        } else {
            for (status, code) in codes {
                assert_eq!((status, code.as_str()), (403, "wider-than-you"), "{target}");
            }
        }
    }

    // Nor does a key widen itself, or another.
    let own = format!("PATCH /v1/api-keys/{}", until.about.id);
    let other = bed.key_of(read.clone()).await.about.id;
    let other = format!("PATCH /v1/api-keys/{other}");
    for (by, call, body) in [
        (&until.key, &own, json!({"expires_at": null})),
        (&until.key, &own, json!({"permissions": {"api": {}}})),
        (&narrow, &other, json!({"permissions": {"api": {}}})),
    ] {
        let reply = bed.call(by, call, Some(body)).await;
        assert_eq!(reply.code(), (403, "wider-than-you"));
    }
    let row = bed.service.store.audit(1, i64::MAX, 1).await.unwrap();
    assert_eq!(
        (row[0].action.as_str(), row[0].outcome.as_str()),
        ("api-key.edit", "refused")
    );
    let narrower = json!({"permissions": read});
    let reply = bed.call(&until.key, &own, Some(narrower)).await;
    assert_eq!(reply.status, 200);
    // A key that it made is as narrow as it was: it has no user_write any more.
    let more = bed.key_by(&until.key, json!({"name": "x"})).await;
    assert_eq!(more.code(), (403, "scope"));
}
