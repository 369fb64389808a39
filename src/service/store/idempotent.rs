//! Answers to creates, for a request that comes again because its answer was lost (the
//! `Idempotency-Key` header).
//!
//! An answer is kept in the transaction of the create itself, so that there is never one without
//! the other. It may hold a secret: what is kept here is sealed.

use super::db;
use super::db::{Connection, OptionalExtension as _, params};
use super::{Hash, millis};
use jiff::{SignedDuration, Timestamp};

/// How long an answer is kept.
const LIFE: SignedDuration = SignedDuration::from_hours(24);

/// Answers of one account at a time.
const MAX_ANSWERS: i64 = 2_000;

/// A create that is done once.
pub(in crate::service) struct Once {
    /// Route, caller and the header's text.
    pub(in crate::service) name: String,
    /// The digest of what is asked for.
    pub(in crate::service) request: Hash,
    /// Makes the sealed answer, given the new id.
    pub(in crate::service) answer: Box<dyn Fn(i64) -> Vec<u8> + Send>,
}

/// Why a create is not done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) enum Earlier {
    /// It was done before.
    Same {
        /// Its name.
        name: String,
        /// What was answered, sealed.
        answer: Vec<u8>,
    },
    /// Something else was asked for under this name.
    Other,
    /// No more answers can be kept today.
    TooMany,
}

/// Whether the create was done before; for use in its transaction, before anything is changed.
pub(super) fn earlier(
    tx: &Connection,
    account: i64,
    once: Option<&Once>,
    now: Timestamp,
) -> db::Result<Option<Earlier>> {
    let Some(once) = once else {
        return Ok(None);
    };
    tx.prepare_cached("DELETE FROM idempotent_creates WHERE account = ?1 AND expires_at <= ?2")?
        .execute(params![account, millis(now)])?;
    let found: Option<(Hash, Vec<u8>)> = tx
        .prepare_cached(
            "SELECT request, answer FROM idempotent_creates WHERE account = ?1 AND name = ?2",
        )?
        .query_row(params![account, once.name], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    if let Some((request, answer)) = found {
        let name = once.name.clone();
        return Ok(Some(if request == once.request {
            Earlier::Same { name, answer }
        } else {
            Earlier::Other
        }));
    }
    let count: i64 = tx
        .prepare_cached("SELECT count(*) FROM idempotent_creates WHERE account = ?1")?
        .query_row([account], |row| row.get(0))?;
    Ok((count >= MAX_ANSWERS).then_some(Earlier::TooMany))
}

/// Keeps the answer of a create that is done in this transaction.
pub(super) fn keep(
    tx: &Connection,
    account: i64,
    once: Option<&Once>,
    id: i64,
    now: Timestamp,
) -> db::Result<()> {
    let Some(once) = once else {
        return Ok(());
    };
    let ends = now.checked_add(LIFE).unwrap_or(now);
    tx.prepare_cached(
        "INSERT INTO idempotent_creates (account, name, request, answer, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        account,
        once.name,
        once.request,
        (once.answer)(id),
        millis(ends)
    ])?;
    Ok(())
}
