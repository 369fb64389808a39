//! Certificates by the store's own handle: what revokes them, and what stands in the list.

use super::*;
use crate::trust::{Krl, Role, Signer, probe_key_id};
use crate::wire::CaState;

const HOUR: i64 = 3_600_000;

pub(super) fn new_ca(seed: u8) -> NewCa {
    NewCa {
        public_key: Signer::from_seed(&[seed; 32]).public().to_string(),
        sealed: vec![seed],
    }
}

pub(super) fn row(ca: i64, fingerprint: &str, until: i64) -> CertificateRow {
    CertificateRow {
        ca,
        key_id: "1/0/1".to_owned(),
        fingerprint: fingerprint.to_owned(),
        ssh_key: None,
        session: None,
        api_key: None,
        instance: None,
        valid_after: at(0),
        valid_before: at(until),
    }
}

impl Bed {
    pub(super) async fn ca(&self, seed: u8, now: i64) -> CaRow {
        let cas = self
            .store
            .cas(self.account, Role::User, new_ca(seed), at(now));
        cas.await.unwrap().remove(0)
    }

    pub(super) async fn issue(&self, row: CertificateRow, now: i64) -> u64 {
        let issued = self.store.add_certificate(self.actor(), row, at(now));
        match issued.await.unwrap() {
            Issued::Serial(serial) => serial,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn krl(&self) -> (Keys, Krl) {
        let (keys, krl) = self.store.keys_and_krl(self.account, None).await.unwrap();
        let krl = krl.unwrap();
        // Whatever it says, it says it as sshd reads it, and the same at every reading.
        assert_eq!(Krl::parse(&krl.encode()).unwrap(), krl);
        let again = self.store.keys_and_krl(self.account, None).await.unwrap();
        assert_eq!(again.1.unwrap().encode(), krl.encode());
        assert_eq!(keys.trust.krl_version, Some(krl.version));
        (keys, krl)
    }

    pub(super) async fn revoked(&self) -> Vec<u64> {
        let (_, krl) = self.krl().await;
        let of_ca = krl.certificates.values().next().unwrap();
        of_ca.serials.ranges().flatten().collect()
    }
}

fn fingerprint(n: u8) -> String {
    Signer::from_seed(&[n; 32])
        .public()
        .fingerprint()
        .to_string()
}

#[tokio::test]
async fn a_ca_is_made_once_and_with_it_a_list() {
    let bed = bed().await;
    let keys = bed.store.keys(bed.account).await.unwrap();
    assert_eq!(keys.trust, krls::Trust::default());
    let first = bed.ca(1, 10_000).await;
    assert_eq!(first.state, CaState::Signing);
    assert_eq!(bed.ca(2, 20_000).await.public_key, first.public_key);
    let (keys, krl) = bed.krl().await;
    assert_eq!(keys.trust.user_ca, [first.public_key]);
    assert_eq!(krl.version, keys.head.revision);
    let ids = &krl.certificates.values().next().unwrap().key_ids;
    let probe = probe_key_id(bed.account, Some(krl.version)).into_bytes();
    assert!(ids.contains(&probe) && ids.len() == 1);
    // A change of another kind leaves the list as it is.
    save(&bed, 1, 30_000).await;
    let (keys, same) = bed.krl().await;
    assert!(keys.head.revision > krl.version);
    assert_eq!(same.encode(), krl.encode());
    let (_, none) = bed
        .store
        .keys_and_krl(bed.account, Some(krl.version))
        .await
        .unwrap();
    assert!(none.is_none());
}

#[tokio::test]
async fn what_is_revoked_stands_in_the_list_until_it_is_over() {
    let bed = bed().await;
    let ca = bed.ca(1, 1_000).await.id;
    let mut serials = Vec::new();
    for n in 0..6 {
        let until = HOUR + i64::from(n);
        serials.push(bed.issue(row(ca, &fingerprint(n), until), 2_000).await);
    }
    assert!(bed.revoked().await.is_empty());
    for n in [0, 1, 3, 5] {
        let which = Which::Serial(serials[n] as i64);
        let revoked = bed
            .store
            .revoke_certificates(bed.actor(), which.clone(), false, at(3_000));
        assert_eq!(revoked.await.unwrap(), CertificatesRevoked::Done(1, None));
        let again = bed
            .store
            .revoke_certificates(bed.actor(), which, true, at(3_000));
        let CertificatesRevoked::Done(0, Some(_)) = again.await.unwrap() else {
            panic!("not an order");
        };
    }
    let revoked: Vec<u64> = [0, 1, 3, 5].map(|n| serials[n]).to_vec();
    assert_eq!(bed.revoked().await, revoked);
    let stranger = Which::Serial(i64::MAX);
    let none = bed
        .store
        .revoke_certificates(bed.actor(), stranger, false, at(3_000));
    assert_eq!(none.await.unwrap(), CertificatesRevoked::NoCertificate);
    // Over, and for an hour: gone all at once, in one revision.
    bed.store.forget_certificates(at(HOUR + 10)).await.unwrap();
    assert_eq!(bed.revoked().await, revoked);
    let before = bed.woken.lock().unwrap().len();
    bed.store.forget_certificates(at(2 * HOUR)).await.unwrap();
    assert!(bed.revoked().await.is_empty());
    assert_eq!(bed.woken.lock().unwrap().len(), before + 1);
    bed.store
        .forget_certificates(at(2 * HOUR + 1))
        .await
        .unwrap();
    assert_eq!(bed.woken.lock().unwrap().len(), before + 1);
}

#[tokio::test]
async fn a_key_id_that_is_revoked_has_no_certificate_from_then_on() {
    let bed = bed().await;
    let ca = bed.ca(1, 1_000).await.id;
    let serial = bed.issue(row(ca, &fingerprint(1), HOUR), 2_000).await;
    let which = || Which::KeyId("1/0/1".to_owned());
    let revoked = bed
        .store
        .revoke_certificates(bed.actor(), which(), true, at(3_000));
    assert!(matches!(
        revoked.await.unwrap(),
        CertificatesRevoked::Done(1, Some(_))
    ));
    let (keys, krl) = bed.krl().await;
    let [order] = &keys.orders[..] else {
        panic!("{:?}", keys.orders);
    };
    assert_eq!(order.key_id.as_deref(), Some("1/0/1"));
    assert_eq!((order.fingerprint.as_str(), order.serial), ("", None));
    let of_ca = krl.certificates.values().next().unwrap();
    assert!(of_ca.serials.contains(serial));
    assert!(of_ca.key_ids.contains(b"1/0/1".as_slice()));
    let refused = bed
        .store
        .add_certificate(bed.actor(), row(ca, &fingerprint(2), HOUR), at(4_000));
    assert_eq!(refused.await.unwrap(), Issued::Revoked);
    // Many more of them are refused only where nothing else would be revoked.
    for n in 0..revocations::MAX_KEY_IDS {
        let which = Which::KeyId(format!("1/9/{n}"));
        let revoked = bed
            .store
            .revoke_certificates(bed.actor(), which, false, at(5_000));
        let full = n == revocations::MAX_KEY_IDS - 1;
        assert_eq!(
            revoked.await.unwrap() == CertificatesRevoked::TooMany,
            full,
            "{n}"
        );
    }
    let mut other = row(ca, &fingerprint(2), HOUR);
    other.key_id = "1/0/2".to_owned();
    bed.issue(other, 6_000).await;
    let revoked = bed.store.revoke_certificates(
        bed.actor(),
        Which::KeyId("1/0/2".to_owned()),
        false,
        at(6_000),
    );
    assert_eq!(revoked.await.unwrap(), CertificatesRevoked::Done(1, None));
    bed.store.forget_certificates(at(26 * HOUR)).await.unwrap();
    let (_, krl) = bed.krl().await;
    assert_eq!(krl.certificates.values().next().unwrap().key_ids.len(), 1);
}

#[tokio::test]
async fn a_certificate_ends_with_its_key_however_that_ends() {
    let bed = bed().await;
    let ca = bed.ca(1, 1_000).await.id;
    for (n, end) in [
        (1_u8, "delete"),
        (2, "revoke"),
        (3, "text"),
        (4, "options"),
        (5, "name"),
    ] {
        let saved = save(&bed, n, 2_000).await;
        let mut new = row(ca, &saved.fingerprint, HOUR);
        // The key was changed since the caller looked.
        new.ssh_key = Some((saved.id, saved.revision - 1));
        let changed = bed
            .store
            .add_certificate(bed.actor(), new.clone(), at(2_500));
        assert_eq!(changed.await.unwrap(), Issued::Changed);
        new.ssh_key = Some((saved.id, saved.revision));
        let serial = bed.issue(new, 2_500).await;
        let before = bed.krl().await.1.version;
        let mut to = saved.content();
        match end {
            "delete" => {
                let deleted = bed
                    .store
                    .delete_key(bed.actor(), saved.id, false, at(3_000));
                assert!(matches!(deleted.await, Ok(Deleted::Done(..))));
            }
            "revoke" => {
                let revoked = bed.store.revoke_key(bed.actor(), saved.id, at(3_000));
                assert!(matches!(revoked.await, Ok(Revocation::Done(..))));
            }
            "text" => {
                to.public_key = "ssh-ed25519 other".to_owned();
                to.fingerprint = "SHA256:other".to_owned();
            }
            "options" => to.options = "restrict".to_owned(),
            _ => to.name = "other".to_owned(),
        }
        if to != saved.content() {
            let edited = bed.store.edit_key(bed.actor(), saved, to, false, at(3_000));
            assert!(matches!(edited.await, Ok(Edited::Done(..))), "{end}");
        }
        let revoked = bed.revoked().await.contains(&serial);
        assert_eq!(revoked, end != "name", "{end}");
        let (keys, krl) = bed.krl().await;
        assert_eq!(krl.version > before, revoked, "{end}");
        // In the same revision as what ended it.
        assert_eq!(krl.version == keys.head.revision, revoked, "{end}");
    }
}

#[tokio::test]
async fn a_certificate_ends_with_the_session_or_the_api_key_that_got_it() {
    let bed = bed().await;
    let ca = bed.ca(1, 1_000).await.id;
    let session = async |n: u8| {
        let new = NewSession {
            kind: SessionKind::Cli,
            hash: [n; 32],
            name: String::new(),
            os: String::new(),
            expires_at: at(48 * HOUR),
        };
        let made = bed.store.add_session(bed.actor(), new, None, at(1_000));
        made.await.unwrap().unwrap()
    };
    let by_session = async |session: i64| {
        let new = CertificateRow {
            session: Some(session),
            ..row(ca, &fingerprint(1), HOUR)
        };
        bed.issue(new, 2_000).await
    };
    let (first, second, third) = (session(11).await, session(12).await, session(13).await);
    let (one, two, three) = (
        by_session(first).await,
        by_session(second).await,
        by_session(third).await,
    );
    let deleted = bed.store.delete_session(bed.actor(), first, at(3_000));
    assert!(deleted.await.unwrap().is_some());
    assert_eq!(bed.revoked().await, [one]);
    let late = CertificateRow {
        session: Some(first),
        ..row(ca, &fingerprint(1), HOUR)
    };
    let refused = bed.store.add_certificate(bed.actor(), late, at(4_000));
    assert_eq!(refused.await.unwrap(), Issued::Changed);
    let others = bed
        .store
        .delete_other_sessions(bed.actor(), Some(third), at(5_000));
    assert_eq!(others.await.unwrap(), 1);
    assert_eq!(bed.revoked().await, [one, two]);
    let set = bed
        .store
        .set_password(bed.actor(), "$argon2id$x".to_owned(), None, at(6_000));
    assert_eq!(set.await.unwrap(), Some(1));
    assert_eq!(bed.revoked().await, [one, two, three]);

    let by_key = async |secret: u8| {
        let new = CertificateRow {
            api_key: Some(seen(secret)),
            ..row(ca, &fingerprint(1), HOUR)
        };
        bed.issue(new, 7_000).await
    };
    let serial = by_key(1).await;
    let secret = Secret {
        hash: [99; 32],
        tail: "tail".to_owned(),
        sealed: Vec::new(),
    };
    let reset = bed
        .store
        .reset_api_key(bed.actor(), 1, secret, |_| Ok::<_, ()>(()), at(8_000));
    assert!(matches!(reset.await, Ok(Touched::Done(_))));
    assert_eq!(bed.revoked().await, [one, two, three, serial]);
    let woken = *bed.woken.lock().unwrap().last().unwrap();
    assert!(woken.revision.is_some() && woken.access && woken.revoked == 1);
    let serial = by_key(99).await;
    let deleted = bed
        .store
        .delete_api_key(bed.actor(), 1, |_| Ok::<_, ()>(()), at(9_000));
    assert!(matches!(deleted.await, Ok(Touched::Done(_))));
    assert!(bed.revoked().await.contains(&serial));
}

#[tokio::test]
async fn a_disabled_account_trusts_no_ca_and_revokes_all() {
    let bed = bed().await;
    let ca = bed.ca(1, 1_000).await.id;
    let serial = bed.issue(row(ca, &fingerprint(1), HOUR), 2_000).await;
    bed.store
        .disable_account(bed.actor(), at(3_000))
        .await
        .unwrap();
    let (keys, krl) = bed.krl().await;
    assert!(keys.trust.user_ca.is_empty());
    assert!(
        krl.certificates
            .values()
            .all(|of| of.serials.contains(serial))
    );
    // A key that the account does not list: its sessions end all the same.
    assert!(
        keys.orders
            .iter()
            .any(|order| order.fingerprint == fingerprint(1))
    );
    let new = row(ca, &fingerprint(2), HOUR);
    let refused = bed.store.add_certificate(bed.actor(), new, at(4_000));
    assert_eq!(refused.await.unwrap(), Issued::Changed);
    let remains = bed.store.remains(bed.account).await.unwrap().unwrap();
    assert_eq!(remains.cas.len(), 1);
    bed.store
        .enable_account(bed.actor(), at(5_000))
        .await
        .unwrap();
    let (keys, krl) = bed.krl().await;
    assert_eq!(keys.trust.user_ca.len(), 1);
    assert!(
        krl.certificates
            .values()
            .all(|of| of.serials.contains(serial))
    );
}

#[tokio::test]
async fn one_ca_follows_another_and_leaves_with_its_last_certificate() {
    let bed = bed().await;
    let first = bed.ca(1, 1_000).await;
    bed.issue(row(first.id, &fingerprint(1), HOUR), 2_000).await;
    let rotate = async |seed, now| {
        let new = new_ca(seed);
        let rotated = bed.store.rotate_ca(bed.actor(), Role::User, new, at(now));
        rotated.await.unwrap()
    };
    assert_eq!(rotate(2, 3_000).await, CaRotation::Begun);
    assert_eq!(rotate(3, 3_500).await, CaRotation::UnderWay);
    let (keys, krl) = bed.krl().await;
    assert_eq!(keys.trust.user_ca.len(), 2);
    assert_eq!(keys.trust.user_ca[0], first.public_key);
    assert_eq!(krl.certificates.len(), 2);
    let coming = bed.store.coming_cas().await.unwrap();
    let [next] = &coming[..] else {
        panic!("one is coming");
    };
    assert!(bed.store.hand_over_ca(next.id, at(4_000)).await.unwrap());
    // Another replica, at the same moment.
    assert!(!bed.store.hand_over_ca(next.id, at(4_000)).await.unwrap());
    let (keys, _) = bed.krl().await;
    assert_eq!(keys.trust.user_ca[0], next.public_key);
    let late = row(first.id, &fingerprint(1), HOUR);
    let refused = bed.store.add_certificate(bed.actor(), late, at(5_000));
    assert_eq!(refused.await.unwrap(), Issued::Changed);
    bed.store.forget_certificates(at(HOUR - 1)).await.unwrap();
    assert_eq!(bed.krl().await.0.trust.user_ca.len(), 2);
    bed.store.forget_certificates(at(HOUR)).await.unwrap();
    let left = bed.krl().await.0.trust.user_ca;
    assert_eq!(left, std::slice::from_ref(&next.public_key));
}
