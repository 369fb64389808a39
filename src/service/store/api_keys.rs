//! API keys: kept as hashes, and sealed for their owner to see again.
//!
//! Every change is judged in its own transaction: what the key that asks is held to, and what the
//! key that it asks about is, as both are at that moment.

mod asker;

use super::audit::{Act, Actor, note};
use super::db;
use super::db::{
    Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params,
};
use super::idempotent::{self, Earlier, Once};
use super::revocations::{By, revoke_for};
use super::{Commit, Hash, Kinds, Store, StoreError, millis, time, time_opt};
pub(in crate::service) use asker::ApiKeySeen;
use asker::asker;
pub(super) use asker::is_still;
use jiff::Timestamp;
use serde_json::json;
use subtle::ConstantTimeEq as _;

/// API keys of one account.
pub(in crate::service) const MAX_API_KEYS: i64 = 200;

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

/// The key itself, as the database has it.
pub(in crate::service) struct Secret {
    /// What it is known by.
    pub(in crate::service) hash: Hash,
    /// Its last four characters.
    pub(in crate::service) tail: String,
    /// Sealed, for its owner to see again.
    pub(in crate::service) sealed: Vec<u8>,
}

/// A key that is to be made.
pub(in crate::service) struct NewApiKeyRow {
    /// What its owner calls it.
    pub(in crate::service) name: String,
    /// Its permission tree, JSON.
    pub(in crate::service) rights: String,
    /// Networks, JSON.
    pub(in crate::service) addresses: String,
    /// When it ends.
    pub(in crate::service) expires_at: Option<Timestamp>,
    /// The key itself.
    pub(in crate::service) secret: Secret,
}

/// What is to be changed of one; what is not named stays.
pub(in crate::service) struct ApiKeyEdit {
    /// Another name.
    pub(in crate::service) name: Option<String>,
    /// Another tree, JSON.
    pub(in crate::service) rights: Option<String>,
    /// Other networks, JSON.
    pub(in crate::service) addresses: Option<String>,
    /// Another end, or none.
    pub(in crate::service) expires_at: Option<Option<Timestamp>>,
}

/// What became of a new key.
pub(in crate::service) enum ApiKeyMade {
    /// Its id.
    Key(i64),
    /// The same request was answered before, or its `Idempotency-Key` is not to be had.
    Earlier(Earlier),
    /// It would be held to less than the key that asks.
    Wider,
    /// The account has as many as it may.
    TooMany,
}

/// What became of a change of one.
pub(in crate::service) enum Touched<E> {
    /// As it is now; as it was, if it is deleted.
    Done(ApiKeyRow),
    /// The account has none of that id.
    NoKey,
    /// It is, or would be, held to less than the key that asks.
    Wider,
    /// It is not as the caller thinks.
    Not(E),
}

impl Store {
    /// Whose API key this is: one of an account in force, not past its time.
    pub(in crate::service) async fn api_key(
        &self,
        hash: Hash,
        now: Timestamp,
    ) -> Result<Option<ApiKeyRow>, StoreError> {
        if let Some(found) = self.readers.ask(|db| Ok(Some(by_hash(db, hash, now)?))) {
            return Ok(found);
        }
        Box::pin(self.call(move |db| Ok(by_hash(db, hash, now)?))).await
    }

    /// The account's keys, by id; also those whose time is over.
    pub(in crate::service) async fn api_keys(
        &self,
        account: i64,
    ) -> Result<Vec<ApiKeyRow>, StoreError> {
        self.call(move |db| {
            let rows = db
                .prepare_cached("SELECT * FROM api_keys WHERE account = ?1 ORDER BY id")?
                .query_map([account], api_key_row)?
                .collect::<db::Result<_>>()?;
            Ok(rows)
        })
        .await
    }

    /// One of them.
    pub(in crate::service) async fn api_key_of(
        &self,
        account: i64,
        id: i64,
    ) -> Result<Option<ApiKeyRow>, StoreError> {
        self.call(move |db| Ok(one(db, account, id)?)).await
    }

    /// Makes a key.
    pub(in crate::service) async fn add_api_key(
        &self,
        actor: Actor,
        new: NewApiKeyRow,
        once: Option<Once>,
        now: Timestamp,
    ) -> Result<ApiKeyMade, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(actor.account))?;
            if let Some(earlier) = idempotent::earlier(&tx, account, once.as_ref(), now)? {
                return Ok(ApiKeyMade::Earlier(earlier));
            }
            let count: i64 = tx.query_row(
                "SELECT count(*) FROM api_keys WHERE account = ?1",
                [account],
                |row| row.get(0),
            )?;
            if count >= MAX_API_KEYS {
                return Ok(ApiKeyMade::TooMany);
            }
            let row = tx
                .prepare_cached(
                    "INSERT INTO api_keys (account, name, rights, addresses, expires_at, hash,
                                           tail, sealed, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) RETURNING *",
                )?
                .query_row(
                    params![
                        account,
                        new.name,
                        new.rights,
                        new.addresses,
                        new.expires_at.map(millis),
                        new.secret.hash,
                        new.secret.tail,
                        new.secret.sealed,
                        millis(now)
                    ],
                    api_key_row,
                )?;
            // A transaction that is dropped has changed nothing.
            if !asker(&tx, &actor)?.admits(&row) {
                return Ok(ApiKeyMade::Wider);
            }
            idempotent::keep(&tx, account, once.as_ref(), row.id, now)?;
            note(&tx, &actor, &act("api-key.create", &row), now)?;
            tx.commit()?;
            committed(Commit::of(account, Kinds::API_KEYS | Kinds::AUDIT));
            Ok(ApiKeyMade::Key(row.id))
        })
        .await
    }

    /// Changes a key; `check` sees it as it is.
    pub(in crate::service) async fn edit_api_key<E: Send + 'static>(
        &self,
        actor: Actor,
        id: i64,
        edit: ApiKeyEdit,
        check: impl Fn(&ApiKeyRow) -> Result<(), E> + Send + 'static,
        now: Timestamp,
    ) -> Result<Touched<E>, StoreError> {
        self.touch(actor, id, check, now, move |tx, was| {
            let row = tx
                .prepare_cached(
                    "UPDATE api_keys SET name = ?2, rights = ?3, addresses = ?4, expires_at = ?5
                     WHERE id = ?1 RETURNING *",
                )?
                .query_row(
                    params![
                        id,
                        edit.name.as_ref().unwrap_or(&was.name),
                        edit.rights.as_ref().unwrap_or(&was.rights),
                        edit.addresses.as_ref().unwrap_or(&was.addresses),
                        edit.expires_at.unwrap_or(was.expires_at).map(millis)
                    ],
                    api_key_row,
                )?;
            Ok(("api-key.edit", row))
        })
        .await
    }

    /// Gives a key another secret: the one that it had is dead.
    pub(in crate::service) async fn reset_api_key<E: Send + 'static>(
        &self,
        actor: Actor,
        id: i64,
        secret: Secret,
        check: impl Fn(&ApiKeyRow) -> Result<(), E> + Send + 'static,
        now: Timestamp,
    ) -> Result<Touched<E>, StoreError> {
        self.touch(actor, id, check, now, move |tx, _| {
            let row = tx
                .prepare_cached(
                    "UPDATE api_keys SET hash = ?2, tail = ?3, sealed = ?4 WHERE id = ?1
                     RETURNING *",
                )?
                .query_row(
                    params![id, secret.hash, secret.tail, secret.sealed],
                    api_key_row,
                )?;
            Ok(("api-key.reset", row))
        })
        .await
    }

    /// Deletes a key.
    pub(in crate::service) async fn delete_api_key<E: Send + 'static>(
        &self,
        actor: Actor,
        id: i64,
        check: impl Fn(&ApiKeyRow) -> Result<(), E> + Send + 'static,
        now: Timestamp,
    ) -> Result<Touched<E>, StoreError> {
        self.touch(actor, id, check, now, move |tx, was| {
            tx.execute("DELETE FROM api_keys WHERE id = ?1", [id])?;
            Ok(("api-key.delete", was))
        })
        .await
    }

    /// A key as it is kept, and that it was shown to whoever acts. `None`: the account has none of
    /// that id; without a sealed one there was nothing to show.
    pub(in crate::service) async fn reveal_api_key(
        &self,
        actor: Actor,
        id: i64,
        now: Timestamp,
    ) -> Result<Option<(ApiKeyRow, Option<Secret>)>, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(actor.account))?;
            let found = tx
                .prepare_cached("SELECT * FROM api_keys WHERE account = ?1 AND id = ?2")?
                .query_row(params![actor.account, id], |row| {
                    let kept = api_key_row(row)?;
                    let sealed: Option<Vec<u8>> = row.get("sealed")?;
                    let hash = row.get("hash")?;
                    let secret = sealed.map(|sealed| Secret {
                        hash,
                        tail: kept.tail.clone(),
                        sealed,
                    });
                    Ok((kept, secret))
                })
                .optional()?;
            if let Some((row, Some(_))) = &found {
                note(&tx, &actor, &act("api-key.reveal", row), now)?;
                tx.commit()?;
                committed(Commit::of(actor.account, Kinds::AUDIT));
            }
            Ok(found)
        })
        .await
    }

    /// One change of one key, that the actor's own limits allow before and after it.
    async fn touch<E: Send + 'static>(
        &self,
        actor: Actor,
        id: i64,
        check: impl Fn(&ApiKeyRow) -> Result<(), E> + Send + 'static,
        now: Timestamp,
        change: impl Fn(&Transaction<'_>, ApiKeyRow) -> db::Result<(&'static str, ApiKeyRow)>
        + Send
        + 'static,
    ) -> Result<Touched<E>, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(actor.account))?;
            let Some(was) = one(&tx, actor.account, id)? else {
                return Ok(Touched::NoKey);
            };
            if let Err(not) = check(&was) {
                return Ok(Touched::Not(not));
            }
            let held_to = asker(&tx, &actor)?;
            if !held_to.admits(&was) {
                return Ok(Touched::Wider);
            }
            let before = was.clone();
            let (action, row) = change(&tx, was)?;
            if !held_to.admits(&row) {
                return Ok(Touched::Wider);
            }
            let list = match action != "api-key.edit" || may_less(&before, &row) {
                true => revoke_for(&tx, actor.account, &By::ApiKey(id), now)?,
                false => None,
            };
            let certificates = list.map_or(0, |(count, _)| count);
            let act = act(action, &row).with_certificates(certificates);
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            let kinds = Kinds::API_KEYS | Kinds::AUDIT;
            committed(Commit::access(actor.account, kinds).and_list(list));
            Ok(Touched::Done(row))
        })
        .await
    }
}

/// Whether certificates that it got before may open what it could not have now.
fn may_less(before: &ApiKeyRow, after: &ApiKeyRow) -> bool {
    let end = |key: &ApiKeyRow| key.expires_at.unwrap_or(Timestamp::MAX);
    before.rights != after.rights || before.addresses != after.addresses || end(after) < end(before)
}

fn by_hash(db: &Connection, hash: Hash, now: Timestamp) -> db::Result<Option<ApiKeyRow>> {
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
}

fn one(db: &Connection, account: i64, id: i64) -> db::Result<Option<ApiKeyRow>> {
    db.prepare_cached("SELECT * FROM api_keys WHERE account = ?1 AND id = ?2")?
        .query_row([account, id], api_key_row)
        .optional()
}

fn act(action: &'static str, row: &ApiKeyRow) -> Act {
    let detail = json!({"name": row.name, "tail": row.tail});
    Act::done(action, row.id, detail)
}

fn api_key_row(row: &Row<'_>) -> db::Result<ApiKeyRow> {
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
