//! Where a key's secret is answered a second time: to a create that comes again, to a person.

use super::*;
use crate::service::store::testing;
use crate::service::token::Token;
use crate::service::{Parts, Service};
use std::sync::Arc;
use zeroize::Zeroizing;

const PASSWORD: &str = "correct horse battery";

#[tokio::test]
async fn a_create_that_comes_again_is_answered_as_it_was() {
    let bed = Bed::new().await;
    let label = json!({"label": "box"});
    for (call, body, other) in [
        (
            "POST /v1/api-keys",
            json!({"name": "x"}),
            json!({"name": "y"}),
        ),
        ("POST /v1/instances", label, json!({"label": "crate"})),
    ] {
        let send = async |token: &str, key: &str, body: &Value| {
            let header = [("idempotency-key", key)];
            bed.call_with(token, call, &header, Some(body.clone()))
                .await
        };
        let first = send(&bed.key, "a-1", &body).await;
        assert_eq!(first.status, 201, "{}", first.json);
        bed.pass(60);
        let again = send(&bed.key, "a-1", &body).await;
        assert_eq!((again.status, &again.json), (first.status, &first.json));
        let reused = send(&bed.key, "a-1", &other).await;
        assert_eq!(reused.code(), (422, "idempotency-key-reused"));
        let next = send(&bed.key, "a-2", &body).await;
        assert_ne!(next.json["id"], first.json["id"]);
        // The name is the token's own.
        let friend = bed.key_of(json!({"api": {}})).await.key;
        let theirs = send(&friend, "a-1", &body).await;
        assert_eq!(theirs.status, 201);
        assert_ne!(theirs.json["id"], first.json["id"]);
        for bad in ["", "a b", "a\tb", &"x".repeat(65)] {
            let reply = send(&bed.key, bad, &body).await;
            assert_eq!(reply.code(), (400, "bad-idempotency-key"), "{bad:?}");
        }
        bed.pass(24 * 60 * 60);
        let day = send(&bed.key, "a-1", &body).await;
        assert_eq!(day.status, 201);
        assert_ne!(day.json["id"], first.json["id"]);
    }
    let refused = [("idempotency-key", "b")];
    let bad = Some(json!({"name": ""}));
    let reply = bed
        .call_with(&bed.key, "POST /v1/api-keys", &refused, bad)
        .await;
    assert_eq!(reply.status, 400);
    let good = Some(json!({"name": "x"}));
    let reply = bed
        .call_with(&bed.key, "POST /v1/api-keys", &refused, good)
        .await;
    assert_eq!(reply.status, 201, "what was refused is not remembered");
}

#[tokio::test]
async fn what_is_kept_of_an_answer_gives_no_secret_away() {
    let bed = Bed::new().await;
    let header = [("idempotency-key", "a")];
    let body = Some(json!({"name": "x"}));
    let made: ApiKeySecret = bed
        .call_with(&bed.key, "POST /v1/api-keys", &header, body)
        .await
        .of(201);
    let secret = made.key.trim_start_matches("skd_api_").as_bytes();
    let shown: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let contents = testing::contents(bed.dir.path());
    for bytes in &contents {
        assert!(!bytes.windows(16).any(|w| w == &secret[..16]));
        assert!(bytes.windows(32).all(|w| w != &shown.as_bytes()[..32]));
    }
    let seen: usize = contents.iter().map(Vec::len).sum();
    assert!(seen > 1_000, "the database was looked at");
}

#[tokio::test]
async fn a_key_is_shown_again_to_a_person_with_the_password_alone() {
    let mut bed = Bed::new().await;
    let password = Some(Zeroizing::new(PASSWORD.to_owned()));
    let other = bed.service.add_account("p@example.com", password).await;
    let other = other.unwrap();
    let token = Token::random(Kind::Session);
    let new = NewSession {
        kind: SessionKind::Cli,
        hash: token.hash(),
        name: String::new(),
        os: String::new(),
        expires_at: bed.service.now() + SignedDuration::from_hours(1),
    };
    let (actor, now) = (Actor::server(other.account), bed.service.now());
    bed.service
        .store
        .add_session(actor, new, None, now)
        .await
        .unwrap();
    let key = other.api_key.to_string();
    let id = bed.service.store.api_keys(other.account).await.unwrap()[0].id;
    let path = format!("POST /v1/api-keys/{id}/reveal");
    let right = || Some(json!({"password": PASSWORD}));
    let by_key = bed.call(&key, &path, right()).await;
    assert_eq!(by_key.code(), (403, "person-only"));
    let wrong = json!({"password": "wrong horse battery"});
    let wrong = bed.call(token.reveal(), &path, Some(wrong)).await;
    assert!(wrong.status.is_client_error());
    assert_eq!(wrong.json.get("key"), None);
    let shown = bed.call(token.reveal(), &path, right()).await;
    assert_eq!(shown.headers["cache-control"], "no-store");
    assert_eq!(shown.of::<ApiKeySecret>(200).key, key);
    let rows = bed.service.store.audit(other.account, i64::MAX, 10).await;
    let row = &rows.unwrap()[0];
    assert_eq!(
        (row.action.as_str(), row.about),
        ("api-key.reveal", Some(id))
    );
    assert!(!row.detail.contains(&key));
    let none = bed
        .call(token.reveal(), "POST /v1/api-keys/1/reveal", right())
        .await;
    assert_eq!(none.code(), (404, "not-found"), "another account's");
    let off = Parts {
        reveal_api_keys: false,
        ..(*bed.service).clone()
    };
    bed.service = Service(Arc::new(off));
    bed.router = router(bed.service.clone());
    let off = bed.call(token.reveal(), &path, right()).await;
    assert_eq!(off.code(), (403, "reveal-off"));
}
