//! Accounts, their API keys, and their revisions.

use super::account_acts::is_disabled;
use super::attachments::{Attachments, attachments_of};
use super::audit::{Act, Actor, note};
use super::db;
use super::db::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use super::instances::{Removal, removals_of};
use super::krls::{Trust, krl_of, trust_of};
use super::orders::{OrderRow, orders_of};
use super::signers::newest;
use super::ssh_keys::{KeyRow, keys_of, revoked_of};
use super::{Commit, Hash, Store, StoreError, millis, revision, time};
use crate::trust::Krl;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;

/// Where an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) struct Head {
    /// Its revision.
    pub(in crate::service) revision: u64,
    /// When that was given out.
    pub(in crate::service) changed_at: Timestamp,
}

/// An account's keys at one revision.
#[derive(Debug, Clone)]
pub(in crate::service) struct Keys {
    /// The revision, and since when.
    pub(in crate::service) head: Head,
    /// The keys, by id.
    pub(in crate::service) keys: Vec<KeyRow>,
    /// Keys that were revoked: fingerprint and when, the first first.
    pub(in crate::service) revoked: Vec<(String, Timestamp)>,
    /// Orders to end sessions, by id.
    pub(in crate::service) orders: Vec<OrderRow>,
    /// Which instance has another list than the account's own.
    pub(in crate::service) attachments: Attachments,
    /// Instances on their way out: each gets its last word and no other list.
    pub(in crate::service) removals: BTreeMap<i64, Removal>,
    /// What instances are to trust and to refuse beside that.
    pub(in crate::service) trust: Trust,
    /// The signers that agents were told of last; `None` before the first.
    pub(in crate::service) signers: Option<Vec<String>>,
}

/// What became of a new account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Added {
    /// Its id.
    Account(i64),
    /// Another account has that address.
    Taken,
}

/// An API key that an account is made with: it may do everything.
pub(in crate::service) struct FirstKey {
    /// What it is known by.
    pub(in crate::service) hash: Hash,
    /// Its last four characters.
    pub(in crate::service) tail: String,
    /// The key, sealed.
    pub(in crate::service) sealed: Vec<u8>,
}

impl Store {
    /// Makes an account, with one API key or none. The actor's account is the new one's.
    pub(in crate::service) async fn add_account(
        &self,
        actor: Actor,
        email: String,
        password: Option<String>,
        api_key: Option<FirstKey>,
        now: Timestamp,
    ) -> Result<Added, StoreError> {
        self.call(move |db| {
            let (at, now) = (now, millis(now));
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let made = tx
                .query_row(
                    "INSERT INTO accounts (email, email_key, password, revision, changed_at,
                                           created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT (email_key) DO NOTHING
                     RETURNING id",
                    params![email, email.to_lowercase(), password, now.max(1), now],
                    |row| row.get(0),
                )
                .optional()?;
            let Some(account) = made else {
                return Ok(Added::Taken);
            };
            if let Some(key) = &api_key {
                tx.execute(
                    "INSERT INTO api_keys (account, hash, tail, sealed, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![account, key.hash, key.tail, key.sealed, now],
                )?;
            }
            let act = Act::done("account.create", account, json!({"email": email}));
            let actor = Actor {
                account,
                ..actor.clone()
            };
            note(&tx, &actor, &act, at)?;
            tx.commit()?;
            Ok(Added::Account(account))
        })
        .await
    }

    /// Where the account stands; `None`: there is no such account.
    pub(in crate::service) async fn head(&self, account: i64) -> Result<Option<Head>, StoreError> {
        let of = move |db: &Connection| Ok(head(db, account).optional()?);
        if let Some(head) = self.readers.ask(|db| of(db).map(Some)) {
            return Ok(head);
        }
        Box::pin(self.call(move |db| of(db))).await
    }

    /// The account's keys and the revision that they are, as of one moment.
    pub(in crate::service) async fn keys(&self, account: i64) -> Result<Keys, StoreError> {
        self.call(move |db| {
            let tx = db.transaction()?;
            Ok(whole(&tx, account)?)
        })
        .await
    }

    /// The same, with the revocation list as of the same moment, unless it is that of the number
    /// that the caller has: it may be long.
    pub(in crate::service) async fn keys_and_krl(
        &self,
        account: i64,
        has: Option<u64>,
    ) -> Result<(Keys, Option<Krl>), StoreError> {
        self.call(move |db| {
            let tx = db.transaction()?;
            let keys = whole(&tx, account)?;
            let krl = match keys.trust.krl_version {
                None => None,
                version if version == has => None,
                Some(_) => Some(krl_of(&tx, account)?),
            };
            Ok((keys, krl))
        })
        .await
    }

    /// The revisions of these accounts; `None`: it is gone.
    pub(in crate::service) async fn revisions(
        &self,
        accounts: Vec<i64>,
    ) -> Result<Vec<(i64, Option<u64>)>, StoreError> {
        self.call(move |db| {
            let mut found = Vec::with_capacity(accounts.len());
            for &account in &accounts {
                let head = head(db, account).optional()?;
                found.push((account, head.map(|head| head.revision)));
            }
            Ok(found)
        })
        .await
    }

    /// Lifts the account above a revision that one of its instances has seen: a database that
    /// lost its tail must not give that number out again. Gives the revision now.
    pub(in crate::service) async fn lift(
        &self,
        account: i64,
        above: u64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let has = head(&tx, account)?.revision;
            if has >= above {
                return Ok(has);
            }
            tx.execute(
                "UPDATE accounts SET revision = ?2 WHERE id = ?1",
                params![account, i64::try_from(above).unwrap_or(i64::MAX)],
            )?;
            let revision = advance(&tx, account, now)?;
            tx.commit()?;
            committed(Commit::revision(account, revision));
            Ok(revision)
        })
        .await
    }
}

/// Gives the account its next revision: above every earlier one even if the clock went back, and
/// else the time, so that a restored database is soon ahead of what it once gave out.
pub(super) fn advance(tx: &Transaction<'_>, account: i64, now: Timestamp) -> db::Result<u64> {
    tx.prepare_cached(
        "UPDATE accounts SET revision = max(revision + 1, ?2), changed_at = ?2 WHERE id = ?1
         RETURNING revision",
    )?
    .query_row(params![account, millis(now)], |row| {
        revision(row, "revision")
    })
}

fn whole(db: &Connection, account: i64) -> db::Result<Keys> {
    Ok(Keys {
        head: head(db, account)?,
        keys: match is_disabled(db, account)? {
            true => Vec::new(),
            false => keys_of(db, account)?,
        },
        revoked: revoked_of(db, account)?,
        orders: orders_of(db, account)?,
        attachments: attachments_of(db, account)?,
        removals: removals_of(db, account)?,
        trust: trust_of(db, account)?,
        signers: newest(db)?.map(|set| set.signers),
    })
}

fn head(db: &Connection, account: i64) -> db::Result<Head> {
    db.prepare_cached("SELECT revision, changed_at FROM accounts WHERE id = ?1")?
        .query_row([account], |row| {
            Ok(Head {
                revision: revision(row, "revision")?,
                changed_at: time(row, "changed_at")?,
            })
        })
}
