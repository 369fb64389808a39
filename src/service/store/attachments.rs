//! Which key is on which instance (interface.md section 4, "Keys and instances").
//!
//! A key of scope `all` is everywhere, one of scope `some` nowhere; a row says otherwise for one
//! instance, whatever the scope is or becomes. An instance whose rows make a difference has a list
//! of its own, and stands in `except` of the account's. Every change that makes a difference is a
//! revision of the account, so that one revision never has two contents.

use super::accounts::{Keys, advance};
use super::audit::{Act, Actor, note};
use super::db;
use super::db::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use super::revocations::{By, list_is_new, revoke};
use super::ssh_keys::{self, KeyRow, NewKey, Refused, by_id, by_text, keys_of};
use super::{Commit, Kinds, MAX_ATTACHMENTS, Store, StoreError};
use crate::wire::KeyScope;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;

/// What became of an attachment or a detachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Attached {
    /// The instance's list is another one now.
    Done {
        /// The key is on no instance any more: it is of scope `some`, and attached to none.
        nowhere: bool,
    },
    /// The instance's list was so before. What was asked for holds from now on whatever becomes of
    /// the key's scope.
    Already,
    /// The account has no instance of that id, or is removing it.
    NoInstance,
    /// The account has no key of that id.
    NoKey,
    /// The account has as many attachments as it may; nothing changed.
    TooMany,
}

/// What became of an attachment by text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) enum AttachedText {
    /// The key is on the instance: one that the account had.
    Had(KeyRow, Attached),
    /// The key is on the instance: a new one of scope `some`.
    Made(KeyRow),
    /// The account has no instance of that id, or is removing it.
    NoInstance,
    /// The text may not become a key of the account; nothing changed.
    Refused(Refused),
    /// The account has as many attachments as it may; nothing changed.
    TooMany,
}

/// All rows of an account.
#[derive(Debug, Clone, Default)]
pub(in crate::service) struct Attachments {
    /// Of each instance: key, and whether it is there.
    rows: BTreeMap<i64, BTreeMap<i64, bool>>,
}

impl Keys {
    /// The keys that are on every instance that has no list of its own.
    pub(in crate::service) fn everywhere(&self) -> impl Iterator<Item = &KeyRow> {
        self.keys.iter().filter(|key| key.scope == KeyScope::All)
    }

    /// The keys that are on this instance.
    pub(in crate::service) fn on(&self, instance: i64) -> impl Iterator<Item = &KeyRow> {
        let rows = self.attachments.rows.get(&instance);
        self.keys.iter().filter(move |key| {
            let row = rows.and_then(|rows| rows.get(&key.id));
            is_there(key.scope, row.copied())
        })
    }

    /// Whether this instance has a list of its own.
    pub(in crate::service) fn is_special(&self, instance: i64) -> bool {
        let of_key = |id: i64| {
            let at = self.keys.binary_search_by_key(&id, |key| key.id).ok()?;
            self.keys.get(at)
        };
        let rows = self.attachments.rows.get(&instance);
        rows.is_some_and(|rows| {
            rows.iter()
                .any(|(id, there)| of_key(*id).is_some_and(|key| *there != everywhere(key.scope)))
        })
    }

    /// All instances that have a list of their own, by id. One that is being removed is left out:
    /// then its end, which is no revision, changes no list.
    pub(in crate::service) fn special(&self) -> Vec<i64> {
        let instances = self.attachments.rows.keys().copied();
        instances
            .filter(|id| !self.removals.contains_key(id) && self.is_special(*id))
            .collect()
    }
}

/// Whether a key is on an instance, by its scope and the instance's row of it.
pub(in crate::service) fn is_there(scope: KeyScope, row: Option<bool>) -> bool {
    row.unwrap_or_else(|| everywhere(scope))
}

fn everywhere(scope: KeyScope) -> bool {
    scope == KeyScope::All
}

impl Store {
    /// Has a key on an instance, whatever its scope.
    pub(in crate::service) async fn attach_key(
        &self,
        actor: Actor,
        instance: i64,
        key: i64,
        now: Timestamp,
    ) -> Result<Attached, StoreError> {
        self.set(actor, instance, key, true, now).await
    }

    /// Has a key not on an instance, whatever its scope, until it is attached again.
    pub(in crate::service) async fn detach_key(
        &self,
        actor: Actor,
        instance: i64,
        key: i64,
        now: Timestamp,
    ) -> Result<Attached, StoreError> {
        self.set(actor, instance, key, false, now).await
    }

    async fn set(
        &self,
        actor: Actor,
        instance: i64,
        key: i64,
        there: bool,
        now: Timestamp,
    ) -> Result<Attached, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            if !has_instance(&tx, account, instance)? {
                return Ok(Attached::NoInstance);
            }
            let Some(key) = by_id(&tx, account, key)? else {
                return Ok(Attached::NoKey);
            };
            let (set, commit) = put(&tx, &actor, instance, &key, there, now)?;
            tx.commit()?;
            commit.into_iter().for_each(|commit| committed(commit));
            Ok(set)
        })
        .await
    }

    /// The same by the key's text: one that the account does not have is saved, with scope `some`,
    /// whatever `key` says of it.
    pub(in crate::service) async fn attach_text(
        &self,
        actor: Actor,
        instance: i64,
        key: NewKey,
        now: Timestamp,
    ) -> Result<AttachedText, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            if !has_instance(&tx, account, instance)? {
                return Ok(AttachedText::NoInstance);
            }
            let (had, (row, certificates)) = match by_text(&tx, account, &key.public_key)? {
                Some(row) => (true, (row, 0)),
                None => {
                    if let Some(refused) = ssh_keys::refusal(&tx, account, &key, None)? {
                        return Ok(AttachedText::Refused(refused));
                    }
                    let scope = KeyScope::Some;
                    let revision = advance(&tx, account, now)?;
                    let new = NewKey {
                        scope,
                        ..key.clone()
                    };
                    (false, ssh_keys::insert(&tx, &actor, new, revision, now)?)
                }
            };
            let (set, commit) = put(&tx, &actor, instance, &row, true, now)?;
            if set == Attached::TooMany {
                return Ok(AttachedText::TooMany);
            }
            let row = by_id(&tx, account, row.id)?.unwrap_or(row);
            tx.commit()?;
            let commit = commit.map(|commit| commit.revoking(certificates));
            commit.into_iter().for_each(|commit| committed(commit));
            Ok(match had {
                true => AttachedText::Had(row, set),
                false => AttachedText::Made(row),
            })
        })
        .await
    }

    /// The keys that are on an instance, by id; `None`: the account has no such instance.
    pub(in crate::service) async fn keys_of_instance(
        &self,
        account: i64,
        instance: i64,
    ) -> Result<Option<Vec<KeyRow>>, StoreError> {
        self.call(move |db| {
            let tx = db.transaction()?;
            if !has_instance(&tx, account, instance)? {
                return Ok(None);
            }
            let rows: BTreeMap<i64, bool> = tx
                .prepare_cached("SELECT key, attached FROM attachments WHERE instance = ?1")?
                .query_map([instance], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<db::Result<_>>()?;
            let mut keys = keys_of(&tx, account)?;
            keys.retain(|key| is_there(key.scope, rows.get(&key.id).copied()));
            Ok(Some(keys))
        })
        .await
    }
}

/// Writes one row, and what follows from it. Undone, by the caller, where it is too many.
fn put(
    tx: &Transaction<'_>,
    actor: &Actor,
    instance: i64,
    key: &KeyRow,
    there: bool,
    now: Timestamp,
) -> db::Result<(Attached, Option<Commit>)> {
    let account = actor.account;
    let before = tx
        .prepare_cached("SELECT attached FROM attachments WHERE instance = ?1 AND key = ?2")?
        .query_row([instance, key.id], |row| row.get::<_, bool>(0))
        .optional()?;
    if before == Some(there) {
        return Ok((Attached::Already, None));
    }
    if before.is_none() && count(tx, account)? >= MAX_ATTACHMENTS {
        return Ok((Attached::TooMany, None));
    }
    tx.prepare_cached(
        "INSERT INTO attachments (instance, key, attached) VALUES (?1, ?2, ?3)
         ON CONFLICT (instance, key) DO UPDATE SET attached = excluded.attached",
    )?
    .execute(params![instance, key.id, there])?;
    let action = match there {
        true => "instance.attach",
        false => "instance.detach",
    };
    let detail = json!({"key": key.id, "name": key.name, "fingerprint": key.fingerprint});
    let act = Act::done(action, instance, detail);
    let kinds = Kinds::SSH_KEYS | Kinds::INSTANCES | Kinds::AUDIT;
    if is_there(key.scope, before) == there {
        note(tx, actor, &act, now)?;
        return Ok((Attached::Already, Some(Commit::of(account, kinds))));
    }
    let revision = advance(tx, account, now)?;
    let certificates = match there {
        true => 0,
        // They open every instance, this one too.
        false => revoke(tx, account, &By::Fingerprint(&key.fingerprint), now)?,
    };
    if certificates > 0 {
        list_is_new(tx, account)?;
    }
    note(tx, actor, &act.with_certificates(certificates), now)?;
    if there {
        // Whoever waits for the key waits for the list that has it on this instance.
        tx.prepare_cached("UPDATE ssh_keys SET revision = ?2 WHERE id = ?1")?
            .execute(params![key.id, i64::try_from(revision).unwrap_or(i64::MAX)])?;
    }
    let nowhere = !there
        && !everywhere(key.scope)
        && !tx
            .prepare_cached("SELECT 1 FROM attachments WHERE key = ?1 AND attached = 1")?
            .exists([key.id])?;
    let commit = Commit {
        kinds,
        ..Commit::revision(account, revision).revoking(certificates)
    };
    Ok((Attached::Done { nowhere }, Some(commit)))
}

fn count(db: &Connection, account: i64) -> db::Result<i64> {
    db.prepare_cached(
        "SELECT count(*) FROM ssh_keys k JOIN attachments a ON a.key = k.id WHERE k.account = ?1",
    )?
    .query_row([account], |row| row.get(0))
}

/// Whether a key is on every instance, those to come too: it is of scope `all`, and detached from
/// none.
pub(super) fn is_everywhere(db: &Connection, key: i64) -> db::Result<bool> {
    db.prepare_cached(
        "SELECT 1 FROM ssh_keys k WHERE k.id = ?1 AND k.scope = 'all' AND NOT EXISTS (
           SELECT 1 FROM attachments a WHERE a.key = k.id AND a.attached = 0)",
    )?
    .exists([key])
}

fn has_instance(db: &Connection, account: i64, instance: i64) -> db::Result<bool> {
    db.prepare_cached(
        "SELECT 1 FROM instances WHERE id = ?1 AND account = ?2 AND removal_keys IS NULL",
    )?
    .exists([instance, account])
}

/// All rows of the account.
pub(super) fn attachments_of(db: &Connection, account: i64) -> db::Result<Attachments> {
    let mut found = Attachments::default();
    let mut ask = db.prepare_cached(
        "SELECT a.instance, a.key, a.attached
         FROM ssh_keys k JOIN attachments a ON a.key = k.id WHERE k.account = ?1",
    )?;
    let mut rows = ask.query([account])?;
    while let Some(row) = rows.next()? {
        let instance: i64 = row.get(0)?;
        let of_instance = found.rows.entry(instance).or_default();
        of_instance.insert(row.get(1)?, row.get(2)?);
    }
    Ok(found)
}
