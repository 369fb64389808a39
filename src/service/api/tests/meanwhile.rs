//! What becomes of a request whose token, password or second factor went while it was under way.

use super::people::{EMAIL, PASSWORD, person, session};
use super::*;
use crate::keys::PublicKey;
use crate::service::api::{Asked, Face};
use crate::service::auth::{Caller, Identity, Means};
use crate::wire::{AccountSession, ApiKeySecret, NewUserCertificate, Page, PasswordGiven, SshKey};
use axum::body::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::{Notify, oneshot};

/// A body that says when it is waited for, and comes when it is let go.
struct Late {
    waited_for: Arc<Notify>,
    bytes: Option<oneshot::Receiver<Bytes>>,
}

impl HttpBody for Late {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.waited_for.notify_one();
        let Some(bytes) = &mut self.bytes else {
            return Poll::Ready(None);
        };
        let came = std::task::ready!(Pin::new(bytes).poll(context));
        self.bytes = None;
        Poll::Ready(came.ok().map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Makes a call whose body comes only after `meanwhile`.
async fn slowly(
    bed: &Bed,
    token: &str,
    call: &str,
    body: Value,
    meanwhile: impl Future<Output = ()>,
) -> Reply {
    let (let_go, bytes) = oneshot::channel();
    let waited_for = Arc::new(Notify::new());
    let late = Late {
        waited_for: waited_for.clone(),
        bytes: Some(bytes),
    };
    let (method, path) = call.split_once(' ').unwrap();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Body::new(late));
    let (reply, ()) = tokio::join!(bed.send(request.unwrap()), async {
        waited_for.notified().await;
        meanwhile.await;
        let_go.send(body.to_string().into()).unwrap();
    });
    reply
}

/// Who this token speaks for.
async fn caller(bed: &Bed, token: &str) -> Caller {
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {token}");
    headers.insert("authorization", bearer.parse().unwrap());
    let asked = Asked {
        face: Face::V1,
        from: None,
        id: String::new(),
    };
    let means = Means::of(&bed.service, &headers, &"/".parse().unwrap(), Face::V1).unwrap();
    match bed.service.identify(&means, &asked).await {
        Ok(Identity::Caller(caller)) => caller,
        _ => panic!("the token is good"),
    }
}

#[tokio::test]
async fn a_body_that_comes_after_its_token_went_changes_nothing() {
    let bed = Bed::new().await;
    let all = json!({"api": {}});
    let named = json!({"api": {"user_write": {"constraints": {"name": {"eq": "mine"}}}}});
    for tree in [all, named] {
        for call in ["POST /v1/ssh-keys", "POST /v1/api-keys"] {
            let key = bed.key_of(tree.clone()).await;
            let body = json!({"name": "mine", "public_key": ED});
            let delete = format!("DELETE /v1/api-keys/{}", key.about.id);
            let late = slowly(&bed, &key.key, call, body, async {
                assert_eq!(bed.own(&delete, None).await.status, 204);
            });
            assert_eq!(late.await.code(), (401, "unauthorized"), "{call} {tree}");
        }
    }
    let keys: Page<SshKey> = bed.own("GET /v1/ssh-keys", None).await.of(200);
    assert_eq!(keys.items, []);
    let narrowed: ApiKeySecret = bed.key_by(&bed.key, json!({"name": "x"})).await.of(201);
    let narrow = format!("PATCH /v1/api-keys/{}", narrowed.about.id);
    let body = json!({"public_key": ED});
    let late = slowly(&bed, &narrowed.key, "POST /v1/ssh-keys", body, async {
        let misc = json!({"permissions": {"api": {"misc": {}}}});
        assert_eq!(bed.own(&narrow, Some(misc)).await.status, 200);
    });
    assert_eq!(late.await.code(), (401, "unauthorized"));
}

#[tokio::test]
async fn a_password_is_good_for_nothing_once_the_session_that_gives_it_went() {
    let bed = Bed::new().await;
    person(&bed).await;
    let (gone, kept) = (session(&bed).await, session(&bed).await);
    let caller = caller(&bed, &gone).await;
    let sessions: Page<AccountSession> = bed.call(&gone, "GET /v1/sessions", None).await.of(200);
    let id = sessions.items.iter().find(|s| s.current).unwrap().id;
    let delete = format!("DELETE /v1/sessions/{id}");
    assert_eq!(bed.call(&kept, &delete, None).await.status, 204);
    // As one that was deleted while the password was hashed.
    let given: PasswordGiven = serde_json::from_value(json!({"password": PASSWORD})).unwrap();
    let error = bed.service.check_password(&caller, given).await;
    assert_eq!(error.unwrap_err().code(), "unauthorized");
    let store = &bed.service.store;
    let (actor, now) = (caller.actor.clone(), bed.service.now());
    let set = store.set_password(actor, "$argon2id$other".to_owned(), Some(id), now);
    assert_eq!(set.await.unwrap(), None);
    assert_eq!(bed.call(&kept, "GET /v1/account", None).await.status, 200);
    session(&bed).await;
    let account = store.credentials_of(EMAIL).await.unwrap().unwrap();
    assert_ne!(account.password.as_deref(), Some("$argon2id$other"));
}

/// A certificate over a fresh key.
fn fresh() -> NewUserCertificate {
    NewUserCertificate {
        public_key: ED.to_owned(),
        ttl: None,
    }
}

#[tokio::test]
async fn a_key_that_became_less_while_it_asks_gets_no_certificate() {
    let bed = Bed::new().await;
    for (method, change) in [
        ("PATCH", json!({"permissions": {"api": {"user_write": {}}}})),
        ("PATCH", json!({"addresses": ["203.0.113.0/24"]})),
        ("POST", Value::Null),
        ("DELETE", Value::Null),
    ] {
        let key = bed.key_of(json!({"api": {}})).await;
        let caller = caller(&bed, &key.key).await;
        assert!(bed.service.certify_user(&caller, &fresh()).await.is_ok());
        let path = format!("/v1/api-keys/{}", key.about.id);
        let call = match method {
            "POST" => format!("POST {path}/reset"),
            other => format!("{other} {path}"),
        };
        let done = bed
            .own(&call, Some(change).filter(|it| !it.is_null()))
            .await;
        assert!(done.status.is_success(), "{call}: {}", done.status);
        // As one that was let in just before.
        let error = bed.service.certify_user(&caller, &fresh()).await;
        assert_eq!(error.unwrap_err().code(), "unauthorized", "{call}");
    }
}

#[tokio::test]
async fn a_key_that_is_deleted_while_it_is_certified_is_not_taken_for_a_fresh_one() {
    let bed = Bed::new().await;
    let caller = caller(&bed, &bed.key).await;
    let (key, _) = PublicKey::parse_text(ED).unwrap();
    let hour = SignedDuration::from_hours(1);
    let body = json!({"public_key": ED, "options": "restrict,command=\"/bin/true\""});
    let saved: SshKey = bed.own("POST /v1/ssh-keys", Some(body)).await.of(201);
    let mut listed = false;
    let made = bed.service.try_certify(&caller, &key, hour, &mut listed);
    assert!(made.await.unwrap().is_some() && listed);
    let delete = format!("DELETE /v1/ssh-keys/{}", saved.id);
    assert!(bed.own(&delete, None).await.status.is_success());
    let again = bed.service.try_certify(&caller, &key, hour, &mut listed);
    assert_eq!(again.await.unwrap_err().code(), "changed");
}
