//! An account's certificate authorities: made at first use, sealed, and one after the other.
//!
//! A new CA is in every list before it signs, and the old one stays in the list until the last
//! certificate that it signed has ended: nobody is refused in between.

use super::accounts::advance;
use super::audit::{Act, Actor, note};
use super::db;
use super::db::{
    Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params,
};
use super::revocations::{By, list_changed, revoke};
use super::{Commit, Store, StoreError, millis, time};
use crate::keys::PublicKey;
use crate::trust::Role;
use crate::wire::CaState;
use jiff::Timestamp;
use serde_json::json;

/// CAs of one role that an account has at the same time: the one that signs, the one that comes,
/// those that leave. Each has a part of its own in every revocation list.
pub(in crate::service) const MAX_CAS: usize = 5;

/// A CA, with its private key sealed.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::service) struct CaRow {
    /// Its id.
    pub(in crate::service) id: i64,
    /// Of which account.
    pub(in crate::service) account: i64,
    /// Whose certificates it signs.
    pub(in crate::service) role: Role,
    /// Canonical public key.
    pub(in crate::service) public_key: String,
    /// The private key.
    pub(in crate::service) sealed: Vec<u8>,
    /// Where it stands.
    pub(in crate::service) state: CaState,
    /// When it was made.
    pub(in crate::service) created_at: Timestamp,
}

impl CaRow {
    /// `SHA256:…`.
    pub(in crate::service) fn fingerprint(&self) -> Option<String> {
        // The table holds nothing but canonical keys.
        let (key, _) = PublicKey::parse_text(&self.public_key).ok()?;
        Some(key.fingerprint().to_string())
    }
}

/// A CA that is to be made.
#[derive(Clone)]
pub(in crate::service) struct NewCa {
    /// Canonical public key.
    pub(in crate::service) public_key: String,
    /// The private key, sealed.
    pub(in crate::service) sealed: Vec<u8>,
}

/// What became of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum CaRotation {
    /// Another CA is in every list.
    Begun,
    /// One is on its way already.
    UnderWay,
    /// Too many that signed before have certificates that are good still.
    TooMany,
}

impl Store {
    /// The account's CAs, the one that signs first; one is made where none signs.
    pub(in crate::service) async fn cas(
        &self,
        account: i64,
        role: Role,
        new: NewCa,
        now: Timestamp,
    ) -> Result<Vec<CaRow>, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let had = cas_of(&tx, account, role)?;
            if had.iter().any(|ca| ca.state == CaState::Signing) {
                return Ok(had);
            }
            let Some(revision) = add_ca(&tx, account, role, CaState::Signing, &new, now)? else {
                // Another replica has made one meanwhile.
                drop(tx);
                return Ok(cas_of(db, account, role)?);
            };
            let detail = json!({"role": word(role), "public_key": new.public_key});
            let act = Act::done("ca.make", account, detail);
            note(&tx, &Actor::server(account), &act, now)?;
            let cas = cas_of(&tx, account, role)?;
            tx.commit()?;
            committed(Commit::revision(account, revision));
            Ok(cas)
        })
        .await
    }

    /// The account's CAs, the one that signs first; none where none was ever asked for.
    pub(in crate::service) async fn known_cas(
        &self,
        account: i64,
        role: Role,
    ) -> Result<Vec<CaRow>, StoreError> {
        self.call(move |db| Ok(cas_of(db, account, role)?)).await
    }

    /// Puts another CA into every list; it signs once [`Store::hand_over_ca`] says so, or at once
    /// where there was none.
    pub(in crate::service) async fn rotate_ca(
        &self,
        actor: Actor,
        role: Role,
        new: NewCa,
        now: Timestamp,
    ) -> Result<CaRotation, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let had = cas_of(&tx, account, role)?;
            if had.iter().any(|ca| ca.state == CaState::Next) {
                return Ok(CaRotation::UnderWay);
            }
            if had.len() >= MAX_CAS {
                return Ok(CaRotation::TooMany);
            }
            let signs = had.iter().any(|ca| ca.state == CaState::Signing);
            let state = match signs {
                true => CaState::Next,
                false => CaState::Signing,
            };
            let Some(revision) = add_ca(&tx, account, role, state, &new, now)? else {
                return Ok(CaRotation::UnderWay);
            };
            let detail = json!({"role": word(role), "public_key": new.public_key});
            note(&tx, &actor, &Act::done("ca.rotate", account, detail), now)?;
            tx.commit()?;
            committed(Commit::revision(account, revision));
            Ok(CaRotation::Begun)
        })
        .await
    }

    /// Puts another CA into the place of all of this role, at once: they leave every list, a user CA
    /// is revoked as a key is, and what they signed is good for nothing. Gives how many user
    /// certificates were good until now.
    pub(in crate::service) async fn replace_cas(
        &self,
        actor: Actor,
        role: Role,
        new: NewCa,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let (account, committed) = (actor.account, self.committed.clone());
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            let gone = cas_of(&tx, account, role)?;
            let revoked = match role {
                Role::User => revoke(&tx, account, &By::All, now)?,
                Role::Host => 0,
            };
            for ca in gone.iter().filter(|_| role == Role::User) {
                // Also where sshd trusts it by a line of somebody's own.
                tx.execute(
                    "INSERT INTO revoked_keys (account, fingerprint, public_key, revoked_at)
                     VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                    params![
                        account,
                        ca.fingerprint().unwrap_or_default(),
                        ca.public_key,
                        millis(now)
                    ],
                )?;
            }
            tx.execute(
                "DELETE FROM cas WHERE account = ?1 AND role = ?2",
                params![account, word(role)],
            )?;
            let added = add_ca(&tx, account, role, CaState::Signing, &new, now)?;
            let Some(revision) = added else {
                return Err(StoreError::Lost);
            };
            let gone: Vec<String> = gone.into_iter().map(|ca| ca.public_key).collect();
            let detail = json!({"role": word(role), "public_key": new.public_key, "gone": gone});
            let act = Act::done("ca.replace", account, detail).with_certificates(revoked);
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            committed(Commit::revision(account, revision).revoking(revoked));
            Ok(revoked)
        })
        .await
    }

    /// All CAs that wait to sign.
    pub(in crate::service) async fn coming_cas(&self) -> Result<Vec<CaRow>, StoreError> {
        self.call(move |db| {
            let rows = db
                .prepare_cached("SELECT * FROM cas WHERE state = 'next' ORDER BY id")?
                .query_map([], ca_row)?
                .collect::<db::Result<_>>()?;
            Ok(rows)
        })
        .await
    }

    /// Lets the CA sign from here on that waits under this id. False: it does not wait, another
    /// replica may have done it.
    pub(in crate::service) async fn hand_over_ca(
        &self,
        ca: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let found = tx
                .prepare_cached("SELECT * FROM cas WHERE id = ?1 AND state = 'next'")?
                .query_row([ca], ca_row)
                .optional()?;
            let Some(next) = found else {
                return Ok(false);
            };
            let (account, role) = (next.account, next.role);
            tx.execute(
                "UPDATE cas SET state = 'leaving'
                 WHERE account = ?1 AND role = ?2 AND state = 'signing'",
                params![account, word(role)],
            )?;
            tx.execute("UPDATE cas SET state = 'signing' WHERE id = ?1", [ca])?;
            // The order in the list is another: the one that signs stands first.
            let revision = advance(&tx, account, now)?;
            let detail = json!({"role": word(role), "public_key": next.public_key});
            let act = Act::done("ca.sign", account, detail);
            note(&tx, &Actor::server(account), &act, now)?;
            tx.commit()?;
            committed(Commit::revision(account, revision));
            Ok(true)
        })
        .await
    }

    /// Whether a certificate of this CA is good still.
    pub(in crate::service) async fn has_certificates(
        &self,
        ca: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.call(move |db| {
            let mut ask = db.prepare_cached(
                "SELECT 1 FROM certificates WHERE ca = ?1 AND valid_before > ?2 LIMIT 1",
            )?;
            Ok(ask.exists([ca, millis(now)])?)
        })
        .await
    }
}

/// The account's CAs of a role, the one that signs first.
pub(super) fn cas_of(db: &Connection, account: i64, role: Role) -> db::Result<Vec<CaRow>> {
    db.prepare_cached(
        "SELECT * FROM cas WHERE account = ?1 AND role = ?2
         ORDER BY CASE state WHEN 'signing' THEN 0 WHEN 'next' THEN 1 ELSE 2 END, id",
    )?
    .query_map(params![account, word(role)], ca_row)?
    .collect()
}

/// Adds a CA, and gives the revision that has it; `None`: there is one in that state.
fn add_ca(
    tx: &Transaction<'_>,
    account: i64,
    role: Role,
    state: CaState,
    new: &NewCa,
    now: Timestamp,
) -> db::Result<Option<u64>> {
    // A list with a CA has a revocation list too, which is never missing from then on.
    let given = list_changed(tx, account, now)?;
    let state = match state {
        CaState::Next => "next",
        CaState::Signing => "signing",
        CaState::Leaving => "leaving",
    };
    let added = tx.execute(
        "INSERT INTO cas (account, role, public_key, sealed, state, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        params![
            account,
            word(role),
            new.public_key,
            new.sealed,
            state,
            millis(now)
        ],
    )?;
    Ok((added > 0).then_some(given))
}

fn ca_row(row: &Row<'_>) -> db::Result<CaRow> {
    let (role, state): (String, String) = (row.get("role")?, row.get("state")?);
    Ok(CaRow {
        id: row.get("id")?,
        account: row.get("account")?,
        // The table takes no other words than these; one that leaves signs nothing.
        role: match role.as_str() {
            "user" => Role::User,
            _ => Role::Host,
        },
        public_key: row.get("public_key")?,
        sealed: row.get("sealed")?,
        state: match state.as_str() {
            "signing" => CaState::Signing,
            "next" => CaState::Next,
            _ => CaState::Leaving,
        },
        created_at: time(row, "created_at")?,
    })
}

pub(super) fn word(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Host => "host",
    }
}
