//! What whoever runs the service does to an account, on its own machine, beside a running server.
//!
//! Refuses to leave keys behind: an account goes only once it is disabled and every instance says
//! that it has let go of its keys, or when whoever asks takes that upon himself.

use super::accounts::hash;
use super::store::{AccountRow, Actor, Credentials, Remains, Switched};
use super::{AccountError, Service, ServiceError};
use crate::wire::{SourceKind, Status};
use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

/// An account, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountSummary {
    /// Its id.
    pub account: i64,
    /// Its address.
    pub email: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is disabled.
    pub disabled_at: Option<Timestamp>,
    /// A second factor is asked for at login.
    pub totp: bool,
    /// How many SSH keys it has.
    pub ssh_keys: u64,
    /// How many API keys.
    pub api_keys: u64,
    /// How many sessions of people.
    pub sessions: u64,
    /// How many instances.
    pub instances: u64,
}

impl From<AccountRow> for AccountSummary {
    fn from(row: AccountRow) -> Self {
        let [ssh_keys, api_keys, sessions, instances] = row.counts;
        Self {
            account: row.id,
            email: row.email,
            created_at: row.created_at,
            disabled_at: row.disabled_at,
            totp: row.totp,
            ssh_keys,
            api_keys,
            sessions,
            instances,
        }
    }
}

impl Service {
    /// All accounts, by id.
    ///
    /// # Errors
    /// [`ServiceError::Store`].
    pub async fn list_accounts(&self) -> Result<Vec<AccountSummary>, ServiceError> {
        let rows = self.store.accounts(self.now()).await?;
        Ok(rows.into_iter().map(AccountSummary::from).collect())
    }

    /// Gives an account another password, takes its second factor away, or both. A new password
    /// ends all sessions of people. Gives the account's id.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn reset_account(
        &self,
        who: &str,
        password: Option<Zeroizing<String>>,
        drop_totp: bool,
    ) -> Result<i64, AccountError> {
        let account = self.account_of(who).await?.account;
        let (actor, now) = (Actor::server(account), self.now());
        if let Some(password) = password {
            let password = hash(password).await?;
            let set = self.store.set_password(actor.clone(), password, None, now);
            let set = set.await.map_err(ServiceError::from)?;
            set.ok_or_else(|| AccountError::Unknown(shown(who)))?;
        }
        if drop_totp {
            let dropped = self.store.remove_totp(actor, now).await;
            // That there was none is as good.
            let _ = dropped.map_err(ServiceError::from)?;
        }
        Ok(account)
    }

    /// Disables an account, or enables it again. Gives its id.
    ///
    /// # Errors
    /// [`AccountError::Already`] when it is so.
    pub async fn switch_account(&self, who: &str, on: bool) -> Result<i64, AccountError> {
        let account = self.account_of(who).await?.account;
        let (actor, now) = (Actor::server(account), self.now());
        let switched = match on {
            true => self.store.enable_account(actor, now).await,
            false => self.store.disable_account(actor, now).await,
        };
        match switched.map_err(ServiceError::from)? {
            Switched::Done(_) => Ok(account),
            Switched::Already => Err(AccountError::Already(
                shown(who),
                if on { "not disabled" } else { "disabled" },
            )),
            Switched::NoAccount => Err(AccountError::Unknown(shown(who))),
        }
    }

    /// Removes a disabled account; its audit rows stay. Gives the id that it had.
    ///
    /// # Errors
    /// [`AccountError::NotDisabled`]; [`AccountError::KeysLeft`] without `force`.
    pub async fn remove_account(&self, who: &str, force: bool) -> Result<i64, AccountError> {
        let found = self.account_of(who).await?;
        let account = found.account;
        if found.disabled_at.is_none() {
            return Err(AccountError::NotDisabled(shown(who)));
        }
        if !force {
            let remains = self.store.remains(account).await;
            let remains = remains.map_err(ServiceError::from)?;
            let holding = remains.as_ref().map(holding).unwrap_or_default();
            if !holding.is_empty() {
                return Err(AccountError::KeysLeft(holding));
            }
        }
        let removed = self
            .store
            .remove_account(Actor::server(account), self.now())
            .await
            .map_err(ServiceError::from)?;
        if removed {
            Ok(account)
        } else {
            Err(AccountError::NotDisabled(shown(who)))
        }
    }

    /// By address, or by id.
    async fn account_of(&self, who: &str) -> Result<Credentials, AccountError> {
        let found = match who.parse() {
            Ok(id) => self.store.credentials(id).await,
            Err(_) => self.store.credentials_of(who).await,
        };
        let found = found.map_err(ServiceError::from)?;
        found.ok_or_else(|| AccountError::Unknown(shown(who)))
    }
}

/// Instances that have not said that they let go of the account's keys, as `4 "web"`.
fn holding(remains: &Remains) -> Vec<String> {
    let holds = |status: Option<&str>| {
        // What cannot be read says nothing.
        let status = status.and_then(|status| serde_json::from_str::<Status>(status).ok());
        !status.is_some_and(|status| has_let_go(&status, remains))
    };
    remains
        .instances
        .iter()
        .filter(|(_, _, status)| holds(status.as_deref()))
        .map(|(id, label, _)| format!("{id} \"{label}\""))
        .collect()
}

fn has_let_go(status: &Status, remains: &Remains) -> bool {
    let read = status.sources.iter().any(|source| {
        source.kind == SourceKind::Account && source.revision >= Some(remains.revision)
    });
    let trusted = status.certificates.iter().flat_map(|kept| &kept.user_ca);
    let mut managed = status.targets.iter().flat_map(|target| &target.managed);
    let trusts = trusted.into_iter().any(|ca| remains.cas.contains(ca));
    read && !trusts && !managed.any(|fingerprint| remains.fingerprints.contains(fingerprint))
}

fn shown(who: &str) -> String {
    who.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(kind: &str, revision: Value, managed: &[&str]) -> String {
        json!({"version": "0.1.0", "instance": 1, "state": "ok",
            "sources": [{"name": "a", "kind": kind, "state": "live", "revision": revision,
                "keys": 0, "last_success": null, "last_error": null}],
            "targets": [{"user": "root", "path": "/root/.ssh/authorized_keys", "method": "block",
                "managed": managed, "foreign": 0, "revision": revision, "applied_at": null,
                "digest": null, "proof": null}]})
        .to_string()
    }

    #[test]
    fn an_instance_has_let_go_once_it_says_so_of_this_list() {
        let holds = |status: Option<String>| {
            let remains = Remains {
                revision: 10,
                fingerprints: vec!["SHA256:ours".to_owned()],
                cas: vec!["SHA256:ca".to_owned()],
                instances: vec![(4, "web".to_owned(), status)],
            };
            holding(&remains)
        };
        assert!(holds(Some(status("account", json!(10), &[]))).is_empty());
        assert!(holds(Some(status("account", json!(11), &["SHA256:other"]))).is_empty());
        for held in [
            None,
            Some("{}".to_owned()),
            Some(status("account", json!(9), &[])),
            Some(status("account", Value::Null, &[])),
            Some(status("file", json!(10), &[])),
            Some(status("account", json!(10), &["SHA256:ours"])),
        ] {
            assert_eq!(holds(held.clone()), ["4 \"web\""], "{held:?}");
        }
    }
}
