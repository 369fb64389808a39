//! Instances of an account as their owner sees them, and their removal.

use super::accounts::advance;
use super::attachments::is_there;
use super::audit::{Act, Actor, note};
use super::db;
use super::db::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use super::host_keys::retire_all;
use super::idempotent::{self, Earlier, Once};
use super::runs::{CloneRow, clone_row};
use super::ssh_keys::KeyRow;
use super::{Commit, Hash, Kinds, MAX_INSTANCES, REMOVAL_GRACE, Store, StoreError, millis, time};
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;

/// One instance.
#[derive(Debug, Clone)]
pub(in crate::service) struct InstanceRow {
    /// Its id.
    pub(in crate::service) id: i64,
    /// What its owner calls it.
    pub(in crate::service) label: String,
    /// When it was made.
    pub(in crate::service) created_at: Timestamp,
    /// What its host calls itself: the tenant's words.
    pub(in crate::service) hostname: String,
    /// An agent has enrolled as this instance.
    pub(in crate::service) enrolled: bool,
    /// It is being removed.
    pub(in crate::service) removing: bool,
    /// A twin of it was refused.
    pub(in crate::service) clone: Option<CloneRow>,
    /// Keys that are there whatever their scope, by id.
    pub(in crate::service) attached: Vec<i64>,
    /// Keys that are not there whatever their scope, by id.
    pub(in crate::service) detached: Vec<i64>,
}

impl InstanceRow {
    /// Whether this key of its account is to be on it.
    pub(in crate::service) fn wants(&self, key: &KeyRow) -> bool {
        let row = match key.id {
            id if self.attached.binary_search(&id).is_ok() => Some(true),
            id if self.detached.binary_search(&id).is_ok() => Some(false),
            _ => None,
        };
        !self.removing && is_there(key.scope, row)
    }
}

/// What became of another label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Renamed {
    /// The instance has it.
    Done,
    /// The instance does not have the label that the caller saw; nothing changed.
    Changed,
    /// The account has no instance of that id.
    NoInstance,
}

/// An instance on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) struct Removal {
    /// The managed keys go with it.
    pub(in crate::service) take_keys: bool,
    /// The sessions opened by these keys end.
    pub(in crate::service) end_sessions: bool,
    /// It has been told.
    pub(in crate::service) told: bool,
}

/// What became of a new instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) enum Made {
    /// Its id.
    Instance(i64),
    /// The same request was answered before, or its `Idempotency-Key` is not to be had.
    Earlier(Earlier),
    /// The account has as many as it may.
    TooMany,
}

impl Store {
    /// Makes an instance with the token that enrols it.
    pub(in crate::service) async fn add_instance(
        &self,
        actor: Actor,
        label: String,
        token: Hash,
        token_expires: Timestamp,
        once: Option<Once>,
        now: Timestamp,
    ) -> Result<Made, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            if let Some(earlier) = idempotent::earlier(&tx, account, once.as_ref(), now)? {
                return Ok(Made::Earlier(earlier));
            }
            tx.execute(
                "DELETE FROM instances WHERE account = ?1 AND removal_told_at <= ?2",
                params![account, told_before(now)],
            )?;
            let count: i64 = tx.query_row(
                "SELECT count(*) FROM instances WHERE account = ?1",
                [account],
                |row| row.get(0),
            )?;
            if count >= MAX_INSTANCES {
                return Ok(Made::TooMany);
            }
            let instance: i64 = tx.query_row(
                "INSERT INTO instances (account, label, created_at) VALUES (?1, ?2, ?3)
                 RETURNING id",
                params![account, label, millis(now)],
                |row| row.get(0),
            )?;
            tx.execute(
                "INSERT INTO enrolments (hash, instance, expires_at) VALUES (?1, ?2, ?3)",
                params![token, instance, millis(token_expires)],
            )?;
            idempotent::keep(&tx, account, once.as_ref(), instance, now)?;
            let act = Act::done("instance.create", instance, json!({"label": label}));
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            committed(Commit::of(account, Kinds::INSTANCES | Kinds::AUDIT));
            Ok(Made::Instance(instance))
        })
        .await
    }

    /// The account's instances with an id above `after`, by id, at most so many. All of a large
    /// account hold up the database's thread for a while: more than one is a long reading.
    pub(in crate::service) async fn instances(
        &self,
        account: i64,
        after: i64,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<InstanceRow>, StoreError> {
        let _turn = match most {
            0..=1 => None,
            _ => self.long_turn(account).await,
        };
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.call(move |db| {
            let tx = db.transaction()?;
            let mut rows = tx
                .prepare_cached(
                    "SELECT id, label, created_at, hostname, identity_key IS NOT NULL AS enrolled,
                            removal_keys IS NOT NULL AS removing, clone_seen_at, clone_from
                     FROM instances
                     WHERE account = ?1 AND id > ?2
                       AND (removal_told_at IS NULL OR removal_told_at > ?3)
                     ORDER BY id LIMIT ?4",
                )?
                .query_map(
                    params![account, after, told_before(now), most],
                    instance_row,
                )?
                .collect::<db::Result<Vec<_>>>()?;
            mark_keys(&tx, account, &mut rows)?;
            Ok(rows)
        })
        .await
    }

    /// Gives an instance another label, if it still has the one that the caller saw.
    pub(in crate::service) async fn rename_instance(
        &self,
        actor: Actor,
        id: i64,
        (was, to): (String, String),
        now: Timestamp,
    ) -> Result<Renamed, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let is = tx
                .prepare_cached("SELECT label FROM instances WHERE id = ?1 AND account = ?2")?
                .query_row([id, account], |row| row.get::<_, String>(0))
                .optional()?;
            match is {
                None => return Ok(Renamed::NoInstance),
                Some(is) if is != was => return Ok(Renamed::Changed),
                Some(is) if is == to => return Ok(Renamed::Done),
                Some(_) => {}
            }
            tx.execute(
                "UPDATE instances SET label = ?2 WHERE id = ?1",
                params![id, to],
            )?;
            let detail = json!({"label": to, "was": was});
            note(&tx, &actor, &Act::done("instance.rename", id, detail), now)?;
            tx.commit()?;
            committed(Commit::of(account, Kinds::INSTANCES | Kinds::AUDIT));
            Ok(Renamed::Done)
        })
        .await
    }

    /// Begins the removal of an instance: one that never enrolled, or that was cut off and so will
    /// never ask again, is gone at once, any other is told by its last snapshot: whether its keys go, and whether the sessions by them end.
    /// False: the account has none of that id.
    pub(in crate::service) async fn remove_instance(
        &self,
        actor: Actor,
        id: i64,
        (take_keys, end_sessions): (bool, bool),
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let listed = tx
                .prepare_cached(
                    "SELECT 1 FROM attachments a JOIN instances i ON i.id = a.instance
                     WHERE i.id = ?1 AND i.account = ?2 AND i.removal_keys IS NULL",
                )?
                .exists([id, account])?;
            retire_all(&tx, account, id, now)?;
            tx.execute(
                "DELETE FROM instances WHERE id = ?1 AND account = ?2
                    AND (identity_key IS NULL OR cut_off = 1 OR removal_told_at <= ?3)",
                params![id, account, told_before(now)],
            )?;
            let mut found = tx.changes() > 0;
            let mut revision = 0;
            if found && listed {
                // It stands in `except` of the account's list no more.
                revision = advance(&tx, account, now)?;
            }
            if !found {
                tx.execute(
                    "UPDATE instances SET removal_keys = ?3, removal_sessions = ?4
                     WHERE id = ?1 AND account = ?2 AND removal_told_at IS NULL",
                    params![id, account, take_keys, end_sessions],
                )?;
                if tx.changes() > 0 {
                    // The last word is another content, so it cannot have a revision that was.
                    revision = advance(&tx, account, now)?;
                }
                tx.execute("DELETE FROM enrolments WHERE instance = ?1", [id])?;
                found = tx
                    .query_row(
                        "SELECT 1 FROM instances WHERE id = ?1 AND account = ?2",
                        [id, account],
                        |_| Ok(()),
                    )
                    .optional()?
                    .is_some();
            }
            if !found {
                return Ok(false);
            }
            let detail = json!({"take_keys": take_keys, "end_sessions": end_sessions});
            note(&tx, &actor, &Act::done("instance.remove", id, detail), now)?;
            tx.commit()?;
            committed(Commit {
                revision: (revision > 0).then_some(revision),
                ..Commit::of(account, Kinds::INSTANCES | Kinds::AUDIT)
            });
            Ok(true)
        })
        .await
    }

    /// Notes that the instance has its last snapshot; from now its session has a minute.
    pub(in crate::service) async fn told_of_removal(
        &self,
        instance: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.call(move |db| {
            db.execute(
                "UPDATE instances SET removal_told_at = coalesce(removal_told_at, ?2)
                 WHERE id = ?1 AND removal_keys IS NOT NULL",
                params![instance, millis(now)],
            )?;
            Ok(())
        })
        .await
    }

    /// Ends an instance that was told of its removal, and its sessions with it.
    pub(in crate::service) async fn end_removal(&self, instance: i64) -> Result<(), StoreError> {
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Instance(instance))?;
            tx.execute(
                "DELETE FROM instances WHERE id = ?1 AND removal_told_at IS NOT NULL",
                [instance],
            )?;
            Ok(tx.commit()?)
        })
        .await
    }
}

/// Whoever was told at or before this has had its minute.
pub(super) fn told_before(now: Timestamp) -> i64 {
    millis(now).saturating_sub(i64::try_from(REMOVAL_GRACE.as_millis()).unwrap_or(i64::MAX))
}

/// The account's instances that are being removed, and how. Each change of it has a revision.
pub(super) fn removals_of(db: &Connection, account: i64) -> db::Result<BTreeMap<i64, Removal>> {
    let mut ask = db.prepare_cached(
        "SELECT id, removal_keys, removal_sessions, removal_told_at
         FROM instances WHERE account = ?1 AND removal_keys IS NOT NULL",
    )?;
    let mut rows = ask.query([account])?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        if let Some(removal) = removal(&row)? {
            found.insert(row.get("id")?, removal);
        }
    }
    Ok(found)
}

/// Reads columns `removal_keys`, `removal_sessions` and `removal_told_at`.
pub(super) fn removal(row: &Row<'_>) -> db::Result<Option<Removal>> {
    let told = row.get::<_, Option<i64>>("removal_told_at")?.is_some();
    let end_sessions = row.get("removal_sessions")?;
    Ok(row
        .get::<_, Option<bool>>("removal_keys")?
        .map(|take_keys| Removal {
            take_keys,
            end_sessions,
            told,
        }))
}

/// Puts to each instance its keys; both by id.
fn mark_keys(db: &Connection, account: i64, rows: &mut [InstanceRow]) -> db::Result<()> {
    let Some((first, last)) = rows.first().zip(rows.last()) else {
        return Ok(());
    };
    // By the instances: of one of them the others' rows are not looked at.
    let mut ask = db.prepare_cached(
        "SELECT a.instance, a.key, a.attached
         FROM instances i CROSS JOIN attachments a
         WHERE a.instance = i.id AND i.account = ?1 AND i.id BETWEEN ?2 AND ?3 ORDER BY i.id, a.key",
    )?;
    let mut found = ask.query([account, first.id, last.id])?;
    while let Some(row) = found.next()? {
        let instance: i64 = row.get(0)?;
        let Ok(at) = rows.binary_search_by_key(&instance, |row| row.id) else {
            continue;
        };
        if let Some(instance) = rows.get_mut(at) {
            let keys = match row.get(2)? {
                true => &mut instance.attached,
                false => &mut instance.detached,
            };
            keys.push(row.get(1)?);
        }
    }
    Ok(())
}

fn instance_row(row: &Row<'_>) -> db::Result<InstanceRow> {
    Ok(InstanceRow {
        id: row.get("id")?,
        label: row.get("label")?,
        created_at: time(row, "created_at")?,
        hostname: row.get("hostname")?,
        enrolled: row.get("enrolled")?,
        removing: row.get("removing")?,
        clone: clone_row(row)?,
        attached: Vec::new(),
        detached: Vec::new(),
    })
}
