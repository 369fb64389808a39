//! Host keys of instances, and the owner's word on each (interface.md section 5).
//!
//! A key that comes within an hour of the enrolment is taken as it comes, one a type; a later one
//! waits, and so does one that another instance of the account has. What a key that is replaced,
//! refused or removed was certified as stays listed until its certificates would have ended.

mod rows;

pub(in crate::service) use rows::{GivenRow, HostKeyRow, HostKeysSeen, RevokedHostKeyRow};

use super::audit::{Act, Actor, note};
use super::db;
use super::db::{Connection, OptionalExtension as _, TransactionBehavior, params};
use super::{Commit, Kinds, Store, StoreError, millis, time};
use crate::keys::PublicKey;
use crate::wire::HostKeyState;
use jiff::{SignedDuration, Timestamp};
use rows::{also_on, keys_of, names, word};
use serde_json::json;

/// So long after its enrolment keys of an instance are taken as they come.
const FREE: SignedDuration = SignedDuration::from_hours(1);
/// How often the log has that another key waits.
const LISTED: SignedDuration = SignedDuration::from_hours(1);
/// Refused keys of an instance that are remembered.
const MAX_REFUSED: i64 = 8;

impl Store {
    /// Takes in the host keys that an instance serves, one of a type. `None`: the instance is gone,
    /// or is being removed.
    pub(in crate::service) async fn see_host_keys(
        &self,
        actor: Actor,
        instance: i64,
        keys: Vec<PublicKey>,
        now: Timestamp,
    ) -> Result<Option<HostKeysSeen>, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let found = tx
                .prepare_cached(
                    "SELECT i.label, coalesce(i.enrolled_at, i.created_at), NOT EXISTS (
                       SELECT 1 FROM instances o WHERE o.account = i.account AND o.id <> i.id
                         AND lower(o.label) = lower(i.label) AND o.removal_keys IS NULL)
                     FROM instances i
                     WHERE i.id = ?1 AND i.account = ?2 AND i.removal_keys IS NULL",
                )?
                .query_row([instance, account], |row| {
                    Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get(2)?))
                })
                .optional()?;
            let Some((label, enrolled_at, label_is_unique)) = found else {
                return Ok(None);
            };
            let free = i64::try_from(FREE.as_millis()).unwrap_or(0);
            let is_free = millis(now).saturating_sub(enrolled_at) < free;
            let mut changed = false;
            for key in &keys {
                changed |= see(&tx, &actor, (instance, key), is_free, now)?;
            }
            let rows = keys_of(&tx, account, instance)?;
            let of = |key: &PublicKey| {
                let fingerprint = key.fingerprint().to_string();
                rows.iter()
                    .find(|row| row.fingerprint == fingerprint)
                    .cloned()
            };
            let keys = keys.iter().filter_map(of).collect();
            let day = now
                .checked_sub(SignedDuration::from_hours(24))
                .unwrap_or(now);
            let lately = tx
                .prepare_cached(
                    "SELECT count(*) FROM certificates WHERE instance = ?1 AND valid_after > ?2",
                )?
                .query_row(params![instance, millis(day)], |row| row.get(0))?;
            tx.commit()?;
            if changed {
                committed(Commit::of(account, Kinds::INSTANCES | Kinds::AUDIT));
            }
            Ok(Some(HostKeysSeen {
                label,
                label_is_unique,
                keys,
                lately,
            }))
        })
        .await
    }

    /// Keeps a certificate that was signed. One with other names takes the place of those before;
    /// false: the key has the owner's word no more, or the instance is being removed.
    pub(in crate::service) async fn keep_host_certificate(
        &self,
        instance: i64,
        fingerprint: String,
        given: GivenRow,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Instance(instance))?;
            let names = json!(given.names).to_string();
            let serial = i64::try_from(given.serial).unwrap_or(i64::MAX);
            let was: Option<Option<String>> = tx
                .prepare_cached(
                    "SELECT names FROM host_keys
                     WHERE instance = ?1 AND fingerprint = ?2 AND state = 'approved'
                       AND EXISTS (SELECT 1 FROM instances
                                   WHERE id = ?1 AND removal_keys IS NULL)",
                )?
                .query_row(params![instance, fingerprint], |row| row.get(0))
                .optional()?;
            let kept = was.is_some();
            let others = was.flatten().is_some_and(|was| was != names);
            if others || !kept {
                tx.execute(
                    "UPDATE certificates SET revoked_at = ?3
                     WHERE instance = ?1 AND fingerprint = ?2 AND revoked_at IS NULL
                       AND (serial <> ?4 OR ?5)",
                    params![instance, fingerprint, millis(now), serial, !kept],
                )?;
            }
            if !kept {
                tx.commit()?;
                return Ok(false);
            }
            tx.execute(
                "UPDATE host_keys SET serial = ?3, certificate = ?4, names = ?5, ca = ?6,
                                      valid_after = ?7, valid_before = ?8
                 WHERE instance = ?1 AND fingerprint = ?2 AND state = 'approved'",
                params![
                    instance,
                    fingerprint,
                    serial,
                    given.certificate,
                    names,
                    given.ca,
                    millis(given.valid_after),
                    millis(given.valid_before)
                ],
            )?;
            tx.commit()?;
            Ok(true)
        })
        .await
    }

    /// An instance's host keys, by type and age.
    pub(in crate::service) async fn host_keys(
        &self,
        account: i64,
        instance: i64,
    ) -> Result<Vec<HostKeyRow>, StoreError> {
        self.call(move |db| Ok(keys_of(db, account, instance)?))
            .await
    }

    /// Gives the owner's word on a host key: it gets certificates, or none and those that it had
    /// are revoked. False: the instance has no such key.
    pub(in crate::service) async fn decide_host_key(
        &self,
        actor: Actor,
        instance: i64,
        fingerprint: String,
        approve: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let rows = keys_of(&tx, account, instance)?;
            let Some(row) = rows.iter().find(|row| row.fingerprint == fingerprint) else {
                return Ok(false);
            };
            let (state, action) = match approve {
                true => (HostKeyState::Approved, "host-key.approve"),
                false => (HostKeyState::Refused, "host-key.refuse"),
            };
            if row.state == state {
                return Ok(true);
            }
            let same_type = |other: &&HostKeyRow| {
                other.key_type == row.key_type && other.state == HostKeyState::Approved
            };
            // The one that had the word before: another of its type, or this very key.
            if let Some(before) = rows.iter().find(same_type)
                && (approve || before.fingerprint == fingerprint)
            {
                retire(&tx, account, instance, before, now)?;
            }
            if approve {
                tx.execute(
                    "DELETE FROM host_keys WHERE instance = ?1 AND key_type = ?2
                       AND state = 'approved'",
                    params![instance, row.key_type],
                )?;
                tx.execute(
                    "DELETE FROM revoked_host_keys WHERE instance = ?1 AND fingerprint = ?2",
                    params![instance, fingerprint],
                )?;
            }
            tx.execute(
                "UPDATE host_keys SET state = ?3, since = ?4, serial = NULL, certificate = NULL,
                                      names = NULL, ca = NULL, valid_after = NULL,
                                      valid_before = NULL
                 WHERE instance = ?1 AND fingerprint = ?2",
                params![instance, fingerprint, word(state), millis(now)],
            )?;
            tx.execute(
                "DELETE FROM host_keys WHERE instance = ?1 AND state = 'refused'
                   AND fingerprint NOT IN (SELECT fingerprint FROM host_keys
                     WHERE instance = ?1 AND state = 'refused'
                     ORDER BY since DESC, fingerprint LIMIT ?2)",
                params![instance, MAX_REFUSED],
            )?;
            let detail = json!({"type": row.key_type, "fingerprint": fingerprint});
            note(&tx, &actor, &Act::done(action, instance, detail), now)?;
            tx.commit()?;
            committed(Commit::of(account, Kinds::INSTANCES | Kinds::AUDIT));
            Ok(true)
        })
        .await
    }

    /// Host keys of the account that nobody is to believe any more, by instance.
    pub(in crate::service) async fn revoked_host_keys(
        &self,
        account: i64,
        now: Timestamp,
    ) -> Result<Vec<RevokedHostKeyRow>, StoreError> {
        self.call(move |db| {
            let rows = db
                .prepare_cached(
                    "SELECT instance, public_key, names, until FROM revoked_host_keys
                     WHERE account = ?1 AND until > ?2 ORDER BY instance, fingerprint",
                )?
                .query_map(params![account, millis(now)], |row| {
                    Ok(RevokedHostKeyRow {
                        instance: row.get("instance")?,
                        public_key: row.get("public_key")?,
                        names: names(row)?,
                        until: time(row, "until")?,
                    })
                })?
                .collect::<db::Result<_>>()?;
            Ok(rows)
        })
        .await
    }
}

/// Takes in one key; whether that changed anything.
fn see(
    tx: &Connection,
    actor: &Actor,
    (instance, key): (i64, &PublicKey),
    is_free: bool,
    now: Timestamp,
) -> db::Result<bool> {
    let account = actor.account;
    let rows = keys_of(tx, account, instance)?;
    let fingerprint = key.fingerprint().to_string();
    if rows.iter().any(|row| row.fingerprint == fingerprint) {
        return Ok(false);
    }
    let other = also_on(tx, account, instance, &fingerprint)?;
    let state = match is_free && other.is_none() {
        true => HostKeyState::Approved,
        false => HostKeyState::Waiting,
    };
    let of_type = |row: &&HostKeyRow| row.key_type == key.key_type() && row.state == state;
    let before = rows.iter().find(of_type);
    if let Some(before) = before {
        if state == HostKeyState::Approved {
            retire(tx, account, instance, before, now)?;
        }
        tx.execute(
            "DELETE FROM host_keys WHERE instance = ?1 AND fingerprint = ?2",
            params![instance, before.fingerprint],
        )?;
    }
    tx.execute(
        "INSERT INTO host_keys (instance, fingerprint, key_type, public_key, state, since)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            instance,
            fingerprint,
            key.key_type(),
            key.to_string(),
            word(state),
            millis(now)
        ],
    )?;
    let lately = |row: &HostKeyRow| now.duration_since(row.since) < LISTED;
    if state == HostKeyState::Approved || !before.is_some_and(lately) {
        let action = match state {
            HostKeyState::Approved => "host-key.add",
            HostKeyState::Waiting | HostKeyState::Refused => "host-key.wait",
        };
        let detail = json!({"type": key.key_type(), "fingerprint": fingerprint, "also_on": other});
        note(tx, actor, &Act::done(action, instance, detail), now)?;
    }
    Ok(true)
}

/// Revokes what a key was certified as, and lists it until that would have ended.
fn retire(
    tx: &Connection,
    account: i64,
    instance: i64,
    row: &HostKeyRow,
    now: Timestamp,
) -> db::Result<()> {
    tx.execute(
        "DELETE FROM revoked_host_keys WHERE account = ?1 AND until <= ?2",
        params![account, millis(now)],
    )?;
    tx.execute(
        "UPDATE certificates SET revoked_at = ?3
         WHERE instance = ?1 AND fingerprint = ?2 AND revoked_at IS NULL",
        params![instance, row.fingerprint, millis(now)],
    )?;
    let Some(given) = row.given.as_ref().filter(|given| given.valid_before > now) else {
        return Ok(());
    };
    tx.execute(
        "INSERT INTO revoked_host_keys (account, instance, fingerprint, public_key, names, until)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (instance, fingerprint) DO UPDATE SET names = ?5, until = ?6",
        params![
            account,
            instance,
            row.fingerprint,
            row.public_key,
            json!(given.names).to_string(),
            millis(given.valid_before)
        ],
    )?;
    Ok(())
}

/// Revokes all of an instance's host certificates, as part of its removal.
pub(super) fn retire_all(
    tx: &Connection,
    account: i64,
    instance: i64,
    now: Timestamp,
) -> db::Result<()> {
    for row in keys_of(tx, account, instance)? {
        if row.state == HostKeyState::Approved {
            retire(tx, account, instance, &row, now)?;
        }
    }
    Ok(())
}
