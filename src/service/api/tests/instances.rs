//! Keys of single instances, and instances as their owner sees and edits them.

use super::agents::opened;
use super::keys::{actions, fresh, ids, list, rollout};
use super::*;
use crate::wire::{Attachment, Instance, InstanceState};

#[tokio::test]
async fn an_instance_with_keys_of_its_own_has_a_list_of_its_own() {
    let bed = Bed::new().await;
    let (one, two) = (bed.agent().await, bed.agent().await);
    let everywhere = bed.save(ED).await;
    let body = json!({"public_key": fresh(), "scope": "some"});
    let key: SshKey = bed.own("POST /v1/ssh-keys", Some(body)).await.of(201);
    let on = format!("/v1/instances/{}/ssh-keys/{}", one.instance, key.id);
    assert_eq!(ids(&list(&bed, &one).await), [everywhere.id]);
    assert!(rollout(&bed, key.id).await.instances.is_empty());

    let (etag_1, etag_2) = (
        one.snapshot(&bed, 0, None).await.etag(),
        two.snapshot(&bed, 0, None).await.etag(),
    );
    assert_eq!(etag_1, etag_2, "one signature for both");
    let (first, second, set) = tokio::join!(
        one.snapshot(&bed, 300, Some(&etag_1)),
        two.snapshot(&bed, 300, Some(&etag_2)),
        async {
            bed.held().await;
            bed.own(&format!("PUT {on}"), None).await
        }
    );
    let set: Attachment = set.of(200);
    assert!(set.attached && !set.nowhere);
    let (first, second) = (opened(&first), opened(&second));
    assert_eq!(first.instance, Some(one.instance));
    assert_eq!(ids(&first), [everywhere.id, key.id]);
    assert_eq!(
        (second.instance, &second.except[..]),
        (None, &[one.instance][..])
    );
    assert_eq!(ids(&second), [everywhere.id]);
    assert_eq!(first.revision, second.revision);
    // Again the same bytes.
    assert_eq!(
        one.snapshot(&bed, 0, None).await.etag(),
        one.snapshot(&bed, 0, None).await.etag()
    );

    let picture = rollout(&bed, key.id).await;
    let wants: Vec<i64> = picture.instances.iter().map(|i| i.instance).collect();
    assert_eq!((wants, picture.counts.total), (vec![one.instance], 1));
    assert_eq!(rollout(&bed, everywhere.id).await.counts.total, 2);
    let shown = format!("GET /v1/instances/{}", one.instance);
    let instance: Instance = bed.own(&shown, None).await.of(200);
    assert_eq!(
        (instance.attached, instance.detached),
        (vec![key.id], vec![])
    );

    // A key that comes later comes here too.
    let later = bed.save(&fresh()).await;
    assert_eq!(
        ids(&list(&bed, &one).await),
        [everywhere.id, key.id, later.id]
    );
    assert_eq!(ids(&list(&bed, &two).await), [everywhere.id, later.id]);

    let gone: Attachment = bed.own(&format!("DELETE {on}"), None).await.of(200);
    assert!(!gone.attached && gone.nowhere, "saved, and on no instance");
    let same = list(&bed, &one).await;
    assert_eq!((same.instance, same.except.len()), (None, 0));
    assert_eq!(ids(&same), [everywhere.id, later.id]);
    let again: Attachment = bed.own(&format!("DELETE {on}"), None).await.of(200);
    assert!(!again.nowhere);
    let done = actions(&bed).await;
    assert_eq!(done.iter().filter(|a| *a == "instance.attach").count(), 1);
    assert_eq!(done.iter().filter(|a| *a == "instance.detach").count(), 1);
}

#[tokio::test]
async fn a_detached_key_stays_away_through_edits_until_it_is_attached() {
    let bed = Bed::new().await;
    let (one, two) = (bed.agent().await, bed.agent().await);
    let key = bed.save(ED).await;
    let on = format!("/v1/instances/{}/ssh-keys/{}", one.instance, key.id);
    bed.own(&format!("DELETE {on}"), None)
        .await
        .of::<Attachment>(200);
    let own = list(&bed, &one).await;
    assert_eq!((own.instance, own.keys.len()), (Some(one.instance), 0));
    assert_eq!(ids(&list(&bed, &two).await), [key.id]);

    let patch = format!("PATCH /v1/ssh-keys/{}", key.id);
    for body in [
        json!({"name": "other"}),
        json!({"public_key": fresh()}),
        json!({"scope": "some"}),
        json!({"scope": "all"}),
    ] {
        bed.own(&patch, Some(body)).await.of::<SshKey>(200);
        assert!(list(&bed, &one).await.keys.is_empty());
    }
    assert_eq!(ids(&list(&bed, &two).await), [key.id]);
    bed.own(&format!("PUT {on}"), None)
        .await
        .of::<Attachment>(200);
    let back = list(&bed, &one).await;
    assert_eq!((back.instance, ids(&back)), (None, vec![key.id]));
    // Attached is attached, also when the key is no more for all.
    bed.own(&patch, Some(json!({"scope": "some"})))
        .await
        .of::<SshKey>(200);
    assert_eq!(ids(&list(&bed, &one).await), [key.id]);
    assert!(list(&bed, &two).await.keys.is_empty());
}

#[tokio::test]
async fn the_last_list_of_an_instance_has_its_own_keys_and_nobody_elses_list_changes_twice() {
    let bed = Bed::new().await;
    let (one, two) = (bed.agent().await, bed.agent().await);
    let body = json!({"public_key": fresh(), "scope": "some"});
    let key: SshKey = bed.own("POST /v1/ssh-keys", Some(body)).await.of(201);
    let on = format!("PUT /v1/instances/{}/ssh-keys/{}", one.instance, key.id);
    bed.own(&on, None).await.of::<Attachment>(200);
    assert_eq!(list(&bed, &two).await.except, [one.instance]);
    let remove = format!("DELETE /v1/instances/{}", one.instance);
    assert_eq!(bed.own(&remove, None).await.status, 204);
    let shown = format!("GET /v1/instances/{}", one.instance);
    let instance: Instance = bed.own(&shown, None).await.of(200);
    assert_eq!(instance.state, InstanceState::Removing);
    assert_eq!(bed.own(&on, None).await.code(), (404, "not-found"));

    let others = two.snapshot(&bed, 0, None).await;
    assert!(opened(&others).except.is_empty());
    let last = list(&bed, &one).await;
    assert_eq!(
        (last.instance, ids(&last)),
        (Some(one.instance), vec![key.id])
    );
    assert!(last.removed.is_some());
    one.heartbeat(&bed, json!({"stopping": true})).await;
    assert_eq!(bed.own(&shown, None).await.code(), (404, "not-found"));
    let same = two.snapshot(&bed, 0, Some(&others.etag())).await;
    assert_eq!(same.status, 304, "one revision never has two contents");
}

#[tokio::test]
async fn an_instance_is_renamed() {
    let bed = Bed::new().await;
    let made = bed.instance().await;
    let path = format!("/v1/instances/{}", made.id);
    let seen = bed.own(&format!("GET {path}"), None).await.etag();
    let patch = format!("PATCH {path}");
    let named = bed.own(&patch, Some(json!({"label": " web "}))).await;
    assert_eq!(named.of::<Instance>(200).label, "web");
    assert_ne!(named.etag(), seen);
    let headers = [("if-match", seen.as_str())];
    let late = bed
        .call_with(&bed.key, &patch, &headers, Some(json!({"label": "x"})))
        .await;
    assert_eq!(late.code(), (412, "changed"));
    let same = bed.own(&patch, Some(json!({}))).await;
    assert_eq!(same.of::<Instance>(200).label, "web");
    for label in ["", " ", "a\u{1b}[2J"] {
        let reply = bed.own(&patch, Some(json!({"label": label}))).await;
        assert_eq!(reply.code(), (400, "bad-label"));
    }
    let rows = bed.service.store.audit(1, i64::MAX, 1).await.unwrap();
    assert_eq!(rows[0].action, "instance.rename");
    assert!(
        rows[0].detail.contains("\"was\":\"box\""),
        "{}",
        rows[0].detail
    );
}

#[tokio::test]
async fn a_twin_is_shown_to_the_owner_and_listed_once_an_hour() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let shown = async || -> Instance {
        let call = format!("GET /v1/instances/{}", agent.instance);
        bed.own(&call, None).await.of(200)
    };
    let twin = TestAgent {
        run: "run-2".to_owned(),
        ..agent.clone()
    };
    assert_eq!(twin.snapshot(&bed, 0, None).await.status, 200);
    assert_eq!(shown().await.clone, None, "that was a restart");
    let at = *bed.clock.lock().unwrap();
    for _ in 0..3 {
        let refused = agent.heartbeat(&bed, json!({})).await;
        assert_eq!(refused.code(), (409, "clone"));
    }
    let listed = async || -> usize {
        let all = actions(&bed).await;
        all.iter().filter(|a| *a == "instance.clone").count()
    };
    assert_eq!(shown().await.clone.unwrap().at, at);
    assert_eq!(listed().await, 1);
    bed.pass(120);
    let nonce = agent.nonce(&bed).await;
    let renewed = agent.renew(&bed, &nonce, URL).await;
    assert_eq!(renewed.code(), (409, "clone"));
    assert!(shown().await.clone.unwrap().at > at);
    assert_eq!(listed().await, 1, "known by now");
    bed.pass(60 * 60);
    assert_eq!(agent.snapshot(&bed, 0, None).await.code(), (409, "clone"));
    assert_eq!(listed().await, 2);
    bed.pass(7 * 24 * 60 * 60);
    assert_eq!(shown().await.clone, None, "long ago");
    let rows = bed.service.store.audit(1, i64::MAX, 1).await.unwrap();
    assert_eq!(
        (rows[0].outcome.as_str(), rows[0].about),
        ("refused", Some(agent.instance))
    );
}

#[tokio::test]
async fn what_removed_instances_said_is_forgotten() {
    let bed = Bed::new().await;
    let mut agents = Vec::new();
    for _ in 0..3 {
        let agent = bed.agent().await;
        agent.heartbeat(&bed, json!({})).await.of::<Value>(200);
        agents.push(agent);
    }
    assert_eq!(bed.service.board.len(), 3);
    for agent in &agents[1..] {
        let call = format!("DELETE /v1/instances/{}", agent.instance);
        assert_eq!(bed.own(&call, None).await.status, 204);
        agent.snapshot(&bed, 0, None).await.of::<Value>(200);
    }
    bed.pass(61);
    // One is swept away with the next that is made, and so is never heard to end.
    bed.instance().await;
    bed.service.forget_removed().await.unwrap();
    assert_eq!(bed.service.board.len(), 1);
    let call = format!("GET /v1/instances/{}", agents[0].instance);
    let left: Value = bed.own(&call, None).await.of(200);
    assert_eq!(left["state"], "stale");
}
