//! What others have changed in the database: other replicas, commands on the server's machine.
//!
//! SQLite says only whether another process wrote; then everybody looks. PostgreSQL keeps a row an
//! account that has changed, with the number of the transaction (`schema/postgres`): one look at
//! an index finds all since the last look. Neither misses a change, whatever notice was lost.

use super::db::Connection;
use super::{Commit, Kinds, Store, StoreError, revision};
use std::collections::HashSet;

/// Where the last look ended.
#[derive(Debug, Default)]
pub(in crate::service) struct Sweep {
    /// SQLite's `PRAGMA data_version`; PostgreSQL's oldest transaction that was under way.
    seen: Option<i64>,
    /// What was found from there on.
    found: HashSet<(i64, i64)>,
    /// A look has failed: the server may be another one now, whose numbers say nothing.
    failed: bool,
}

#[cfg(test)]
impl Sweep {
    /// As if the last look had found no server.
    pub(super) fn failed(self) -> Self {
        Self {
            failed: true,
            ..self
        }
    }
}

/// What a look finds.
enum Look {
    /// Nothing, or these accounts: account, transaction, and whether a token may have ended.
    Some(i64, Vec<(Commit, (i64, i64))>),
    /// Anything may have changed.
    Any(i64),
}

impl Store {
    /// What others have changed since the last look, of the accounts that `watched` gives; at the
    /// first look nothing. Our own changes may be among them.
    ///
    /// # Errors
    /// [`StoreError`]; the next look finds it all.
    pub(in crate::service) async fn others(
        &self,
        sweep: &mut Sweep,
        watched: impl FnOnce() -> Vec<i64>,
    ) -> Result<Vec<Commit>, StoreError> {
        let looked = self.look(sweep, watched).await;
        sweep.failed |= looked.is_err();
        looked
    }

    async fn look(
        &self,
        sweep: &mut Sweep,
        watched: impl FnOnce() -> Vec<i64>,
    ) -> Result<Vec<Commit>, StoreError> {
        let (seen, failed) = (sweep.seen, sweep.failed);
        let look = self.call(move |db| match db {
            Connection::Sqlite(_) => {
                let now = db.query_row("PRAGMA data_version", [], |row| row.get(0))?;
                Ok(match seen.is_none_or(|seen| seen == now) && !failed {
                    true => Look::Some(now, Vec::new()),
                    false => Look::Any(now),
                })
            }
            Connection::Postgres(_) => changed(db, seen, failed),
        });
        match look.await? {
            Look::Some(now, found) => {
                let (mut fresh, mut marks) = (Vec::new(), HashSet::new());
                for (commit, mark) in found {
                    if !sweep.found.contains(&mark) {
                        fresh.push(commit);
                    }
                    marks.insert(mark);
                }
                *sweep = Sweep {
                    seen: Some(now),
                    found: marks,
                    failed: false,
                };
                Ok(fresh)
            }
            Look::Any(now) => {
                let revisions = self.revisions(watched()).await?;
                *sweep = Sweep {
                    seen: Some(now),
                    ..Sweep::default()
                };
                // What was written is not known: whoever waits looks for himself.
                let any = |(account, revision)| Commit {
                    revision,
                    access: true,
                    ..Commit::of(account, Kinds::ALL)
                };
                Ok(revisions.into_iter().map(any).collect())
            }
        }
    }
}

/// All from the oldest transaction on that was under way at the last look: whatever was committed
/// since is among them. The moment of this look is taken first.
fn changed(db: &Connection, seen: Option<i64>, failed: bool) -> Result<Look, StoreError> {
    let now: i64 = db
        .prepare_cached(
            "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)",
        )?
        .query_row([], |row| row.get(0))?;
    let seen = match seen {
        _ if failed => return Ok(Look::Any(now)),
        None => return Ok(Look::Some(now, Vec::new())),
        Some(seen) if now < seen => return Ok(Look::Any(now)),
        Some(seen) => seen,
    };
    let found = db
        .prepare_cached(
            "SELECT c.account, c.tx, c.access, c.access >= ?1 AS ended, a.revision
             FROM changes c LEFT JOIN accounts a ON a.id = c.account WHERE c.tx >= ?1",
        )?
        .query_map([seen], |row| {
            let account = row.get("account")?;
            let (ended, there): (bool, Option<i64>) = (row.get("ended")?, row.get("revision")?);
            let commit = Commit {
                revision: there.map(|_| revision(row, "revision")).transpose()?,
                access: ended || there.is_none(),
                ..Commit::of(account, Kinds::ALL)
            };
            Ok((commit, (account, row.get("tx")?)))
        })?
        .collect::<super::db::Result<_>>()?;
    Ok(Look::Some(now, found))
}
