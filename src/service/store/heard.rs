//! What replicas read of each other's words about instances.

use super::db::{self, OptionalExtension as _};
use super::reports::seen_row;
use super::{Seen, Store, StoreError, millis, time};
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
                let row = db
                    .prepare_cached(
                        "SELECT id, last_seen, stopped, next_in, status, device, proved FROM instances
                         WHERE id = ?1",
                    )?
                    .query_row([id], seen_row)
                    .optional()?;
                seen.extend(row);
            }
            Ok(seen)
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
