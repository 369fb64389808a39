//! Wrong guesses where replicas share a database: what is counted at one is counted at all.
//!
//! A guesser has a row, which is held while a guess is begun: of many at once, at whatever replica,
//! each sees those before it. A power cut may take the last counts back.

use super::db::{Connection, TransactionBehavior, params};
use super::{Hash, Store, StoreError, millis};
use jiff::Timestamp;

/// Guessers that are remembered; past that the least guilty are forgotten.
const GUESSERS: i64 = 65_536;

/// Guesses of one guesser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::service) struct Tries {
    /// How many were wrong.
    pub(in crate::service) count: u32,
    /// When the last one began, Unix milliseconds.
    pub(in crate::service) last: i64,
}

impl Store {
    /// Has `judge` say, by what is counted, what of it counts still, which is given, and what is
    /// counted from now on. Nothing is written where it refuses.
    pub(in crate::service) async fn count_guess<R: Send + 'static>(
        &self,
        guesser: Hash,
        judge: impl Fn(Tries) -> Result<(Tries, Tries), R> + Send + 'static,
    ) -> Result<Result<Tries, R>, StoreError> {
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Loose)?;
            tx.prepare_cached(
                "INSERT INTO guesses (guesser, count, last) VALUES (?1, 0, 0)
                 ON CONFLICT (guesser) DO NOTHING",
            )?
            .execute([guesser])?;
            let counted = tx
                .prepare_cached("SELECT count, last FROM guesses WHERE guesser = ?1 FOR UPDATE")?
                .query_row([guesser], |row| {
                    let count: i64 = row.get("count")?;
                    Ok(Tries {
                        count: u32::try_from(count).unwrap_or(u32::MAX),
                        last: row.get("last")?,
                    })
                })?;
            match judge(counted) {
                Ok((before, tries)) => {
                    tx.prepare_cached(
                        "UPDATE guesses SET count = ?2, last = ?3 WHERE guesser = ?1",
                    )?
                    .execute(params![
                        guesser,
                        i64::from(tries.count),
                        tries.last
                    ])?;
                    tx.commit()?;
                    Ok(Ok(before))
                }
                Err(refused) => Ok(Err(refused)),
            }
        })
        .await
    }

    /// Counts one less: it was no wrong guess. The time goes back to that before it.
    pub(in crate::service) async fn give_guess_back(
        &self,
        guesser: Hash,
        last: i64,
    ) -> Result<(), StoreError> {
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Loose)?;
            tx.prepare_cached(
                "UPDATE guesses SET count = greatest(count - 1, 0), last = ?2 WHERE guesser = ?1",
            )?
            .execute(params![guesser, last])?;
            tx.prepare_cached("DELETE FROM guesses WHERE guesser = ?1 AND count = 0")?
                .execute([guesser])?;
            Ok(tx.commit()?)
        })
        .await
    }

    /// Forgets who was silent since then, and whoever is one too many.
    pub(in crate::service) async fn forget_guesses(
        &self,
        since: Timestamp,
    ) -> Result<(), StoreError> {
        if !self.shared {
            return Ok(());
        }
        self.call(move |db| forget(db, since)).await
    }
}

fn forget(db: &mut Connection, since: Timestamp) -> Result<(), StoreError> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Loose)?;
    tx.execute("DELETE FROM guesses WHERE last < ?1", [millis(since)])?;
    // Rows that are held are being counted up: they are left, so that nobody waits for two.
    tx.execute(
        "DELETE FROM guesses WHERE guesser IN (
            SELECT guesser FROM guesses WHERE guesser IN (
                SELECT guesser FROM guesses ORDER BY count DESC, last DESC OFFSET ?1
            ) FOR UPDATE SKIP LOCKED
         )",
        [GUESSERS],
    )?;
    Ok(tx.commit()?)
}
