//! Changes of a key that is saved: its name, text, options, expiry, scope.
//!
//! Another text is another key under the same id: to agents an add and a delete in one revision.

use super::accounts::advance;
use super::audit::{Actor, note};
use super::db::{TransactionBehavior, params};
use super::orders::Of;
use super::revocations::{By, list_is_new, revoke};
use super::ssh_keys::{self, KeyRow, NewKey, Refused, act, by_id, by_text, key_row, scope_word};
use super::{Commit, MAX_ORDERS, Store, StoreError, millis, orders};
use crate::wire::KeyScope;
use jiff::Timestamp;

/// What became of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) enum Edited {
    /// It is done; the order to end the old text's sessions, if one was wanted and there is an old
    /// text.
    Done(KeyRow, Option<i64>),
    /// It was so before; nothing changed.
    Same(KeyRow),
    /// The key is not what it was when the caller looked; nothing changed.
    Changed,
    /// The account has no key of that id.
    NoKey,
    /// The text is another key of the account: its id. Nothing changed.
    Taken(i64),
    /// The account may not have such a key; nothing changed.
    Refused(Refused),
    /// The account's list has as many orders as it may; nothing changed.
    TooManyOrders,
}

impl KeyRow {
    /// What its owner may edit.
    pub(in crate::service) fn content(&self) -> NewKey {
        NewKey {
            name: self.name.clone(),
            public_key: self.public_key.clone(),
            fingerprint: self.fingerprint.clone(),
            options: self.options.clone(),
            scope: self.scope,
            expires_at: self.expires_at,
        }
    }
}

impl Store {
    /// Makes the key that the caller saw as `was` into `to`, if it is still so. With `end_sessions`
    /// a change of the text gives the order to end the sessions by the old one.
    pub(in crate::service) async fn edit_key(
        &self,
        actor: Actor,
        was: KeyRow,
        to: NewKey,
        end_sessions: bool,
        now: Timestamp,
    ) -> Result<Edited, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let Some(before) = by_id(&tx, account, was.id)? else {
                return Ok(Edited::NoKey);
            };
            if before.content() != was.content() {
                return Ok(Edited::Changed);
            }
            if before.content() == to {
                return Ok(Edited::Same(before));
            }
            let new_text = before.public_key != to.public_key;
            if let Some(other) = by_text(&tx, account, &to.public_key)?.filter(|_| new_text) {
                return Ok(Edited::Taken(other.id));
            }
            if let Some(refused) = ssh_keys::refusal(&tx, account, &to, Some(before.id))? {
                return Ok(Edited::Refused(refused));
            }
            let end_sessions = end_sessions && new_text;
            if end_sessions && orders::open_count(&tx, account)? >= MAX_ORDERS {
                return Ok(Edited::TooManyOrders);
            }
            let revision = advance(&tx, account, now)?;
            let after = tx
                .prepare_cached(
                    "UPDATE ssh_keys SET name = ?2, public_key = ?3, fingerprint = ?4, options = ?5,
                        expires_at = ?6, scope = ?7, revision = ?8,
                        saved_at = CASE WHEN ?9 THEN ?10 ELSE saved_at END,
                        last_used_at = CASE WHEN ?9 THEN NULL ELSE last_used_at END
                     WHERE id = ?1 RETURNING *",
                )?
                .query_row(
                    params![
                        before.id,
                        to.name,
                        to.public_key,
                        to.fingerprint,
                        to.options,
                        to.expires_at.map(millis),
                        scope_word(to.scope),
                        i64::try_from(revision).unwrap_or(i64::MAX),
                        new_text,
                        millis(now)
                    ],
                    key_row,
                )?;
            let mut certificates = match opens_less(&before, &after) {
                true => revoke(&tx, account, &By::Fingerprint(&before.fingerprint), now)?,
                false => 0,
            };
            if new_text {
                certificates += after.revoke_wider(&tx, account, now)?;
            }
            if certificates > 0 {
                list_is_new(&tx, account)?;
            }
            let order = end_sessions
                .then(|| {
                    let gone = Of::Key(before.id, &before.fingerprint);
                    orders::give(&tx, account, gone, revision, now)
                })
                .transpose()?;
            let mut act = act("ssh-key.edit", &after)
                .with("changed", changed(&before, &after))
                .with_certificates(certificates);
            if new_text {
                act = act
                    .with("old_fingerprint", before.fingerprint)
                    .with("end_sessions", end_sessions);
            }
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            committed(Commit::revision(account, revision).revoking(certificates));
            Ok(Edited::Done(after, order))
        })
        .await
    }
}

/// Whether certificates of before may open what the key does not any more: another text, other
/// options, an earlier end, not every instance.
fn opens_less(before: &KeyRow, after: &KeyRow) -> bool {
    let end = |key: &KeyRow| key.expires_at.unwrap_or(Timestamp::MAX);
    before.public_key != after.public_key
        || before.options != after.options
        || end(after) < end(before)
        || (before.scope, after.scope) == (KeyScope::All, KeyScope::Some)
}

/// The names of what an edit changed.
fn changed(before: &KeyRow, after: &KeyRow) -> Vec<&'static str> {
    [
        ("name", before.name != after.name),
        ("public_key", before.public_key != after.public_key),
        ("options", before.options != after.options),
        ("expires_at", before.expires_at != after.expires_at),
        ("scope", before.scope != after.scope),
    ]
    .into_iter()
    .filter_map(|(name, is)| is.then_some(name))
    .collect()
}
