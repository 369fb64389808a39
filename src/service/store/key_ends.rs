//! How a key ends: deleted from its account's list, or revoked and so refused everywhere for good.

use super::accounts::advance;
use super::audit::{Act, Actor, note};
use super::db;
use super::db::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use super::orders::Of;
use super::revocations::{By, list_changed, list_is_new, revoke as revoke_certificates};
use super::ssh_keys::{KeyRow, act, by_id, key_row};
use super::{Commit, MAX_ORDERS, MAX_REVOKED, Store, StoreError, millis, orders};
use crate::keys::Fingerprint;
use jiff::Timestamp;
use serde_json::json;

/// What became of a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, on its way to the answer"
)]
pub(in crate::service) enum Deleted {
    /// It is gone; this is what it was, and the order to end its sessions, if one was wanted.
    Done(KeyRow, Option<i64>),
    /// The account has no key of that id.
    NoKey,
    /// The account's list has as many orders as it may; nothing changed.
    TooManyOrders,
}

/// What became of a revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, on its way to the answer"
)]
pub(in crate::service) enum Revocation {
    /// It is revoked; this is what it was, and the order to end its sessions.
    Done(KeyRow, i64),
    /// The account has no key of that id.
    NoKey,
    /// The account has revoked as many keys as it may; nothing changed.
    TooMany,
}

/// What became of a revocation by fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) enum RevokedText {
    /// The account had the key.
    Key(Revocation),
    /// The account had it not, or no more; it is revoked, with the order to end its sessions.
    Done(i64),
    /// It was revoked before; nothing changed.
    Already,
    /// The account has revoked as many keys as it may; nothing changed.
    TooMany,
}

impl Store {
    /// Deletes a key, and with `end_sessions` gives the order to end its sessions.
    pub(in crate::service) async fn delete_key(
        &self,
        actor: Actor,
        id: i64,
        end_sessions: bool,
        now: Timestamp,
    ) -> Result<Deleted, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(actor.account))?;
            let (deleted, commit) = delete(&tx, &actor, id, end_sessions, now)?;
            let Some(commit) = commit else {
                return Ok(deleted);
            };
            tx.commit()?;
            committed(commit);
            Ok(deleted)
        })
        .await
    }

    /// The same of the key that the caller saw as `was`; `None`: it is not what it was then, and
    /// nothing changed.
    pub(in crate::service) async fn delete_key_as(
        &self,
        actor: Actor,
        was: KeyRow,
        end_sessions: bool,
        now: Timestamp,
    ) -> Result<Option<Deleted>, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(actor.account))?;
            let is = by_id(&tx, actor.account, was.id)?;
            if is.is_some_and(|is| is.content() != was.content()) {
                return Ok(None);
            }
            let (deleted, commit) = delete(&tx, &actor, was.id, end_sessions, now)?;
            let Some(commit) = commit else {
                return Ok(Some(deleted));
            };
            tx.commit()?;
            committed(commit);
            Ok(Some(deleted))
        })
        .await
    }

    /// Deletes a key, has every instance take it out of every line, and gives the order to end its
    /// sessions.
    pub(in crate::service) async fn revoke_key(
        &self,
        actor: Actor,
        id: i64,
        now: Timestamp,
    ) -> Result<Revocation, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(actor.account))?;
            let (revocation, commit) = revoke(&tx, &actor, id, now)?;
            let Some(commit) = commit else {
                return Ok(revocation);
            };
            tx.commit()?;
            committed(commit);
            Ok(revocation)
        })
        .await
    }

    /// The same by fingerprint, also of a key that the account does not have: one that was deleted
    /// before, or that somebody put into a file by hand.
    pub(in crate::service) async fn revoke_fingerprint(
        &self,
        actor: Actor,
        fingerprint: Fingerprint,
        now: Timestamp,
    ) -> Result<RevokedText, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        let fingerprint = fingerprint.to_string();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(actor.account))?;
            let id = tx
                .prepare_cached("SELECT id FROM ssh_keys WHERE account = ?1 AND fingerprint = ?2")?
                .query_row(params![account, fingerprint], |row| row.get(0))
                .optional()?;
            if let Some(id) = id {
                let (revocation, commit) = revoke(&tx, &actor, id, now)?;
                tx.commit()?;
                commit.into_iter().for_each(|commit| committed(commit));
                return Ok(RevokedText::Key(revocation));
            }
            let already = tx
                .prepare_cached(
                    "SELECT 1 FROM revoked_keys WHERE account = ?1 AND fingerprint = ?2",
                )?
                .exists(params![account, fingerprint])?;
            if already {
                return Ok(RevokedText::Already);
            }
            if is_full(&tx, account)? {
                return Ok(RevokedText::TooMany);
            }
            let (revision, order, count) = refuse(&tx, account, (0, &fingerprint, ""), now)?;
            let act = Act {
                about: None,
                ..Act::done("ssh-key.revoke", 0, json!({"fingerprint": fingerprint}))
            };
            note(&tx, &actor, &act.with_certificates(count), now)?;
            tx.commit()?;
            committed(Commit::revision(account, revision).revoking(count));
            Ok(RevokedText::Done(order))
        })
        .await
    }
}

/// Deletes; `None` for the second: nothing changed, or is to.
fn delete(
    tx: &Transaction<'_>,
    actor: &Actor,
    id: i64,
    end_sessions: bool,
    now: Timestamp,
) -> db::Result<(Deleted, Option<Commit>)> {
    let account = actor.account;
    let Some(gone) = take(tx, account, id)? else {
        return Ok((Deleted::NoKey, None));
    };
    if end_sessions && orders::open_count(tx, account)? >= MAX_ORDERS {
        return Ok((Deleted::TooManyOrders, None));
    }
    let revision = advance(tx, account, now)?;
    let count = revoke_certificates(tx, account, &By::Fingerprint(&gone.fingerprint), now)?;
    if count > 0 {
        list_is_new(tx, account)?;
    }
    let order = end_sessions
        .then(|| {
            let of = Of::Key(gone.id, &gone.fingerprint);
            orders::give(tx, account, of, revision, now)
        })
        .transpose()?;
    let act = act("ssh-key.delete", &gone)
        .with("end_sessions", end_sessions)
        .with_certificates(count);
    note(tx, actor, &act, now)?;
    let commit = Commit::revision(account, revision).revoking(count);
    Ok((Deleted::Done(gone, order), Some(commit)))
}

/// Revokes; `None` for the second: nothing changed.
fn revoke(
    tx: &Transaction<'_>,
    actor: &Actor,
    id: i64,
    now: Timestamp,
) -> db::Result<(Revocation, Option<Commit>)> {
    let account = actor.account;
    if is_full(tx, account)? {
        return Ok((Revocation::TooMany, None));
    }
    let Some(gone) = take(tx, account, id)? else {
        return Ok((Revocation::NoKey, None));
    };
    let (revision, order, count) = refuse(
        tx,
        account,
        (gone.id, &gone.fingerprint, &gone.public_key),
        now,
    )?;
    let act = act("ssh-key.revoke", &gone).with_certificates(count);
    note(tx, actor, &act, now)?;
    let commit = Commit::revision(account, revision).revoking(count);
    Ok((Revocation::Done(gone, order), Some(commit)))
}

/// Takes a key out of the list.
fn take(tx: &Connection, account: i64, id: i64) -> db::Result<Option<KeyRow>> {
    tx.prepare_cached("DELETE FROM ssh_keys WHERE account = ?1 AND id = ?2 RETURNING *")?
        .query_row([account, id], key_row)
        .optional()
}

/// Has a key refused everywhere, in a revision of its own: id, fingerprint and text, as far as they
/// are known. Gives the revision, the order, and how many certificates were good until now.
fn refuse(
    tx: &Transaction<'_>,
    account: i64,
    (id, fingerprint, public_key): (i64, &str, &str),
    now: Timestamp,
) -> db::Result<(u64, i64, usize)> {
    tx.prepare_cached(
        "INSERT INTO revoked_keys (account, fingerprint, public_key, revoked_at)
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )?
    .execute(params![account, fingerprint, public_key, millis(now)])?;
    let count = revoke_certificates(tx, account, &By::Fingerprint(fingerprint), now)?;
    let revision = list_changed(tx, account, now)?;
    let order = orders::give(tx, account, Of::Key(id, fingerprint), revision, now)?;
    Ok((revision, order, count))
}

fn is_full(tx: &Connection, account: i64) -> db::Result<bool> {
    let count: i64 = tx
        .prepare_cached("SELECT count(*) FROM revoked_keys WHERE account = ?1")?
        .query_row([account], |row| row.get(0))?;
    Ok(count >= MAX_REVOKED)
}
