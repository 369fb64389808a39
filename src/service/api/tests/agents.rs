//! What agents call (protocol.md sections 1, 2, 4).

use super::*;
use crate::keys::PublicKey;
use crate::trust;
use crate::wire::{HeartbeatAnswer, Instance, NAMESPACE, Payload, RenewAnswer, SignedSnapshot};
use base64::Engine as _;

pub(super) fn opened(reply: &Reply) -> Payload {
    let signed: SignedSnapshot = reply.of(200);
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(signed.payload)
        .unwrap();
    let payload: Payload = serde_json::from_slice(&bytes).unwrap();
    let (signer, _) = PublicKey::parse_text(&payload.signers[0]).unwrap();
    trust::verify(NAMESPACE, &bytes, &signed.signatures[0], &signer).unwrap();
    payload
}

#[tokio::test]
async fn a_lost_answer_to_an_enrolment_costs_nothing() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let again: EnrollAnswer = agent.enroll(&bed).await.of(200);
    assert_eq!(again.instance, agent.instance);
    assert_ne!(again.session_key, agent.session);
    assert_eq!(agent.snapshot(&bed, 0, None).await.status, 200);

    let other = TestAgent {
        signer: Arc::new(Signer::from_seed(&rand::random())),
        ..agent.clone()
    };
    assert_eq!(other.enroll(&bed).await.code(), (409, "token-used"));
    bed.pass(24 * 60 * 60);
    assert_eq!(agent.enroll(&bed).await.code(), (401, "token-expired"));
}

#[tokio::test]
async fn what_is_no_enrolment_is_refused() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let unknown = Signer::from_seed(&rand::random());
    let line = unknown.public().to_string();
    let strange = crate::service::token::Token::random(crate::service::token::Kind::Enrolment);
    for (token, key, run, code) in [
        ("skd_enr_x", line.as_str(), "r", (401, "token-unknown")),
        (strange.reveal(), &line, "r", (401, "token-unknown")),
        (&agent.session, &line, "r", (401, "token-unknown")),
        (&agent.token, "x", "r", (400, "not-a-key")),
        (&agent.token, &line, "", (400, "bad-run")),
    ] {
        let body = json!({"token": token, "public_key": key, "run": run});
        let reply = bed.call("", "POST /v1/agent/enroll", Some(body)).await;
        assert_eq!(reply.code(), code);
    }
}

#[tokio::test]
async fn a_renewal_is_signed_fresh_once_and_for_this_service() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let nonce = agent.nonce(&bed).await;
    let elsewhere = agent.renew(&bed, &nonce, "https://evil.example").await;
    assert_eq!(elsewhere.code(), (401, "wrong-url"));
    let thief = TestAgent {
        signer: Arc::new(Signer::from_seed(&rand::random())),
        ..agent.clone()
    };
    assert_eq!(
        thief.renew(&bed, &nonce, URL).await.code(),
        (401, "unauthorized")
    );
    let unknown = TestAgent {
        instance: 999,
        ..agent.clone()
    };
    assert_eq!(
        unknown.renew(&bed, &nonce, URL).await.code(),
        (401, "unauthorized")
    );

    let renewed: RenewAnswer = agent.renew(&bed, &nonce, URL).await.of(200);
    assert_eq!(
        agent.renew(&bed, &nonce, URL).await.code(),
        (401, "nonce-used")
    );
    let mut shifted = agent.nonce(&bed).await;
    shifted.at += SignedDuration::from_secs(1);
    assert_eq!(
        agent.renew(&bed, &shifted, URL).await.code(),
        (401, "nonce-expired")
    );
    let old = agent.nonce(&bed).await;
    bed.pass(60);
    assert_eq!(
        agent.renew(&bed, &old, URL).await.code(),
        (401, "nonce-expired")
    );

    assert_eq!(agent.snapshot(&bed, 0, None).await.status, 200);
    let after = TestAgent {
        session: renewed.session_key,
        ..agent.clone()
    };
    assert_eq!(after.snapshot(&bed, 0, None).await.status, 200);
    assert_eq!(
        agent.snapshot(&bed, 0, None).await.code(),
        (401, "unauthorized")
    );
    assert_eq!(after.snapshot(&bed, 0, None).await.status, 200);
}

#[tokio::test]
async fn a_restart_takes_over_and_a_twin_is_told_apart() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let twin = TestAgent {
        run: "run-2".to_owned(),
        ..agent.clone()
    };
    assert_eq!(twin.snapshot(&bed, 0, None).await.status, 200);
    let nonce = agent.nonce(&bed).await;
    for reply in [
        agent.snapshot(&bed, 0, None).await,
        agent.heartbeat(&bed, json!({})).await,
        agent.enroll(&bed).await,
        agent.renew(&bed, &nonce, URL).await,
    ] {
        assert_eq!(reply.code(), (409, "clone"));
    }
    twin.heartbeat(&bed, json!({})).await.of::<Value>(200);
    let silent = TestAgent {
        run: String::new(),
        ..twin
    };
    assert_eq!(
        silent.snapshot(&bed, 0, None).await.code(),
        (400, "bad-run")
    );
}

#[tokio::test]
async fn a_snapshot_verifies_and_says_what_was_saved() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let empty = agent.snapshot(&bed, 0, None).await;
    assert_eq!(opened(&empty).keys, []);
    let key = bed.save(&format!("{ED} laptop")).await;
    let reply = agent.snapshot(&bed, 0, Some(&empty.etag())).await;
    let payload = opened(&reply);
    assert!(payload.revision > opened(&empty).revision);
    assert_eq!((payload.v, payload.instance), (1, None));
    assert_eq!(
        payload.expires_at - payload.issued_at,
        jiff::Span::new().seconds(86_400).fieldwise()
    );
    let kept = &payload.keys[0];
    assert_eq!((kept.id, kept.name.as_str()), (key.id, "laptop"));
    assert_eq!(
        (kept.public_key.as_str(), kept.saved_at),
        (ED, key.created_at)
    );

    assert_eq!(
        agent.snapshot(&bed, 0, Some(&reply.etag())).await.status,
        304
    );
    bed.pass(12 * 60 * 60);
    let turned = agent.snapshot(&bed, 0, Some(&reply.etag())).await;
    let turned = opened(&turned);
    assert_eq!(
        (turned.revision, &turned.keys),
        (payload.revision, &payload.keys)
    );
    assert!(turned.issued_at > payload.issued_at);
}

#[tokio::test]
async fn a_held_query_wakes_on_a_save() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let (woken, _) = tokio::join!(agent.snapshot(&bed, 300, Some(&etag)), async {
        bed.held().await;
        bed.save(ED).await
    });
    assert_eq!(opened(&woken).keys.len(), 1);
}

#[tokio::test]
async fn a_held_query_gets_the_list_that_is_signed_again_without_a_save() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let now = *bed.clock.lock().unwrap();
    let snapshots = &bed.service.snapshots;
    let signed = snapshots.current(&bed.service.store, 1, 0, now).await;
    let turn = signed.unwrap().turn;
    *bed.clock.lock().unwrap() = turn - SignedDuration::from_millis(20);
    let old = agent.snapshot(&bed, 0, None).await;
    let etag = old.etag();
    let (new, ()) = tokio::join!(agent.snapshot(&bed, 300, Some(&etag)), async {
        bed.held().await;
        *bed.clock.lock().unwrap() = turn;
    });
    let (old, new) = (opened(&old), opened(&new));
    assert_eq!((new.issued_at, new.revision), (turn, old.revision));
    assert!(old.issued_at < turn && new.expires_at > old.expires_at);
}

#[tokio::test]
async fn a_wait_ends_with_304() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let reply = agent.snapshot(&bed, 1, Some(&etag)).await;
    assert_eq!(reply.status, 304);
    assert_eq!(reply.etag(), etag);
}

#[tokio::test]
async fn a_second_query_ends_the_first() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let first = agent.snapshot(&bed, 300, Some(&etag));
    let second = async {
        bed.held().await;
        agent.snapshot(&bed, 1, Some(&etag)).await
    };
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    tokio::select! {
        reply = &mut first => assert_eq!(reply.status, 304),
        _ = &mut second => panic!("the second ended before the first"),
    }
    assert_eq!(second.await.status, 304);
}

#[tokio::test]
async fn a_heartbeat_is_cut_and_lifts_a_lost_revision() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let conditions: Vec<Value> = (0..70)
        .map(|_| {
            json!({"code": "c", "severity": "notice", "since": "2026-11-22T19:00:00Z",
                "about": "a\u{1b}", "text": "x".repeat(300), "do": ""})
        })
        .collect();
    let more = json!({"conditions": conditions, "instance": 999});
    let answer: HeartbeatAnswer = agent.heartbeat(&bed, more).await.of(200);
    assert_eq!(answer.next_in, 30);
    let path = format!("GET /v1/instances/{}", agent.instance);
    let shown: Instance = bed.own(&path, None).await.of(200);
    let status = shown.status.unwrap();
    assert_eq!(status.instance, Some(agent.instance));
    assert_eq!(status.conditions.len(), 64);
    assert_eq!(status.conditions[0].about, "a");
    assert_eq!(status.conditions[0].text.len(), 256);

    let far = answer.revision + 3_600_000;
    let lifted: HeartbeatAnswer = agent.applied(&bed, far, json!({})).await.of(200);
    assert_eq!(lifted.revision, far + 1);
    let too_far = far + 2 * 86_400_000;
    let same: HeartbeatAnswer = agent.applied(&bed, too_far, json!({})).await.of(200);
    assert_eq!(same.revision, far + 1);
    // Each time wakes the whole account, so that one instance may do it once a minute.
    let soon: HeartbeatAnswer = agent.applied(&bed, far + 9, json!({})).await.of(200);
    assert_eq!(soon.revision, far + 1);
    bed.pass(60);
    let later: HeartbeatAnswer = agent.applied(&bed, far + 9, json!({})).await.of(200);
    assert_eq!(later.revision, far + 10);
    let large = json!({"version": "x".repeat(64 * 1024)});
    let large = agent.heartbeat(&bed, large).await;
    assert_eq!(large.code(), (413, "too-large"));
}

#[tokio::test]
async fn a_removed_instance_gets_one_last_list_and_then_nothing() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let etag = agent.snapshot(&bed, 0, None).await.etag();
    let path = format!("/v1/instances/{}", agent.instance);
    let delete = format!("DELETE {path}?take_keys=true");
    let (last, deleted) = tokio::join!(agent.snapshot(&bed, 300, Some(&etag)), async {
        bed.held().await;
        bed.own(&delete, None).await
    });
    assert_eq!(deleted.status, 204);
    let last = opened(&last);
    assert_eq!(last.instance, Some(agent.instance));
    assert!(last.removed.unwrap().take_keys);
    assert_eq!(agent.enroll(&bed).await.code(), (401, "token-unknown"));

    agent
        .heartbeat(&bed, json!({"stopping": true}))
        .await
        .of::<Value>(200);
    assert_eq!(
        agent.snapshot(&bed, 0, None).await.code(),
        (401, "unauthorized")
    );
    assert_eq!(bed.own(&format!("GET {path}"), None).await.status, 404);
}

#[tokio::test]
async fn a_removed_instance_that_was_off_gets_its_last_list_when_it_comes_back() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let path = format!("/v1/instances/{}", agent.instance);
    assert_eq!(bed.own(&format!("DELETE {path}"), None).await.status, 204);
    bed.pass(30 * 24 * 60 * 60);
    assert_eq!(bed.own(&format!("GET {path}"), None).await.status, 200);
    let last = opened(&agent.snapshot(&bed, 0, None).await);
    assert!(!last.removed.unwrap().take_keys);
    bed.pass(61);
    assert_eq!(bed.own(&format!("GET {path}"), None).await.status, 404);
    assert_eq!(
        agent.snapshot(&bed, 0, None).await.code(),
        (401, "unauthorized")
    );
    let nonce = agent.nonce(&bed).await;
    assert_eq!(
        agent.renew(&bed, &nonce, URL).await.code(),
        (401, "unauthorized")
    );
}

#[tokio::test]
async fn an_instance_that_will_not_hear_of_its_removal_goes_all_the_same() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let path = format!("/v1/instances/{}", agent.instance);
    assert_eq!(bed.own(&format!("DELETE {path}"), None).await.status, 204);
    assert_eq!(agent.snapshot(&bed, 0, Some("*")).await.status, 304);
    bed.pass(61);
    assert_eq!(
        agent.snapshot(&bed, 0, Some("*")).await.code(),
        (401, "unauthorized")
    );
}
