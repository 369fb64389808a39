//! The certificates that an account's CAs signed, and what was revoked of them.
//!
//! Serials are the table's own row numbers, over all accounts, and never given out twice. A row is
//! written before its certificate is signed, in a transaction that sees that whoever asks, and the
//! key that it is over, are still there: what ends one of them later finds the row.

use super::account_acts::is_disabled;
use super::api_keys::{ApiKeySeen, is_still};
use super::attachments::is_everywhere;
use super::audit::{Act, Actor, note};
use super::db;
use super::db::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use super::revocations::list_changed;
use super::{Commit, Kinds, Store, StoreError, millis};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

/// The longest that a user's certificate is good, and so the longest that a revoked key ID stands
/// in a list.
pub(in crate::service) const MAX_TTL: SignedDuration = SignedDuration::from_hours(24);

/// User certificates of an account that may be good at the same time. Were all of them revoked, each
/// alone, the list would have 800 KiB of them, within the 8 MiB that agents read: so it is here that
/// an account is refused something, and never where it revokes.
pub(in crate::service) const MAX_CERTIFICATES: i64 = 100_000;

/// What was revoked and is over leaves the lists so long after its end: each leaving is a revision
/// of its own, which every instance fetches.
const LEAVES_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// What leaves then has been over for so long: a machine whose clock is behind would take a revoked
/// certificate again that left at its end. Clocks that are off by half of it are told of
/// (`clock-wrong`).
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(10);

/// A certificate that is to be signed.
#[derive(Clone)]
pub(in crate::service) struct CertificateRow {
    /// The CA that signs.
    pub(in crate::service) ca: i64,
    /// Who it leads back to.
    pub(in crate::service) key_id: String,
    /// `SHA256:…` of the key that it is over.
    pub(in crate::service) fingerprint: String,
    /// The account's key, where it is one, and the revision of its last change as the caller saw it.
    pub(in crate::service) ssh_key: Option<(i64, u64)>,
    /// The session that asked.
    pub(in crate::service) session: Option<i64>,
    /// The API key that asked.
    pub(in crate::service) api_key: Option<ApiKeySeen>,
    /// A host's.
    pub(in crate::service) instance: Option<i64>,
    /// Good from then on.
    pub(in crate::service) valid_after: Timestamp,
    /// Good until then.
    pub(in crate::service) valid_before: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Issued {
    /// Its serial: sign it.
    Serial(u64),
    /// Key, CA or token are not what the caller saw: look again.
    Changed,
    /// The key, or the key ID, is revoked.
    Revoked,
    /// The key is not on every instance of the account, as a certificate over it would be.
    NotEverywhere,
    /// The account has as many as it may.
    TooMany,
}

impl Store {
    /// Takes a serial for a certificate, and notes whose it will be: before it is signed, so that
    /// there is none that cannot be revoked.
    pub(in crate::service) async fn add_certificate(
        &self,
        actor: Actor,
        new: CertificateRow,
        now: Timestamp,
    ) -> Result<Issued, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            if let Some(refused) = refusal(&tx, &actor, &new, now)? {
                return Ok(refused);
            }
            let serial: i64 = tx
                .prepare_cached(
                    "INSERT INTO certificates (account, ca, key_id, fingerprint, ssh_key, session,
                                               api_key, instance, valid_after, valid_before)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING serial",
                )?
                .query_row(
                    params![
                        account,
                        new.ca,
                        new.key_id,
                        new.fingerprint,
                        new.ssh_key.map(|(id, _)| id),
                        new.session,
                        new.api_key.as_ref().map(|key| key.id),
                        new.instance,
                        millis(new.valid_after),
                        millis(new.valid_before)
                    ],
                    |row| row.get(0),
                )?;
            let detail = json!({"key_id": new.key_id, "fingerprint": new.fingerprint,
                "valid_before": new.valid_before});
            let action = match new.instance {
                Some(_) => "certificate.host",
                None => "certificate.user",
            };
            note(&tx, &actor, &Act::done(action, serial, detail), now)?;
            tx.commit()?;
            committed(Commit::of(account, Kinds::AUDIT));
            Ok(Issued::Serial(serial.unsigned_abs()))
        })
        .await
    }

    /// Lets CAs leave whose last certificate has ended, and forgets certificates that have: what
    /// cannot be good needs no revocation.
    pub(in crate::service) async fn forget_certificates(
        &self,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let changing = changing(db, now)?;
            let over = db
                .prepare_cached(
                    "SELECT 1 FROM certificates
                     WHERE valid_before <= ?1 AND revoked_at IS NULL LIMIT 1",
                )?
                .exists([millis(now)])?;
            if changing.is_empty() && !over {
                return Ok(());
            }
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute(
                "DELETE FROM certificates WHERE valid_before <= ?1 AND revoked_at IS NULL",
                [millis(now)],
            )?;
            let mut commits = Vec::new();
            for account in changing {
                if forget(&tx, account, now)? {
                    let revision = list_changed(&tx, account, now)?;
                    commits.push(Commit::revision(account, revision));
                }
            }
            tx.commit()?;
            commits.into_iter().for_each(|commit| committed(commit));
            Ok(())
        })
        .await
    }
}

/// Why the certificate is not to be.
fn refusal(
    tx: &Connection,
    actor: &Actor,
    new: &CertificateRow,
    now: Timestamp,
) -> db::Result<Option<Issued>> {
    let account = actor.account;
    let signs = tx
        .prepare_cached("SELECT 1 FROM cas WHERE id = ?1 AND account = ?2 AND state = 'signing'")?
        .exists([new.ca, account])?;
    if !signs || is_disabled(tx, account)? {
        return Ok(Some(Issued::Changed));
    }
    if let Some(instance) = new.instance {
        let there = tx
            .prepare_cached(
                "SELECT 1 FROM instances WHERE id = ?1 AND account = ?2 AND removal_keys IS NULL",
            )?
            .exists([instance, account])?;
        return Ok((!there).then_some(Issued::Changed));
    }
    let session_is_over = match new.session {
        None => false,
        Some(session) => !tx
            .prepare_cached(
                "SELECT 1 FROM sessions WHERE id = ?1 AND account = ?2 AND expires_at > ?3",
            )?
            .exists([session, account, millis(now)])?,
    };
    let api_key_is_over = match &new.api_key {
        None => false,
        Some(seen) => !is_still(tx, actor, seen, now)?,
    };
    let kept: Option<(i64, i64)> = tx
        .prepare_cached(
            "SELECT id, revision FROM ssh_keys WHERE account = ?1 AND fingerprint = ?2",
        )?
        .query_row(params![account, new.fingerprint], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let seen = new
        .ssh_key
        .map(|(id, revision)| (id, i64::try_from(revision).unwrap_or(i64::MAX)));
    if session_is_over || api_key_is_over || kept != seen {
        return Ok(Some(Issued::Changed));
    }
    let key_is_revoked = tx
        .prepare_cached("SELECT 1 FROM revoked_keys WHERE account = ?1 AND fingerprint = ?2")?
        .exists(params![account, new.fingerprint])?;
    let id_is_revoked = tx
        .prepare_cached("SELECT 1 FROM revoked_key_ids WHERE account = ?1 AND key_id = ?2")?
        .exists(params![account, new.key_id])?;
    if key_is_revoked || id_is_revoked {
        return Ok(Some(Issued::Revoked));
    }
    if let Some((key, _)) = kept
        && !is_everywhere(tx, key)?
    {
        return Ok(Some(Issued::NotEverywhere));
    }
    let live: i64 = tx
        .prepare_cached(
            // What was revoked stands in the list for some time after its end.
            "SELECT (SELECT count(*) FROM certificates
                     WHERE account = ?1 AND valid_before > ?2 AND instance IS NULL)
                  + (SELECT count(*) FROM certificates
                     WHERE account = ?1 AND valid_before <= ?2 AND instance IS NULL
                       AND revoked_at IS NOT NULL)",
        )?
        .query_row([account, millis(now)], |row| row.get(0))?;
    Ok((live >= MAX_CERTIFICATES).then_some(Issued::TooMany))
}

/// Accounts whose lists are others once what is over has left them.
fn changing(db: &Connection, now: Timestamp) -> db::Result<Vec<i64>> {
    let long_over = now.checked_sub(LEAVES_AFTER).unwrap_or(Timestamp::MIN);
    db.prepare_cached(
        "SELECT account FROM certificates WHERE revoked_at IS NOT NULL AND valid_before <= ?1
         UNION SELECT account FROM revoked_key_ids WHERE until <= ?1
         UNION SELECT id FROM accounts WHERE serials_until <= ?1
         UNION SELECT account FROM cas WHERE state = 'leaving' AND NOT EXISTS
           (SELECT 1 FROM certificates c WHERE c.ca = cas.id AND c.valid_before > ?2)",
    )?
    .query_map([millis(long_over), millis(now)], |row| row.get(0))?
    .collect()
}

/// Has what is over leave this account's lists; false: there was nothing, another replica may have
/// done it.
fn forget(tx: &Transaction<'_>, account: i64, now: Timestamp) -> db::Result<bool> {
    let at = [account, millis(now)];
    let over = now.checked_sub(CLOCKS_DIFFER).unwrap_or(Timestamp::MIN);
    let over = [account, millis(over)];
    let mut gone = tx.execute(
        "DELETE FROM certificates
         WHERE account = ?1 AND valid_before <= ?2 AND revoked_at IS NOT NULL",
        over,
    )?;
    gone += tx.execute(
        "DELETE FROM revoked_key_ids WHERE account = ?1 AND until <= ?2",
        over,
    )?;
    gone += tx.execute(
        "UPDATE accounts SET serials_below = NULL, serials_until = NULL
         WHERE id = ?1 AND serials_until <= ?2",
        over,
    )?;
    let left: Vec<String> = tx
        .prepare_cached(
            "DELETE FROM cas WHERE account = ?1 AND state = 'leaving' AND NOT EXISTS
               (SELECT 1 FROM certificates c WHERE c.ca = cas.id AND c.valid_before > ?2)
             RETURNING public_key",
        )?
        .query_map(at, |row| row.get(0))?
        .collect::<db::Result<_>>()?;
    for public_key in &left {
        let act = Act::done("ca.leave", account, json!({"public_key": public_key}));
        note(tx, &Actor::server(account), &act, now)?;
    }
    Ok(gone > 0 || !left.is_empty())
}
