//! One snapshot signer after the other (protocol.md section 2, "Signers").

use super::*;
use crate::config::Database;
use crate::keys::PublicKey;
use crate::service::{ServiceError, rotate_signer};
use crate::wire::{HANDOVER_NAMESPACE, Handover, HandoverPayload, Page, Payload, SignedSnapshot};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const DAY: i64 = 24 * 60 * 60;

/// What a list says, once it is shown that each of the signers that it names has signed it.
async fn list(bed: &Bed, agent: &TestAgent) -> Payload {
    let signed: SignedSnapshot = agent.snapshot(bed, 0, None).await.of(200);
    let bytes = STANDARD.decode(&signed.payload).unwrap();
    let payload: Payload = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(payload.signers.len(), signed.signatures.len());
    for (line, signature) in payload.signers.iter().zip(&signed.signatures) {
        let (key, _) = PublicKey::parse_text(line).unwrap();
        crate::trust::verify(crate::wire::NAMESPACE, &bytes, signature, &key).unwrap();
    }
    payload
}

async fn chain(bed: &Bed, agent: &TestAgent, from: &str) -> Vec<Handover> {
    let (key, _) = PublicKey::parse_text(from).unwrap();
    let query: String = key.fingerprint().to_string().replace('+', "%2B");
    let call = format!("GET /v1/agent/signers?from={query}");
    let page: Page<Handover> = bed.call(&agent.session, &call, None).await.of(200);
    page.items
}

async fn rotate(bed: &Bed, compromised: bool) {
    rotate_signer(&config(&bed.dir), compromised).unwrap();
    bed.service.reload_secrets(&config(&bed.dir)).await.unwrap();
}

#[tokio::test]
async fn a_rotation_is_signed_by_old_and_new_and_leads_on_from_each() {
    let bed = Bed::new().await;
    bed.service.adopt_loaded().await.unwrap();
    let agent = bed.agent().await;
    let first = list(&bed, &agent).await;
    let [a] = first.signers.as_slice() else {
        panic!("{:?}", first.signers);
    };
    rotate(&bed, false).await;
    let second = list(&bed, &agent).await;
    assert!(second.revision > first.revision);
    let [b, again] = second.signers.as_slice() else {
        panic!("{:?}", second.signers);
    };
    assert_eq!(again, a);
    rotate(&bed, false).await;
    let third = list(&bed, &agent).await;
    assert_eq!(third.signers[1], *b);
    // One that was off all the while knows the first alone.
    let chain = chain(&bed, &agent, a).await;
    let mut known = vec![a.clone()];
    for handover in &chain {
        let bytes = STANDARD.decode(&handover.payload).unwrap();
        let good = known.iter().any(|line| {
            let (key, _) = PublicKey::parse_text(line).unwrap();
            crate::trust::verify(HANDOVER_NAMESPACE, &bytes, &handover.signature, &key).is_ok()
        });
        assert!(good);
        known = serde_json::from_slice::<HandoverPayload>(&bytes)
            .unwrap()
            .signers;
    }
    assert_eq!((chain.len(), known), (2, third.signers));
}

#[tokio::test]
async fn the_old_signer_leaves_after_ninety_days_and_stays_away() {
    let bed = Bed::new().await;
    bed.service.adopt_loaded().await.unwrap();
    let agent = bed.agent().await;
    rotate(&bed, false).await;
    let both = list(&bed, &agent).await;
    bed.pass(90 * DAY - 1);
    bed.service.retire_signer().await.unwrap();
    assert_eq!(list(&bed, &agent).await.signers, both.signers);
    bed.pass(1);
    bed.service.retire_signer().await.unwrap();
    let alone = list(&bed, &agent).await;
    assert_eq!(alone.signers, both.signers[..1]);
    assert!(alone.revision > both.revision);
    // A restart finds the old one's file still there.
    bed.service.reload_secrets(&config(&bed.dir)).await.unwrap();
    let after = list(&bed, &agent).await;
    assert_eq!(
        (after.signers, after.revision),
        (alone.signers, alone.revision)
    );
}

#[tokio::test]
async fn nothing_leads_on_from_a_compromised_signer() {
    let bed = Bed::new().await;
    bed.service.adopt_loaded().await.unwrap();
    let agent = bed.agent().await;
    let before = list(&bed, &agent).await;
    rotate(&bed, true).await;
    let after = list(&bed, &agent).await;
    assert!(after.signers.len() == 1 && after.signers != before.signers);
    assert!(chain(&bed, &agent, &before.signers[0]).await.is_empty());
    // Nor from what it had handed over to, had it done so.
    rotate(&bed, false).await;
    assert!(chain(&bed, &agent, &before.signers[0]).await.is_empty());
    assert_eq!(chain(&bed, &agent, &after.signers[0]).await.len(), 1);
}

#[tokio::test]
async fn secrets_of_another_service_are_refused() {
    let bed = Bed::new().await;
    bed.service.adopt_loaded().await.unwrap();
    let other = Bed::new().await;
    let strange = |name: &str| {
        let from = other.dir.path().join("secrets").join(name);
        std::fs::copy(from, bed.dir.path().join("secrets").join(name)).unwrap();
    };
    let reload = async || bed.service.reload_secrets(&config(&bed.dir)).await;
    strange("snapshot-signer");
    let refused = reload().await.unwrap_err();
    assert!(matches!(
        refused,
        ServiceError::Strangers("snapshot-signer")
    ));
    strange("sealing-key");
    let refused = reload().await.unwrap_err();
    assert!(matches!(refused, ServiceError::Strangers("sealing-key")));
}

#[tokio::test]
async fn a_rotation_waits_for_the_one_before() {
    let bed = Bed::new().await;
    bed.service.adopt_loaded().await.unwrap();
    let config = config(&bed.dir);
    rotate_signer(&config, false).unwrap();
    for compromised in [false, true] {
        let refused = rotate_signer(&config, compromised).unwrap_err();
        assert!(matches!(refused, ServiceError::NotAdopted), "{refused}");
    }
    bed.service.reload_secrets(&config).await.unwrap();
    rotate_signer(&config, true).unwrap();
    bed.service.reload_secrets(&config).await.unwrap();
}

#[tokio::test]
async fn a_database_from_before_the_last_rotations_is_served_again() {
    for rotations in [1, 2, 3] {
        // A copy of a file; what a server's own tools do is the same to the service.
        let mut sqlite = None;
        let bed = Bed::with(|config| {
            let dir = config.secrets_dir.parent().unwrap();
            config.database = Database::Sqlite(dir.join("a.db"));
            sqlite = Some(config.clone());
        });
        let bed = bed.await;
        bed.service.adopt_loaded().await.unwrap();
        let copy = bed.dir.path().join("copy");
        crate::service::backup(&sqlite.unwrap(), &copy).unwrap();
        for _ in 0..rotations {
            rotate(&bed, false).await;
        }
        // The copy, and the secrets as they are now.
        let config = ServerConfig {
            database: Database::Sqlite(copy),
            ..config(&bed.dir)
        };
        let service = Service::open(&config).unwrap();
        service.adopt_loaded().await.unwrap();
        let now = bed.service.snapshots.signers().lines();
        assert_eq!(service.snapshots.signers().lines(), now);
        let told = service.store.signer_set().await.unwrap().unwrap();
        assert_eq!(told.signers, now);
    }
}

#[tokio::test]
async fn a_list_of_before_is_not_signed_anew_by_others() {
    let bed = Bed::new().await;
    bed.service.adopt_loaded().await.unwrap();
    let agent = bed.agent().await;
    let first = list(&bed, &agent).await;
    rotate(&bed, false).await;
    // It was asked for before the rotation, and its turn is over.
    bed.pass(DAY);
    let (service, now) = (&bed.service, bed.service.now());
    let late = service
        .snapshots
        .current(&service.store, first.account, first.revision, now);
    let late = late.await.unwrap();
    assert!(late.keys.head.revision > first.revision);
}
