//! Which signers agents were told of, set after set (protocol.md section 2, "Signers").
//!
//! A new set changes what every list says, so each account gets a new revision in the same
//! transaction: one revision never has two contents.

use super::db::{self, Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use super::{Commit, Hash, Kinds, Store, StoreError, millis, postgres, revision, time};
use crate::config::Database;
use crate::keys::PublicKey;
use jiff::Timestamp;
use rusqlite::OpenFlags;
use std::path::Path;
use std::time::Duration;

/// Hand-overs that one answer holds: two a year for thirty years.
const CHAIN: u32 = 64;

/// How long a look from outside waits for a write to end.
const BUSY: Duration = Duration::from_secs(5);

/// A set of signers, as agents know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct SetRow {
    /// Its id; later sets have higher ones.
    pub(in crate::service) id: i64,
    /// Public key lines; the one that stays stands first.
    pub(in crate::service) signers: Vec<String>,
    /// Since when.
    pub(in crate::service) at: Timestamp,
}

/// A hand-over: what it says, and who says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct HandoverRow {
    /// JSON of a [`crate::wire::HandoverPayload`].
    pub(in crate::service) payload: Vec<u8>,
    /// SSHSIG by a signer of the set before.
    pub(in crate::service) signature: String,
}

impl Store {
    /// Whether the sealing key that makes this tag is that of the database. The first one is.
    pub(in crate::service) async fn is_sealed_by(&self, tag: Hash) -> Result<bool, StoreError> {
        self.call(move |db| {
            db.execute(
                "INSERT INTO sealing (one, tag) VALUES (1, ?1) ON CONFLICT DO NOTHING",
                [tag],
            )?;
            let kept: Hash = db.query_row("SELECT tag FROM sealing", [], |row| row.get(0))?;
            Ok(kept == tag)
        })
        .await
    }

    /// The set that is in force; `None` before the first.
    pub(in crate::service) async fn signer_set(&self) -> Result<Option<SetRow>, StoreError> {
        self.call(|db| Ok(newest(db)?)).await
    }

    /// Puts a set in the place of `before`, and gives every account a new revision; not for the
    /// first set, of which every list speaks already. False: another process was first.
    pub(in crate::service) async fn adopt_signers(
        &self,
        before: Option<i64>,
        signers: Vec<String>,
        handover: Option<HandoverRow>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if newest(&tx)?.map(|set| set.id) != before {
                return Ok(false);
            }
            let given = handover.as_ref();
            let (payload, signature) = given.map(|h| (&h.payload, &h.signature)).unzip();
            tx.execute(
                "INSERT INTO signer_sets (signers, at, payload, signature)
                 VALUES (?1, ?2, ?3, ?4)",
                params![json(&signers), millis(now), payload, signature],
            )?;
            let mut commits = Vec::new();
            if before.is_some() {
                let mut advance = tx.prepare(
                    "UPDATE accounts SET revision = max(revision + 1, ?1), changed_at = ?1
                     RETURNING id, revision",
                )?;
                let mut rows = advance.query([millis(now)])?;
                while let Some(row) = rows.next()? {
                    commits.push(Commit {
                        revision: Some(revision(&row, "revision")?),
                        ..Commit::of(row.get("id")?, Kinds::SSH_KEYS)
                    });
                }
            }
            tx.commit()?;
            commits.into_iter().for_each(|commit| committed(commit));
            Ok(true)
        })
        .await
    }

    /// The hand-overs from the oldest set that has the signer of this fingerprint to the one in
    /// force, the first first. None: nothing leads on from it.
    pub(in crate::service) async fn handovers(
        &self,
        from: String,
    ) -> Result<Vec<HandoverRow>, StoreError> {
        self.call(move |db| {
            let sets = db
                .prepare_cached("SELECT * FROM signer_sets ORDER BY id DESC LIMIT ?1")?
                .query_map([CHAIN + 1], |row| Ok((set_row(row)?, handover_row(row)?)))?
                .collect::<db::Result<Vec<_>>>()?;
            let is_it = |line: &String| {
                let key = PublicKey::parse_text(line);
                key.is_ok_and(|(key, _)| key.fingerprint().to_string() == from)
            };
            let (mut chain, mut from_there) = (Vec::new(), Vec::new());
            for (set, handover) in sets {
                if set.signers.iter().any(is_it) {
                    from_there.clone_from(&chain);
                }
                // Whoever trusts an older one only is not led past a set without hand-over.
                let Some(handover) = handover else { break };
                chain.push(handover);
            }
            from_there.reverse();
            Ok(from_there)
        })
        .await
    }
}

/// The signers that agents were told of last, as another process reads it; `None`: the service has
/// not begun to keep them.
pub(in crate::service) fn signers_in_force(
    database: &Database,
) -> Result<Option<Vec<String>>, StoreError> {
    let signers = |db: &Connection| Ok(newest(db)?.map(|set| set.signers));
    match database {
        Database::Sqlite(path) => {
            let db = look_in(path)?;
            let kept = db
                .prepare("SELECT 1 FROM sqlite_schema WHERE name = 'signer_sets'")?
                .exists([])?;
            if kept { signers(&db) } else { Ok(None) }
        }
        Database::Postgres(database) => postgres::apart(postgres::way(database)?, |db| {
            let kept: bool =
                db.query_row("SELECT to_regclass('signer_sets') IS NOT NULL", [], |row| {
                    row.get(0)
                })?;
            if kept { signers(db) } else { Ok(None) }
        }),
    }
}

fn look_in(path: &Path) -> Result<Connection, StoreError> {
    std::fs::metadata(path).map_err(|source| StoreError::File {
        path: path.to_owned(),
        source,
    })?;
    let db = rusqlite::Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(BUSY)?;
    Ok(db.into())
}

/// The set in force.
pub(super) fn newest(db: &Connection) -> db::Result<Option<SetRow>> {
    db.prepare_cached("SELECT * FROM signer_sets ORDER BY id DESC LIMIT 1")?
        .query_row([], set_row)
        .optional()
}

fn set_row(row: &Row<'_>) -> db::Result<SetRow> {
    let signers: String = row.get("signers")?;
    Ok(SetRow {
        id: row.get("id")?,
        // Never anything but what `json` wrote; a set that is no list is one that nobody is in.
        signers: serde_json::from_str(&signers).unwrap_or_default(),
        at: time(row, "at")?,
    })
}

fn handover_row(row: &Row<'_>) -> db::Result<Option<HandoverRow>> {
    let payload: Option<Vec<u8>> = row.get("payload")?;
    let signature: Option<String> = row.get("signature")?;
    Ok(payload
        .zip(signature)
        .map(|(payload, signature)| HandoverRow { payload, signature }))
}

fn json(signers: &[String]) -> String {
    serde_json::Value::from(signers.to_vec()).to_string()
}
