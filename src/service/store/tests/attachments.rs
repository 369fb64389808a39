//! Which key is on which instance.

use super::*;

async fn instance(bed: &Bed, n: u8) -> i64 {
    let made = bed
        .store
        .add_instance(
            bed.actor(),
            format!("i{n}"),
            [n; 32],
            at(i64::MAX / 2_000_000),
            None,
            at(1),
        )
        .await
        .unwrap();
    let Made::Instance(id) = made else {
        panic!("{made:?}");
    };
    id
}

async fn on(bed: &Bed, instance: i64) -> Vec<i64> {
    let keys = bed.store.keys_of_instance(bed.account, instance).await;
    let ids: Vec<i64> = keys.unwrap().unwrap().iter().map(|k| k.id).collect();
    // The list that is signed says the same.
    let whole = bed.store.keys(bed.account).await.unwrap();
    let signed: Vec<i64> = whole.on(instance).map(|k| k.id).collect();
    assert_eq!(ids, signed);
    let account: Vec<i64> = whole.everywhere().map(|k| k.id).collect();
    assert_eq!(whole.is_special(instance), signed != account);
    ids
}

async fn revision(bed: &Bed) -> u64 {
    bed.store.head(bed.account).await.unwrap().unwrap().revision
}

async fn some(bed: &Bed, n: u8, now: i64) -> i64 {
    let new = NewKey {
        scope: KeyScope::Some,
        ..key(n)
    };
    match bed.store.save_key(bed.actor(), new, at(now)).await {
        Ok(Saved::New(row)) => row.id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_is_where_it_is_attached_and_not_where_it_is_detached() {
    let bed = bed().await;
    let (one, two) = (instance(&bed, 1).await, instance(&bed, 2).await);
    let all = save(&bed, 1, 5_000).await.id;
    let some = some(&bed, 2, 5_000).await;
    assert_eq!(
        (on(&bed, one).await, on(&bed, two).await),
        (vec![all], vec![all])
    );

    let attach = |key| bed.store.attach_key(bed.actor(), one, key, at(6_000));
    let detach = |key| bed.store.detach_key(bed.actor(), one, key, at(6_000));
    let before = revision(&bed).await;
    assert_eq!(
        attach(some).await.unwrap(),
        Attached::Done { nowhere: false }
    );
    assert!(
        revision(&bed).await > before,
        "another content, another revision"
    );
    assert_eq!(on(&bed, one).await, [all, some]);
    assert_eq!(on(&bed, two).await, [all]);
    assert_eq!(bed.store.keys(bed.account).await.unwrap().special(), [one]);

    let before = revision(&bed).await;
    assert_eq!(attach(some).await.unwrap(), Attached::Already);
    assert_eq!(
        revision(&bed).await,
        before,
        "the same content, the same revision"
    );

    assert_eq!(
        detach(all).await.unwrap(),
        Attached::Done { nowhere: false }
    );
    assert_eq!(on(&bed, one).await, [some]);
    assert_eq!(
        detach(some).await.unwrap(),
        Attached::Done { nowhere: true }
    );
    assert!(on(&bed, one).await.is_empty());
    assert_eq!(on(&bed, two).await, [all]);

    assert_eq!(
        attach(all).await.unwrap(),
        Attached::Done { nowhere: false }
    );
    assert_eq!(on(&bed, one).await, [all]);
    assert!(
        bed.store
            .keys(bed.account)
            .await
            .unwrap()
            .special()
            .is_empty()
    );
}

#[tokio::test]
async fn what_is_not_there_is_not_attached() {
    let bed = bed().await;
    let one = instance(&bed, 1).await;
    let all = save(&bed, 1, 5_000).await.id;
    let attach = |instance, key| bed.store.attach_key(bed.actor(), instance, key, at(6_000));
    assert_eq!(attach(one, all + 1).await.unwrap(), Attached::NoKey);
    assert_eq!(attach(one + 1, all).await.unwrap(), Attached::NoInstance);
    let other = bed.store.attach_key(Actor::server(99), one, all, at(6_000));
    assert_eq!(other.await.unwrap(), Attached::NoInstance);
    assert!(bed.store.keys_of_instance(99, one).await.unwrap().is_none());
}

#[tokio::test]
async fn text_that_is_no_key_becomes_one_of_that_instance_only() {
    let bed = bed().await;
    let (one, two) = (instance(&bed, 1).await, instance(&bed, 2).await);
    let attach = |instance, n| {
        bed.store
            .attach_text(bed.actor(), instance, key(n), at(6_000))
    };
    let AttachedText::Made(made) = attach(one, 1).await.unwrap() else {
        panic!("it was made");
    };
    assert_eq!(made.scope, KeyScope::Some);
    assert_eq!(
        (on(&bed, one).await, on(&bed, two).await),
        (vec![made.id], vec![])
    );
    let again = attach(one, 1).await.unwrap();
    assert_eq!(again, AttachedText::Had(made.clone(), Attached::Already));
    match attach(two, 1).await.unwrap() {
        AttachedText::Had(row, Attached::Done { .. }) => assert_eq!(row.id, made.id),
        other => panic!("{other:?}"),
    }
    assert_eq!(on(&bed, two).await, [made.id]);

    bed.store
        .revoke_key(bed.actor(), made.id, at(7_000))
        .await
        .unwrap();
    assert!(on(&bed, one).await.is_empty());
    let refused = attach(one, 1).await.unwrap();
    assert_eq!(refused, AttachedText::Refused(Refused::Revoked));
    assert_eq!(attach(99, 2).await.unwrap(), AttachedText::NoInstance);
    let keys = bed.store.keys(bed.account).await.unwrap().keys;
    assert!(
        keys.is_empty(),
        "nothing was saved for an instance that is none"
    );
}

#[tokio::test]
async fn an_instance_that_goes_changes_the_accounts_list_by_a_revision_or_not_at_all() {
    let bed = bed().await;
    let one = instance(&bed, 1).await;
    let some = some(&bed, 1, 5_000).await;
    bed.store
        .attach_key(bed.actor(), one, some, at(6_000))
        .await
        .unwrap();
    let before = revision(&bed).await;
    let remove = bed
        .store
        .remove_instance(bed.actor(), one, (false, false), at(7_000));
    assert!(remove.await.unwrap());
    // It never enrolled, so it is gone at once, and with it its place in `except`.
    assert!(
        bed.store
            .keys(bed.account)
            .await
            .unwrap()
            .special()
            .is_empty()
    );
    assert!(revision(&bed).await > before);

    let two = instance(&bed, 2).await;
    let enrol = EnrolRequest {
        token: [2; 32],
        identity: "ssh-ed25519 i".to_owned(),
        hostname: String::new(),
        run: [1; 32],
        session: [9; 32],
        from: None,
        request: String::new(),
    };
    bed.store.enrol(enrol, at(7_000)).await.unwrap();
    bed.store
        .attach_key(bed.actor(), two, some, at(8_000))
        .await
        .unwrap();
    let before = revision(&bed).await;
    let remove = bed
        .store
        .remove_instance(bed.actor(), two, (false, false), at(9_000));
    assert!(remove.await.unwrap());
    let told = revision(&bed).await;
    assert!(told > before);
    let keys = bed.store.keys(bed.account).await.unwrap();
    assert!(keys.special().is_empty());
    assert_eq!(keys.on(two).count(), 1, "its last word has its own keys");
    let attach = bed.store.attach_key(bed.actor(), two, some, at(9_500));
    assert_eq!(attach.await.unwrap(), Attached::NoInstance);
    bed.store.told_of_removal(two, at(9_600)).await.unwrap();
    bed.store.end_removal(two).await.unwrap();
    assert_eq!(revision(&bed).await, told);
    assert!(
        bed.store
            .keys(bed.account)
            .await
            .unwrap()
            .special()
            .is_empty()
    );
}
