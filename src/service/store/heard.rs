//! What replicas read of each other's words about instances.

use super::db::{self, Connection, OptionalExtension as _};
use super::reports::seen_row;
use super::{REMOVAL_GRACE, Seen, Store, StoreError, millis, time, time_opt};
use jiff::Timestamp;

/// As many are read one by one; more, by the time from which on they were heard.
const FEW: usize = 16;

impl Store {
    /// What was last heard of those of the account's instances of which `is_behind` says, by id and
    /// time, that there is something newer; others may be among them.
    pub(in crate::service) async fn seen_of(
        &self,
        account: i64,
        is_behind: impl Fn(i64, Timestamp) -> bool + Send + 'static,
    ) -> Result<Vec<Seen>, StoreError> {
        self.call(move |db| {
            let mut newer: Vec<(i64, Timestamp)> = db
                .prepare_cached(
                    "SELECT id, last_seen FROM instances
                     WHERE account = ?1 AND last_seen IS NOT NULL",
                )?
                .query_map([account], |row| {
                    Ok((row.get("id")?, time(row, "last_seen")?))
                })?
                .collect::<db::Result<_>>()?;
            newer.retain(|(id, at)| is_behind(*id, *at));
            let from = newer.iter().map(|(_, at)| *at).min();
            if let Some(from) = from.filter(|_| newer.len() > FEW) {
                return Ok(db
                    .prepare_cached(
                        "SELECT id, last_seen, stopped, next_in, status, device, proved FROM instances
                         WHERE account = ?1 AND last_seen >= ?2",
                    )?
                    .query_map([account, millis(from)], seen_row)?
                    .collect::<db::Result<_>>()?);
            }
            let mut seen = Vec::with_capacity(newer.len());
            for (id, _) in newer {
                seen.extend(row_of(db, id)?);
            }
            Ok(seen)
        })
        .await
    }

    /// What was last heard of one instance, where `is_behind` says that there is something newer.
    pub(in crate::service) async fn seen_one(
        &self,
        instance: i64,
        is_behind: impl Fn(i64, Timestamp) -> bool + Send + 'static,
    ) -> Result<Vec<Seen>, StoreError> {
        self.call(move |db| {
            let at: Option<Option<Timestamp>> = db
                .prepare_cached("SELECT last_seen FROM instances WHERE id = ?1")?
                .query_row([instance], |row| time_opt(row, "last_seen"))
                .optional()?;
            match at.flatten() {
                Some(at) if is_behind(instance, at) => Ok(row_of(db, instance)?),
                _ => Ok(Vec::new()),
            }
        })
        .await
    }

    /// Instances of the account that an agent enrolled for, but for those that had their last word.
    pub(in crate::service) async fn enrolled(
        &self,
        account: i64,
        now: Timestamp,
    ) -> Result<Vec<i64>, StoreError> {
        let grace = i64::try_from(REMOVAL_GRACE.as_millis()).unwrap_or(i64::MAX);
        self.call(move |db| {
            Ok(db
                .prepare_cached(
                    "SELECT id FROM instances
                     WHERE account = ?1 AND identity_key IS NOT NULL
                       AND (removal_told_at IS NULL OR removal_told_at > ?2) ORDER BY id",
                )?
                .query_map([account, millis(now).saturating_sub(grace)], |row| {
                    row.get(0)
                })?
                .collect::<db::Result<_>>()?)
        })
        .await
    }

    /// Accounts whose lists hold orders.
    pub(in crate::service) async fn accounts_with_orders(&self) -> Result<Vec<i64>, StoreError> {
        self.call(|db| {
            Ok(db
                .prepare_cached("SELECT DISTINCT account FROM orders WHERE left_at IS NULL")?
                .query_map([], |row| row.get(0))?
                .collect::<db::Result<_>>()?)
        })
        .await
    }
}

/// None where it is gone.
fn row_of(db: &Connection, instance: i64) -> db::Result<Vec<Seen>> {
    let row = db
        .prepare_cached(
            "SELECT id, last_seen, stopped, next_in, status, device, proved FROM instances
             WHERE id = ?1",
        )?
        .query_row([instance], seen_row)
        .optional()?;
    Ok(row.into_iter().collect())
}
