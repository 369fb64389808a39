//! The embedded database: its file, its settings, its schema, its thread.
//!
//! Write-ahead log with `synchronous = FULL`: an answered save survives a power cut (SQLite,
//! "PRAGMA synchronous"). The file is 0600; SQLite gives its log and index the same mode. Schema
//! steps are numbered by `user_version`, each in its own transaction.

use super::db;
use super::readers::Readers;
use super::{Begun, Committed, Job, StoreError, reports};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a write waits for another process (`sshkeyd account add`) to end its own.
const BUSY: Duration = Duration::from_secs(5);

/// The steps, oldest first; a step that was released is never edited.
pub(super) const STEPS: [&str; 8] = [
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
    include_str!("schema/0004.sql"),
    include_str!("schema/0005.sql"),
    include_str!("schema/0006.sql"),
    include_str!("schema/0007.sql"),
    include_str!("schema/0008.sql"),
];

/// Opens or makes the database and brings its schema up to date.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    // Made here first, so that it never exists with a wider mode.
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| StoreError::File {
            path: path.to_owned(),
            source,
        })?;
    let mut db = Connection::open(path)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.set_prepared_statement_cache_capacity(64);
    migrate(&mut db, &STEPS)?;
    Ok(db)
}

/// Opens a database that is open already, to read from it without ever waiting for a writer.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(Duration::ZERO)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

/// Takes the steps that this database has not had.
fn migrate(db: &mut Connection, steps: &[&str]) -> Result<(), StoreError> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let had: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = usize::try_from(had).map_err(|_| StoreError::Newer(had))?;
    if done > steps.len() {
        return Err(StoreError::Newer(had));
    }
    for step in steps.iter().skip(done) {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(
        None,
        "user_version",
        i64::try_from(steps.len()).unwrap_or(i64::MAX),
    )?;
    Ok(tx.commit()?)
}

/// Opens or makes the database, and starts its thread.
pub(super) fn begin(
    path: &Path,
    jobs: mpsc::Receiver<Job>,
    committed: Committed,
) -> Result<Begun, StoreError> {
    let connection = db::Connection::from(open(path)?);
    let seen = reports::all_seen(&connection)?;
    let readers = Readers::open(path)?;
    std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || run(connection, jobs))
        .map_err(StoreError::Thread)?;
    Ok(Begun {
        committed,
        readers,
        warning: None,
        seen,
    })
}

/// The thread: one job after another until the last handle is gone.
fn run(mut db: db::Connection, mut jobs: mpsc::Receiver<Job>) {
    while let Some(mut job) = jobs.blocking_recv() {
        // A job that panics rolls back by drop and loses its own answer, not the thread. None is
        // done again: there is one writer.
        if catch_unwind(AssertUnwindSafe(|| job(&mut db))).is_err() {
            tracing::error!("a database job panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_new_database_is_durable_private_and_at_the_last_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let db = open(&path).unwrap();
        let text = |sql: &str| db.query_row(sql, [], |r| r.get::<_, String>(0)).unwrap();
        let number = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
        assert_eq!(text("PRAGMA journal_mode"), "wal");
        assert_eq!(number("PRAGMA synchronous"), 2);
        assert_eq!(number("PRAGMA foreign_keys"), 1);
        assert_eq!(number("PRAGMA user_version"), STEPS.len() as i64);
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_step_is_taken_once_and_a_newer_database_is_left_alone() {
        let mut db = Connection::open_in_memory().unwrap();
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x)"];
        migrate(&mut db, &steps[..1]).unwrap();
        migrate(&mut db, &steps).unwrap();
        migrate(&mut db, &steps).unwrap();
        assert!(matches!(
            migrate(&mut db, &steps[..1]),
            Err(StoreError::Newer(2))
        ));
    }

    #[test]
    fn a_step_that_does_not_work_leaves_everything_as_it_was() {
        let mut db = Connection::open_in_memory().unwrap();
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x); not sql"];
        assert!(migrate(&mut db, &steps).is_err());
        let tables: i64 = db
            .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
            .unwrap();
        assert_eq!(tables, 0);
    }
}

#[cfg(test)]
mod upgrades;
