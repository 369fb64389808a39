//! Connections beside the writer's, for questions that are answered where they are asked: sending
//! one to the database's thread and waiting for it costs several times what the answer does.
//!
//! Each question sees all that was committed before it, by whatever process (sqlite.org/isolation,
//! "WAL mode"). They cannot write, and wait for nobody: what none of them answers at once is the
//! thread's.

use super::db::Connection;
use super::{StoreError, sqlite};
use std::path::Path;
use std::sync::{Mutex, TryLockError};

/// As many as ask at the same moment; one more asks the thread.
const READERS: usize = 2;

/// The connections.
pub(super) struct Readers(Vec<Mutex<Connection>>);

impl Readers {
    /// To a database that is open, and whose schema is up to date.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let readers = (0..READERS).map(|_| Ok(Mutex::new(sqlite::open_reader(path)?.into())));
        readers.collect::<Result<_, StoreError>>().map(Self)
    }

    /// None: every question is the threads'.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Asks; `None` when no connection is free, or the question is not one that they can answer.
    pub(super) fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> Result<Option<T>, StoreError>,
    ) -> Option<T> {
        let free = self.0.iter().find_map(|reader| match reader.try_lock() {
            Ok(reader) => Some(reader),
            // A question that panicked has left a statement that is reset by now, no more.
            Err(TryLockError::Poisoned(reader)) => Some(reader.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        // What went wrong here, the thread will say.
        question(&*free?).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(db: &Connection) -> Result<Option<i64>, StoreError> {
        let mut count = db.prepare_cached("SELECT count(*) FROM accounts")?;
        Ok(Some(count.query_row([], |row| row.get(0))?))
    }

    #[test]
    fn what_another_connection_has_committed_is_seen_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let mut writer = Connection::from(sqlite::open(&path).unwrap());
        let other = Connection::from(sqlite::open(&path).unwrap());
        let readers = Readers::open(&path).unwrap();
        assert_eq!(readers.ask(count), Some(0));
        let add = "INSERT INTO accounts (email, email_key, revision, changed_at, created_at)
                   VALUES (?1, ?1, 1, 0, 0)";
        let tx = writer.transaction().unwrap();
        tx.execute(add, ["a@example.com"]).unwrap();
        assert_eq!(
            readers.ask(count),
            Some(0),
            "not committed, and not waited for"
        );
        tx.commit().unwrap();
        assert_eq!(readers.ask(count), Some(1));
        other.execute("DELETE FROM accounts", []).unwrap();
        assert_eq!(readers.ask(count), Some(0));
    }

    #[test]
    fn they_cannot_write_and_one_that_is_busy_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let _writer = sqlite::open(&path).unwrap();
        let readers = Readers::open(&path).unwrap();
        let write = |db: &Connection| Ok(Some(db.execute("DELETE FROM accounts", [])?));
        assert_eq!(readers.ask(write), None);
        let busy: Vec<_> = readers.0.iter().map(|r| r.lock().unwrap()).collect();
        assert_eq!(readers.ask(count), None);
        drop(busy);
        assert_eq!(readers.ask(count), Some(0));
    }
}
