//! Certificates over keys that are not on every instance: there are none.

use super::certificates::{new_ca, row};
use super::*;

const HOUR: i64 = 3_600_000;

impl Bed {
    async fn instance(&self, n: u8) -> i64 {
        let end = at(i64::MAX / 2_000_000);
        let made =
            self.store
                .add_instance(self.actor(), format!("i{n}"), [n; 32], end, None, at(1));
        match made.await.unwrap() {
            Made::Instance(id) => id,
            other => panic!("{other:?}"),
        }
    }

    async fn ask(&self, ca: i64, key: i64, now: i64) -> Issued {
        let keys = self.store.keys(self.account).await.unwrap();
        let key = keys.keys.iter().find(|row| row.id == key).unwrap();
        let mut new = row(ca, &key.fingerprint, HOUR);
        new.ssh_key = Some((key.id, key.revision));
        let issued = self.store.add_certificate(self.actor(), new, at(now));
        issued.await.unwrap()
    }

    async fn edit(&self, key: i64, change: impl Fn(&mut NewKey), now: i64) {
        let keys = self.store.keys(self.account).await.unwrap();
        let was = keys.keys.iter().find(|row| row.id == key).unwrap().clone();
        let mut to = was.content();
        change(&mut to);
        let edited = self.store.edit_key(self.actor(), was, to, false, at(now));
        assert!(matches!(edited.await, Ok(Edited::Done(..))));
    }
}

fn serial(issued: Issued) -> u64 {
    match issued {
        Issued::Serial(serial) => serial,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_that_is_not_everywhere_has_no_certificate() {
    let bed = bed().await;
    let ca = bed.ca(1, 1_000).await.id;
    let instance = bed.instance(1).await;
    let key = save(&bed, 1, 2_000).await.id;
    serial(bed.ask(ca, key, 2_500).await);
    let detach = bed
        .store
        .detach_key(bed.actor(), instance, key, at(3_000))
        .await;
    assert_eq!(detach.unwrap(), Attached::Done { nowhere: false });
    assert_eq!(bed.ask(ca, key, 3_500).await, Issued::NotEverywhere);
    let attach = bed
        .store
        .attach_key(bed.actor(), instance, key, at(4_000))
        .await;
    assert_eq!(attach.unwrap(), Attached::Done { nowhere: false });
    serial(bed.ask(ca, key, 4_500).await);
    // On the only instance that there is, and not on the next one.
    bed.edit(key, |to| to.scope = KeyScope::Some, 5_000).await;
    assert_eq!(bed.ask(ca, key, 5_500).await, Issued::NotEverywhere);
    bed.edit(key, |to| to.scope = KeyScope::All, 6_000).await;
    serial(bed.ask(ca, key, 6_500).await);
}

#[tokio::test]
async fn a_key_that_leaves_an_instance_takes_its_certificates_along() {
    let bed = bed().await;
    let ca = bed.ca(1, 1_000).await.id;
    let instance = bed.instance(1).await;
    let key = save(&bed, 1, 2_000).await.id;
    let one = serial(bed.ask(ca, key, 2_500).await);
    let detach = bed.store.detach_key(bed.actor(), instance, key, at(3_000));
    assert!(matches!(detach.await, Ok(Attached::Done { .. })));
    assert_eq!(bed.revoked().await, [one]);
    let (keys, krl) = bed.krl().await;
    // In the same revision: there is no moment between.
    assert_eq!(krl.version, keys.head.revision);
    assert_eq!(bed.woken.lock().unwrap().last().unwrap().revoked, 1);
    let attach = bed.store.attach_key(bed.actor(), instance, key, at(4_000));
    attach.await.unwrap();
    let two = serial(bed.ask(ca, key, 4_500).await);
    bed.edit(key, |to| to.scope = KeyScope::Some, 5_000).await;
    assert_eq!(bed.revoked().await, [one, two]);
}

#[tokio::test]
async fn a_fresh_key_that_becomes_less_takes_its_certificates_along() {
    let bed = bed().await;
    let ca = bed.ca(1, 1_000).await.id;
    let instance = bed.instance(1).await;
    let mut wanted = Vec::new();
    for n in 1..=6 {
        let fresh = row(ca, &key(n).fingerprint, HOUR);
        wanted.push(bed.issue(fresh, 2_000).await);
    }
    // Saved as it was used: it opens what its certificate does.
    save(&bed, 1, 3_000).await;
    let text = bed
        .store
        .attach_text(bed.actor(), instance, key(2), at(3_000));
    assert!(matches!(text.await, Ok(AttachedText::Made(_))));
    let mut narrow = [key(3), key(4), key(5)];
    narrow[0].scope = KeyScope::Some;
    narrow[1].options = "restrict".to_owned();
    narrow[2].expires_at = Some(at(30_000));
    for new in narrow {
        let saved = bed.store.save_key(bed.actor(), new, at(3_000)).await;
        assert!(matches!(saved, Ok(Saved::New(_))));
    }
    let some = NewKey {
        scope: KeyScope::Some,
        ..key(7)
    };
    let Ok(Saved::New(some)) = bed.store.save_key(bed.actor(), some, at(3_000)).await else {
        panic!("it is new");
    };
    let text = |to: &mut NewKey| {
        to.public_key = key(6).public_key;
        to.fingerprint = key(6).fingerprint;
    };
    bed.edit(some.id, text, 4_000).await;
    assert_eq!(bed.revoked().await, wanted[1..]);
    let (keys, krl) = bed.krl().await;
    assert_eq!(krl.version, keys.head.revision);
}

#[tokio::test]
async fn a_revoked_certificate_stays_listed_while_a_slow_clock_would_take_it() {
    let bed = bed().await;
    let ca = bed.ca(1, 1_000).await.id;
    let early = bed.issue(row(ca, &key(1).fingerprint, HOUR), 2_000).await;
    let minute = HOUR / 60;
    let late = row(ca, &key(2).fingerprint, 2 * HOUR - 5 * minute);
    let late = bed.issue(late, 2_000).await;
    for serial in [early, late] {
        let which = Which::Serial(i64::try_from(serial).unwrap());
        let revoked = bed
            .store
            .revoke_certificates(bed.actor(), which, false, at(3_000));
        assert_eq!(revoked.await.unwrap(), CertificatesRevoked::Done(1, None));
    }
    // The first has the list change; the other was over for five minutes.
    bed.store.forget_certificates(at(2 * HOUR)).await.unwrap();
    assert_eq!(bed.revoked().await, [late]);
    bed.store.forget_certificates(at(3 * HOUR)).await.unwrap();
    assert!(bed.revoked().await.is_empty());
}

#[tokio::test]
async fn what_nobody_logs_in_by_is_never_revoked() {
    let bed = bed().await;
    bed.ca(1, 1_000).await;
    let live = crate::trust::probe_key_id(bed.account, None);
    let which = Which::KeyId(live.clone());
    let revoked = bed
        .store
        .revoke_certificates(bed.actor(), which, false, at(2_000));
    assert!(matches!(
        revoked.await.unwrap(),
        CertificatesRevoked::Done(..)
    ));
    let probe = crate::trust::probe_key();
    let revoked = bed
        .store
        .revoke_fingerprint(bed.actor(), probe.fingerprint(), at(3_000));
    assert!(matches!(revoked.await.unwrap(), RevokedText::Done(_)));
    let (_, krl) = bed.krl().await;
    assert!(!krl.revokes_key(probe.blob()));
    let ids = &krl.certificates.values().next().unwrap().key_ids;
    assert!(!ids.contains(live.as_bytes()) && ids.len() == 1);
}

#[tokio::test]
async fn an_instance_that_is_being_removed_gets_no_host_certificate_any_more() {
    let bed = bed().await;
    let made = bed
        .store
        .cas(bed.account, crate::trust::Role::Host, new_ca(1), at(1_000));
    let ca = made.await.unwrap().remove(0).id;
    let instance = bed.instance(1).await;
    let enrolled = bed
        .store
        .call(|db| Ok(db.execute("UPDATE instances SET identity_key = 'key'", [])?));
    assert_eq!(enrolled.await.unwrap(), 1);
    let host = crate::trust::Signer::from_seed(&[7; 32]).public();
    let seen = bed
        .store
        .see_host_keys(bed.actor(), instance, vec![host.clone()], at(2_000));
    assert_eq!(seen.await.unwrap().unwrap().keys.len(), 1);
    let fingerprint = host.fingerprint().to_string();
    let new = CertificateRow {
        instance: Some(instance),
        ..row(ca, &fingerprint, HOUR)
    };
    let serial = bed.issue(new.clone(), 2_000).await;
    // The owner removes it while the certificate is signed.
    let removed = bed
        .store
        .remove_instance(bed.actor(), instance, (false, false), at(3_000));
    assert!(removed.await.unwrap());
    let given = GivenRow {
        serial,
        certificate: "certificate".to_owned(),
        names: vec!["instance-1.sshkeyd".to_owned()],
        ca,
        valid_after: at(0),
        valid_before: at(HOUR),
    };
    let kept = bed
        .store
        .keep_host_certificate(instance, fingerprint, given, at(3_000));
    assert!(!kept.await.unwrap());
    let late = bed.store.add_certificate(bed.actor(), new, at(4_000));
    assert_eq!(late.await.unwrap(), Issued::Changed);
}
