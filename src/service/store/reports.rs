//! What heartbeats leave behind: an instance's status, its device, and when keys were used.

use super::{Store, StoreError, millis};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{TransactionBehavior, params};

/// A use is written when it is this much later than the one before.
pub(in crate::service) const USED_STEP: SignedDuration = SignedDuration::from_secs(60);

/// What a heartbeat leaves behind.
#[derive(Debug, Clone)]
pub(in crate::service) struct Report {
    /// Which instance.
    pub(in crate::service) instance: i64,
    /// When it spoke.
    pub(in crate::service) at: Timestamp,
    /// It said that it stops.
    pub(in crate::service) stopped: bool,
    /// Its status, JSON, cut.
    pub(in crate::service) status: String,
    /// Its device, JSON, cut; `None`: as it was.
    pub(in crate::service) device: Option<String>,
    /// Key id to milliseconds from save to proof, JSON.
    pub(in crate::service) proved: String,
}

impl Store {
    /// Keeps what a heartbeat said.
    pub(in crate::service) async fn report(&self, report: Report) -> Result<(), StoreError> {
        self.call(move |db| {
            db.prepare_cached(
                "UPDATE instances SET last_seen = ?2, stopped = ?3, status = ?4, proved = ?5,
                                      device = coalesce(?6, device)
                 WHERE id = ?1",
            )?
            .execute(params![
                report.instance,
                millis(report.at),
                report.stopped,
                report.status,
                report.proved,
                report.device
            ])?;
            Ok(())
        })
        .await
    }

    /// Notes when keys of the account were used, by their ids: the latest counts, and what is
    /// hardly later than what is known is not written.
    pub(in crate::service) async fn used_keys(
        &self,
        account: i64,
        used: Vec<(i64, Timestamp)>,
    ) -> Result<(), StoreError> {
        self.call(move |db| {
            let step = i64::try_from(USED_STEP.as_millis()).unwrap_or(i64::MAX);
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for (key, at) in used {
                tx.prepare_cached(
                    "UPDATE ssh_keys SET last_used_at = ?3 WHERE id = ?1 AND account = ?2
                        AND (last_used_at IS NULL OR last_used_at < ?3 - ?4)",
                )?
                .execute([key, account, millis(at), step])?;
            }
            Ok(tx.commit()?)
        })
        .await
    }
}
