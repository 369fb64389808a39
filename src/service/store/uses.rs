//! When tokens were last used, as it is written down.

use super::super::auth::Bearing;
use super::super::uses::Use;
use super::db::{TransactionBehavior, params};
use super::{Store, StoreError, millis};

impl Store {
    /// Notes uses, all in one transaction. A token that is gone by now is passed over.
    pub(in crate::service) async fn write_uses(
        &self,
        uses: Vec<(Bearing, Use)>,
    ) -> Result<(), StoreError> {
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for (token, used) in &uses {
                let (id, sql) = match *token {
                    Bearing::ApiKey(id) => (
                        id,
                        "UPDATE api_keys SET last_used_at = ?2, last_used_from = ?3
                         WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at <= ?2)",
                    ),
                    Bearing::Session(id, _) => (
                        id,
                        "UPDATE sessions SET last_seen = ?2, address = ?3
                         WHERE id = ?1 AND (last_seen IS NULL OR last_seen <= ?2)",
                    ),
                };
                let from = used.from.map(|from| from.to_string()).unwrap_or_default();
                tx.prepare_cached(sql)?
                    .execute(params![id, millis(used.at), from])?;
            }
            Ok(tx.commit()?)
        })
        .await
    }
}
