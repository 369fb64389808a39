//! What only PostgreSQL has: turns, retries, steps that replicas take together, notices, a server
//! that goes away. They are done where `SSHKEYD_TEST_POSTGRES` names one; `tests/run` sees to that.

use super::super::testing::{self, apart};
use super::super::{
    Act, Actor, Added, By, Commit, KeyRow, NewKey, Saved, Store, StoreError, Sweep, db,
};
use super::*;
use crate::config::Database;
use crate::wire::KeyScope;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

/// A database of its own, and where its directory is.
fn server() -> (Postgres, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    match testing::database(dir.path()) {
        Database::Postgres(database) => (database, dir),
        Database::Sqlite(_) => panic!("SSHKEYD_TEST_POSTGRES names no server; run tests/run"),
    }
}

type Heard = Arc<Mutex<Vec<Commit>>>;

/// A replica, and what it has been told.
fn replica(database: &Postgres) -> (Store, Heard) {
    let heard = Heard::default();
    let log = heard.clone();
    let committed: Committed = Arc::new(move |commit| log.lock().unwrap().push(commit));
    let database = Database::Postgres(database.clone());
    let (store, _) = Store::open(&database, committed).unwrap();
    (store, heard)
}

async fn account(store: &Store, email: &str) -> i64 {
    let made = store.add_account(Actor::server(0), email.to_owned(), None, None, at(1));
    match made.await.unwrap() {
        Added::Account(account) => account,
        Added::Taken => panic!("{email} is taken"),
    }
}

fn key(n: u32) -> NewKey {
    NewKey {
        name: format!("key {n}"),
        public_key: format!("ssh-ed25519 {n}"),
        fingerprint: format!("SHA256:{n}"),
        options: String::new(),
        expires_at: None,
        scope: KeyScope::All,
    }
}

async fn save(store: &Store, account: i64, n: u32) -> Result<KeyRow, StoreError> {
    match store
        .save_key(Actor::server(account), key(n), at(1))
        .await?
    {
        Saved::New(row) | Saved::Same(row) => Ok(row),
        other => panic!("{other:?}"),
    }
}

/// Waits for something that is on its way from another thread.
async fn until(mut is: impl FnMut() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .expect("it comes within twenty seconds");
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
async fn replicas_that_start_together_make_one_schema_and_a_newer_one_is_left_alone() {
    let (database, _dir) = server();
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let database = database.clone();
            std::thread::spawn(move || drop(replica(&database)))
        })
        .collect();
    threads.into_iter().for_each(|one| one.join().unwrap());
    let newer = "UPDATE schema_version SET version = 99";
    assert_eq!(apart(&database, |db| db.execute(newer, [])).unwrap(), 1);
    let database = Database::Postgres(database);
    let refused = Store::open(&database, Arc::new(|_| {})).err();
    assert!(
        matches!(refused, Some(StoreError::Newer(99))),
        "{refused:?}"
    );
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
async fn many_that_save_at_once_get_each_a_revision_of_its_own_and_no_key_twice() {
    let (database, _dir) = server();
    let replicas = [replica(&database).0, replica(&database).0];
    let account = account(&replicas[0], "a@example.com").await;
    let tasks: Vec<_> = (0..120)
        .map(|n| {
            let store = replicas[n as usize % 2].clone();
            // Each key is saved by both replicas.
            tokio::spawn(async move { save(&store, account, n / 2).await.unwrap() })
        })
        .collect();
    let mut saved = BTreeMap::new();
    for task in tasks {
        let row = task.await.unwrap();
        let before = saved.insert(row.fingerprint.clone(), row.clone());
        assert!(
            before.is_none_or(|before| before == row),
            "one key, saved once"
        );
    }
    assert_eq!(saved.len(), 60);
    let revisions: BTreeSet<u64> = saved.values().map(|row| row.revision).collect();
    assert_eq!(revisions.len(), 60, "no revision was given out twice");
    let keys = replicas[1].keys(account).await.unwrap();
    assert_eq!(keys.keys.len(), 60);
    assert_eq!(Some(&keys.head.revision), revisions.last());
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
async fn a_limit_holds_however_many_come_at_once() {
    let (database, _dir) = server();
    let replicas = [replica(&database).0, replica(&database).0];
    let account = account(&replicas[0], "a@example.com").await;
    let fill = "INSERT INTO ssh_keys (account, name, public_key, fingerprint, options, created_at,
                    revision)
                SELECT 1, '', 'x' || n, 'x' || n, '', 1, 1 FROM generate_series(1, 995) n";
    assert_eq!(apart(&database, |db| db.execute(fill, [])).unwrap(), 995);
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let store = replicas[n as usize % 2].clone();
            let actor = Actor::server(account);
            tokio::spawn(async move { store.save_key(actor, key(n), at(1)).await.unwrap() })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        match task.await.unwrap() {
            Saved::New(_) => new += 1,
            other => assert_eq!(other, Saved::TooMany),
        }
    }
    assert_eq!(new, 5);
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
async fn what_came_between_is_done_again_and_what_goes_on_so_is_not() {
    let (database, _dir) = server();
    let (store, _) = replica(&database);
    let fails = |times: u32, code: &'static str| {
        let tries = Arc::new(AtomicU32::new(0));
        let counted = tries.clone();
        let job = store.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute("UPDATE strangers SET guesses = guesses + 1", [])?;
            if counted.fetch_add(1, Ordering::Relaxed) < times {
                let raise = format!("RAISE EXCEPTION 'between' USING ERRCODE = '{code}'");
                tx.execute_batch(&format!("DO $$ BEGIN {raise}; END $$"))?;
            }
            Ok(tx.commit()?)
        });
        async move { (job.await, tries.load(Ordering::Relaxed)) }
    };
    let (done, tries) = fails(3, "40001").await;
    assert!(done.is_ok(), "{done:?}");
    assert_eq!(tries, 4);
    let (done, tries) = fails(1, "40P01").await;
    assert!(done.is_ok() && tries == 2, "{done:?}");
    let (given_up, tries) = fails(99, "40001").await;
    assert!(
        matches!(given_up, Err(StoreError::Conflict(_))),
        "{given_up:?}"
    );
    assert_eq!(tries, super::super::TRIES);
    let (other, tries) = fails(99, "22012").await;
    assert!(matches!(other, Err(StoreError::Fault(_))), "{other:?}");
    assert_eq!(tries, 1, "what is a fault is not tried again");
    let guesses = store.call(|db| {
        Ok(db.query_row("SELECT guesses FROM strangers", [], |row| {
            row.get::<_, i64>(0)
        })?)
    });
    assert_eq!(guesses.await.unwrap(), 2, "once for each that was done");
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
async fn a_deadlock_costs_neither_side_its_change() {
    let (database, _dir) = server();
    let (store, _) = replica(&database);
    for email in ["a@example.com", "b@example.com"] {
        account(&store, email).await;
    }
    let met = Arc::new(tokio::sync::Barrier::new(2));
    // Two that take the same rows in another order, without a turn.
    let cross = |first: i64, second: i64| {
        let (met, mut tries) = (met.clone(), 0);
        store.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Loose)?;
            let up = "UPDATE accounts SET changed_at = changed_at + 1 WHERE id = ?1";
            tx.execute(up, [first])?;
            tries += 1;
            if tries == 1 {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                runtime.unwrap().block_on(met.wait());
            }
            tx.execute(up, [second])?;
            Ok(tx.commit()?)
        })
    };
    let (one, other) = tokio::join!(cross(1, 2), cross(2, 1));
    one.unwrap();
    other.unwrap();
    let sum = "SELECT CAST(sum(changed_at) AS BIGINT) FROM accounts";
    let sum = store.call(move |db| Ok(db.query_row(sum, [], |row| row.get::<_, i64>(0))?));
    assert_eq!(sum.await.unwrap(), 2 + 4);
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
async fn a_save_on_one_replica_is_heard_on_the_other_at_once_and_found_without_a_notice() {
    let (database, _dir) = server();
    let ((one, _), (two, heard)) = (replica(&database), replica(&database));
    let account = account(&one, "a@example.com").await;
    let mut sweep = Sweep::default();
    two.others(&mut sweep, Vec::new).await.unwrap();
    // The other may still be on its way to listen: what is said until it does is not heard.
    let mut n = 0;
    let mut last = 0;
    while heard.lock().unwrap().is_empty() {
        last = save(&one, account, n).await.unwrap().revision;
        n += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(n < 400, "no notice came");
    }
    let saved = save(&one, account, n).await.unwrap().revision;
    assert!(saved > last);
    until(|| {
        heard
            .lock()
            .unwrap()
            .contains(&Commit::revision(account, saved))
    })
    .await;

    let found = two.others(&mut sweep, Vec::new).await.unwrap();
    let [commit] = found[..] else {
        panic!("one row an account: {found:?}");
    };
    assert_eq!((commit.account, commit.revision), (account, Some(saved)));
    assert!(!commit.access, "no token has ended");
    assert_eq!(two.others(&mut sweep, Vec::new).await.unwrap(), []);
    let passwords = one.set_password(Actor::server(account), "x".to_owned(), None, at(1));
    passwords.await.unwrap();
    let found = two.others(&mut sweep, Vec::new).await.unwrap();
    assert!(
        matches!(found[..], [Commit { access: true, .. }]),
        "{found:?}"
    );
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
async fn a_change_that_is_committed_late_is_found_all_the_same() {
    let (database, _dir) = server();
    let (store, _) = replica(&database);
    let early = account(&store, "a@example.com").await;
    let late = account(&store, "b@example.com").await;
    let mut sweep = Sweep::default();
    store.others(&mut sweep, Vec::new).await.unwrap();
    let change = "UPDATE accounts SET revision = revision + 1 WHERE id = ?1";
    let found = async |sweep: &mut Sweep| {
        let found = store.others(sweep, Vec::new).await.unwrap();
        found
            .iter()
            .map(|commit| commit.account)
            .collect::<Vec<_>>()
    };
    // Begun first, and committed after one that was begun later and has been seen.
    let (begun, is_begun) = std::sync::mpsc::channel();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let one = database.clone();
    let slow = std::thread::spawn(move || {
        apart(&one, move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Loose)?;
            tx.execute(change, [late])?;
            begun.send(()).unwrap();
            may_go.recv().unwrap();
            tx.commit()
        })
    });
    is_begun.recv().unwrap();
    apart(&database, |db| db.execute(change, [early])).unwrap();
    assert_eq!(found(&mut sweep).await, [early]);
    assert_eq!(found(&mut sweep).await, [] as [i64; 0]);
    go.send(()).unwrap();
    slow.join().unwrap().unwrap();
    assert_eq!(found(&mut sweep).await, [late]);
    assert_eq!(found(&mut sweep).await, [] as [i64; 0]);
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
async fn a_connection_that_is_cut_is_made_anew_and_the_sweep_then_looks_at_everything() {
    let (database, _dir) = server();
    let (store, _) = replica(&database);
    let account = account(&store, "a@example.com").await;
    let mut sweep = Sweep::default();
    store.others(&mut sweep, Vec::new).await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for n in 0..5 {
        apart(&database, |db| {
            db.prepare(cut)?
                .query_map([], |_| Ok(()))?
                .collect::<db::Result<Vec<_>>>()
        })
        .unwrap();
        save(&store, account, n).await.unwrap();
    }
    // In the middle of a change: nothing of it is kept, and it is said so.
    let middle = store.call(move |db| {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute("UPDATE strangers SET guesses = 99", [])?;
        tx.execute_batch("SELECT pg_terminate_backend(pg_backend_pid())")?;
        Ok(tx.commit()?)
    });
    let middle = middle.await;
    assert!(
        matches!(middle, Err(StoreError::Unavailable(_))),
        "{middle:?}"
    );
    let guesses = store.call(|db| {
        Ok(db.query_row("SELECT guesses FROM strangers", [], |row| {
            row.get::<_, i64>(0)
        })?)
    });
    assert_eq!(guesses.await.unwrap(), 0);
    sweep = Sweep::failed(sweep);
    let all = store
        .others(&mut sweep, || vec![account, 99])
        .await
        .unwrap();
    let all: Vec<_> = all.iter().map(|c| (c.account, c.access)).collect();
    assert_eq!(all, [(account, true), (99, true)]);
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
async fn a_server_that_is_not_there_is_said_so_soon() {
    let (mut database, _dir) = server();
    database.hosts = vec![("127.0.0.1".to_owned(), 1)];
    let begin = crate::sys::clock::monotonic();
    let database = Database::Postgres(database);
    let refused = Store::open(&database, Arc::new(|_| {})).err();
    assert!(
        matches!(refused, Some(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(crate::sys::clock::monotonic() - begin < Duration::from_secs(9));
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
async fn a_row_of_the_log_that_can_be_read_has_none_before_it_to_come() {
    let (database, _dir) = server();
    let (store, _) = replica(&database);
    let account = account(&store, "a@example.com").await;
    let note = |n: u32| {
        let actor = Actor {
            by: By::Nobody,
            request: n.to_string(),
            ..Actor::server(account)
        };
        let (store, act) = (store.clone(), Act::refused("x", serde_json::json!({})));
        tokio::spawn(async move { store.note(actor, act, at(1)).await.unwrap() })
    };
    let tasks: Vec<_> = (0..200).map(note).collect();
    let (mut seen, mut highest) = (0, 0);
    while seen < 200 {
        let rows = store.audit(account, i64::MAX, 500).await.unwrap();
        let rows: Vec<i64> = rows
            .iter()
            .filter(|r| r.action == "x")
            .map(|r| r.id)
            .collect();
        let fresh = rows.iter().filter(|id| **id > highest).count();
        assert_eq!(
            rows.len(),
            seen + fresh,
            "a row came behind one that was read"
        );
        seen = rows.len();
        highest = rows.first().copied().unwrap_or(0);
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
fn both_engines_have_the_same_tables_and_columns() {
    let (database, dir) = server();
    drop(replica(&database));
    let theirs = "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT),
                    CAST(is_nullable AS TEXT) = 'YES', coalesce(CAST(column_default AS TEXT), '')
                  FROM information_schema.columns WHERE table_schema = 'public'";
    let ours = "SELECT t.name, c.name, c.\"notnull\" = 0 AND c.pk = 0, coalesce(c.dflt_value, '')
                FROM sqlite_schema t, pragma_table_info(t.name) c
                WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
    let read = |db: &mut Connection, sql: &str| {
        db.prepare(sql)?
            .query_map([], |row| {
                let default: String = row.get(3)?;
                let (default, _) = default.split_once("::").unwrap_or((&default, ""));
                let column: (String, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((column, default.to_owned()))
            })?
            .collect::<db::Result<BTreeSet<_>>>()
    };
    let mut theirs = apart(&database, |db| read(db, theirs)).unwrap();
    // This engine's own.
    theirs.retain(|((table, ..), _)| {
        !["changes", "guesses", "schema_version"].contains(&table.as_str())
    });
    let file = super::super::sqlite::open(&dir.path().join("b.db")).unwrap();
    let ours = read(&mut file.into(), ours).unwrap();
    assert!(ours.len() > 100);
    let only = |one: &BTreeSet<_>, other| one.difference(other).cloned().collect::<Vec<_>>();
    assert_eq!(only(&ours, &theirs), [], "SQLite's only");
    assert_eq!(only(&theirs, &ours), [], "PostgreSQL's only");
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server; tests/run includes it"]
async fn what_was_brought_back_is_lifted_and_gives_no_number_twice() {
    let (database, _dir) = server();
    let (store, heard) = replica(&database);
    let account = account(&store, "a@example.com").await;
    let first = save(&store, account, 1).await.unwrap();
    let mut sweep = Sweep::default();
    store.others(&mut sweep, Vec::new).await.unwrap();
    let lifted = super::super::copies::lift(&database, at(9_000_000)).unwrap();
    assert_eq!((lifted.accounts, lifted.sessions), (1, 0));
    let head = store.head(account).await.unwrap().unwrap();
    assert_eq!(head.revision, 9_000_001);
    let found = store.others(&mut sweep, Vec::new).await.unwrap();
    assert_eq!(
        found[0].revision,
        Some(9_000_001),
        "replicas that run hear of it"
    );
    let next = save(&store, account, 2).await.unwrap();
    assert!(next.id > first.id + 1_000_000);
    assert!(next.revision > 9_000_001);
    drop(heard);
}
