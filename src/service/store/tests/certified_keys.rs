//! Certificates over keys that are not on every instance: there are none.

use super::certificates::row;
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
