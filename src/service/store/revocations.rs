//! How certificates end before their time: by serial, by key ID, or with the key, the session or the
//! API key that they come from.
//!
//! What ends one of those calls [`revoke`] in its own transaction: there is no moment at which a
//! key is gone and a certificate of it is not revoked.

use super::accounts::advance;
use super::audit::{Act, Actor, note};
use super::certificates::MAX_TTL;
use super::db;
use super::db::{Transaction, TransactionBehavior, params};
use super::orders::{self, Of};
use super::{Commit, MAX_ORDERS, Store, StoreError, millis};
use jiff::Timestamp;
use serde_json::json;

/// Revoked key IDs of an account that stand in its list, and the bytes of each: 256 KiB a CA. Their
/// certificates are revoked by serial, too, so past this nothing is lost but what no row tells of.
pub(in crate::service) const MAX_KEY_IDS: i64 = 1_000;
/// See [`MAX_KEY_IDS`].
pub(in crate::service) const MAX_KEY_ID: usize = 256;

/// Which certificates are revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) enum Which {
    /// The one with this serial.
    Serial(i64),
    /// Those with this key ID, and any other that has it.
    KeyId(String),
}

/// What became of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum CertificatesRevoked {
    /// It is done: how many were good until now; and the order to end their sessions.
    Done(usize, Option<i64>),
    /// The account has no certificate of that serial.
    NoCertificate,
    /// The account's lists have as many key IDs, or orders, as they may; nothing changed.
    TooMany,
}

impl Store {
    /// Revokes certificates of people, and with `end_sessions` gives the order to end their
    /// sessions.
    pub(in crate::service) async fn revoke_certificates(
        &self,
        actor: Actor,
        which: Which,
        end_sessions: bool,
        now: Timestamp,
    ) -> Result<CertificatesRevoked, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            if end_sessions && orders::open_count(&tx, account)? >= MAX_ORDERS {
                return Ok(CertificatesRevoked::TooMany);
            }
            let (count, detail) = match &which {
                Which::Serial(serial) => {
                    let there = tx
                        .prepare_cached(
                            "SELECT 1 FROM certificates
                             WHERE serial = ?1 AND account = ?2 AND instance IS NULL",
                        )?
                        .exists([*serial, account])?;
                    if !there {
                        return Ok(CertificatesRevoked::NoCertificate);
                    }
                    let count = revoke(&tx, account, &By::Serial(*serial), now)?;
                    (count, json!({"serial": serial}))
                }
                Which::KeyId(key_id) => {
                    let count = revoke(&tx, account, &By::KeyId(key_id), now)?;
                    if !refuse_key_id(&tx, account, key_id, now)? && count == 0 {
                        return Ok(CertificatesRevoked::TooMany);
                    }
                    (count, json!({"key_id": key_id}))
                }
            };
            let revision = list_changed(&tx, account, now)?;
            let of = match &which {
                Which::Serial(serial) => Of::Serial(*serial),
                Which::KeyId(key_id) => Of::KeyId(key_id),
            };
            let order = end_sessions
                .then(|| orders::give(&tx, account, of, revision, now))
                .transpose()?;
            let about = match which {
                Which::Serial(serial) => Some(serial),
                Which::KeyId(_) => None,
            };
            let act = Act {
                about,
                ..Act::done("certificate.revoke", 0, detail)
            };
            let act = act.with("count", count).with("end_sessions", end_sessions);
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            committed(Commit::revision(account, revision).revoking(count));
            Ok(CertificatesRevoked::Done(count, order))
        })
        .await
    }
}

/// By what certificates of people are revoked.
#[derive(Debug, Clone, Copy)]
pub(super) enum By<'a> {
    /// The one with this serial.
    Serial(i64),
    /// Those with this key ID.
    KeyId(&'a str),
    /// Those over the key of this fingerprint.
    Fingerprint(&'a str),
    /// Those that sessions got that are no more.
    GoneSessions,
    /// Those that this API key got.
    ApiKey(i64),
    /// All of them.
    All,
}

/// Revokes certificates of people as part of another change; gives how many were good until now.
/// Where there were any that change calls [`list_is_new`] or [`list_changed`], too.
pub(super) fn revoke(
    tx: &Transaction<'_>,
    account: i64,
    by: &By<'_>,
    now: Timestamp,
) -> db::Result<usize> {
    let sql = |which: &str| {
        format!(
            "UPDATE certificates SET revoked_at = ?2
             WHERE account = ?1 AND valid_before > ?2 AND instance IS NULL
               AND revoked_at IS NULL AND {which}"
        )
    };
    let now = millis(now);
    match *by {
        By::Serial(serial) => tx
            .prepare_cached(&sql("serial = ?3"))?
            .execute([account, now, serial]),
        By::KeyId(key_id) => tx
            .prepare_cached(&sql("key_id = ?3"))?
            .execute(params![account, now, key_id]),
        By::Fingerprint(fingerprint) => tx
            .prepare_cached(&sql("fingerprint = ?3"))?
            .execute(params![account, now, fingerprint]),
        By::GoneSessions => tx
            .prepare_cached(&sql(
                "session IS NOT NULL AND session NOT IN (SELECT id FROM sessions WHERE account = ?1)",
            ))?
            .execute([account, now]),
        By::ApiKey(key) => tx
            .prepare_cached(&sql("api_key = ?3"))?
            .execute([account, now, key]),
        By::All => tx.prepare_cached(&sql("serial > 0"))?.execute([account, now]),
    }
}

/// The same, and where any was good the account's list is another one: its revision.
pub(super) fn revoke_for(
    tx: &Transaction<'_>,
    account: i64,
    by: &By<'_>,
    now: Timestamp,
) -> db::Result<Option<(usize, u64)>> {
    match revoke(tx, account, by, now)? {
        0 => Ok(None),
        count => Ok(Some((count, list_changed(tx, account, now)?))),
    }
}

/// Has every certificate of this key ID refused, for as long as one may be good. False: the account
/// has as many such as it may.
fn refuse_key_id(
    tx: &Transaction<'_>,
    account: i64,
    key_id: &str,
    now: Timestamp,
) -> db::Result<bool> {
    let others: i64 = tx
        .prepare_cached("SELECT count(*) FROM revoked_key_ids WHERE account = ?1 AND key_id <> ?2")?
        .query_row(params![account, key_id], |row| row.get(0))?;
    if others >= MAX_KEY_IDS {
        return Ok(false);
    }
    let until = now.checked_add(MAX_TTL).unwrap_or(Timestamp::MAX);
    tx.prepare_cached(
        "INSERT INTO revoked_key_ids (account, key_id, revoked_at, until)
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT (account, key_id) DO UPDATE SET until = ?4",
    )?
    .execute(params![account, key_id, millis(now), millis(until)])?;
    Ok(true)
}

/// Gives the account its next revision, and its revocation list that number: its content is another.
pub(super) fn list_changed(tx: &Transaction<'_>, account: i64, now: Timestamp) -> db::Result<u64> {
    let revision = advance(tx, account, now)?;
    list_is_new(tx, account)?;
    Ok(revision)
}

/// The same where the account has its next revision already.
pub(super) fn list_is_new(tx: &Transaction<'_>, account: i64) -> db::Result<()> {
    tx.prepare_cached("UPDATE accounts SET krl_version = revision WHERE id = ?1")?
        .execute([account])?;
    Ok(())
}
