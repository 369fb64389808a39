//! Signs an account's keys, once for all who want that list (protocol.md section 2).
//!
//! The time of issue is not the time of signing: it is the account's last change, or the last turn
//! of a twelve-hour grid of the account's own, whichever is later. So a list is signed again at
//! half of its life, and any replica, before and after a restart, gives out the same bytes.

use super::signers::Signers;
use super::store::{Keys, Removal, Store, StoreError};
use crate::wire::{EndSessions, NAMESPACE, Payload, Removed, Revoked, SignedSnapshot, SnapshotKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// How long a snapshot is fresh.
const LIFE_MS: i64 = 24 * 60 * 60 * 1000;

/// It is signed again after this.
const HALF_MS: i64 = LIFE_MS / 2;

/// Lists that are kept signed; past that all are signed anew when asked for.
const CACHED: usize = 4_096;

/// A signed list.
pub(super) struct Signed {
    /// Opaque; another one for every other payload.
    pub(super) etag: String,
    /// JSON of a [`SignedSnapshot`].
    pub(super) body: Bytes,
    /// What was signed.
    pub(super) keys: Arc<Keys>,
    /// When the next turn is due.
    pub(super) turn: Timestamp,
}

type Place = Arc<tokio::sync::Mutex<Option<Arc<Signed>>>>;

/// While it lives, no list is signed.
pub(super) struct Changing<'a> {
    snapshots: &'a Snapshots,
    _gate: tokio::sync::RwLockWriteGuard<'a, ()>,
}

impl Changing<'_> {
    /// Lists are signed by these from here on.
    pub(super) fn sign_by(self, signers: Signers) {
        let place = self.snapshots.signers.write();
        *place.unwrap_or_else(PoisonError::into_inner) = Arc::new(signers);
    }
}

/// The signers and what they signed.
pub(super) struct Snapshots {
    signers: RwLock<Arc<Signers>>,
    /// Read while a list is read and signed, written while the signers change.
    gate: tokio::sync::RwLock<()>,
    cache: Mutex<HashMap<i64, Place>>,
}

impl Snapshots {
    /// With these signers.
    pub(super) fn new(signers: Signers) -> Self {
        Self {
            signers: RwLock::new(Arc::new(signers)),
            gate: tokio::sync::RwLock::default(),
            cache: Mutex::default(),
        }
    }

    /// The signers.
    pub(super) fn signers(&self) -> Arc<Signers> {
        let signers = self.signers.read();
        signers.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets no list be signed until the signers have changed.
    pub(super) async fn changing(&self) -> Changing<'_> {
        Changing {
            snapshots: self,
            _gate: self.gate.write().await,
        }
    }

    /// The fingerprint of the signer that stays, as an enrolment token pins it.
    pub(super) fn fingerprint(&self) -> String {
        let key = self.signers().current.public();
        key.fingerprint().to_string()
    }

    /// The account-wide list, of revision `at_least` or later. However many ask, one reads the
    /// database and one signature is made.
    pub(super) async fn current(
        &self,
        store: &Store,
        account: i64,
        at_least: u64,
        now: Timestamp,
    ) -> Result<Arc<Signed>, StoreError> {
        let place = {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if cache.len() >= CACHED && !cache.contains_key(&account) {
                cache.clear();
            }
            cache.entry(account).or_default().clone()
        };
        let _gate = self.gate.read().await;
        let mut kept = place.lock().await;
        let fresh = kept
            .as_ref()
            .filter(|signed| signed.keys.head.revision >= at_least);
        let keys = match fresh {
            Some(signed) if now < signed.turn => return Ok(signed.clone()),
            Some(signed) => signed.keys.clone(),
            None => Arc::new(store.keys(account).await?),
        };
        let signed = Arc::new(self.sign(account, keys, None, now));
        *kept = Some(signed.clone());
        Ok(signed)
    }

    /// The last list that a removed instance gets: its own, and nobody else's.
    pub(super) fn last_word(
        &self,
        account: i64,
        keys: Arc<Keys>,
        instance: i64,
        removal: Removal,
        now: Timestamp,
    ) -> Signed {
        self.sign(account, keys, Some((instance, removal)), now)
    }

    fn sign(
        &self,
        account: i64,
        keys: Arc<Keys>,
        last_word: Option<(i64, Removal)>,
        now: Timestamp,
    ) -> Signed {
        let signers = self.signers();
        let (issued_at, turn) = issue(account, keys.head.changed_at, now);
        let payload = Payload {
            v: 1,
            account,
            instance: last_word.map(|(instance, _)| instance),
            except: Vec::new(),
            revision: keys.head.revision,
            issued_at,
            expires_at: later(issued_at, LIFE_MS),
            keys: keys
                .keys
                .iter()
                .map(|key| SnapshotKey {
                    id: key.id,
                    name: key.name.clone(),
                    public_key: key.public_key.clone(),
                    options: key.options.clone(),
                    expires_at: key.expires_at,
                    saved_at: key.created_at,
                })
                .collect(),
            revoked: keys
                .revoked
                .iter()
                .map(|(fingerprint, at)| Revoked {
                    fingerprint: fingerprint.clone(),
                    at: *at,
                })
                .collect(),
            end_sessions: keys
                .orders
                .iter()
                .map(|order| EndSessions {
                    id: order.id,
                    fingerprint: Some(order.fingerprint.clone()),
                    serial: None,
                    key_id: None,
                    asked_at: order.asked_at,
                    until: order.until,
                })
                .collect(),
            user_ca: Vec::new(),
            krl: None,
            principals: std::collections::BTreeMap::new(),
            signers: signers.lines(),
            removed: last_word.map(|(_, removal)| Removed {
                take_keys: removal.take_keys,
                end_sessions: removal.end_sessions,
            }),
        };
        let payload = json(&payload);
        let digest = Sha256::digest(&payload);
        let etag = digest
            .iter()
            .take(16)
            .map(|b| format!("{b:02x}"))
            .collect::<String>();
        let body = json(&SignedSnapshot {
            signatures: signers
                .all()
                .map(|signer| signer.sign(NAMESPACE, &payload))
                .collect(),
            payload: STANDARD.encode(&payload),
        });
        Signed {
            etag: format!("\"{etag}\""),
            body: body.into(),
            keys,
            turn,
        }
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structs with string keys always have a JSON form")
}

/// When a list that changed at `changed_at` counts as issued, and when its next turn is. Accounts
/// turn at times of their own, so that they do not all come back at once.
fn issue(account: i64, changed_at: Timestamp, now: Timestamp) -> (Timestamp, Timestamp) {
    let ms = now.as_millisecond();
    let offset = account.wrapping_mul(7_919_017).rem_euclid(HALF_MS);
    let turned = ms - (ms - offset).rem_euclid(HALF_MS);
    let changed = changed_at.as_millisecond();
    // A change that lies ahead was made under a clock that has stepped back since.
    let issued = if changed <= ms {
        turned.max(changed)
    } else {
        turned
    };
    let time = |ms| Timestamp::from_millisecond(ms).unwrap_or(now);
    (time(issued), time(turned + HALF_MS))
}

fn later(at: Timestamp, ms: i64) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond().saturating_add(ms)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn at_least_half_of_its_life_is_always_left() {
        for account in [1, 2, 99, 123_456_789] {
            for ms in (0..10).map(|i| 1_790_000_000_000 + i * 9_999_999) {
                let (issued, turn) = issue(account, at(0), at(ms));
                assert!(issued <= at(ms) && at(ms) < turn);
                assert!(ms - issued.as_millisecond() < HALF_MS);
                assert_eq!(issue(account, at(0), issued), (issued, turn));
            }
        }
    }

    #[test]
    fn a_change_is_issued_when_it_is_made() {
        let now = 1_790_000_000_000;
        let (turned, _) = issue(1, at(0), at(now));
        assert_eq!(issue(1, at(now - 1), at(now)).0, at(now - 1).max(turned));
        assert_eq!(issue(1, at(now + 1), at(now)).0, turned);
    }
}
