//! What an account's owner proves himself by: password, second factor, backup codes.
//!
//! A code is spent in one statement, so that of two requests with the same one a single one gets
//! through. Refuses to hold a secret: passwords are PHC strings, codes are MACs, the second
//! factor's secret is sealed.

use super::audit::{Act, Actor, note};
use super::db;
use super::db::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use super::revocations::{By, revoke_for};
use super::{Commit, Hash, Kinds, Store, StoreError, millis, time_opt};
use jiff::Timestamp;
use serde_json::json;

/// What an account's owner is known by.
#[derive(Clone)]
pub(in crate::service) struct Credentials {
    /// Which account.
    pub(in crate::service) account: i64,
    /// Its address.
    pub(in crate::service) email: String,
    /// PHC string; `None`: nobody logs in by password.
    pub(in crate::service) password: Option<String>,
    /// Since when it is disabled.
    pub(in crate::service) disabled_at: Option<Timestamp>,
    /// The second factor's secret, sealed.
    pub(in crate::service) totp_secret: Option<Vec<u8>>,
    /// Since when the second factor is asked for; `None`: it is not.
    pub(in crate::service) totp_since: Option<Timestamp>,
}

/// Refused logins that are to be written.
#[derive(Default)]
pub(in crate::service) struct RefusedLogins {
    /// At accounts that there are.
    pub(in crate::service) known: Vec<(Actor, Act, Timestamp)>,
    /// How many at accounts that there are not.
    pub(in crate::service) unknown: u64,
}

impl Store {
    /// By address, in whatever case.
    pub(in crate::service) async fn credentials_of(
        &self,
        email: &str,
    ) -> Result<Option<Credentials>, StoreError> {
        let key = email.to_lowercase();
        self.call(move |db| {
            Ok(db
                .prepare_cached("SELECT * FROM accounts WHERE email_key = ?1")?
                .query_row([&key], credentials)
                .optional()?)
        })
        .await
    }

    /// By id.
    pub(in crate::service) async fn credentials(
        &self,
        account: i64,
    ) -> Result<Option<Credentials>, StoreError> {
        self.call(move |db| {
            Ok(db
                .prepare_cached("SELECT * FROM accounts WHERE id = ?1")?
                .query_row([account], credentials)
                .optional()?)
        })
        .await
    }

    /// Spends the first of these steps that is later than the last one that was spent. False:
    /// there is none.
    pub(in crate::service) async fn spend_step(
        &self,
        account: i64,
        steps: Vec<i64>,
    ) -> Result<bool, StoreError> {
        self.call(move |db| {
            for &step in &steps {
                let spent = db.execute(
                    "UPDATE accounts SET totp_last_step = ?2
                     WHERE id = ?1 AND (totp_last_step IS NULL OR totp_last_step < ?2)",
                    [account, step],
                )?;
                if spent > 0 {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }

    /// Spends a backup code. False: the account has no such code that is unused.
    pub(in crate::service) async fn spend_backup_code(
        &self,
        actor: Actor,
        code: Hash,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let account = actor.account;
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let spent = tx.execute(
                "UPDATE backup_codes SET used_at = ?3
                 WHERE account = ?1 AND hash = ?2 AND used_at IS NULL",
                params![account, code, millis(now)],
            )?;
            if spent == 0 {
                return Ok(false);
            }
            let detail = json!({"left": backup_codes_left(&tx, account)?});
            let act = Act::done("account.backup-code", account, detail);
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            committed(Commit::of(account, Kinds::ACCOUNT | Kinds::AUDIT));
            Ok(true)
        })
        .await
    }

    /// How many backup codes are unused.
    pub(in crate::service) async fn backup_codes_left(
        &self,
        account: i64,
    ) -> Result<u32, StoreError> {
        self.call(move |db| Ok(backup_codes_left(db, account)?))
            .await
    }

    /// Keeps the secret of a second factor that is not in force yet, in the place of an earlier
    /// such one. False: there is one in force.
    pub(in crate::service) async fn begin_totp(
        &self,
        account: i64,
        sealed: Vec<u8>,
    ) -> Result<bool, StoreError> {
        self.call(move |db| {
            let begun = db.execute(
                "UPDATE accounts SET totp_secret = ?2, totp_last_step = NULL
                 WHERE id = ?1 AND totp_since IS NULL",
                params![account, sealed],
            )?;
            Ok(begun > 0)
        })
        .await
    }

    /// Puts the second factor in force that has this secret, with new backup codes; the step of
    /// the code that confirmed it is spent. False: it is another secret by now.
    pub(in crate::service) async fn confirm_totp(
        &self,
        actor: Actor,
        sealed: Vec<u8>,
        step: i64,
        codes: Vec<Hash>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let account = actor.account;
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let changed = tx.execute(
                "UPDATE accounts SET totp_since = ?3, totp_last_step = ?4
                 WHERE id = ?1 AND totp_secret = ?2 AND totp_since IS NULL",
                params![account, sealed, millis(now), step],
            )?;
            if changed == 0 {
                return Ok(false);
            }
            tx.execute("DELETE FROM backup_codes WHERE account = ?1", [account])?;
            for code in &codes {
                tx.execute(
                    "INSERT INTO backup_codes (account, hash) VALUES (?1, ?2)",
                    params![account, code],
                )?;
            }
            let act = Act::done("account.totp-on", account, json!({}));
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            committed(Commit::of(account, Kinds::ACCOUNT | Kinds::AUDIT));
            Ok(true)
        })
        .await
    }

    /// Takes the second factor away, begun or in force. False: there is none.
    pub(in crate::service) async fn remove_totp(
        &self,
        actor: Actor,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let account = actor.account;
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            if !take_totp(&tx, account)? {
                return Ok(false);
            }
            let act = Act::done("account.totp-off", account, json!({}));
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            committed(Commit::of(account, Kinds::ACCOUNT | Kinds::AUDIT));
            Ok(true)
        })
        .await
    }

    /// Changes the password and ends people's sessions but for `keep`, which is to be there still;
    /// agents' stay. Gives how many ended; `None`: there is no such account, or no such session.
    pub(in crate::service) async fn set_password(
        &self,
        actor: Actor,
        password: String,
        keep: Option<i64>,
        now: Timestamp,
    ) -> Result<Option<usize>, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let account = actor.account;
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let changed = tx.execute(
                "UPDATE accounts SET password = ?2 WHERE id = ?1
                   AND (CAST(?3 AS BIGINT) IS NULL
                        OR EXISTS (SELECT 1 FROM sessions WHERE id = ?3 AND account = ?1))",
                params![account, password, keep],
            )?;
            if changed == 0 {
                return Ok(None);
            }
            let ended = tx.execute(
                "DELETE FROM sessions WHERE account = ?1 AND kind <> 'agent' AND id IS DISTINCT FROM ?2",
                params![account, keep],
            )?;
            let list = revoke_for(&tx, account, &By::GoneSessions, now)?;
            let detail = json!({"sessions_ended": ended});
            let act = Act::done("account.password", account, detail)
                .with_certificates(list.map_or(0, |(count, _)| count));
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            let kinds = Kinds::ACCOUNT | Kinds::SESSIONS | Kinds::AUDIT;
            committed(Commit::access(account, kinds).and_list(list));
            Ok(Some(ended))
        })
        .await
    }

    /// Writes refused logins, all in one transaction that is the same whoever they named.
    pub(in crate::service) async fn note_refused_logins(
        &self,
        refused: RefusedLogins,
    ) -> Result<(), StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute(
                "UPDATE strangers SET guesses = guesses + ?1",
                [i64::try_from(refused.unknown).unwrap_or(i64::MAX)],
            )?;
            for (actor, act, at) in &refused.known {
                note(&tx, actor, act, *at)?;
            }
            tx.commit()?;
            for (actor, ..) in &refused.known {
                committed(Commit::of(actor.account, Kinds::AUDIT));
            }
            Ok(())
        })
        .await
    }
}

/// Takes the second factor away; false: there was none.
pub(super) fn take_totp(db: &Connection, account: i64) -> db::Result<bool> {
    let changed = db.execute(
        "UPDATE accounts SET totp_secret = NULL, totp_since = NULL, totp_last_step = NULL
         WHERE id = ?1 AND totp_secret IS NOT NULL",
        [account],
    )?;
    db.execute("DELETE FROM backup_codes WHERE account = ?1", [account])?;
    Ok(changed > 0)
}

fn backup_codes_left(db: &Connection, account: i64) -> db::Result<u32> {
    db.prepare_cached("SELECT count(*) FROM backup_codes WHERE account = ?1 AND used_at IS NULL")?
        .query_row([account], |row| row.get(0))
}

fn credentials(row: &Row<'_>) -> db::Result<Credentials> {
    Ok(Credentials {
        account: row.get("id")?,
        email: row.get("email")?,
        password: row.get("password")?,
        disabled_at: time_opt(row, "disabled_at")?,
        totp_secret: row.get("totp_secret")?,
        totp_since: time_opt(row, "totp_since")?,
    })
}
