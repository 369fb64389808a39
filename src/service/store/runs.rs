//! Runs of agents (protocol.md section 1): a run id tells a restart from a twin.
//!
//! The run that spoke last is the current one; a run never seen before supersedes it; a superseded
//! run that speaks again is a twin and is refused, and its instance's owner is told. A twin may
//! speak as often as it likes: what it leaves is at most a write a minute, and a row of the audit
//! log an hour.

use super::audit::{Act, Actor, By, note};
use super::db;
use super::db::{
    Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params,
};
use super::{Commit, Hash, Kinds, Store, StoreError, millis, time_opt};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::net::IpAddr;

/// Superseded runs that are remembered, an instance.
const RUNS: u32 = 64;

/// How often a twin is noted.
const EACH: SignedDuration = SignedDuration::from_mins(1);

/// How often the audit log has it.
const LISTED: SignedDuration = SignedDuration::from_hours(1);

/// A twin that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct CloneRow {
    /// When it last was.
    pub(in crate::service) at: Timestamp,
    /// From where; empty: unknown.
    pub(in crate::service) from: String,
}

/// Who speaks for an instance, as far as that can be believed.
#[derive(Debug, Clone)]
pub(in crate::service) struct Speaker {
    /// From where.
    pub(in crate::service) from: Option<IpAddr>,
    /// The request's id.
    pub(in crate::service) request: String,
}

impl Store {
    /// Lets this run speak for the instance. False: it was superseded, a twin speaks.
    pub(in crate::service) async fn run(
        &self,
        instance: i64,
        run: Hash,
        speaker: Speaker,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Instance(instance))?;
            let current = tx
                .query_row("SELECT run FROM instances WHERE id = ?1", [instance], |r| {
                    r.get::<_, Option<Hash>>(0)
                })
                .optional()?
                .flatten();
            let taken = take_run(&tx, instance, current, run)?;
            let commit = match taken {
                true => None,
                false => refused(&tx, instance, &speaker, now)?,
            };
            tx.commit()?;
            commit.into_iter().for_each(|commit| committed(commit));
            Ok(taken)
        })
        .await
    }
}

/// Lets this run speak for the instance. False: it was superseded.
pub(super) fn take_run(
    tx: &Transaction<'_>,
    instance: i64,
    current: Option<Hash>,
    run: Hash,
) -> db::Result<bool> {
    if current == Some(run) {
        return Ok(true);
    }
    let superseded = tx
        .query_row(
            "SELECT 1 FROM superseded_runs WHERE instance = ?1 AND run = ?2",
            params![instance, run],
            |_| Ok(()),
        )
        .optional()?
        .is_some();
    if superseded {
        return Ok(false);
    }
    if let Some(current) = current {
        tx.execute(
            "INSERT INTO superseded_runs (instance, run) VALUES (?1, ?2)",
            params![instance, current],
        )?;
        tx.execute(
            "DELETE FROM superseded_runs WHERE instance = ?1 AND id NOT IN
               (SELECT id FROM superseded_runs WHERE instance = ?1 ORDER BY id DESC LIMIT ?2)",
            params![instance, RUNS],
        )?;
    }
    tx.execute(
        "UPDATE instances SET run = ?2 WHERE id = ?1",
        params![instance, run],
    )?;
    Ok(true)
}

/// Notes that a twin of this instance was refused; `None`: that is known.
pub(super) fn refused(
    tx: &Connection,
    instance: i64,
    speaker: &Speaker,
    now: Timestamp,
) -> db::Result<Option<Commit>> {
    let from = speaker
        .from
        .map(|from| from.to_string())
        .unwrap_or_default();
    let before = tx
        .prepare_cached(
            "SELECT account, clone_seen_at, clone_listed_at, clone_from FROM instances WHERE id = ?1",
        )?
        .query_row([instance], |row| {
            let account: i64 = row.get(0)?;
            let (seen, listed): (Option<i64>, Option<i64>) = (row.get(1)?, row.get(2)?);
            Ok((account, seen, listed, row.get::<_, String>(3)?))
        })
        .optional()?;
    let Some((account, seen, listed, was_from)) = before else {
        return Ok(None);
    };
    let waited = |at: Option<i64>, least: SignedDuration| {
        let least = i64::try_from(least.as_millis()).unwrap_or(i64::MAX);
        at.is_none_or(|at| millis(now).saturating_sub(at).saturating_abs() >= least)
    };
    if !waited(seen, EACH) {
        return Ok(None);
    }
    tx.prepare_cached("UPDATE instances SET clone_seen_at = ?2, clone_from = ?3 WHERE id = ?1")?
        .execute(params![instance, millis(now), from])?;
    let mut kinds = Kinds::INSTANCES;
    if waited(listed, LISTED) || was_from != from {
        tx.prepare_cached("UPDATE instances SET clone_listed_at = ?2 WHERE id = ?1")?
            .execute(params![instance, millis(now)])?;
        let actor = Actor {
            account,
            by: By::Agent { instance },
            from: speaker.from,
            request: speaker.request.clone(),
        };
        let act = Act {
            about: Some(instance),
            ..Act::refused("instance.clone", json!({}))
        };
        note(tx, &actor, &act, now)?;
        kinds = kinds | Kinds::AUDIT;
    }
    Ok(Some(Commit::of(account, kinds)))
}

/// Reads columns `clone_seen_at` and `clone_from`.
pub(super) fn clone_row(row: &Row<'_>) -> db::Result<Option<CloneRow>> {
    let at = time_opt(row, "clone_seen_at")?;
    let from = row.get("clone_from")?;
    Ok(at.map(|at| CloneRow { at, from }))
}
