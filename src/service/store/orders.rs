//! Orders to end a key's sessions, and what became of them (protocol.md section 3).
//!
//! An order is given in the transaction that deletes its key. It stands in the account's list until
//! it has left, and leaving is a revision of its own: one revision never has two contents. The row
//! stays until the order's time is over, so that its results can be shown.

use super::accounts::advance;
use super::audit::{Act, Actor, note};
use super::db;
use super::db::{
    Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params,
};
use super::{Commit, Kinds, Store, StoreError, millis, revision, time};
use crate::wire::{OrderOutcome, OrderResult};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

/// How long an order is of use.
const LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// One order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct OrderRow {
    /// Its id.
    pub(in crate::service) id: i64,
    /// The id that the deleted key had.
    pub(in crate::service) key: i64,
    /// `SHA256:…`: whose sessions; empty where a certificate's are meant,
    pub(in crate::service) fingerprint: String,
    /// of this serial,
    pub(in crate::service) serial: Option<u64>,
    /// or of this key ID.
    pub(in crate::service) key_id: Option<String>,
    /// The revision of the deletion.
    pub(in crate::service) revision: u64,
    /// When it was given.
    pub(in crate::service) asked_at: Timestamp,
    /// After this it is of no use.
    pub(in crate::service) until: Timestamp,
    /// It stands in the account's list.
    pub(in crate::service) open: bool,
    /// The key was revoked, not only deleted; said where one order is asked for.
    pub(in crate::service) revoked: bool,
}

/// A key that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) enum Ended {
    /// By the id that it had.
    Id(i64),
    /// By its fingerprint: it may have had no id.
    Fingerprint(String),
}

/// What became of an order on one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) struct ResultRow {
    /// Which instance says so.
    pub(in crate::service) instance: i64,
    /// What became of it.
    pub(in crate::service) outcome: OrderOutcome,
    /// Sessions that ended.
    pub(in crate::service) ended: u32,
    /// Sessions that are still there.
    pub(in crate::service) left: u32,
    /// When it was heard.
    pub(in crate::service) at: Timestamp,
}

impl Store {
    /// Keeps what an instance says of orders of its account: each once, the first word. Gives
    /// those that are new.
    pub(in crate::service) async fn answer_orders(
        &self,
        actor: Actor,
        instance: i64,
        results: Vec<OrderResult>,
        now: Timestamp,
    ) -> Result<Vec<OrderResult>, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            // An instance may say the same thing again and again: that is to cost no write.
            let mut new = results.clone();
            let mut ask = db.prepare_cached(
                "SELECT 1 FROM orders o WHERE o.id = ?1 AND o.account = ?2 AND NOT EXISTS
                   (SELECT 1 FROM order_results WHERE order_id = ?1 AND instance = ?3)",
            )?;
            let mut fault = None;
            new.retain(|result| {
                ask.exists(params![result.id, account, instance])
                    .unwrap_or_else(|error| {
                        fault = Some(error);
                        false
                    })
            });
            drop(ask);
            if let Some(fault) = fault {
                return Err(fault.into());
            }
            if new.is_empty() {
                return Ok(new);
            }
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let mut kept = Vec::new();
            for result in new {
                let changed = tx.execute(
                    "INSERT INTO order_results (order_id, instance, outcome, ended, still, at)
                     SELECT o.id, i.id, ?4, ?5, ?6, ?7 FROM orders o JOIN instances i
                       ON i.account = o.account
                     WHERE o.id = ?1 AND o.account = ?2 AND i.id = ?3
                     ON CONFLICT DO NOTHING",
                    params![
                        result.id,
                        account,
                        instance,
                        word(result.outcome),
                        result.ended,
                        result.left,
                        millis(now)
                    ],
                )?;
                if changed > 0 {
                    let detail = json!({"outcome": word(result.outcome), "ended": result.ended,
                        "left": result.left, "instance": instance});
                    note(
                        &tx,
                        &actor,
                        &Act::done("order.result", result.id, detail),
                        now,
                    )?;
                    kept.push(result);
                }
            }
            tx.commit()?;
            if !kept.is_empty() {
                committed(Commit::of(account, Kinds::SSH_KEYS | Kinds::AUDIT));
            }
            Ok(kept)
        })
        .await
    }

    /// The order that the end of this key gave, and what instances say of it, by instance.
    pub(in crate::service) async fn order_of_key(
        &self,
        account: i64,
        key: Ended,
        now: Timestamp,
    ) -> Result<Option<(OrderRow, Vec<ResultRow>)>, StoreError> {
        self.call(move |db| {
            let tx = db.transaction()?;
            let order = match &key {
                Ended::Id(id) => tx
                    .prepare_cached(
                        "SELECT * FROM orders WHERE account = ?1 AND key = ?2 AND until > ?3
                         ORDER BY id DESC LIMIT 1",
                    )?
                    .query_row(params![account, id, millis(now)], order_row),
                Ended::Fingerprint(fingerprint) => tx
                    .prepare_cached(
                        "SELECT * FROM orders WHERE account = ?1 AND fingerprint = ?2
                           AND until > ?3 ORDER BY id DESC LIMIT 1",
                    )?
                    .query_row(params![account, fingerprint, millis(now)], order_row),
            };
            let Some(mut order) = order.optional()? else {
                return Ok(None);
            };
            order.revoked = tx
                .prepare_cached(
                    "SELECT 1 FROM revoked_keys WHERE account = ?1 AND fingerprint = ?2",
                )?
                .exists(params![account, order.fingerprint])?;
            let results = tx
                .prepare_cached(
                    "SELECT * FROM order_results WHERE order_id = ?1 ORDER BY instance",
                )?
                .query_map([order.id], result_row)?
                .collect::<db::Result<_>>()?;
            Ok(Some((order, results)))
        })
        .await
    }

    /// Lets orders leave their accounts' lists: those whose time is over, and those that at least
    /// one instance has answered and that no live one has still to answer.
    pub(in crate::service) async fn settle_orders(
        &self,
        is_live: impl Fn(i64) -> bool + Send + 'static,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            if !db
                .prepare_cached("SELECT 1 FROM orders LIMIT 1")?
                .exists([])?
            {
                return Ok(());
            }
            let leaving = leaving(db, &is_live, now)?;
            let over = db
                .prepare_cached("SELECT 1 FROM orders WHERE until <= ?1 LIMIT 1")?
                .exists([millis(now)])?;
            if leaving.is_empty() && !over {
                return Ok(());
            }
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut accounts = BTreeSet::new();
            for (order, account) in leaving {
                let left = "UPDATE orders SET left_at = ?2 WHERE id = ?1 AND left_at IS NULL";
                if tx.execute(left, [order, millis(now)])? > 0 {
                    accounts.insert(account);
                }
            }
            tx.execute("DELETE FROM orders WHERE until <= ?1", [millis(now)])?;
            let mut commits = Vec::new();
            for account in accounts {
                let revision = advance(&tx, account, now)?;
                commits.push(Commit::revision(account, revision));
            }
            tx.commit()?;
            commits.into_iter().for_each(|commit| committed(commit));
            Ok(())
        })
        .await
    }
}

/// Open orders that have nothing more to do: id and account.
fn leaving(
    db: &Connection,
    is_live: impl Fn(i64) -> bool,
    now: Timestamp,
) -> db::Result<Vec<(i64, i64)>> {
    let open: Vec<(i64, i64, bool, bool)> = db
        .prepare_cached(
            "SELECT o.id, o.account, o.until <= ?1,
                    EXISTS (SELECT 1 FROM order_results WHERE order_id = o.id)
             FROM orders o WHERE o.left_at IS NULL",
        )?
        .query_map([millis(now)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<db::Result<_>>()?;
    let mut there = db.prepare_cached(
        "SELECT id FROM instances
         WHERE account = ?1 AND identity_key IS NOT NULL AND removal_keys IS NULL",
    )?;
    let mut has_answered =
        db.prepare_cached("SELECT 1 FROM order_results WHERE order_id = ?1 AND instance = ?2")?;
    // Of each account once, however many orders it has.
    let mut live: HashMap<i64, Vec<i64>> = HashMap::new();
    let mut leaving = Vec::new();
    for (order, account, over, answered) in open {
        let mut waits = !answered;
        if !over && !waits {
            let live = match live.entry(account) {
                Entry::Occupied(live) => live.into_mut(),
                Entry::Vacant(place) => {
                    let mut ids = there
                        .query_map([account], |row| row.get(0))?
                        .collect::<db::Result<Vec<i64>>>()?;
                    ids.retain(|id| is_live(*id));
                    place.insert(ids)
                }
            };
            for instance in live.iter() {
                waits = !has_answered.exists([order, *instance])?;
                if waits {
                    break;
                }
            }
        }
        if over || !waits {
            leaving.push((order, account));
        }
    }
    Ok(leaving)
}

/// Whose sessions an order ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of<'a> {
    /// Those of a key that had this id, 0 for none, and has this fingerprint.
    Key(i64, &'a str),
    /// Those of the certificate of this serial.
    Serial(i64),
    /// Those of certificates of this key ID.
    KeyId(&'a str),
}

/// Gives the order to end these sessions, as part of what ends the key or the certificate. It takes
/// the place of an open one for the same: whatever that was to end, this one ends.
pub(super) fn give(
    tx: &Transaction<'_>,
    account: i64,
    of: Of<'_>,
    revision: u64,
    now: Timestamp,
) -> db::Result<i64> {
    let (key, fingerprint, serial, key_id) = match of {
        Of::Key(id, fingerprint) => (id, fingerprint, None, None),
        Of::Serial(serial) => (0, "", Some(serial), None),
        Of::KeyId(key_id) => (0, "", None, Some(key_id)),
    };
    tx.execute(
        "UPDATE orders SET left_at = ?3
         WHERE account = ?1 AND fingerprint = ?2 AND left_at IS NULL
           AND serial IS NOT DISTINCT FROM ?4 AND key_id IS NOT DISTINCT FROM ?5",
        params![account, fingerprint, millis(now), serial, key_id],
    )?;
    let until = now.checked_add(LIFE).unwrap_or(Timestamp::MAX);
    tx.prepare_cached(
        "INSERT INTO orders (account, key, fingerprint, revision, asked_at, until, serial, key_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id",
    )?
    .query_row(
        params![
            account,
            key,
            fingerprint,
            i64::try_from(revision).unwrap_or(i64::MAX),
            millis(now),
            millis(until),
            serial,
            key_id
        ],
        |row| row.get(0),
    )
}

/// How many orders stand in the account's list.
pub(super) fn open_count(db: &Connection, account: i64) -> db::Result<i64> {
    db.prepare_cached("SELECT count(*) FROM orders WHERE account = ?1 AND left_at IS NULL")?
        .query_row([account], |row| row.get(0))
}

/// The orders of the account's list, by id.
pub(super) fn orders_of(db: &Connection, account: i64) -> db::Result<Vec<OrderRow>> {
    db.prepare_cached("SELECT * FROM orders WHERE account = ?1 AND left_at IS NULL ORDER BY id")?
        .query_map([account], order_row)?
        .collect()
}

fn order_row(row: &Row<'_>) -> db::Result<OrderRow> {
    Ok(OrderRow {
        id: row.get("id")?,
        key: row.get("key")?,
        fingerprint: row.get("fingerprint")?,
        serial: row
            .get::<_, Option<i64>>("serial")?
            .and_then(|serial| u64::try_from(serial).ok()),
        key_id: row.get("key_id")?,
        revision: revision(row, "revision")?,
        asked_at: time(row, "asked_at")?,
        until: time(row, "until")?,
        open: row.get::<_, Option<i64>>("left_at")?.is_none(),
        revoked: false,
    })
}

fn result_row(row: &Row<'_>) -> db::Result<ResultRow> {
    Ok(ResultRow {
        instance: row.get("instance")?,
        outcome: outcome(&row.get::<_, String>("outcome")?),
        ended: row.get("ended")?,
        left: row.get("still")?,
        at: time(row, "at")?,
    })
}

/// An outcome as the database keeps it.
fn word(outcome: OrderOutcome) -> &'static str {
    match outcome {
        OrderOutcome::Ended => "ended",
        OrderOutcome::None => "none",
        OrderOutcome::NotMapped => "not-mapped",
        OrderOutcome::RefusedHere => "refused-here",
    }
}

fn outcome(word: &str) -> OrderOutcome {
    match word {
        "ended" => OrderOutcome::Ended,
        "none" => OrderOutcome::None,
        "refused-here" => OrderOutcome::RefusedHere,
        // No other word is ever written; whatever it was, nothing is known to have ended.
        _ => OrderOutcome::NotMapped,
    }
}

#[cfg(test)]
mod tests;
