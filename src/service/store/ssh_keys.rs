//! SSH keys of an account: type and blob once each, every change a new revision.

use super::accounts::advance;
use super::audit::{Act, Actor, note};
use super::db;
use super::db::{
    Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params,
};
use super::revocations::{By, list_is_new, revoke};
use super::{Commit, MAX_KEY_BYTES, MAX_KEYS, Store, StoreError, millis, revision, time, time_opt};
use crate::wire::KeyScope;
use jiff::Timestamp;
use serde_json::json;

/// One key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct KeyRow {
    /// Its id.
    pub(in crate::service) id: i64,
    /// What its owner calls it.
    pub(in crate::service) name: String,
    /// Canonical: type, one blank, base64.
    pub(in crate::service) public_key: String,
    /// `SHA256:…`.
    pub(in crate::service) fingerprint: String,
    /// Options as in authorized_keys.
    pub(in crate::service) options: String,
    /// Where it is.
    pub(in crate::service) scope: KeyScope,
    /// When it was saved.
    pub(in crate::service) created_at: Timestamp,
    /// When the text that it has now was saved.
    pub(in crate::service) saved_at: Timestamp,
    /// When it stops to open anything.
    pub(in crate::service) expires_at: Option<Timestamp>,
    /// The revision of its last change.
    pub(in crate::service) revision: u64,
    /// When an instance last saw a session by it begin.
    pub(in crate::service) last_used_at: Option<Timestamp>,
}

/// A key that is to be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct NewKey {
    /// What its owner calls it.
    pub(in crate::service) name: String,
    /// Canonical.
    pub(in crate::service) public_key: String,
    /// `SHA256:…`.
    pub(in crate::service) fingerprint: String,
    /// Options as in authorized_keys.
    pub(in crate::service) options: String,
    /// Where it is.
    pub(in crate::service) scope: KeyScope,
    /// When it stops to open anything.
    pub(in crate::service) expires_at: Option<Timestamp>,
}

/// What became of a save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) enum Saved {
    /// It is new.
    New(KeyRow),
    /// The account had it; nothing changed.
    Same(KeyRow),
    /// The account has it with other options or another expiry, under this id.
    Differs(i64),
    /// The account has as many keys as it may.
    TooMany,
    /// The account's keys would be longer than a list may be.
    TooLong,
    /// The account revoked this key.
    Revoked,
}

impl Store {
    /// Saves a key.
    pub(in crate::service) async fn save_key(
        &self,
        actor: Actor,
        key: NewKey,
        now: Timestamp,
    ) -> Result<Saved, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            if let Some(had) = by_text(&tx, account, &key.public_key)? {
                let same = had.options == key.options && had.expires_at == key.expires_at;
                return Ok(if same {
                    Saved::Same(had)
                } else {
                    Saved::Differs(had.id)
                });
            }
            if let Some(no) = refusal(&tx, account, &key, None)? {
                return Ok(no.into());
            }
            let revision = advance(&tx, account, now)?;
            let (saved, certificates) = insert(&tx, &actor, key.clone(), revision, now)?;
            tx.commit()?;
            committed(Commit::revision(account, revision).revoking(certificates));
            Ok(Saved::New(saved))
        })
        .await
    }
}

impl Store {
    /// The key of this fingerprint, if the account has it.
    pub(in crate::service) async fn key_of(
        &self,
        account: i64,
        fingerprint: String,
    ) -> Result<Option<KeyRow>, StoreError> {
        self.call(move |db| {
            Ok(db
                .prepare_cached("SELECT * FROM ssh_keys WHERE account = ?1 AND fingerprint = ?2")?
                .query_row(params![account, fingerprint], key_row)
                .optional()?)
        })
        .await
    }
}

/// Why a text may not become a key of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Refused {
    /// The account has as many keys as it may.
    TooMany,
    /// The account's keys would be longer than a list may be.
    TooLong,
    /// The account revoked this key.
    Revoked,
}

impl From<Refused> for Saved {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooMany => Self::TooMany,
            Refused::TooLong => Self::TooLong,
            Refused::Revoked => Self::Revoked,
        }
    }
}

/// Whether the account may not have this key: beside its others, or in place of the one that
/// `instead_of` names.
pub(super) fn refusal(
    tx: &Connection,
    account: i64,
    key: &NewKey,
    instead_of: Option<i64>,
) -> db::Result<Option<Refused>> {
    let revoked = tx
        .prepare_cached("SELECT 1 FROM revoked_keys WHERE account = ?1 AND fingerprint = ?2")?
        .exists(params![account, key.fingerprint])?;
    if revoked {
        return Ok(Some(Refused::Revoked));
    }
    let (count, bytes): (i64, i64) = tx
        .prepare_cached(
            "SELECT count(*), coalesce(sum(octet_length(name) + octet_length(public_key)
                                           + octet_length(options)), 0)
             FROM ssh_keys WHERE account = ?1 AND id IS DISTINCT FROM ?2",
        )?
        .query_row(params![account, instead_of], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if count >= MAX_KEYS {
        return Ok(Some(Refused::TooMany));
    }
    let more = key.name.len() + key.public_key.len() + key.options.len();
    let whole = bytes.saturating_add(i64::try_from(more).unwrap_or(i64::MAX));
    Ok((whole > MAX_KEY_BYTES).then_some(Refused::TooLong))
}

/// The key of this text, if the account has it.
pub(super) fn by_text(
    db: &Connection,
    account: i64,
    public_key: &str,
) -> db::Result<Option<KeyRow>> {
    db.prepare_cached("SELECT * FROM ssh_keys WHERE account = ?1 AND public_key = ?2")?
        .query_row(params![account, public_key], key_row)
        .optional()
}

/// The key of this id, if it is the account's.
pub(super) fn by_id(db: &Connection, account: i64, id: i64) -> db::Result<Option<KeyRow>> {
    db.prepare_cached("SELECT * FROM ssh_keys WHERE account = ?1 AND id = ?2")?
        .query_row([account, id], key_row)
        .optional()
}

/// Adds a key that nothing refuses, as part of this revision; gives how many certificates over it
/// were good until now, and opened more than it does.
pub(super) fn insert(
    tx: &Transaction<'_>,
    actor: &Actor,
    key: NewKey,
    revision: u64,
    now: Timestamp,
) -> db::Result<(KeyRow, usize)> {
    let saved = tx
        .prepare_cached(
            "INSERT INTO ssh_keys (account, name, public_key, fingerprint, options, created_at,
                                   saved_at, expires_at, revision, scope)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9) RETURNING *",
        )?
        .query_row(
            params![
                actor.account,
                key.name,
                key.public_key,
                key.fingerprint,
                key.options,
                millis(now),
                key.expires_at.map(millis),
                i64::try_from(revision).unwrap_or(i64::MAX),
                scope_word(key.scope)
            ],
            key_row,
        )?;
    let certificates = saved.revoke_wider(tx, actor.account, now)?;
    let act = act("ssh-key.add", &saved).with_certificates(certificates);
    note(tx, actor, &act, now)?;
    Ok((saved, certificates))
}

impl KeyRow {
    /// Revokes what certificates it got as a key that the account did not have, as part of this
    /// revision, where it opens less than they do; how many were good until now.
    pub(super) fn revoke_wider(
        &self,
        tx: &Transaction<'_>,
        account: i64,
        now: Timestamp,
    ) -> db::Result<usize> {
        if self.scope == KeyScope::All && self.options.is_empty() && self.expires_at.is_none() {
            return Ok(0);
        }
        let count = revoke(tx, account, &By::Fingerprint(&self.fingerprint), now)?;
        if count > 0 {
            list_is_new(tx, account)?;
        }
        Ok(count)
    }
}

/// What is said of a key in the audit log.
pub(super) fn act(action: &'static str, key: &KeyRow) -> Act {
    let detail = json!({"name": key.name, "fingerprint": key.fingerprint});
    Act::done(action, key.id, detail)
}

/// Keys that an account revoked, the first first.
pub(super) fn revoked_of(db: &Connection, account: i64) -> db::Result<Vec<(String, Timestamp)>> {
    db.prepare_cached(
        "SELECT fingerprint, revoked_at FROM revoked_keys WHERE account = ?1
         ORDER BY revoked_at, fingerprint",
    )?
    .query_map([account], |row| {
        Ok((row.get("fingerprint")?, time(row, "revoked_at")?))
    })?
    .collect()
}

/// All keys of an account, by id.
pub(super) fn keys_of(db: &Connection, account: i64) -> db::Result<Vec<KeyRow>> {
    db.prepare_cached("SELECT * FROM ssh_keys WHERE account = ?1 ORDER BY id")?
        .query_map([account], key_row)?
        .collect()
}

pub(super) fn scope_word(scope: KeyScope) -> &'static str {
    match scope {
        KeyScope::All => "all",
        KeyScope::Some => "some",
    }
}

fn scope(word: &str) -> KeyScope {
    match word {
        "all" => KeyScope::All,
        // The table takes no other word; this one opens the least.
        _ => KeyScope::Some,
    }
}

pub(super) fn key_row(row: &Row<'_>) -> db::Result<KeyRow> {
    Ok(KeyRow {
        id: row.get("id")?,
        name: row.get("name")?,
        public_key: row.get("public_key")?,
        fingerprint: row.get("fingerprint")?,
        options: row.get("options")?,
        scope: scope(&row.get::<_, String>("scope")?),
        created_at: time(row, "created_at")?,
        saved_at: time(row, "saved_at")?,
        expires_at: time_opt(row, "expires_at")?,
        revision: revision(row, "revision")?,
        last_used_at: time_opt(row, "last_used_at")?,
    })
}
