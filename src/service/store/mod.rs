//! What the service keeps: accounts, their keys of three kinds, instances, orders, the audit log.
//!
//! Owns the domain types and the handle whose methods send their work to the one thread that
//! writes; who asks, and where an account stands, is read on the spot (`readers`). Every change of
//! an account's keys gives the account a new revision in the same transaction, and whoever waits
//! for that account is woken as soon as it is durable. Refuses to know HTTP, and to hold a secret:
//! tokens are kept as hashes only.

mod account_acts;
mod accounts;
mod agents;
mod api_keys;
mod attachments;
mod audit;
mod cas;
mod certificates;
pub(super) mod copies;
mod host_keys;
mod idempotent;
mod instances;
mod key_edits;
mod key_ends;
mod krls;
mod orders;
mod people;
mod readers;
mod reports;
mod revocations;
mod runs;
mod sessions;
mod signers;
mod sqlite;
mod ssh_keys;
#[cfg(test)]
mod tests;
mod uses;

pub(super) use account_acts::{AccountRow, Remains, Switched};
pub(super) use accounts::{Added, FirstKey, Keys};
pub(super) use agents::{AgentSession, EnrolRequest, Enrolled, RenewRequest, Renewed};
pub(super) use api_keys::{
    ApiKeyEdit, ApiKeyMade, ApiKeyRow, MAX_API_KEYS, NewApiKeyRow, Secret, Touched,
};
pub(super) use attachments::{Attached, AttachedText};
pub(super) use audit::{Act, Actor, AuditRow, By};
pub(super) use cas::{CaRotation, CaRow, NewCa};
pub(super) use certificates::{CertificateRow, Issued, MAX_CERTIFICATES, MAX_TTL};
pub(super) use copies::CopyError;
pub(super) use host_keys::{GivenRow, HostKeyRow, HostKeysSeen};
pub(super) use idempotent::{Earlier, Once};
pub(super) use instances::{InstanceRow, Made, Removal, Renamed};
pub(super) use key_edits::Edited;
pub(super) use key_ends::{Deleted, Revocation, RevokedText};
pub(super) use orders::{Ended, OrderRow, ResultRow};
pub(super) use people::{Credentials, RefusedLogins};
pub(super) use reports::{Report, Seen, USED_STEP};
pub(super) use revocations::{CertificatesRevoked, MAX_KEY_ID, Which};
pub(super) use runs::Speaker;
pub(super) use sessions::{AnySession, NewSession, PersonSession, SessionKind};
pub(super) use signers::{HandoverRow, SetRow, signers_in_force};
pub(super) use ssh_keys::{KeyRow, NewKey, Refused, Saved};

use jiff::Timestamp;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait for the database's thread.
const QUEUE: usize = 256;

/// How long a caller waits for a place in that queue.
const QUEUE_WAIT: Duration = Duration::from_secs(5);

/// Lots that accounts are in, by their ids: of each lot one long reading is queued at a time, so that
/// an account that asks again and again waits for itself.
const LOTS: usize = 32;

/// SSH keys of one account.
pub(super) const MAX_KEYS: i64 = 1_000;

/// Bytes of one account's keys, names and options in all. As JSON, with every quote escaped, they
/// stay within a list's 4 MiB, and as a snapshot within the 8 MiB that an agent reads: a list that
/// no agent takes would also hold back every delete after it.
pub(super) const MAX_KEY_BYTES: i64 = 1_536 * 1024;

/// Keys that one account may have revoked: each stays in every list from then on.
pub(super) const MAX_REVOKED: i64 = 5_000;

/// Orders to end sessions that deletions may have put into an account's list; each revocation may
/// add one more.
pub(super) const MAX_ORDERS: i64 = 1_000;

/// Instances of one account.
pub(super) const MAX_INSTANCES: i64 = 10_000;

/// Attachments and detachments of one account: they are read with its keys.
pub(super) const MAX_ATTACHMENTS: i64 = 50_000;

/// How long an instance that was told of its removal may still speak.
pub(super) const REMOVAL_GRACE: Duration = Duration::from_secs(60);

/// A SHA-256.
pub(super) type Hash = [u8; 32];

/// What held queries and streams wait for: what a transaction has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Commit {
    /// Of which account.
    pub(super) account: i64,
    /// The account's list has this revision now.
    pub(super) revision: Option<u64>,
    /// One of its instances is being removed.
    pub(super) removal: bool,
    /// Some token of the account may be no good any more: whoever holds a query asks again.
    pub(super) access: bool,
    /// What a console that shows the account reads anew.
    pub(super) kinds: Kinds,
    /// Certificates that were good until then.
    pub(super) revoked: usize,
}

impl Commit {
    /// Something that changed no list and no token.
    pub(super) fn of(account: i64, kinds: Kinds) -> Self {
        Self {
            account,
            revision: None,
            removal: false,
            access: false,
            kinds,
            revoked: 0,
        }
    }

    /// The account's keys are others now.
    pub(super) fn revision(account: i64, revision: u64) -> Self {
        Self {
            revision: Some(revision),
            ..Self::of(account, Kinds::SSH_KEYS | Kinds::AUDIT)
        }
    }

    /// A token of the account has ended, or changed in its rights.
    pub(super) fn access(account: i64, kinds: Kinds) -> Self {
        Self {
            access: true,
            ..Self::of(account, kinds)
        }
    }

    /// The same, with certificates revoked by it: how many, and in which revision, if any.
    fn and_list(self, revoked: Option<(usize, u64)>) -> Self {
        match revoked {
            None => self,
            Some((count, revision)) => Self {
                revision: Some(revision),
                ..self.revoking(count)
            },
        }
    }

    /// The same, with so many certificates revoked.
    fn revoking(self, revoked: usize) -> Self {
        Self { revoked, ..self }
    }
}

/// Kinds of things that an account has, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    /// SSH keys.
    pub(super) const SSH_KEYS: Self = Self(1);
    /// API keys.
    pub(super) const API_KEYS: Self = Self(2);
    /// Sessions.
    pub(super) const SESSIONS: Self = Self(4);
    /// Instances, and what they say.
    pub(super) const INSTANCES: Self = Self(8);
    /// The audit log.
    pub(super) const AUDIT: Self = Self(16);
    /// The account itself: its password, its second factor.
    pub(super) const ACCOUNT: Self = Self(32);
    /// All of them.
    pub(super) const ALL: Self = Self(63);

    /// Whether all of `other` is in it.
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Kinds {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Called on the database's thread right after a commit: nothing that befalls the caller's task
/// comes between a change that is durable and those who wait for it.
pub(super) type Committed = Arc<dyn Fn(Commit) + Send + Sync>;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Why the store has no answer. Variants are what the caller does next.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// Try again: too much is asked of it, or another process holds the database.
    #[error("the database is busy")]
    Busy,
    /// A person makes room.
    #[error("the database's disk is full")]
    Full,
    /// A person looks.
    #[error("database: {0}")]
    Fault(#[source] rusqlite::Error),
    /// The database is of a newer sshkeyd.
    #[error("database: its schema is version {0}, made by a newer sshkeyd; run that one")]
    Newer(i64),
    /// The database's file cannot be opened or made.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no thread to be had.
    #[error("database: {0}")]
    Thread(#[source] std::io::Error),
    /// The thread is gone, or the job panicked.
    #[error("database: the request was lost")]
    Lost,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::Full,
            // The index of the log could not grow: sqlite.org/rescode.html, "ioerr_shmsize".
            _ if is_no_room(&error) => Self::Full,
            _ => Self::Fault(error),
        }
    }
}

fn is_no_room(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

/// The handle: cheap to clone, usable from any task.
#[derive(Clone)]
pub(super) struct Store {
    jobs: mpsc::Sender<Job>,
    committed: Committed,
    readers: Arc<readers::Readers>,
    reports: Arc<reports::Reports>,
    /// Held while something long is read of an account: one a lot of accounts.
    long: Arc<[tokio::sync::Mutex<()>; LOTS]>,
}

impl Store {
    /// Opens or makes the database, brings its schema up to date and starts its thread, which
    /// ends when the last handle is gone. Gives what was last heard of every instance, too.
    ///
    /// # Errors
    /// [`StoreError`], when there is no database to be had.
    pub(super) fn open(path: &Path, committed: Committed) -> Result<(Self, Vec<Seen>), StoreError> {
        let connection = sqlite::open(path)?;
        let seen = reports::all_seen(&connection)?;
        let readers = Arc::new(readers::Readers::open(path)?);
        let (jobs, queue) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || sqlite::run(connection, queue))
            .map_err(StoreError::Thread)?;
        let store = Self {
            jobs,
            committed,
            readers,
            reports: Arc::default(),
            long: Arc::new(std::array::from_fn(|_| tokio::sync::Mutex::default())),
        };
        Ok((store, seen))
    }

    /// Runs one job on the database's thread. A job that was queued is done even if the caller is
    /// gone by then.
    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = tokio::time::timeout(QUEUE_WAIT, self.jobs.reserve())
            .await
            .map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Lost)?;
        let (answer, answered) = oneshot::channel();
        place.send(Box::new(move |connection| {
            // The caller may be gone: then nobody wants the answer.
            let _ = answer.send(job(connection));
        }));
        answered.await.map_err(|_| StoreError::Lost)?
    }

    /// The turn of a long reading of this account.
    async fn long_turn(&self, account: i64) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let lot = usize::try_from(account.unsigned_abs()).unwrap_or(0) % LOTS;
        Some(self.long.get(lot)?.lock().await)
    }

    /// Jobs that wait for the database.
    pub(super) fn queued(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Does nothing, but by way of the database.
    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        self.call(|db| Ok(db.query_row("SELECT 1", [], |_| Ok(()))?))
            .await
    }

    /// A number that changes when another process has written to the database
    /// (`PRAGMA data_version`); our own writes leave it as it is.
    pub(super) async fn others_version(&self) -> Result<i64, StoreError> {
        self.call(|db| Ok(db.query_row("PRAGMA data_version", [], |row| row.get(0))?))
            .await
    }
}

/// A time as the database keeps it.
fn millis(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// A time out of column `column`.
fn time(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    to_time(row.get(column)?)
}

/// A time that may be missing, out of column `column`.
fn time_opt(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?.map(to_time).transpose()
}

/// A revision out of column `column`: SQLite has signed numbers only.
fn revision(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, number))
}

fn to_time(ms: i64) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(ms).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, ms))
}
