//! Instances of an account as their owner sees them, and their removal.

use super::accounts::advance;
use super::audit::{Act, Actor, note};
use super::{
    Commit, Hash, Kinds, MAX_INSTANCES, REMOVAL_GRACE, Store, StoreError, millis, time, time_opt,
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use serde_json::json;

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
}

/// What the store last heard of an instance; read once, at start.
#[derive(Debug, Clone)]
pub(in crate::service) struct Seen {
    /// Which instance.
    pub(in crate::service) instance: i64,
    /// When it last spoke.
    pub(in crate::service) at: Option<Timestamp>,
    /// It said that it stops.
    pub(in crate::service) stopped: bool,
    /// Its last status, JSON.
    pub(in crate::service) status: Option<String>,
    /// Its device, JSON.
    pub(in crate::service) device: Option<String>,
    /// Key id to milliseconds from save to proof, JSON.
    pub(in crate::service) proved: String,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Made {
    /// Its id.
    Instance(i64),
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
        now: Timestamp,
    ) -> Result<Made, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
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
            tx.execute(
                "INSERT INTO instances (account, label, created_at) VALUES (?1, ?2, ?3)",
                params![account, label, millis(now)],
            )?;
            let instance = tx.last_insert_rowid();
            tx.execute(
                "INSERT INTO enrolments (hash, instance, expires_at) VALUES (?1, ?2, ?3)",
                params![token, instance, millis(token_expires)],
            )?;
            let act = Act::done("instance.create", instance, json!({"label": label}));
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            committed(Commit::of(account, Kinds::INSTANCES | Kinds::AUDIT));
            Ok(Made::Instance(instance))
        })
        .await
    }

    /// The account's instances with an id above `after`, by id.
    pub(in crate::service) async fn instances(
        &self,
        account: i64,
        after: i64,
        now: Timestamp,
    ) -> Result<Vec<InstanceRow>, StoreError> {
        self.call(move |db| {
            let rows = db
                .prepare_cached(
                    "SELECT id, label, created_at, hostname, identity_key IS NOT NULL AS enrolled
                     FROM instances
                     WHERE account = ?1 AND id > ?2
                       AND (removal_told_at IS NULL OR removal_told_at > ?3)
                     ORDER BY id",
                )?
                .query_map(params![account, after, told_before(now)], instance_row)?
                .collect::<rusqlite::Result<_>>()?;
            Ok(rows)
        })
        .await
    }

    /// Begins the removal of an instance: one that never enrolled is gone at once, any other is
    /// told by its last snapshot: whether its keys go, and whether the sessions by them end.
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
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute(
                "DELETE FROM instances WHERE id = ?1 AND account = ?2
                    AND (identity_key IS NULL OR removal_told_at <= ?3)",
                params![id, account, told_before(now)],
            )?;
            let mut found = tx.changes() > 0;
            let mut revision = 0;
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
                removal: true,
                ..Commit::of(account, Kinds::INSTANCES | Kinds::AUDIT)
            });
            Ok(true)
        })
        .await
    }

    /// Whether, and how, this instance is being removed.
    pub(in crate::service) async fn removal(
        &self,
        instance: i64,
    ) -> Result<Option<Removal>, StoreError> {
        self.call(move |db| {
            let found = db
                .prepare_cached(
                    "SELECT removal_keys, removal_sessions, removal_told_at
                     FROM instances WHERE id = ?1",
                )?
                .query_row([instance], removal)
                .optional()?;
            Ok(found.flatten())
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
            db.execute(
                "DELETE FROM instances WHERE id = ?1 AND removal_told_at IS NOT NULL",
                [instance],
            )?;
            Ok(())
        })
        .await
    }
}

/// What was last heard of every instance.
pub(super) fn all_seen(db: &Connection) -> rusqlite::Result<Vec<Seen>> {
    db.prepare(
        "SELECT id, last_seen, stopped, status, device, proved FROM instances
         WHERE last_seen IS NOT NULL",
    )?
    .query_map([], |row| {
        Ok(Seen {
            instance: row.get("id")?,
            at: time_opt(row, "last_seen")?,
            stopped: row.get("stopped")?,
            status: row.get("status")?,
            device: row.get("device")?,
            proved: row.get("proved")?,
        })
    })?
    .collect()
}

/// Whoever was told at or before this has had its minute.
pub(super) fn told_before(now: Timestamp) -> i64 {
    millis(now).saturating_sub(i64::try_from(REMOVAL_GRACE.as_millis()).unwrap_or(i64::MAX))
}

/// Reads columns `removal_keys`, `removal_sessions` and `removal_told_at`.
pub(super) fn removal(row: &Row<'_>) -> rusqlite::Result<Option<Removal>> {
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

fn instance_row(row: &Row<'_>) -> rusqlite::Result<InstanceRow> {
    Ok(InstanceRow {
        id: row.get("id")?,
        label: row.get("label")?,
        created_at: time(row, "created_at")?,
        hostname: row.get("hostname")?,
        enrolled: row.get("enrolled")?,
    })
}
