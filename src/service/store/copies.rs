//! Copies of the database: one of a database in use, and what is made of one that is to be used
//! again.

use super::audit::{Act, Actor, note};
use super::certificates::MAX_TTL;
use super::db::{self, TransactionBehavior};
use super::revocations::list_is_new;
use super::sqlite::{self, STEPS};
use super::{StoreError, millis, postgres, revision};
use crate::config::Postgres;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// How long a copy waits for a write to end.
const BUSY: Duration = Duration::from_secs(30);

/// By how much the numbers of a restored database are ahead where nobody can say which were given
/// out after its copy was made: an order or a key of one number must never be two.
pub(super) const AHEAD: i64 = 1_000_000;

/// Why a file is not what a database is made of.
#[derive(Debug, thiserror::Error)]
pub(in crate::service) enum CopyError {
    /// It is another kind of file, or damaged: SQLite's own words.
    #[error("{0}")]
    Damaged(String),
    /// A person does something else first.
    #[error("{0}")]
    Refused(String),
    /// What it is read from, or written to, says no.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Something stands in the way.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<db::Error> for CopyError {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::Sqlite(error) => error.into(),
            error => Self::Store(error.into()),
        }
    }
}

impl From<rusqlite::Error> for CopyError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Store(error.into()),
        }
    }
}

/// What a database has given out.
#[derive(Debug, Default)]
pub(in crate::service) struct GivenOut {
    revisions: HashMap<i64, i64>,
    /// The last number of each table.
    numbers: HashMap<String, i64>,
}

/// What became of the accounts of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) struct Lifted {
    /// How many there are.
    pub(in crate::service) accounts: u64,
    /// Sessions of people that were ended.
    pub(in crate::service) sessions: u64,
}

/// Copies a database, in use or not, into an empty file: all of one moment, and nothing of what is
/// not committed.
pub(in crate::service) fn copy(from: &Path, to: &Path) -> Result<(), CopyError> {
    let db = read_only(from)?;
    look_over(&db)?;
    let to = to
        .to_str()
        .ok_or_else(|| CopyError::Damaged("its name is not UTF-8".to_owned()))?;
    // sqlite.org/lang_vacuum.html: an empty file is taken as none.
    db.execute("VACUUM INTO ?1", [to])?;
    drop(db);
    whole(&read_only(Path::new(to))?)
}

pub(super) fn read_only(path: &Path) -> Result<Connection, CopyError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY)?;
    // What a schema from elsewhere names is not run.
    db.pragma_update(None, "trusted_schema", false)?;
    Ok(db)
}

/// Whether it is one of ours, and of a version that we know.
pub(super) fn look_over(db: &Connection) -> Result<(), CopyError> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let ours = db
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE name = 'accounts'",
            [],
            |_| Ok(()),
        )
        .optional()?;
    if ours.is_none() || version < 1 {
        let what = "a database, but not one of sshkeyd's";
        return Err(CopyError::Damaged(what.to_owned()));
    }
    if usize::try_from(version).is_ok_and(|version| version <= STEPS.len()) {
        return Ok(());
    }
    Err(StoreError::Newer(version).into())
}

pub(super) fn whole(db: &Connection) -> Result<(), CopyError> {
    let word: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if word != "ok" {
        return Err(CopyError::Damaged(word));
    }
    let dangling = db.query_row("PRAGMA foreign_key_check", [], |row| {
        row.get::<_, String>(0)
    });
    match dangling.optional()? {
        Some(table) => Err(CopyError::Damaged(format!(
            "{table} names rows that are not there"
        ))),
        None => Ok(()),
    }
}

/// What this database has given out; its log is brought into it and taken away.
pub(in crate::service) fn given_out(path: &Path) -> Result<GivenOut, CopyError> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.busy_timeout(Duration::from_secs(1))?;
    let mode: String =
        db.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))?;
    if mode != "delete" {
        return Err(StoreError::Busy.into());
    }
    let revisions = db
        .prepare("SELECT id, revision FROM accounts")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let numbers = db
        .prepare("SELECT name, seq FROM sqlite_sequence")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(GivenOut { revisions, numbers })
}

/// Makes a copy the database of now: its schema is of this version, every account's revision is
/// above now and above all that were given out, no number is given out twice, people's sessions
/// are over, for some of them may have been ended since, and so are their certificates.
pub(in crate::service) fn make_current(
    path: &Path,
    given_out: Option<&GivenOut>,
    now: Timestamp,
) -> Result<Lifted, CopyError> {
    let mut db = db::Connection::from(sqlite::open(path)?);
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(file) = tx.sqlite() {
        number(file, given_out)?;
    }
    let lifted = lift_all(&tx, given_out, now)?;
    tx.commit()?;
    let db::Connection::Sqlite(db) = db else {
        return Err(StoreError::Lost.into());
    };
    // One file, so that it can be put into its place whole.
    db.pragma_update(None, "journal_mode", "DELETE")?;
    whole(&db)?;
    Ok(lifted)
}

/// The same of a database on a server, whose own tools have brought it back.
pub(in crate::service) fn lift(database: &Postgres, now: Timestamp) -> Result<Lifted, StoreError> {
    postgres::apart(postgres::way(database)?, |db| {
        postgres::bring_up_to_date(db)?;
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        postgres::number_ahead(&tx, AHEAD)?;
        let lifted = lift_all(&tx, None, now)?;
        tx.commit()?;
        Ok(lifted)
    })
}

/// Gives each account a revision above now, and ends people's sessions.
pub(super) fn lift_all(
    tx: &db::Transaction<'_>,
    given_out: Option<&GivenOut>,
    now: Timestamp,
) -> Result<Lifted, StoreError> {
    let accounts = tx
        .prepare("SELECT id, revision FROM accounts ORDER BY id")?
        .query_map([], |row| {
            Ok((row.get::<_, i64>(0)?, revision(row, "revision")?))
        })?
        .collect::<db::Result<Vec<_>>>()?;
    let sessions = tx.execute("DELETE FROM sessions WHERE kind <> 'agent'", [])?;
    // Nor does anyone know which certificates were revoked since.
    let last = match tx.sqlite() {
        Some(_) => "SELECT seq FROM sqlite_sequence WHERE name = 'certificates'",
        None => "SELECT last_value FROM certificates_serial_seq",
    };
    let serials: i64 = tx.query_row(last, [], |row| row.get(0))?;
    let until = now.checked_add(MAX_TTL).unwrap_or(Timestamp::MAX);
    for (account, of_copy) in &accounts {
        let known = given_out
            .and_then(|given| given.revisions.get(account))
            .copied();
        let above = millis(now).max(known.unwrap_or(0));
        let lifted: i64 = tx.query_row(
            "UPDATE accounts SET revision = max(revision, ?2) + 1, changed_at = ?3,
                serials_below = ?4, serials_until = ?5 WHERE id = ?1
             RETURNING revision",
            db::params![account, above, millis(now), serials, millis(until)],
            |row| row.get(0),
        )?;
        list_is_new(tx, *account)?;
        let detail = json!({"revision_of_copy": of_copy, "revision": lifted});
        let act = Act::done("server.restore", *account, detail);
        note(tx, &Actor::server(*account), &act, now)?;
    }
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Ok(Lifted {
        accounts: count(accounts.len()),
        sessions: count(sessions),
    })
}

/// Numbers go on where they were, or far ahead where that is not known.
pub(super) fn number(tx: &Connection, given_out: Option<&GivenOut>) -> rusqlite::Result<()> {
    let tables = tx
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%AUTOINCREMENT%'",
        )?
        .query_map([], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for table in tables {
        let had: Option<i64> = tx
            .query_row(
                "SELECT seq FROM sqlite_sequence WHERE name = ?1",
                [&table],
                |row| row.get(0),
            )
            .optional()?;
        let last = match given_out {
            Some(given) => given.numbers.get(&table).copied().max(had).unwrap_or(0),
            None => had.unwrap_or(0).saturating_add(AHEAD),
        };
        tx.execute("DELETE FROM sqlite_sequence WHERE name = ?1", [&table])?;
        tx.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)",
            params![table, last],
        )?;
    }
    Ok(())
}
