//! The store by its own handle: revisions, tokens, runs.

mod attachments;
mod certificates;
mod certified_keys;

use super::db::TransactionBehavior;
use super::*;
use crate::wire::KeyScope;
use std::sync::Mutex;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

struct Bed {
    store: Store,
    woken: Arc<Mutex<Vec<Commit>>>,
    account: i64,
    _dir: tempfile::TempDir,
}

async fn bed() -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let woken = Arc::new(Mutex::new(Vec::new()));
    let log = woken.clone();
    let committed: Committed = Arc::new(move |c| log.lock().unwrap().push(c));
    let (store, _) = Store::open(&testing::database(dir.path()), committed).unwrap();
    let added = store
        .add_account(
            Actor::server(0),
            "a@example.com".to_owned(),
            None,
            first_key(1),
            at(1_000),
        )
        .await
        .unwrap();
    let Added::Account(account) = added else {
        panic!("{added:?}");
    };
    Bed {
        store,
        woken,
        account,
        _dir: dir,
    }
}

impl Bed {
    fn actor(&self) -> Actor {
        Actor::server(self.account)
    }
}

fn first_key(n: u8) -> Option<FirstKey> {
    Some(FirstKey {
        hash: [n; 32],
        tail: "tail".to_owned(),
        sealed: Vec::new(),
    })
}

/// The account's first API key, by the secret that it has.
fn seen(secret: u8) -> ApiKeySeen {
    ApiKeySeen {
        id: 1,
        hash: [secret; 32],
        rights: Arc::new(super::super::permissions::Permissions::all()),
    }
}

fn key(n: u8) -> NewKey {
    NewKey {
        name: format!("key {n}"),
        public_key: format!("ssh-ed25519 {n}"),
        fingerprint: format!("SHA256:{n}"),
        options: String::new(),
        expires_at: None,
        scope: KeyScope::All,
    }
}

async fn save(bed: &Bed, n: u8, now: i64) -> KeyRow {
    match bed.store.save_key(bed.actor(), key(n), at(now)).await {
        Ok(Saved::New(row)) => row,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn revisions_grow_even_when_the_clock_steps_back() {
    let bed = bed().await;
    let first = save(&bed, 1, 5_000).await;
    assert_eq!(first.revision, 5_000);
    let second = save(&bed, 2, 2_000).await;
    assert_eq!(second.revision, 5_001);
    bed.store
        .delete_key(bed.actor(), first.id, false, at(1))
        .await
        .unwrap();
    let keys = bed.store.keys(bed.account).await.unwrap();
    assert_eq!(keys.head.revision, 5_002);
    assert_eq!(keys.keys, [second]);
    let third = save(&bed, 3, 9_000).await;
    assert_eq!(third.revision, 9_000);
    assert!(third.id > keys.keys[0].id);
    let woken = bed.woken.lock().unwrap().clone();
    let account = bed.account;
    let expected = [5_000, 5_001, 5_002, 9_000].map(|revision| Commit::revision(account, revision));
    assert_eq!(woken, expected);
}

#[tokio::test]
async fn a_lifted_account_never_gives_out_the_numbers_below() {
    let bed = bed().await;
    let lifted = bed
        .store
        .lift(bed.account, 70_000, at(2_000))
        .await
        .unwrap();
    assert_eq!(lifted, 70_001);
    assert_eq!(save(&bed, 1, 3_000).await.revision, 70_002);
    let same = bed.store.lift(bed.account, 10, at(2_000)).await.unwrap();
    assert_eq!(same, 70_002);
}

#[tokio::test]
async fn the_same_key_twice_is_one_key_and_no_new_revision() {
    let bed = bed().await;
    let first = save(&bed, 1, 5_000).await;
    let mut again = key(1);
    again.name = "other".to_owned();
    let saved = bed.store.save_key(bed.actor(), again.clone(), at(6_000));
    assert_eq!(saved.await.unwrap(), Saved::Same(first.clone()));
    again.expires_at = Some(at(99_000));
    let saved = bed.store.save_key(bed.actor(), again, at(6_000));
    assert_eq!(saved.await.unwrap(), Saved::Differs(first.id));
    let head = bed.store.head(bed.account).await.unwrap().unwrap();
    assert_eq!(head.revision, 5_000);
}

#[tokio::test]
async fn keys_that_would_make_a_list_too_long_for_agents_are_not_taken() {
    let bed = bed().await;
    let long = |n| NewKey {
        options: "x".repeat(600 * 1024),
        ..key(n)
    };
    for n in [1, 2] {
        let saved = bed.store.save_key(bed.actor(), long(n), at(5_000)).await;
        assert!(matches!(saved, Ok(Saved::New(_))));
    }
    let saved = bed.store.save_key(bed.actor(), long(3), at(5_000)).await;
    assert_eq!(saved.unwrap(), Saved::TooLong);
    save(&bed, 3, 6_000).await;
}

#[tokio::test]
async fn an_address_is_taken_whatever_its_case() {
    let bed = bed().await;
    let again = bed.store.add_account(
        Actor::server(0),
        "A@Example.com".to_owned(),
        None,
        first_key(2),
        at(1),
    );
    assert_eq!(again.await.unwrap(), Added::Taken);
    assert_eq!(bed.store.api_key([2; 32], at(1)).await.unwrap(), None);
    let first = bed.store.api_key([1; 32], at(1)).await.unwrap();
    assert_eq!(first.map(|key| key.account), Some(bed.account));
}

async fn speaks(bed: &Bed, instance: i64, run: Hash) -> bool {
    let speaker = Speaker {
        from: None,
        request: String::new(),
    };
    bed.store.run(instance, run, speaker, at(1)).await.unwrap()
}

#[tokio::test]
async fn sixty_four_superseded_runs_are_remembered() {
    let bed = bed().await;
    let made = bed
        .store
        .add_instance(
            bed.actor(),
            "a".to_owned(),
            [3; 32],
            at(9_000),
            None,
            at(1_000),
        )
        .await
        .unwrap();
    let Made::Instance(instance) = made else {
        panic!("{made:?}");
    };
    for run in 0..=65_u8 {
        assert!(speaks(&bed, instance, [run; 32]).await);
    }
    assert!(speaks(&bed, instance, [65; 32]).await);
    assert!(!speaks(&bed, instance, [64; 32]).await);
    assert!(!speaks(&bed, instance, [1; 32]).await);
    assert!(speaks(&bed, instance, [0; 32]).await);
}

#[tokio::test]
async fn a_job_that_panics_costs_only_its_own_answer() {
    let bed = bed().await;
    let lost = bed.store.call::<()>(|_| panic!("a job's own fault")).await;
    assert!(matches!(lost, Err(StoreError::Lost)));
    bed.store.ping().await.unwrap();
}

#[tokio::test]
async fn another_process_on_the_same_database_is_noticed() {
    let bed = bed().await;
    let mut sweep = Sweep::default();
    let look = async |sweep: &mut Sweep| {
        let watched = || vec![bed.account];
        bed.store.others(sweep, watched).await.unwrap()
    };
    assert_eq!(look(&mut sweep).await, []);
    let database = testing::database(bed._dir.path());
    let (other, _) = Store::open(&database, Arc::new(|_| {})).unwrap();
    other
        .save_key(bed.actor(), key(2), at(6_000))
        .await
        .unwrap();
    let found = look(&mut sweep).await;
    let [commit] = found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (commit.account, commit.revision),
        (bed.account, Some(6_000))
    );
    assert_eq!(look(&mut sweep).await, []);
    assert_eq!(
        bed.store.revisions(vec![bed.account, 99]).await.unwrap(),
        [(bed.account, Some(6_000)), (99, None)]
    );
}

async fn delete(bed: &Bed, id: i64, now: i64) -> Deleted {
    bed.store
        .delete_key(bed.actor(), id, true, at(now))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_later_order_for_the_same_key_takes_the_place_of_the_earlier() {
    let bed = bed().await;
    let first = save(&bed, 1, 5_000).await;
    assert!(matches!(
        delete(&bed, first.id, 6_000).await,
        Deleted::Done(_, Some(_))
    ));
    let again = save(&bed, 1, 7_000).await;
    let Deleted::Done(gone, Some(order)) = delete(&bed, again.id, 8_000).await else {
        panic!("no order");
    };
    assert_eq!(gone, again);
    let keys = bed.store.keys(bed.account).await.unwrap();
    let [open] = &keys.orders[..] else {
        panic!("{keys:?}");
    };
    assert_eq!(
        (open.id, open.key, open.asked_at),
        (order, again.id, at(8_000))
    );
    assert_eq!(open.revision, keys.head.revision);
    let earlier = bed
        .store
        .order_of_key(bed.account, Ended::Id(first.id), at(9_000));
    let (earlier, _) = earlier.await.unwrap().unwrap();
    assert!(!earlier.open, "its results can still be seen");
}

#[tokio::test]
async fn too_many_orders_leave_the_key_as_it_is_and_a_revocation_goes_through() {
    let bed = bed().await;
    let fill = bed.store.call(|db| {
        let tx = db.transaction_with_behavior(TransactionBehavior::Account(1))?;
        for n in 0..MAX_ORDERS {
            tx.execute(
                "INSERT INTO orders (account, key, fingerprint, revision, asked_at, until)
                 VALUES (1, ?1, ?2, 1, 1, 99999)",
                db::params![n, n.to_string()],
            )?;
        }
        Ok(tx.commit()?)
    });
    fill.await.unwrap();
    let (one, two) = (save(&bed, 1, 5_000).await, save(&bed, 2, 5_001).await);
    let head = bed.store.head(bed.account).await.unwrap();
    assert_eq!(delete(&bed, one.id, 6_000).await, Deleted::TooManyOrders);
    assert_eq!(bed.store.head(bed.account).await.unwrap(), head);
    let revoked = bed.store.revoke_key(bed.actor(), two.id, at(7_000));
    assert!(matches!(revoked.await.unwrap(), Revocation::Done(..)));
    let keys = bed.store.keys(bed.account).await.unwrap();
    assert_eq!(keys.keys, [one]);
    assert_eq!(keys.orders.len() as i64, MAX_ORDERS + 1);
    bed.store
        .settle_orders(|_| true, at(100_000))
        .await
        .unwrap();
    let keys = bed.store.keys(bed.account).await.unwrap();
    assert_eq!(keys.orders.len(), 1);
    let woken = bed.woken.lock().unwrap().last().copied();
    let (account, revision) = (bed.account, keys.head.revision);
    assert_eq!(woken, Some(Commit::revision(account, revision)));
}
