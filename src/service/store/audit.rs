//! The audit log: who did what from where with which key.
//!
//! A change writes its row in its own transaction, so that there is no change without a row and no
//! row without its change; a refused attempt has a row of its own. Rows are never changed and never
//! deleted: the database itself refuses. Refuses to hold a secret.

use super::db;
use super::db::{Connection, Row, TransactionBehavior, params};
use super::{Commit, Kinds, Store, StoreError, millis, time};
use jiff::Timestamp;
use serde_json::Value;
use std::net::IpAddr;

/// Who acts, as the log names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct Actor {
    /// On which account.
    pub(in crate::service) account: i64,
    /// By what right.
    pub(in crate::service) by: By,
    /// From where, as far as that can be believed.
    pub(in crate::service) from: Option<IpAddr>,
    /// The request's id.
    pub(in crate::service) request: String,
}

impl Actor {
    /// Someone on the server's own machine.
    pub(in crate::service) fn server(account: i64) -> Self {
        Self {
            account,
            by: By::Server,
            from: None,
            request: String::new(),
        }
    }
}

/// By what right someone acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) enum By {
    /// A person's session.
    Session {
        /// Its id.
        id: i64,
        /// The device.
        name: String,
    },
    /// An API key.
    ApiKey {
        /// Its id.
        id: i64,
        /// What its owner calls it.
        name: String,
    },
    /// An instance's agent.
    Agent {
        /// The instance.
        instance: i64,
    },
    /// Someone on the server's own machine, or the service by itself.
    Server,
    /// Someone who has shown no key.
    Nobody,
}

impl By {
    fn columns(&self) -> (&'static str, Option<i64>, &str) {
        match self {
            Self::Session { id, name } => ("session", Some(*id), name),
            Self::ApiKey { id, name } => ("api-key", Some(*id), name),
            Self::Agent { instance } => ("agent", Some(*instance), ""),
            Self::Server => ("server", None, ""),
            Self::Nobody => ("nobody", None, ""),
        }
    }
}

/// One act.
#[derive(Debug, Clone)]
pub(in crate::service) struct Act {
    /// `ssh-key.add`: what was acted on, and what was done.
    pub(in crate::service) action: &'static str,
    /// It was refused, and nothing changed.
    pub(in crate::service) refused: bool,
    /// The id of what was acted on.
    pub(in crate::service) about: Option<i64>,
    /// Names, fingerprints, reasons: an object without secrets.
    pub(in crate::service) detail: Value,
}

impl Act {
    /// Something that is done.
    pub(in crate::service) fn done(action: &'static str, about: i64, detail: Value) -> Self {
        Self {
            action,
            refused: false,
            about: Some(about),
            detail,
        }
    }

    /// The same, with one more word in its detail.
    pub(in crate::service) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Value::Object(detail) = &mut self.detail {
            detail.insert(name.to_owned(), value.into());
        }
        self
    }

    /// The same, with how many certificates were revoked by it, where there were any.
    pub(in crate::service) fn with_certificates(self, revoked: usize) -> Self {
        match revoked {
            0 => self,
            _ => self.with("certificates_revoked", revoked),
        }
    }

    /// Something that was refused.
    pub(in crate::service) fn refused(action: &'static str, detail: Value) -> Self {
        Self {
            action,
            refused: true,
            about: None,
            detail,
        }
    }
}

/// A row, as it is read.
#[derive(Debug, Clone)]
pub(in crate::service) struct AuditRow {
    /// Its id.
    pub(in crate::service) id: i64,
    /// When.
    pub(in crate::service) at: Timestamp,
    /// What.
    pub(in crate::service) action: String,
    /// `done` or `refused`.
    pub(in crate::service) outcome: String,
    /// `session`, `api-key`, `agent`, `server`, `nobody`.
    pub(in crate::service) by_kind: String,
    /// Which of them.
    pub(in crate::service) by_id: Option<i64>,
    /// What it is called.
    pub(in crate::service) by_name: String,
    /// From where; empty: unknown.
    pub(in crate::service) address: String,
    /// The id of what was acted on.
    pub(in crate::service) about: Option<i64>,
    /// An object, JSON.
    pub(in crate::service) detail: String,
    /// The request's id.
    pub(in crate::service) request: String,
}

impl Store {
    /// Writes a row for what is no change: a refused attempt, a secret that was shown.
    pub(in crate::service) async fn note(
        &self,
        actor: Actor,
        act: Act,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            // In its account's turn: whoever has read a row has read those before it.
            let turn = TransactionBehavior::Account(actor.account);
            let tx = db.transaction_with_behavior(turn)?;
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            committed(Commit::of(actor.account, Kinds::AUDIT));
            Ok(())
        })
        .await
    }

    /// Rows of the account with an id below `before`, the newest first, at most `limit`.
    pub(in crate::service) async fn audit(
        &self,
        account: i64,
        before: i64,
        limit: usize,
    ) -> Result<Vec<AuditRow>, StoreError> {
        self.call(move |db| {
            let rows = db
                .prepare_cached(
                    "SELECT * FROM audit WHERE account = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
                )?
                .query_map(
                    params![account, before, i64::try_from(limit).unwrap_or(i64::MAX)],
                    audit_row,
                )?
                .collect::<db::Result<_>>()?;
            Ok(rows)
        })
        .await
    }
}

/// Writes a row; for a change, in the change's transaction.
pub(super) fn note(db: &Connection, actor: &Actor, act: &Act, now: Timestamp) -> db::Result<()> {
    let (kind, id, name) = actor.by.columns();
    db.prepare_cached(
        "INSERT INTO audit (account, at, action, outcome, by_kind, by_id, by_name, address, about,
                            detail, request)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        actor.account,
        millis(now),
        act.action,
        if act.refused { "refused" } else { "done" },
        kind,
        id,
        name,
        actor.from.map(|a| a.to_string()).unwrap_or_default(),
        act.about,
        act.detail.to_string(),
        actor.request
    ])?;
    Ok(())
}

fn audit_row(row: &Row<'_>) -> db::Result<AuditRow> {
    Ok(AuditRow {
        id: row.get("id")?,
        at: time(row, "at")?,
        action: row.get("action")?,
        outcome: row.get("outcome")?,
        by_kind: row.get("by_kind")?,
        by_id: row.get("by_id")?,
        by_name: row.get("by_name")?,
        address: row.get("address")?,
        about: row.get("about")?,
        detail: row.get("detail")?,
        request: row.get("request")?,
    })
}
