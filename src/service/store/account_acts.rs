//! What whoever runs the service does to accounts: list, disable, enable, remove.
//!
//! Disabled, an account's tokens are dead (the queries for them say so), its list is empty, and its
//! keys' live sessions are told to end; all of it is still there, and enabling gives it back.

use super::accounts::advance;
use super::audit::{Act, Actor, note};
use super::cas::cas_of;
use super::db;
use super::db::{Connection, OptionalExtension as _, TransactionBehavior, params};
use super::orders::{self, Of};
use super::revocations::{By, list_changed, revoke};
use super::ssh_keys::keys_of;
use super::{Commit, Kinds, MAX_ORDERS, Store, StoreError, millis, revision, time, time_opt};
use crate::trust::Role;
use jiff::Timestamp;
use serde_json::json;

/// The key that an order to end sessions names which no deletion gave; no key has this id.
const NO_KEY: i64 = 0;

/// One account, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct AccountRow {
    /// Its id.
    pub(in crate::service) id: i64,
    /// Its address.
    pub(in crate::service) email: String,
    /// When it was made.
    pub(in crate::service) created_at: Timestamp,
    /// Since when it is disabled.
    pub(in crate::service) disabled_at: Option<Timestamp>,
    /// A second factor is asked for.
    pub(in crate::service) totp: bool,
    /// SSH keys, API keys, sessions of people, instances.
    pub(in crate::service) counts: [u64; 4],
}

/// What became of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Switched {
    /// It is so now, from this revision on.
    Done(u64),
    /// It was so.
    Already,
    /// There is no such account.
    NoAccount,
}

/// What an account that is to be removed leaves on instances.
#[derive(Debug, Clone)]
pub(in crate::service) struct Remains {
    /// The revision of its empty list.
    pub(in crate::service) revision: u64,
    /// Fingerprints of its keys.
    pub(in crate::service) fingerprints: Vec<String>,
    /// Fingerprints of its user CAs.
    pub(in crate::service) cas: Vec<String>,
    /// Its instances: id, label, last status (JSON).
    pub(in crate::service) instances: Vec<(i64, String, Option<String>)>,
}

impl Store {
    /// All accounts, by id.
    pub(in crate::service) async fn accounts(
        &self,
        now: Timestamp,
    ) -> Result<Vec<AccountRow>, StoreError> {
        self.call(move |db| {
            let rows = db
                .prepare(
                    "SELECT id, email, created_at, disabled_at, totp_since IS NOT NULL AS totp,
                       (SELECT count(*) FROM ssh_keys WHERE account = a.id) AS ssh_keys,
                       (SELECT count(*) FROM api_keys WHERE account = a.id) AS api_keys,
                       (SELECT count(*) FROM sessions WHERE account = a.id AND kind <> 'agent'
                          AND expires_at > ?1) AS sessions,
                       (SELECT count(*) FROM instances WHERE account = a.id) AS instances
                     FROM accounts a ORDER BY id",
                )?
                .query_map([millis(now)], |row| {
                    let count = |name: &str| {
                        let count: i64 = row.get(name)?;
                        Ok::<_, db::Error>(count.unsigned_abs())
                    };
                    Ok(AccountRow {
                        id: row.get("id")?,
                        email: row.get("email")?,
                        created_at: time(row, "created_at")?,
                        disabled_at: time_opt(row, "disabled_at")?,
                        totp: row.get("totp")?,
                        counts: [
                            count("ssh_keys")?,
                            count("api_keys")?,
                            count("sessions")?,
                            count("instances")?,
                        ],
                    })
                })?
                .collect::<db::Result<_>>()?;
            Ok(rows)
        })
        .await
    }

    /// Disables an account: an empty list and an order for each of its keys, as one revision. The
    /// limit on orders is not for these: there are no more than keys, and nobody is to stay in.
    pub(in crate::service) async fn disable_account(
        &self,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Switched, StoreError> {
        self.switch(actor, now, true).await
    }

    /// Enables an account again: its keys, without what is left of those orders.
    pub(in crate::service) async fn enable_account(
        &self,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Switched, StoreError> {
        self.switch(actor, now, false).await
    }

    async fn switch(
        &self,
        actor: Actor,
        now: Timestamp,
        off: bool,
    ) -> Result<Switched, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let account = actor.account;
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let changed = tx.execute(
                "UPDATE accounts SET disabled_at = ?2
                 WHERE id = ?1 AND (disabled_at IS NULL) = (CAST(?2 AS BIGINT) IS NOT NULL)",
                params![account, off.then(|| millis(now))],
            )?;
            if changed == 0 {
                let there = tx
                    .prepare_cached("SELECT 1 FROM accounts WHERE id = ?1")?
                    .exists([account])?;
                return Ok(if there {
                    Switched::Already
                } else {
                    Switched::NoAccount
                });
            }
            let certificates = match off {
                true => revoke(&tx, account, &By::All, now)?,
                false => 0,
            };
            let revision = match certificates {
                0 => advance(&tx, account, now)?,
                _ => list_changed(&tx, account, now)?,
            };
            let act = if off {
                let keys = keys_of(&tx, account)?;
                let detail = json!({"keys": keys.len()});
                for key in keys {
                    let of = Of::Key(NO_KEY, &key.fingerprint);
                    orders::give(&tx, account, of, revision, now)?;
                }
                for fingerprint in others_of_certificates(&tx, account, now)? {
                    let of = Of::Key(NO_KEY, &fingerprint);
                    orders::give(&tx, account, of, revision, now)?;
                }
                Act::done("account.disable", account, detail).with_certificates(certificates)
            } else {
                tx.execute(
                    "UPDATE orders SET left_at = ?3
                     WHERE account = ?1 AND key = ?2 AND left_at IS NULL",
                    params![account, NO_KEY, millis(now)],
                )?;
                Act::done("account.enable", account, json!({}))
            };
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            committed(Commit {
                revision: Some(revision),
                access: true,
                ..Commit::of(account, Kinds::ALL).revoking(certificates)
            });
            Ok(Switched::Done(revision))
        })
        .await
    }

    /// What a disabled account leaves on instances; `None`: there is no such account.
    pub(in crate::service) async fn remains(
        &self,
        account: i64,
    ) -> Result<Option<Remains>, StoreError> {
        self.call(move |db| {
            let tx = db.transaction()?;
            let revision = tx
                .query_row(
                    "SELECT revision FROM accounts WHERE id = ?1",
                    [account],
                    |row| revision(row, "revision"),
                )
                .optional()?;
            let Some(revision) = revision else {
                return Ok(None);
            };
            // One that was told of its removal has had its last word.
            let instances = tx
                .prepare(
                    "SELECT id, label, status FROM instances
                     WHERE account = ?1 AND identity_key IS NOT NULL AND removal_told_at IS NULL
                     ORDER BY id",
                )?
                .query_map([account], |row| {
                    Ok((row.get("id")?, row.get("label")?, row.get("status")?))
                })?
                .collect::<db::Result<_>>()?;
            let keys = keys_of(&tx, account)?;
            let cas = cas_of(&tx, account, Role::User)?.into_iter();
            Ok(Some(Remains {
                revision,
                fingerprints: keys.into_iter().map(|key| key.fingerprint).collect(),
                cas: cas.filter_map(|ca| ca.fingerprint()).collect(),
                instances,
            }))
        })
        .await
    }

    /// Removes a disabled account and all that is its own, but for its audit rows. False: there is
    /// no such account, or it is not disabled.
    pub(in crate::service) async fn remove_account(
        &self,
        actor: Actor,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let account = actor.account;
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let email = tx
                .query_row(
                    "DELETE FROM accounts WHERE id = ?1 AND disabled_at IS NOT NULL
                     RETURNING email",
                    [account],
                    |row| row.get::<_, String>(0),
                )
                .optional()?;
            let Some(email) = email else {
                return Ok(false);
            };
            let act = Act::done("account.remove", account, json!({ "email": email }));
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            committed(Commit::access(account, Kinds::ALL));
            Ok(true)
        })
        .await
    }
}

/// Keys that are none of the account's and that certificates were over which are revoked just now.
fn others_of_certificates(
    db: &Connection,
    account: i64,
    now: Timestamp,
) -> db::Result<Vec<String>> {
    db.prepare_cached(
        "SELECT DISTINCT fingerprint FROM certificates
         WHERE account = ?1 AND revoked_at = ?2 AND instance IS NULL AND ssh_key IS NULL
         ORDER BY fingerprint LIMIT ?3",
    )?
    .query_map([account, millis(now), MAX_ORDERS], |row| row.get(0))?
    .collect()
}

/// Whether the account is disabled.
pub(super) fn is_disabled(db: &Connection, account: i64) -> db::Result<bool> {
    db.prepare_cached("SELECT 1 FROM accounts WHERE id = ?1 AND disabled_at IS NOT NULL")?
        .exists([account])
}
