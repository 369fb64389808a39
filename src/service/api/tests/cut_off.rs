//! Sessions in a listing, their end, and what an account is when it is disabled.

use super::agents::opened;
use super::people::{EMAIL, PASSWORD, log, log_in_as, person, session};
use super::*;
use crate::service::AccountError;
use crate::service::store::testing;
use crate::service::token::{Kind, Token};
use crate::wire::{AccountSession, LoginAnswer, Page};

/// The bed as its new person sees it: with a session in the place of the API key.
async fn persons_bed() -> Bed {
    let bed = Bed::new().await;
    person(&bed).await;
    let key = session(&bed).await;
    Bed { key, ..bed }
}

async fn listed(bed: &Bed, token: &str) -> Vec<AccountSession> {
    let page: Page<AccountSession> = bed.call(token, "GET /v1/sessions", None).await.of(200);
    page.items
}

/// An API key of the second account with this permission tree.
fn narrow(bed: &Bed, tree: Value) -> String {
    let token = Token::random(Kind::Api);
    testing::add_api_key(bed.dir.path(), 2, token.hash(), &tree.to_string());
    token.reveal().to_owned()
}

#[tokio::test]
async fn the_list_shows_people_and_agents_with_their_devices() {
    let bed = persons_bed().await;
    let agent = bed.agent().await;
    agent.snapshot(&bed, 0, None).await;
    let device = json!({"device": {"name": "phone", "os": "Android"}});
    let other: LoginAnswer = log_in_as(&bed, EMAIL, device).await.of(200);
    bed.pass(90);
    let [own, of_agent, phone] = &listed(&bed, &bed.key).await[..] else {
        panic!("three are logged in");
    };
    assert!(own.current && !of_agent.current && !phone.current);
    assert_eq!(
        (own.kind.as_str(), of_agent.kind.as_str()),
        ("cli", "agent")
    );
    assert_eq!(of_agent.instance, Some(agent.instance));
    assert_eq!((of_agent.expires_at, own.instance), (None, None));
    assert_eq!(
        (phone.device.name.as_str(), phone.device.os.as_str()),
        ("phone", "Android")
    );
    assert_eq!(phone.expires_at, Some(other.expires_at));
    assert_eq!(
        of_agent.last_seen,
        Some(bed.service.now() - SignedDuration::from_secs(90))
    );
    let seen = listed(&bed, &other.session_key.unwrap()).await;
    assert!(seen[2].current && !seen[0].current);
    // Another account sees none of it and cuts nothing off.
    let theirs = bed
        .service
        .add_account("c@example.com", None)
        .await
        .unwrap()
        .api_key;
    assert_eq!(listed(&bed, &theirs).await, []);
    let call = format!("DELETE /v1/sessions/{}", own.id);
    assert_eq!(
        bed.call(&theirs, &call, None).await.code(),
        (404, "not-found")
    );
    let current = bed.call(&theirs, "DELETE /v1/sessions/current", None).await;
    assert_eq!(current.code(), (404, "not-found"));
}

#[tokio::test]
async fn a_use_is_listed_at_once_and_written_later_and_a_held_query_is_none() {
    let bed = persons_bed().await;
    let key = bed.save(ED).await;
    let begin = bed.service.now();
    bed.pass(100);
    let call = format!("GET /v1/ssh-keys/{}/rollout?wait=1", key.id);
    bed.own(&call, None).await.of::<Value>(200);
    let other = session(&bed).await;
    assert_eq!(listed(&bed, &other).await[0].last_seen, Some(begin));
    bed.own("GET /v1/ssh-keys", None).await.of::<Value>(200);
    let used = bed.service.now();
    assert_eq!(listed(&bed, &other).await[0].last_seen, Some(used));
    let kept = async || bed.service.store.sessions(2, used).await.unwrap()[0].last_seen;
    assert_eq!(kept().await, Some(begin));
    bed.service.write_uses().await;
    assert_eq!(kept().await, Some(used));
    let asked = bed.service.uses.merged(
        crate::service::auth::Bearing::ApiKey(1),
        None,
        String::new(),
    );
    assert_eq!(asked, (None, String::new()));
}

#[tokio::test]
async fn a_deleted_session_is_dead_and_what_it_held_ends() {
    let bed = persons_bed().await;
    let (key, agent) = (bed.save(ED).await, bed.agent().await);
    let victim = session(&bed).await;
    let id = listed(&bed, &victim)
        .await
        .iter()
        .find(|s| s.current)
        .unwrap()
        .id;
    let call = format!("GET /v1/ssh-keys/{}/rollout?wait=60", key.id);
    let (cut, deleted) = tokio::join!(bed.call(&victim, &call, None), async {
        bed.held().await;
        bed.own(&format!("DELETE /v1/sessions/{id}"), None).await
    });
    assert_eq!(deleted.status, 204);
    assert_eq!(cut.code(), (401, "unauthorized"));
    assert_eq!(bed.call(&victim, "GET /v1/account", None).await.status, 401);
    let again = bed.own(&format!("DELETE /v1/sessions/{id}"), None).await;
    assert_eq!(again.code(), (404, "not-found"));

    // An agent: it may not come back by its key or its token.
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let sessions = listed(&bed, &bed.key).await;
    let id = sessions.iter().find(|s| s.instance.is_some()).unwrap().id;
    let (cut, deleted) = tokio::join!(agent.snapshot(&bed, 300, Some(&etag)), async {
        bed.held().await;
        bed.own(&format!("DELETE /v1/sessions/{id}"), None).await
    });
    assert_eq!((deleted.status.as_u16(), cut.status.as_u16()), (204, 401));
    assert_eq!(agent.snapshot(&bed, 0, None).await.status, 401);
    let nonce = agent.nonce(&bed).await;
    assert_eq!(agent.renew(&bed, &nonce, URL).await.status, 401);
    assert!(agent.enroll(&bed).await.status.is_client_error());

    // Oneself.
    assert_eq!(
        bed.own("DELETE /v1/sessions/current", None).await.status,
        204
    );
    assert_eq!(bed.own("GET /v1/sessions", None).await.status, 401);
    let acts = log(&bed, 2).await;
    assert_eq!(
        acts.iter()
            .filter(|row| row.action == "session.delete")
            .count(),
        3
    );
}

#[tokio::test]
async fn a_narrow_key_cuts_off_nobody_that_may_do_more() {
    let bed = persons_bed().await;
    let agent = bed.agent().await;
    agent.snapshot(&bed, 0, None).await;
    let all = listed(&bed, &bed.key).await;
    let key = narrow(&bed, json!({"api": {"user_write": {}, "user_read": {}}}));
    assert_eq!(listed(&bed, &key).await.len(), 2);
    for session in &all {
        let call = format!("DELETE /v1/sessions/{}", session.id);
        let reply = bed.call(&key, &call, None).await;
        assert_eq!(reply.code(), (403, "wider-than-you"), "{}", session.kind);
    }
    let others = bed
        .call(&key, "DELETE /v1/sessions?others=true", None)
        .await;
    assert_eq!(others.code(), (403, "wider-than-you"));
    let reader = narrow(&bed, json!({"api": {"user_read": {}}}));
    let call = format!("DELETE /v1/sessions/{}", all[0].id);
    assert_eq!(bed.call(&reader, &call, None).await.code(), (403, "scope"));
    assert_eq!(listed(&bed, &bed.key).await.len(), 2);
    let rows = log(&bed, 2).await;
    let refused = rows.iter().filter(|row| row.outcome == "refused");
    assert_eq!(refused.count(), 4);
    let person_only = bed.call(&key, "GET /v1/account/totp", None).await;
    assert_eq!(person_only.code(), (403, "person-only"));
}

#[tokio::test]
async fn all_other_sessions_end_at_once_and_with_a_new_password() {
    let bed = persons_bed().await;
    let agent = bed.agent().await;
    let alive = async |key: &str| bed.call(key, "GET /v1/account", None).await.status == 200;
    let (one, two) = (session(&bed).await, session(&bed).await);
    let unclear = bed.own("DELETE /v1/sessions", None).await;
    assert_eq!(unclear.code(), (400, "which-sessions"));
    let others = bed.own("DELETE /v1/sessions?others=true", None).await;
    assert_eq!(others.status, 204);
    assert!(alive(&bed.key).await && !alive(&one).await && !alive(&two).await);
    assert_eq!(agent.snapshot(&bed, 0, None).await.status, 200);

    let three = session(&bed).await;
    let change = |new: &str| Some(json!({"password": PASSWORD, "new_password": new}));
    let call = "POST /v1/account/password";
    let short = bed.own(call, change("short77")).await;
    assert_eq!(short.code(), (400, "bad-password"));
    assert!(alive(&three).await);
    assert_eq!(bed.own(call, change("another horse")).await.status, 204);
    assert!(alive(&bed.key).await && !alive(&three).await);
    assert_eq!(agent.snapshot(&bed, 0, None).await.status, 200);
    assert_eq!(log_in_as(&bed, EMAIL, json!({})).await.status, 401);
    let new = json!({"password": "another horse"});
    assert_eq!(log_in_as(&bed, EMAIL, new).await.status, 200);
}

#[tokio::test]
async fn a_disabled_account_is_dead_and_empty_and_comes_back_whole() {
    let bed = persons_bed().await;
    let (key, agent) = (bed.save(ED).await, bed.agent().await);
    let before = opened(&agent.snapshot(&bed, 0, None).await);
    assert_eq!((before.keys.len(), before.end_sessions.len()), (1, 0));
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let call = format!("GET /v1/ssh-keys/{}/rollout?wait=60", key.id);
    bed.pass(5);
    let off_at = bed.service.now();
    let (woken, cut, ()) = tokio::join!(
        agent.snapshot(&bed, 300, Some(&etag)),
        bed.own(&call, None),
        async {
            while bed.service.holds.taken() < 2 {
                tokio::task::yield_now().await;
            }
            assert_eq!(bed.service.switch_account(EMAIL, false).await.unwrap(), 2);
        }
    );
    assert_eq!(cut.code(), (401, "unauthorized"));
    let list = opened(&woken);
    assert!(list.keys.is_empty() && list.revision > before.revision);
    let [order] = &list.end_sessions[..] else {
        panic!("{list:?}");
    };
    assert_eq!(order.fingerprint.as_ref(), Some(&key.fingerprint));
    assert_eq!(order.asked_at, off_at);
    assert_eq!(bed.own("GET /v1/account", None).await.status, 401);
    assert_eq!(
        log_in_as(&bed, EMAIL, json!({})).await.code(),
        (401, "wrong-login")
    );
    let again = bed.service.switch_account(EMAIL, false).await;
    assert!(matches!(again, Err(AccountError::Already(..))));
    let unknown = bed.service.switch_account("x@example.com", false).await;
    assert!(matches!(unknown, Err(AccountError::Unknown(_))));

    bed.pass(5);
    bed.service.switch_account("2", true).await.unwrap();
    let back = opened(&agent.snapshot(&bed, 0, None).await);
    assert!(back.revision > list.revision && back.end_sessions.is_empty());
    assert_eq!(back.keys, before.keys);
    let shown = bed
        .own(&format!("GET /v1/ssh-keys/{}/rollout", key.id), None)
        .await;
    assert!(shown.of::<crate::wire::Rollout>(200).end_sessions.is_none());
    session(&bed).await;
    let acts: Vec<_> = log(&bed, 2)
        .await
        .into_iter()
        .map(|row| row.action)
        .collect();
    for act in ["account.disable", "account.enable"] {
        assert!(acts.iter().any(|done| done == act), "{act}");
    }
}

#[tokio::test]
async fn an_account_goes_when_its_keys_are_gone() {
    let bed = persons_bed().await;
    let (key, agent) = (bed.save(ED).await, bed.agent().await);
    let service = &bed.service;
    let early = service.remove_account(EMAIL, true).await;
    assert!(matches!(early, Err(AccountError::NotDisabled(_))));
    let revision = opened(&agent.snapshot(&bed, 0, None).await).revision;
    let held = json!({"managed": [key.fingerprint]});
    agent.applied(&bed, revision, held.clone()).await;
    service.switch_account(EMAIL, false).await.unwrap();
    let list = opened(&agent.snapshot(&bed, 0, None).await);
    for (revision, target) in [(revision, json!({})), (list.revision, held)] {
        bed.pass(2);
        agent.applied(&bed, revision, target).await;
        let refused = service.remove_account(EMAIL, false).await;
        let Err(AccountError::KeysLeft(instances)) = refused else {
            panic!("it may still hold the key");
        };
        assert_eq!(instances, [format!("{} \"box\"", agent.instance)]);
    }
    bed.pass(2);
    agent
        .applied(&bed, list.revision, json!({"managed": []}))
        .await;
    bed.service.store.write_reports().await.unwrap();
    assert_eq!(service.remove_account(EMAIL, false).await.unwrap(), 2);
    assert_eq!(agent.snapshot(&bed, 0, None).await.status, 401);
    assert_eq!(
        log_in_as(&bed, EMAIL, json!({})).await.code(),
        (401, "wrong-login")
    );
    let rows = log(&bed, 2).await;
    let gone = rows
        .iter()
        .find(|row| row.action == "account.remove")
        .unwrap();
    assert!(gone.detail.contains(EMAIL));
    assert!(
        rows.iter().any(|row| row.action == "ssh-key.add"),
        "its rows stay"
    );
    let left = service.list_accounts().await.unwrap();
    assert_eq!(left.len(), 1);
    // The address may have another account, with another id.
    assert_eq!(person(&bed).await, 3);
}

#[tokio::test]
async fn an_instance_that_was_cut_off_is_removed_at_once() {
    let bed = Bed::new().await;
    let (agent, other) = (bed.agent().await, bed.agent().await);
    let key = bed.save(ED).await;
    let detach = format!(
        "DELETE /v1/instances/{}/ssh-keys/{}",
        agent.instance, key.id
    );
    assert_eq!(bed.own(&detach, None).await.status, 200);
    agent.snapshot(&bed, 0, None).await.of::<Value>(200);
    let sessions = listed(&bed, &bed.key).await;
    let of_agent = |s: &&AccountSession| s.instance == Some(agent.instance);
    let session = sessions.iter().find(of_agent).unwrap().id;
    let delete = format!("DELETE /v1/sessions/{session}");
    assert_eq!(bed.own(&delete, None).await.status, 204);
    // It will never ask again, and so can never be told.
    let before = opened(&other.snapshot(&bed, 0, None).await);
    assert_eq!(before.except, [agent.instance]);
    let remove = format!("DELETE /v1/instances/{}", agent.instance);
    assert_eq!(bed.own(&remove, None).await.status, 204);
    let show = format!("GET /v1/instances/{}", agent.instance);
    assert_eq!(bed.own(&show, None).await.status, 404);
    let after = opened(&other.snapshot(&bed, 0, None).await);
    assert!(after.except.is_empty() && after.revision > before.revision);
}
