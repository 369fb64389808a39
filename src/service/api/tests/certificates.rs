//! Certificates: what is signed and for how long, what revokes it, and what agents are told.

mod rotation;

use super::people::{PASSWORD, person, session};
use super::*;
use crate::keys::PublicKey;
use crate::trust::{Certificate, CertificateRef, Krl, Role};
use crate::wire::{Cas, Payload, Probes, Rollout, SignedSnapshot, UserCertificate};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

impl Bed {
    async fn certify(&self, token: &str, body: Value) -> Reply {
        self.call(token, "POST /v1/certificates/user", Some(body))
            .await
    }

    async fn certified(&self, token: &str, body: Value) -> (UserCertificate, Certificate) {
        let made: UserCertificate = self.certify(token, body).await.of(201);
        let read = Certificate::parse(&made.certificate).unwrap();
        assert_eq!((read.serial(), read.key_id()), (made.serial, &*made.key_id));
        assert_eq!(read.principals(), &*made.principals);
        assert_eq!(read.valid_before(), made.valid_before);
        assert_eq!(read.valid_after(), made.valid_after);
        (made, read)
    }

    async fn bytes(&self, token: &str, path: &str) -> (u16, HeaderMap, Vec<u8>) {
        let request = Request::builder()
            .uri(path)
            .header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        (parts.status.as_u16(), parts.headers, bytes)
    }

    async fn krl(&self) -> Krl {
        let (status, _, bytes) = self.bytes(&self.key, "/v1/krl").await;
        assert_eq!(status, 200);
        Krl::parse(&bytes).unwrap()
    }

    async fn cas(&self) -> Cas {
        self.own("GET /v1/ca", None).await.of(200)
    }
}

impl TestAgent {
    async fn payload(&self, bed: &Bed) -> Payload {
        let signed: SignedSnapshot = self.snapshot(bed, 0, None).await.of(200);
        let payload = STANDARD.decode(signed.payload).unwrap();
        serde_json::from_slice(&payload).unwrap()
    }
}

fn keys(lines: &[String]) -> Vec<PublicKey> {
    let read = |line: &String| PublicKey::parse_text(line).unwrap().0;
    lines.iter().map(read).collect()
}

fn revokes(krl: &Krl, certificate: &Certificate) -> bool {
    krl.revokes_certificate(CertificateRef {
        ca: certificate.ca().blob(),
        serial: certificate.serial(),
        key_id: certificate.key_id().as_bytes(),
        key: certificate.key().blob(),
    })
}

#[tokio::test]
async fn a_certificate_is_good_for_its_account_and_every_list_says_by_whom() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let before = agent.payload(&bed).await;
    assert!(before.user_ca.is_empty() && before.krl.is_none() && before.principals.is_empty());
    assert_eq!(bed.cas().await, Cas::default(), "looking makes none");

    let key = bed.save(ED).await;
    let (made, certificate) = bed.certified(&bed.key, json!({"public_key": ED})).await;
    assert_eq!(made.key_id, format!("1/{}/k1", key.id));
    assert_eq!(made.principals, ["account:1"]);
    let now = bed.service.now();
    assert_eq!(made.valid_before, now + SignedDuration::from_hours(8));
    assert_eq!(made.valid_after, now - SignedDuration::from_mins(5));

    let after = agent.payload(&bed).await;
    let judged = certificate.judge(Role::User, &keys(&after.user_ca), now, "account:1");
    assert_eq!(judged, Ok(()));
    assert_eq!(after.principals["*"], ["account:1"]);
    let krl = after.krl.clone().unwrap();
    assert!(krl.version <= after.revision);
    let bytes = STANDARD.decode(krl.base64.unwrap()).unwrap();
    assert_eq!(u64::try_from(bytes.len()).unwrap(), krl.size);
    let listed = Krl::parse(&bytes).unwrap();
    assert_eq!(listed, bed.krl().await);
    assert_eq!(listed.version, krl.version);
    assert!(!revokes(&listed, &certificate));
    let shown = bed.cas().await;
    assert_eq!(shown.user_ca, after.user_ca);
    assert!(shown.host_ca.is_empty() && shown.items.len() == 1);

    // A later signing of the same revision says the same, on this replica or on another.
    bed.pass(13 * 3_600);
    let again = agent.payload(&bed).await;
    assert_ne!(again.issued_at, after.issued_at);
    let same = Payload {
        issued_at: after.issued_at,
        expires_at: after.expires_at,
        ..again
    };
    assert_eq!(same, after);
}

#[tokio::test]
async fn a_certificate_lasts_no_longer_than_what_it_comes_from() {
    let bed = Bed::new().await;
    let now = bed.service.now();
    let fresh = Signer::from_seed(&[7; 32]).public().to_string();
    for (ttl, hours) in [("24h", 24), ("30m", 0), ("1d", 24), ("90s", 0)] {
        let (made, _) = bed
            .certified(&bed.key, json!({"public_key": fresh, "ttl": ttl}))
            .await;
        assert_eq!(made.key_id, "1/0/k1");
        let left = made.valid_before.duration_since(now);
        assert_eq!(left.as_hours(), hours, "{ttl}");
    }
    for ttl in ["25h", "0s", "-1h", "x", "", "99999999999999999999d"] {
        let refused = bed.certify(&bed.key, json!({"public_key": fresh, "ttl": ttl}));
        assert_eq!(refused.await.code(), (400, "bad-ttl"), "{ttl}");
    }
    // A key, an API key, and a person's session, each with an hour left.
    let hour = now + SignedDuration::from_hours(1);
    let body = json!({"public_key": ED, "expires_at": hour});
    bed.own("POST /v1/ssh-keys", Some(body))
        .await
        .of::<SshKey>(201);
    let (made, _) = bed.certified(&bed.key, json!({"public_key": ED})).await;
    assert_eq!(made.valid_before, hour);
    let body = json!({"name": "short", "expires_at": hour});
    let short: crate::wire::ApiKeySecret = bed.key_by(&bed.key, body).await.of(201);
    let (made, _) = bed
        .certified(&short.key, json!({"public_key": fresh}))
        .await;
    assert_eq!(made.valid_before, hour);
    let token = bed.person().await;
    bed.pass(167 * 3_600);
    let hour = bed.service.now() + SignedDuration::from_hours(1);
    let (made, _) = bed.certified(&token, json!({"public_key": fresh})).await;
    assert_eq!(made.valid_before, hour);
    assert!(made.key_id.starts_with("1/0/") && !made.key_id.contains('k'));
    let refused = bed.certify(&bed.key, json!({"public_key": ED})).await;
    assert_eq!(refused.code(), (409, "too-short"), "the key's time is over");
}

#[tokio::test]
async fn a_certificate_opens_no_more_than_its_key_and_never_a_revoked_one() {
    let bed = Bed::new().await;
    let body = json!({"public_key": ED, "options": "restrict,pty,from=\"10.0.0.0/8\""});
    let key: SshKey = bed.own("POST /v1/ssh-keys", Some(body)).await.of(201);
    let (_, certificate) = bed.certified(&bed.key, json!({"public_key": ED})).await;
    let edit = format!("PATCH /v1/ssh-keys/{}", key.id);
    let body = json!({"options": "permitopen=\"a:1\""});
    bed.own(&edit, Some(body)).await.of::<SshKey>(200);
    assert!(
        revokes(&bed.krl().await, &certificate),
        "its options were others"
    );
    let refused = bed.certify(&bed.key, json!({"public_key": ED})).await;
    assert_eq!(refused.code(), (409, "options"));
    let body = json!({"options": ""});
    bed.own(&edit, Some(body)).await.of::<SshKey>(200);
    let (_, certificate) = bed.certified(&bed.key, json!({"public_key": ED})).await;
    let revoke = format!("POST /v1/ssh-keys/{}/revoke", key.id);
    assert_eq!(bed.own(&revoke, None).await.status, 204);
    let krl = bed.krl().await;
    assert!(revokes(&krl, &certificate));
    assert!(krl.revokes_key(certificate.key().blob()));
    let refused = bed.certify(&bed.key, json!({"public_key": ED})).await;
    assert_eq!(refused.code(), (409, "revoked"));
    // Another account's matter is another account's.
    let other = bed.service.add_account("b@example.com", None).await;
    let other = other.unwrap().api_key.to_string();
    let (made, theirs) = bed.certified(&other, json!({"public_key": ED})).await;
    assert_eq!(
        (&*made.principals[0], &*made.key_id),
        ("account:2", "2/0/k2")
    );
    assert!(theirs.ca() != certificate.ca() && theirs.serial() > certificate.serial());
    for body in [
        json!({"public_key": "x"}),
        json!({"public_key": made.certificate}),
    ] {
        let refused = bed.certify(&bed.key, body).await;
        assert_eq!(refused.status, 400, "{}", refused.json);
    }
}

#[tokio::test]
async fn revoking_takes_one_word_and_may_end_sessions() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let fresh = |n: u8| Signer::from_seed(&[n; 32]).public().to_string();
    let (made, first) = bed
        .certified(&bed.key, json!({"public_key": fresh(1)}))
        .await;
    let revoke = async |query: &str, body: Value| {
        let call = format!("POST /v1/certificates/revoke{query}");
        bed.own(&call, Some(body)).await
    };
    for body in [
        json!({}),
        json!({"serial": 1, "key_id": "a"}),
        json!({"key_id": "", "serial": null}),
        json!({"key_id": "a".repeat(257)}),
    ] {
        assert_eq!(revoke("", body).await.status, 400);
    }
    for serial in [9_999, u64::MAX] {
        let none = revoke("", json!({"serial": serial})).await;
        assert_eq!(none.status, 404);
    }
    let one = json!({"serial": made.serial});
    assert_eq!(revoke("?end_sessions=true", one).await.status, 204);
    assert!(revokes(&bed.krl().await, &first));
    let payload = agent.payload(&bed).await;
    let [order] = &payload.end_sessions[..] else {
        panic!("{:?}", payload.end_sessions);
    };
    assert_eq!(
        (order.serial, &order.fingerprint),
        (Some(made.serial), &None)
    );

    let (made, second) = bed
        .certified(&bed.key, json!({"public_key": fresh(2)}))
        .await;
    let by_id = json!({"key_id": made.key_id});
    assert_eq!(revoke("?end_sessions=true", by_id).await.status, 204);
    assert!(revokes(&bed.krl().await, &second));
    let orders = agent.payload(&bed).await.end_sessions;
    assert_eq!(orders[1].key_id, Some(made.key_id));
    let refused = bed.certify(&bed.key, json!({"public_key": fresh(3)})).await;
    assert_eq!(refused.code(), (409, "revoked"), "the same key ID");

    let token = bed.person().await;
    let (_, third) = bed.certified(&token, json!({"public_key": fresh(3)})).await;
    let by_key = json!({"public_key": fresh(3)});
    assert_eq!(revoke("", by_key.clone()).await.status, 204);
    assert_eq!(revoke("", by_key).await.status, 204);
    let krl = bed.krl().await;
    assert!(revokes(&krl, &third) && krl.revokes_key(third.key().blob()));
    let orders = agent.payload(&bed).await.end_sessions;
    let fingerprint = third.key().fingerprint().to_string();
    assert_eq!(orders[2].fingerprint, Some(fingerprint.clone()));
    let call = format!(
        "GET /v1/ssh-keys/{}/rollout",
        fingerprint.replace('/', "%2F")
    );
    let rollout: Rollout = bed.own(&call, None).await.of(200);
    assert_eq!(rollout.krl_version, Some(krl.version));
    assert_eq!(
        rollout.instances[0].krl,
        Some(crate::wire::RolloutKrl::default())
    );
    let kept = json!({"certificates": {"user_ca": [], "krl_version": krl.version}});
    agent.heartbeat(&bed, kept).await;
    let rollout: Rollout = bed.own(&call, None).await.of(200);
    assert!(rollout.instances[0].krl.as_ref().unwrap().in_force);
    // Logging out ends what is left.
    let (_, fourth) = bed.certified(&token, json!({"public_key": fresh(4)})).await;
    let out = bed.call(&token, "DELETE /v1/sessions/current", None).await;
    assert_eq!(out.status, 204);
    assert!(revokes(&bed.krl().await, &fourth));
}

#[tokio::test]
async fn a_long_list_is_fetched_by_its_digest_by_the_accounts_own_agents() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    // Over 4 KiB of hashes.
    for n in 0..130_u8 {
        let fingerprint = crate::keys::Fingerprint::of(&[n; 32]).to_string();
        let call = format!(
            "POST /v1/ssh-keys/{}/revoke",
            fingerprint.replace('/', "%2F")
        );
        assert_eq!(bed.own(&call, None).await.status, 204);
    }
    let named = agent.payload(&bed).await.krl.unwrap();
    assert!(named.base64.is_none() && named.size > 4_096);
    let path = format!("/v1/agent/krl/{}", named.sha256);
    let (status, headers, bytes) = bed.bytes(&agent.session, &path).await;
    assert_eq!(status, 200);
    assert!(
        headers["cache-control"]
            .to_str()
            .unwrap()
            .contains("immutable")
    );
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(&bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, named.sha256);
    assert_eq!(bytes.len() as u64, named.size);
    assert_eq!(Krl::parse(&bytes).unwrap().version, named.version);
    // It stays to be had for a while after the next one.
    let (made, _) = bed.certified(&bed.key, json!({"public_key": ED})).await;
    let body = json!({"serial": made.serial});
    bed.own("POST /v1/certificates/revoke", Some(body)).await;
    assert_ne!(agent.payload(&bed).await.krl.unwrap().sha256, named.sha256);
    assert_eq!(bed.bytes(&agent.session, &path).await.0, 200);
    let none = format!("/v1/agent/krl/{}", "0".repeat(64));
    assert_eq!(bed.bytes(&agent.session, &none).await.0, 404);
    // Not another account's.
    let other = bed
        .service
        .add_account("b@example.com", None)
        .await
        .unwrap();
    let bed = Bed {
        key: other.api_key.to_string(),
        ..bed
    };
    let stranger = bed.agent().await;
    assert_eq!(bed.bytes(&stranger.session, &path).await.0, 404);
}

#[tokio::test]
async fn probes_are_what_the_signed_list_says_and_nobodys() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let probes = async || -> Probes {
        let reply = bed.call(&agent.session, "GET /v1/agent/probes", None).await;
        reply.of(200)
    };
    assert_eq!(probes().await, Probes::default());
    bed.certified(&bed.key, json!({"public_key": ED})).await;
    let payload = agent.payload(&bed).await;
    let (cas, krl) = (keys(&payload.user_ca), bed.krl().await);
    let all = probes().await.probes;
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].revoked_by, None);
    assert_eq!(all[1].revoked_by, Some(payload.krl.unwrap().version));
    for probe in &all {
        let now = bed.service.now();
        let read = Certificate::parse_probe(&probe.certificate, &cas, 1, probe.revoked_by, now);
        assert_eq!(revokes(&krl, &read.unwrap()), probe.revoked_by.is_some());
    }
    // They are no certificates of anyone: none is written down.
    assert_eq!(bed.krl().await, krl);
}

#[tokio::test]
async fn a_certificate_opens_no_instance_that_its_key_does_not() {
    let bed = Bed::new().await;
    let agent = bed.agent().await;
    let some = json!({"name": "mine", "public_key": ED, "scope": "some"});
    let saved: Value = bed.own("POST /v1/ssh-keys", Some(some)).await.of(201);
    let path = format!("/v1/ssh-keys/{}", saved["id"]);
    let here = format!("/v1/instances/{}/ssh-keys/{}", agent.instance, saved["id"]);
    let ask = async || bed.certify(&bed.key, json!({"public_key": ED})).await;
    assert_eq!(ask().await.code(), (409, "not-everywhere"));
    let all = json!({"scope": "all"});
    let edited = bed.own(&format!("PATCH {path}"), Some(all)).await;
    assert!(edited.status.is_success());
    let made: UserCertificate = ask().await.of(201);
    let detached = bed.own(&format!("DELETE {here}"), None).await;
    assert!(detached.status.is_success());
    let ca = keys(&bed.cas().await.user_ca).remove(0);
    let krl = bed.krl().await;
    assert!(krl.certificates[ca.blob()].serials.contains(made.serial));
    assert_eq!(ask().await.code(), (409, "not-everywhere"));
}
