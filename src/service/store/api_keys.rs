//! API keys: kept as hashes, and sealed for their owner to see again.

use super::{Hash, Store, StoreError, millis, time, time_opt};
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params};
use subtle::ConstantTimeEq as _;

/// One API key, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct ApiKeyRow {
    /// Its id.
    pub(in crate::service) id: i64,
    /// Of which account.
    pub(in crate::service) account: i64,
    /// What its owner calls it.
    pub(in crate::service) name: String,
    /// Its permission tree, JSON.
    pub(in crate::service) rights: String,
    /// Networks that it may come from, JSON; an empty array: any.
    pub(in crate::service) addresses: String,
    /// Its last four characters.
    pub(in crate::service) tail: String,
    /// When it was made.
    pub(in crate::service) created_at: Timestamp,
    /// When it ends.
    pub(in crate::service) expires_at: Option<Timestamp>,
    /// When it last asked for something.
    pub(in crate::service) last_used_at: Option<Timestamp>,
    /// From where; empty: unknown.
    pub(in crate::service) last_used_from: String,
}

impl Store {
    /// Whose API key this is: one of an account in force, not past its time.
    pub(in crate::service) async fn api_key(
        &self,
        hash: Hash,
        now: Timestamp,
    ) -> Result<Option<ApiKeyRow>, StoreError> {
        self.call(move |db| {
            let found = db
                .prepare_cached(
                    "SELECT k.* FROM api_keys k JOIN accounts a ON a.id = k.account
                     WHERE k.hash = ?1 AND (k.expires_at IS NULL OR k.expires_at > ?2)
                       AND a.disabled_at IS NULL",
                )?
                .query_row(params![hash, millis(now)], |row| {
                    Ok((api_key_row(row)?, row.get::<_, Hash>("hash")?))
                })
                .optional()?;
            Ok(found
                .filter(|(_, kept)| bool::from(kept.ct_eq(&hash)))
                .map(|(row, _)| row))
        })
        .await
    }
}

pub(super) fn api_key_row(row: &Row<'_>) -> rusqlite::Result<ApiKeyRow> {
    Ok(ApiKeyRow {
        id: row.get("id")?,
        account: row.get("account")?,
        name: row.get("name")?,
        rights: row.get("rights")?,
        addresses: row.get("addresses")?,
        tail: row.get("tail")?,
        created_at: time(row, "created_at")?,
        expires_at: time_opt(row, "expires_at")?,
        last_used_at: time_opt(row, "last_used_at")?,
        last_used_from: row.get("last_used_from")?,
    })
}
