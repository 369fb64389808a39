//! One CA after the other: who is waited for, and who may ask for it.

use super::*;
use crate::wire::CaState;

impl Bed {
    async fn rotate(&self, token: &str, role: &str) -> Reply {
        let body = json!({"role": role, "password": PASSWORD});
        self.call(token, "POST /v1/ca/rotate", Some(body)).await
    }

    async fn settle(&self) {
        self.service.settle_rotations().await.unwrap();
        let now = self.service.now();
        self.service.store.forget_certificates(now).await.unwrap();
    }
}

impl TestAgent {
    /// Says that its sshd trusts these CAs.
    async fn trusts(&self, bed: &Bed, cas: &[String]) {
        let of = |key: &PublicKey| key.fingerprint().to_string();
        let cas: Vec<String> = keys(cas).iter().map(of).collect();
        let said = json!({"certificates": {"user_ca": cas, "krl_version": 1}});
        assert_eq!(self.heartbeat(bed, said).await.status, 200);
    }
}

fn states(cas: &Cas) -> Vec<CaState> {
    cas.items.iter().map(|ca| ca.state).collect()
}

/// A bed whose owner is a person; his session.
async fn persons() -> (Bed, String) {
    let bed = Bed::new().await;
    person(&bed).await;
    let token = session(&bed).await;
    let bed = Bed {
        key: token.clone(),
        ..bed
    };
    (bed, token)
}

#[tokio::test]
async fn only_a_person_with_the_password_rotates() {
    let (bed, token) = persons().await;
    let key = bed.key_by(&token, json!({"name": "all"})).await;
    let key: crate::wire::ApiKeySecret = key.of(201);
    assert_eq!(
        bed.rotate(&key.key, "user").await.code(),
        (403, "person-only")
    );
    let wrong = json!({"role": "user", "password": "wrong horse"});
    let refused = bed.own("POST /v1/ca/rotate", Some(wrong)).await;
    assert_eq!(refused.code(), (403, "wrong-password"));
    let bare = bed
        .own("POST /v1/ca/rotate", Some(json!({"role": "user"})))
        .await;
    assert_eq!(bare.status, 400);
    assert_eq!(bed.rotate(&token, "both").await.status, 400);
    assert_eq!(bed.cas().await, Cas::default());
    // Nobody has used the first one, and it is the one that signs.
    let made: Cas = bed.rotate(&token, "user").await.of(202);
    assert_eq!(states(&made), [CaState::Signing]);
}

#[tokio::test]
async fn another_user_ca_signs_once_every_instance_that_trusts_one_trusts_it() {
    let (bed, token) = persons().await;
    let (made, old) = bed.certified(&token, json!({"public_key": ED})).await;
    let (one, two, three, off) = (
        bed.agent().await,
        bed.agent().await,
        bed.agent().await,
        bed.agent().await,
    );
    let before = one.payload(&bed).await.user_ca;
    for agent in [&one, &two] {
        agent.trusts(&bed, &before).await;
    }
    // It has its sshd's settings from somebody else; the last one says nothing of certificates.
    three.trusts(&bed, &[]).await;
    off.heartbeat(&bed, json!({})).await;

    let shown: Cas = bed.rotate(&token, "user").await.of(202);
    assert_eq!(states(&shown), [CaState::Signing, CaState::Next]);
    assert_eq!(shown.items[1].waits_for, [one.instance, two.instance]);
    let again = bed.rotate(&token, "user").await;
    assert_eq!(again.code(), (409, "rotation-under-way"));
    let both = one.payload(&bed).await.user_ca;
    assert_eq!(both, shown.user_ca);
    one.trusts(&bed, &both).await;
    // Looked at soon, not in a minute.
    let soon = std::time::Duration::from_secs(20);
    let rung = tokio::time::timeout(soon, bed.service.hub.answers()).await;
    assert!(rung.is_ok());
    bed.settle().await;
    let shown = bed.cas().await;
    assert_eq!(shown.items[1].waits_for, [two.instance]);
    let (_, by_old) = bed.certified(&token, json!({"public_key": ED})).await;
    assert_eq!(by_old.ca(), old.ca());
    two.trusts(&bed, &both).await;
    bed.settle().await;
    let shown = bed.cas().await;
    assert_eq!(states(&shown), [CaState::Signing, CaState::Leaving]);
    assert_eq!(shown.user_ca, [both[1].clone(), both[0].clone()]);
    assert_eq!(one.payload(&bed).await.user_ca, shown.user_ca);
    let (_, by_new) = bed.certified(&token, json!({"public_key": ED})).await;
    assert_eq!(by_new.ca(), &keys(&both)[1]);
    // The old one stays as long as a certificate of it is good.
    let left = made.valid_before.duration_since(bed.service.now());
    bed.pass(left.as_secs() - 1);
    bed.settle().await;
    assert_eq!(states(&bed.cas().await).len(), 2);
    bed.pass(1);
    bed.settle().await;
    assert_eq!(bed.cas().await.user_ca, [both[1].clone()]);
    let rows = bed.service.store.audit(2, i64::MAX, 100).await.unwrap();
    for action in ["ca.make", "ca.rotate", "ca.sign", "ca.leave"] {
        assert!(rows.iter().any(|row| row.action == action), "{action}");
    }
}

#[tokio::test]
async fn an_instance_that_is_gone_holds_nobody_up() {
    let (bed, token) = persons().await;
    bed.certified(&token, json!({"public_key": ED})).await;
    let agent = bed.agent().await;
    agent.trusts(&bed, &agent.payload(&bed).await.user_ca).await;
    let shown: Cas = bed.rotate(&token, "user").await.of(202);
    assert_eq!(shown.items[1].waits_for, [agent.instance]);
    bed.pass(299);
    bed.settle().await;
    assert_eq!(states(&bed.cas().await)[1], CaState::Next);
    bed.pass(2);
    bed.settle().await;
    let after = states(&bed.cas().await);
    assert_eq!(after, [CaState::Signing, CaState::Leaving]);
}

#[tokio::test]
async fn what_another_replica_heard_counts_too() {
    let (bed, token) = persons().await;
    bed.certified(&token, json!({"public_key": ED})).await;
    let agent = bed.agent().await;
    agent.trusts(&bed, &agent.payload(&bed).await.user_ca).await;
    bed.service.store.write_reports().await.unwrap();
    // This one has heard nothing of it.
    bed.service.board.forget(agent.instance);
    let shown: Cas = bed.rotate(&token, "user").await.of(202);
    assert_eq!(shown.items[1].waits_for, [agent.instance]);
    bed.pass(301);
    bed.settle().await;
    assert_eq!(states(&bed.cas().await)[0], CaState::Signing);
    assert!(bed.cas().await.items[1].waits_for.is_empty());
}

#[tokio::test]
async fn people_have_a_week_to_learn_of_another_host_ca() {
    let (bed, token) = persons().await;
    let first = bed.service.cas(2, Role::Host).await.unwrap().remove(0);
    let host = crate::service::store::CertificateRow {
        ca: first.id,
        key_id: "2/host".to_owned(),
        fingerprint: "SHA256:host".to_owned(),
        ssh_key: None,
        session: None,
        api_key: None,
        instance: Some(bed.agent().await.instance),
        valid_after: bed.service.now(),
        valid_before: bed.service.now() + SignedDuration::from_hours(30 * 24),
    };
    let actor = crate::service::store::Actor::server(2);
    let (store, now) = (&bed.service.store, bed.service.now());
    store.add_certificate(actor, host, now).await.unwrap();
    let shown: Cas = bed.rotate(&token, "host").await.of(202);
    assert_eq!(states(&shown), [CaState::Signing, CaState::Next]);
    assert_eq!(shown.host_ca.len(), 2);
    assert!(shown.user_ca.is_empty() && shown.items[1].waits_for.is_empty());
    bed.pass(6 * 24 * 3_600);
    bed.settle().await;
    let token = session(&bed).await;
    let bed = Bed { key: token, ..bed };
    assert_eq!(states(&bed.cas().await)[1], CaState::Next);
    bed.pass(24 * 3_600);
    bed.settle().await;
    let token = session(&bed).await;
    let bed = Bed { key: token, ..bed };
    let after = states(&bed.cas().await);
    assert_eq!(after, [CaState::Signing, CaState::Leaving]);
    bed.pass(23 * 24 * 3_600);
    bed.settle().await;
    let token = session(&bed).await;
    let bed = Bed { key: token, ..bed };
    assert_eq!(bed.cas().await.host_ca, shown.host_ca[1..]);
}

#[tokio::test]
async fn a_ca_that_somebody_else_may_have_is_gone_at_once_with_all_that_it_signed() {
    let (bed, token) = persons().await;
    let (_, old) = bed.certified(&token, json!({"public_key": ED})).await;
    let agent = bed.agent().await;
    let before = agent.payload(&bed).await;
    // It trusts the old one only, and nobody waits for it.
    agent.trusts(&bed, &before.user_ca).await;
    let waits: Cas = bed.rotate(&token, "user").await.of(202);
    assert_eq!(states(&waits), [CaState::Signing, CaState::Next]);
    let body = json!({"role": "user", "password": PASSWORD, "compromised": true});
    let answer = bed.call(&token, "POST /v1/ca/rotate", Some(body)).await;
    let shown: Cas = answer.of(202);
    assert_eq!(states(&shown), [CaState::Signing]);
    assert!(!waits.user_ca.contains(&shown.user_ca[0]));
    let after = agent.payload(&bed).await;
    assert_eq!(after.user_ca, shown.user_ca);
    assert!(after.revision > before.revision);
    let krl = bed.krl().await;
    for ca in keys(&waits.user_ca) {
        assert!(krl.revokes_key(ca.blob()));
    }
    // Whatever serial and key ID a thief gives his own.
    assert!(krl.revokes_certificate(CertificateRef {
        ca: old.ca().blob(),
        serial: 1 << 40,
        key_id: b"thief",
        key: b"thief",
    }));
    let (_, new) = bed.certified(&token, json!({"public_key": ED})).await;
    assert_eq!(new.ca(), &keys(&shown.user_ca)[0]);
    assert!(!krl.revokes_key(new.ca().blob()));
    let rows = bed.service.store.audit(2, i64::MAX, 100).await.unwrap();
    assert!(rows.iter().any(|row| row.action == "ca.replace"));
}
