//! One snapshot signer after the other (protocol.md section 2, "Signers").

use super::*;
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
