//! Keys that are edited, and keys that are revoked by their fingerprint.

use super::agents::opened;
use super::*;
use crate::wire::{Payload, Rollout, RolloutState};

pub(super) fn fresh() -> String {
    Signer::from_seed(&rand::random()).public().to_string()
}

pub(super) async fn list(bed: &Bed, agent: &TestAgent) -> Payload {
    opened(&agent.snapshot(bed, 0, None).await)
}

pub(super) fn ids(list: &Payload) -> Vec<i64> {
    list.keys.iter().map(|key| key.id).collect()
}

pub(super) async fn rollout(bed: &Bed, id: i64) -> Rollout {
    let call = format!("GET /v1/ssh-keys/{id}/rollout");
    bed.own(&call, None).await.of(200)
}

pub(super) async fn actions(bed: &Bed) -> Vec<String> {
    let rows = bed.service.store.audit(1, i64::MAX, 100).await.unwrap();
    let mut actions: Vec<_> = rows.into_iter().map(|row| row.action).collect();
    actions.reverse();
    actions
}

#[tokio::test]
async fn an_edit_changes_what_it_names_and_nothing_else() {
    let bed = Bed::new().await;
    let body = json!({"public_key": ED, "name": "laptop", "options": "no-pty",
        "expires_at": "2027-01-01T00:00:00Z"});
    let key: SshKey = bed.own("POST /v1/ssh-keys", Some(body)).await.of(201);
    let patch = format!("PATCH /v1/ssh-keys/{}", key.id);
    let edit = async |body: Value| bed.own(&patch, Some(body)).await;

    let named: SshKey = edit(json!({"name": " desk "})).await.of(200);
    assert_eq!(
        named,
        SshKey {
            name: "desk".to_owned(),
            ..key.clone()
        }
    );
    let forever: SshKey = edit(json!({"expires_at": null})).await.of(200);
    assert_eq!(forever.expires_at, None);
    assert_eq!(forever.options, "no-pty");
    let free: SshKey = edit(json!({"options": ""})).await.of(200);
    assert_eq!(free.options, "");
    let some: SshKey = edit(json!({"scope": "some"})).await.of(200);
    assert_eq!(some.scope, crate::wire::KeyScope::Some);
    assert_eq!((some.id, &some.name), (key.id, &"desk".to_owned()));
    for (body, code) in [
        (json!({"name": ""}), "bad-name"),
        (json!({"name": "a\nb"}), "bad-name"),
        (json!({"options": "no-ptty"}), "unknown-option"),
        (json!({"expires_at": "2020-01-01T00:00:00Z"}), "expired"),
        (json!({"scope": "none"}), "bad-json"),
        (json!({"public_key": "x"}), "no-blob"),
    ] {
        let reply = edit(body.clone()).await;
        assert_eq!(reply.status, 400, "{body}");
        if code != "no-blob" {
            assert_eq!(reply.code().1, code, "{body}");
        }
    }
    let shown: SshKey = bed
        .own(&format!("GET /v1/ssh-keys/{}", key.id), None)
        .await
        .of(200);
    assert_eq!(shown, some);
    let twice =
        json!({"options": "expiry-time=\"20990101\"", "expires_at": "2027-01-01T00:00:00Z"});
    assert_eq!(edit(twice).await.code(), (400, "option-twice"));
    let done = actions(&bed).await;
    assert_eq!(done.iter().filter(|a| *a == "ssh-key.edit").count(), 4);
}

#[tokio::test]
async fn another_text_is_an_add_and_a_delete_at_once() {
    let bed = Bed::new().await;
    let (agent, new) = (bed.agent().await, fresh());
    let key = bed.save(ED).await;
    agent
        .applied(
            &bed,
            list(&bed, &agent).await.revision,
            json!({"managed": [key.fingerprint], "proof": {"accepted": [key.fingerprint], "at": null}}),
        )
        .await;
    assert_eq!(rollout(&bed, key.id).await.counts.proved, 1);
    let before = agent.snapshot(&bed, 0, None).await;
    let etag = before.etag();
    bed.pass(60);
    let call = format!("PATCH /v1/ssh-keys/{}?end_sessions=true", key.id);
    let (woken, edited) = tokio::join!(agent.snapshot(&bed, 300, Some(&etag)), async {
        bed.held().await;
        bed.own(&call, Some(json!({"public_key": format!("{new} x")})))
            .await
    });
    let edited: SshKey = edited.of(200);
    assert_eq!(
        (edited.id, edited.public_key.as_str()),
        (key.id, new.as_str())
    );
    assert_eq!(
        (&edited.name, edited.created_at),
        (&key.name, key.created_at)
    );
    let (before, after) = (opened(&before), opened(&woken));
    assert!(after.revision > before.revision);
    assert_eq!(after.keys.len(), 1);
    assert_eq!(after.keys[0].public_key, new);
    assert!(after.keys[0].saved_at > key.created_at);
    assert_eq!(
        after.end_sessions[0].fingerprint.as_ref(),
        Some(&key.fingerprint)
    );

    // The rollout is that of the text that is to come, and its time begins anew.
    let picture = rollout(&bed, key.id).await;
    assert_eq!(picture.fingerprint, edited.fingerprint);
    assert_eq!(picture.instances[0].state, RolloutState::Wanted);
    bed.pass(2);
    let proof = json!({"managed": [edited.fingerprint],
        "proof": {"accepted": [edited.fingerprint], "at": null}});
    agent.applied(&bed, after.revision, proof).await;
    let proved = rollout(&bed, key.id).await;
    assert_eq!(proved.instances[0].proved_after_ms, Some(2_000));

    // The same again ends nothing more.
    let again: SshKey = bed
        .own(&call, Some(json!({"public_key": new})))
        .await
        .of(200);
    assert_eq!(again, edited);
    assert_eq!(list(&bed, &agent).await.revision, after.revision);
    let nothing = bed.own(&call, Some(json!({"name": "x"}))).await;
    assert_eq!(nothing.code(), (400, "nothing-to-end"));
}

#[tokio::test]
async fn a_text_that_is_another_keys_or_revoked_is_not_taken() {
    let bed = Bed::new().await;
    let (first, second) = (bed.save(ED).await, bed.save(&fresh()).await);
    let patch = format!("PATCH /v1/ssh-keys/{}", second.id);
    let taken = bed.own(&patch, Some(json!({"public_key": ED}))).await;
    assert_eq!(taken.code(), (409, "key-taken"));
    assert_eq!(taken.json["id"], first.id);
    let revoke = format!("POST /v1/ssh-keys/{}/revoke", first.id);
    assert_eq!(bed.own(&revoke, None).await.status, 204);
    let revoked = bed.own(&patch, Some(json!({"public_key": ED}))).await;
    assert_eq!(revoked.code(), (409, "revoked"));
    let shown = bed
        .own(&format!("GET /v1/ssh-keys/{}", second.id), None)
        .await;
    assert_eq!(shown.of::<SshKey>(200), second);
    let scoped = json!({"public_key": second.public_key, "scope": "some"});
    let scoped = bed.own("POST /v1/ssh-keys", Some(scoped)).await;
    assert_eq!(scoped.code(), (409, "options-differ"));
    assert_eq!(scoped.json["id"], second.id);
}

#[tokio::test]
async fn who_edits_what_another_has_edited_is_told_so() {
    let bed = Bed::new().await;
    let key = bed.save(ED).await;
    let path = format!("/v1/ssh-keys/{}", key.id);
    let seen = bed.own(&format!("GET {path}"), None).await.etag();
    let with = async |call: &str, tag: &str, body: Option<Value>| {
        let headers = [("if-match", tag)];
        bed.call_with(&bed.key, call, &headers, body).await
    };
    let patch = format!("PATCH {path}");
    let first = with(&patch, &seen, Some(json!({"name": "one"}))).await;
    assert_eq!(first.status, 200);
    let late = with(&patch, &seen, Some(json!({"name": "two"}))).await;
    assert_eq!(late.code(), (412, "changed"));
    let delete = format!("DELETE {path}");
    assert_eq!(with(&delete, &seen, None).await.code(), (412, "changed"));
    // That an instance saw a use of the key is no edit.
    let agent = bed.agent().await;
    let session = json!([{"id": "1", "user": "root", "from": "192.0.2.1:1", "pid": 1,
        "since": "2026-11-22T18:59:59Z", "fingerprint": key.fingerprint, "certificate": null}]);
    agent.heartbeat(&bed, json!({"sessions": session})).await;
    assert_eq!(with(&delete, &first.etag(), None).await.status, 204);
    assert_eq!(with(&delete, "*", None).await.code(), (404, "not-found"));
}

#[tokio::test]
async fn a_key_that_is_gone_is_revoked_by_its_fingerprint() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let key = bed.save(ED).await;
    let delete = format!("DELETE /v1/ssh-keys/{}", key.id);
    assert_eq!(bed.own(&delete, None).await.status, 204);
    let escaped = key.fingerprint.replace('/', "%2F").replace('+', "%2B");
    let revoke = format!("POST /v1/ssh-keys/{escaped}/revoke");
    assert_eq!(bed.own(&revoke, None).await.status, 204);
    let after = list(&bed, &agent).await;
    assert_eq!(after.revoked[0].fingerprint, key.fingerprint);
    assert_eq!(
        after.end_sessions[0].fingerprint.as_ref(),
        Some(&key.fingerprint)
    );
    let body = json!({"public_key": ED});
    let again = bed.own("POST /v1/ssh-keys", Some(body)).await;
    assert_eq!(again.code(), (409, "revoked"));
    assert_eq!(bed.own(&revoke, None).await.status, 204);
    assert_eq!(list(&bed, &agent).await.revision, after.revision);

    // The same for one that is there: it is the key of that id.
    let other = bed.save(&fresh()).await;
    let escaped = other.fingerprint.replace('/', "%2F");
    let revoke = format!("POST /v1/ssh-keys/{escaped}/revoke");
    assert_eq!(bed.own(&revoke, None).await.status, 204);
    assert!(list(&bed, &agent).await.keys.is_empty());
    let bad = bed.own("POST /v1/ssh-keys/SHA256:x/revoke", None).await;
    assert_eq!(bad.code(), (400, "bad-fingerprint"));
}

#[tokio::test]
async fn what_is_another_accounts_is_not_edited() {
    let bed = Bed::new().await;
    let (key, instance) = (bed.save(ED).await, bed.instance().await);
    let other = bed
        .service
        .add_account("b@example.com", None)
        .await
        .unwrap();
    let other = other.api_key.as_str();
    let (theirs, mine) = (instance.id, key.id);
    for call in [
        format!("PATCH /v1/ssh-keys/{mine}"),
        format!("POST /v1/ssh-keys/{mine}/revoke"),
        format!("PATCH /v1/instances/{theirs}"),
        format!("PUT /v1/instances/{theirs}/ssh-keys/{mine}"),
        format!("DELETE /v1/instances/{theirs}/ssh-keys/{mine}"),
    ] {
        let body = json!({"name": "x", "label": "x"});
        let reply = bed.call(other, &call, Some(body)).await;
        assert_eq!(reply.code(), (404, "not-found"), "{call}");
    }
    // Nor is a key of theirs put on an instance of ours.
    let body = json!({"label": "b"});
    let own = bed.call(other, "POST /v1/instances", Some(body)).await;
    let own = own.of::<NewInstanceAnswer>(201).id;
    let call = format!("PUT /v1/instances/{own}/ssh-keys/{mine}");
    assert_eq!(
        bed.call(other, &call, None).await.code(),
        (404, "not-found")
    );
}
