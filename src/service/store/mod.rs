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
mod db;
mod error;
mod guesses;
mod heard;
mod host_keys;
mod idempotent;
mod instances;
mod key_edits;
mod key_ends;
mod krls;
pub(super) mod moving;
mod orders;
mod people;
mod postgres;
mod readers;
mod reports;
mod revocations;
mod runs;
mod sessions;
mod signers;
mod sqlite;
mod ssh_keys;
mod sweep;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
mod uses;

pub(super) use account_acts::{AccountRow, Remains, Switched};
pub(super) use accounts::{Added, FirstKey, Keys};
pub(super) use agents::{AgentSession, EnrolRequest, Enrolled, RenewRequest, Renewed};
pub(super) use api_keys::{
    ApiKeyEdit, ApiKeyMade, ApiKeyRow, ApiKeySeen, MAX_API_KEYS, NewApiKeyRow, Secret, Touched,
};
pub(super) use attachments::{Attached, AttachedText};
pub(super) use audit::{Act, Actor, AuditRow, By};
pub(super) use cas::{CaRotation, CaRow, NewCa};
pub(super) use certificates::{CertificateRow, Issued, MAX_CERTIFICATES, MAX_TTL};
pub(super) use copies::{CopyError, Lifted};
pub(super) use error::StoreError;
pub(super) use guesses::Tries;
pub(super) use host_keys::{GivenRow, HostKeyRow, HostKeysSeen};
pub(super) use idempotent::{Earlier, Once};
pub(super) use instances::{InstanceRow, Made, Removal, Renamed};
pub(super) use key_edits::Edited;
pub(super) use key_ends::{Deleted, Revocation, RevokedText};
pub(super) use moving::Steps;
pub(super) use orders::{Ended, OrderRow, ResultRow};
pub(super) use people::{Credentials, RefusedLogins};
pub(super) use reports::{Report, Seen, USED_STEP};
pub(super) use revocations::{CertificatesRevoked, MAX_KEY_ID, Which};
pub(super) use runs::Speaker;
pub(super) use sessions::{AnySession, NewSession, PersonSession, SessionKind};
pub(super) use signers::{HandoverRow, SetRow, signers_in_force};
pub(super) use ssh_keys::{KeyRow, NewKey, Refused, Saved};
pub(super) use sweep::Sweep;

use crate::config::Database;
use db::Connection;
use jiff::Timestamp;
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

    /// As a number.
    fn bits(self) -> u8 {
        self.0
    }

    /// Out of one; kinds that we do not know are left out.
    fn of_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

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

/// What a thread of the database's does. It may be done again from its beginning, while it says so.
type Job = Box<dyn FnMut(&mut Connection) -> Ran + Send>;

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    /// It is over, and whoever wanted its answer has it.
    Done,
    /// Another change came between and nothing of it was kept: it is to be done again.
    Again,
}

/// How often a job is done again before its caller is told to come back.
const TRIES: u32 = 5;

/// The handle: cheap to clone, usable from any task.
#[derive(Clone)]
pub(super) struct Store {
    jobs: mpsc::Sender<Job>,
    committed: Committed,
    readers: Arc<readers::Readers>,
    /// Other replicas may use the database.
    shared: bool,
    /// What whoever runs the service should know of the database.
    warning: Option<Arc<str>>,
    reports: Arc<reports::Reports>,
    /// Held while something long is read of an account: one a lot of accounts.
    long: Arc<[tokio::sync::Mutex<()>; LOTS]>,
}

impl Store {
    /// Opens or makes the database, brings its schema up to date and starts its threads, which
    /// end when the last handle is gone. Gives what was last heard of every instance, too.
    ///
    /// # Errors
    /// [`StoreError`], when there is no database to be had.
    pub(super) fn open(
        database: &Database,
        committed: Committed,
    ) -> Result<(Self, Vec<Seen>), StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let begun = match database {
            Database::Sqlite(path) => sqlite::begin(path, queue, committed)?,
            Database::Postgres(database) => postgres::begin(database, queue, committed)?,
        };
        let store = Self {
            jobs,
            committed: begun.committed,
            shared: database.file().is_none(),
            readers: Arc::new(begun.readers),
            warning: begun.warning.map(Arc::from),
            reports: Arc::default(),
            long: Arc::new(std::array::from_fn(|_| tokio::sync::Mutex::default())),
        };
        Ok((store, begun.seen))
    }

    /// Runs one job on a thread of the database's. A job that was queued is done even if the caller
    /// is gone by then. It is done again from its beginning where nothing of it was kept because
    /// another change came between (PostgreSQL's serialization failures and deadlocks).
    async fn call<T: Send + 'static>(
        &self,
        mut job: impl FnMut(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = tokio::time::timeout(QUEUE_WAIT, self.jobs.reserve())
            .await
            .map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Lost)?;
        let (answer, answered) = oneshot::channel();
        let (mut answer, mut tries) = (Some(answer), 0);
        place.send(Box::new(move |connection| {
            let result = job(connection);
            tries += 1;
            if matches!(result, Err(StoreError::Conflict(_))) && tries < TRIES {
                return Ran::Again;
            }
            if let Some(answer) = answer.take() {
                // The caller may be gone: then nobody wants the answer.
                let _ = answer.send(result);
            }
            Ran::Done
        }));
        answered.await.map_err(|_| StoreError::Lost)?
    }

    /// Whether other replicas may use the database.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// What whoever runs the service should know of the database; `None`: nothing.
    pub(super) fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
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
}

/// A store that is open, before there is a handle to it.
struct Begun {
    committed: Committed,
    readers: readers::Readers,
    warning: Option<String>,
    seen: Vec<Seen>,
}

/// A time as the database keeps it.
fn millis(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// A time out of column `column`.
fn time(row: &db::Row<'_>, column: &str) -> db::Result<Timestamp> {
    to_time(row.get(column)?)
}

/// A time that may be missing, out of column `column`.
fn time_opt(row: &db::Row<'_>, column: &str) -> db::Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?.map(to_time).transpose()
}

/// A revision out of column `column`: databases have signed numbers only.
fn revision(row: &db::Row<'_>, column: &str) -> db::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| db::Error::Range(number))
}

fn to_time(ms: i64) -> db::Result<Timestamp> {
    Timestamp::from_millisecond(ms).map_err(|_| db::Error::Range(ms))
}
