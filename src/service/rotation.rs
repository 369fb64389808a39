//! How one CA of an account follows another: when the new one begins to sign, and who is waited for.
//!
//! A user CA signs once every instance that is there and trusts a CA of the account trusts this one
//! too: by what sshd there has in force, as its agent says. One that trusts none of them loses
//! nothing. Who trusts a host CA are people, who say nothing: it signs a week after it was made.

use super::Service;
use super::api::ApiError;
use super::store::{Actor, CaRotation, CaRow, StoreError};
use crate::trust::Role;
use crate::wire::{Ca, CaRole, CaState, Cas};
use jiff::{SignedDuration, Timestamp};

/// How long people have to learn of another host CA.
const NOTICE: SignedDuration = SignedDuration::from_hours(7 * 24);

impl Service {
    /// Puts another CA into every list, to sign as soon as it may.
    ///
    /// # Errors
    /// 409: one is on its way, or too many are leaving.
    pub(super) async fn rotate_ca(&self, actor: Actor, role: Role) -> Result<(), ApiError> {
        let (account, now) = (actor.account, self.now());
        let rotated = self.store.rotate_ca(actor, role, self.new_ca(), now);
        match rotated.await? {
            CaRotation::Begun => {}
            CaRotation::UnderWay => {
                return Err(ApiError::conflict(
                    "rotation-under-way",
                    "another CA waits to sign already; GET /v1/ca says for whom it waits",
                ));
            }
            CaRotation::TooMany => {
                return Err(ApiError::conflict(
                    "too-many-cas",
                    "certificates of the CAs before are good still; wait until they have ended",
                ));
            }
        }
        tracing::info!(account, ?role, "CA rotated");
        Ok(self.settle_rotations().await?)
    }

    /// Puts another CA into the place of all: those that somebody else may sign by.
    pub(super) async fn replace_cas(&self, actor: Actor, role: Role) -> Result<(), StoreError> {
        let (account, now) = (actor.account, self.now());
        let replaced = self.store.replace_cas(actor, role, self.new_ca(), now);
        let revoked = replaced.await?;
        tracing::warn!(account, ?role, revoked, "CAs replaced as compromised");
        Ok(())
    }

    /// Lets every CA sign that waits for nobody. Two replicas may do this at the same moment.
    pub(super) async fn settle_rotations(&self) -> Result<(), StoreError> {
        let now = self.now();
        for ca in self.store.coming_cas().await? {
            let ready = match ca.role {
                Role::User => self.not_trusted_by(&ca, now).await?.is_empty(),
                Role::Host => self.host_ca_is_known(&ca, now).await?,
            };
            if ready && self.store.hand_over_ca(ca.id, now).await? {
                tracing::info!(account = ca.account, role = ?ca.role, "another CA signs");
            }
        }
        Ok(())
    }

    /// The account's CAs, as they are shown; none is made by it.
    pub(super) async fn shown_cas(&self, account: i64) -> Result<Cas, StoreError> {
        let now = self.now();
        let mut shown = Cas::default();
        for role in [Role::User, Role::Host] {
            for ca in self.store.known_cas(account, role).await? {
                let waits_for = match (role, ca.state) {
                    (Role::User, CaState::Next) => self.not_trusted_by(&ca, now).await?,
                    _ => Vec::new(),
                };
                match role {
                    Role::User => shown.user_ca.push(ca.public_key.clone()),
                    Role::Host => shown.host_ca.push(ca.public_key.clone()),
                }
                shown.items.push(Ca {
                    role: shown_role(role),
                    fingerprint: ca.fingerprint().unwrap_or_default(),
                    public_key: ca.public_key,
                    state: ca.state,
                    created_at: ca.created_at,
                    waits_for,
                });
            }
        }
        Ok(shown)
    }

    /// Instances that are there, trust a CA of the account, and do not trust this one yet.
    async fn not_trusted_by(&self, next: &CaRow, now: Timestamp) -> Result<Vec<i64>, StoreError> {
        let account = next.account;
        let known = self.store.known_cas(account, Role::User).await?;
        let known: Vec<String> = known.iter().filter_map(CaRow::fingerprint).collect();
        let next = next.fingerprint();
        self.hear_all(account).await?;
        let mut waits = Vec::new();
        for instance in self.store.enrolled(account, now).await? {
            if !self.board.look(instance, true, now).is_there() {
                continue;
            }
            let says = self.board.trusts(instance);
            let trusts = |ca: &String| says.contains(ca);
            if known.iter().any(trusts) && !next.as_ref().is_some_and(trusts) {
                waits.push(instance);
            }
        }
        Ok(waits)
    }

    /// People have had their time, or there is nothing that they would refuse.
    async fn host_ca_is_known(&self, next: &CaRow, now: Timestamp) -> Result<bool, StoreError> {
        if now.duration_since(next.created_at) >= NOTICE {
            return Ok(true);
        }
        for ca in self.store.known_cas(next.account, Role::Host).await? {
            if self.store.has_certificates(ca.id, now).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whose certificates a CA is for.
pub(super) fn role(role: CaRole) -> Role {
    match role {
        CaRole::User => Role::User,
        CaRole::Host => Role::Host,
    }
}

fn shown_role(role: Role) -> CaRole {
    match role {
        Role::User => CaRole::User,
        Role::Host => CaRole::Host,
    }
}
