//! Signs an account's keys, once for all who want that list (protocol.md section 2); an instance
//! with keys of its own gets a list of its own, and stands in `except` of the account's.
//!
//! The time of issue is not the time of signing: it is the account's last change, or the last turn
//! of a twelve-hour grid of the account's own, whichever is later. So a list is signed again at
//! half of its life, and any replica, before and after a restart, gives out the same bytes.

mod place;

use super::krls::{KrlFile, Krls};
use super::metrics::Metrics;
use super::signers::Signers;
use super::store::{KeyRow, Keys, Removal, Store, StoreError};
use crate::trust::account_principal;
use crate::wire::{EndSessions, NAMESPACE, Payload, Removed, Revoked, SignedSnapshot, SnapshotKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use place::{Making, Place, Turn};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::Notify;

/// How long a snapshot is fresh.
const LIFE_MS: i64 = 24 * 60 * 60 * 1000;

/// It is signed again after this.
const HALF_MS: i64 = LIFE_MS / 2;

/// Lists that are kept signed, and their bytes; past that all are signed anew when asked for.
const CACHED: usize = 4_096;
const CACHED_BYTES: usize = 64 * 1024 * 1024;

/// A signed list.
pub(super) struct Signed {
    /// Opaque; another one for every other payload.
    pub(super) etag: String,
    /// JSON of a [`SignedSnapshot`].
    pub(super) body: Bytes,
    /// What was signed.
    pub(super) keys: Arc<Keys>,
    /// The revocation list that it names.
    pub(super) krl: Option<Arc<KrlFile>>,
    /// When the next turn is due.
    pub(super) turn: Timestamp,
}

/// Lists by account, and by instance where it has one of its own.
#[derive(Default)]
struct Cache {
    places: HashMap<(i64, Option<i64>), Arc<Place<Signed>>>,
    /// What was put in since it was last empty: never less than what is in it.
    bytes: usize,
}

/// Whose list it is.
enum For {
    /// All that have no list of their own.
    Account,
    /// One instance.
    Instance(i64),
    /// One instance, for the last time.
    Last(i64, Removal),
}

/// While it lives, no list is signed.
pub(super) struct Changing<'a> {
    snapshots: &'a Snapshots,
    _gate: tokio::sync::RwLockWriteGuard<'a, ()>,
}

impl Changing<'_> {
    /// Lists are signed by these from here on. A list of before is not signed anew by them: it would
    /// be of its revision and name other signers.
    pub(super) fn sign_by(self, signers: Signers) {
        let cache = self.snapshots.cache.lock();
        *cache.unwrap_or_else(PoisonError::into_inner) = Cache::default();
        let place = self.snapshots.signers.write();
        *place.unwrap_or_else(PoisonError::into_inner) = Arc::new(signers);
    }
}

/// The signers and what they signed.
pub(super) struct Snapshots {
    signers: RwLock<Arc<Signers>>,
    /// Read while a list is read and signed, written while the signers change.
    gate: tokio::sync::RwLock<()>,
    cache: Mutex<Cache>,
    krls: Krls,
    metrics: Arc<Metrics>,
    /// Rings when lists are signed by others than these.
    stale: Notify,
}

impl Snapshots {
    /// With these signers.
    pub(super) fn new(signers: Signers, metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            signers: RwLock::new(Arc::new(signers)),
            gate: tokio::sync::RwLock::default(),
            cache: Mutex::default(),
            krls: Krls::default(),
            stale: Notify::new(),
        }
    }

    /// Returns when a list was asked for that others sign by now.
    pub(super) async fn stale(&self) {
        self.stale.notified().await;
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
        let _gate = self.gate.read().await;
        self.whole(store, account, at_least, now).await
    }

    /// The same, by one who holds the gate.
    async fn whole(
        &self,
        store: &Store,
        account: i64,
        at_least: u64,
        now: Timestamp,
    ) -> Result<Arc<Signed>, StoreError> {
        let place = self.place(account, None);
        let is_current = |signed: &Signed| signed.keys.head.revision >= at_least;
        let will_do = |signed: &Signed| is_current(signed) && now < signed.turn;
        let (making, before) = match place.turn(will_do).await {
            Turn::Kept(signed) => return Ok(signed),
            Turn::Make(making, before) => (making, before),
        };
        let (keys, krl) = match before {
            Some(signed) if is_current(&signed) => (signed.keys.clone(), signed.krl.clone()),
            before => Box::pin(self.read(store, account, before.as_deref())).await?,
        };
        let signed = self.sign(account, keys, krl, &For::Account, now);
        Ok(self.keep(making, signed))
    }

    /// The account's keys and its revocation list, as of one moment; the list is read and encoded
    /// only where it is another one than before.
    async fn read(
        &self,
        store: &Store,
        account: i64,
        before: Option<&Signed>,
    ) -> Result<(Arc<Keys>, Option<Arc<KrlFile>>), StoreError> {
        let had = before.and_then(|signed| signed.krl.clone());
        let version = had.as_ref().map(|file| file.version);
        let (keys, read) = Box::pin(store.keys_and_krl(account, version)).await?;
        // Read with the keys, as of one moment: no list of a revision that came with other signers
        // is signed by these.
        let ours = || self.signers().lines();
        if store.is_shared() && keys.signers.as_ref().is_some_and(|set| *set != ours()) {
            self.stale.notify_one();
            return Err(StoreError::Signers);
        }
        let krl = match (read, keys.trust.krl_version) {
            (Some(krl), _) => {
                let file = Arc::new(KrlFile::new(&krl));
                self.metrics.krl(file.bytes.len());
                self.add_bytes(file.bytes.len());
                self.krls.keep(account, file.clone());
                Some(file)
            }
            (None, Some(_)) => had,
            (None, None) => None,
        };
        Ok((Arc::new(keys), krl))
    }

    /// The account's revocation list of this digest, if it is the one in force or one of the last.
    pub(super) async fn krl(
        &self,
        store: &Store,
        account: i64,
        sha256: &str,
        now: Timestamp,
    ) -> Result<Option<Arc<KrlFile>>, StoreError> {
        if let Some(file) = self.krls.digest(account, sha256) {
            return Ok(Some(file));
        }
        let Some(head) = store.head(account).await? else {
            return Ok(None);
        };
        let signed = self.current(store, account, head.revision, now).await?;
        let file = signed.krl.clone();
        Ok(file.filter(|file| file.sha256 == sha256))
    }

    /// The list that this instance is to have: the account's, or its own.
    pub(super) async fn of_instance(
        &self,
        store: &Store,
        (account, instance): (i64, i64),
        at_least: u64,
        now: Timestamp,
    ) -> Result<Arc<Signed>, StoreError> {
        // Both lists of a revision name the same signers.
        let _gate = self.gate.read().await;
        let whole = self.whole(store, account, at_least, now).await?;
        if !whole.keys.is_special(instance) {
            return Ok(whole);
        }
        let place = self.place(account, Some(instance));
        let same = |own: &Signed| Arc::ptr_eq(&own.keys, &whole.keys) && now < own.turn;
        let making = match place.turn(same).await {
            Turn::Kept(own) => return Ok(own),
            Turn::Make(making, _) => making,
        };
        let (keys, krl) = (whole.keys.clone(), whole.krl.clone());
        let own = self.sign(account, keys, krl, &For::Instance(instance), now);
        Ok(self.keep(making, own))
    }

    fn place(&self, account: i64, instance: Option<i64>) -> Arc<Place<Signed>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let whose = (account, instance);
        let full = cache.places.len() >= CACHED && !cache.places.contains_key(&whose);
        if full || cache.bytes > CACHED_BYTES {
            *cache = Cache::default();
        }
        cache.places.entry(whose).or_default().clone()
    }

    fn keep(&self, making: Making<'_, Signed>, signed: Signed) -> Arc<Signed> {
        self.add_bytes(signed.body.len());
        making.keep(signed)
    }

    fn add_bytes(&self, count: usize) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.bytes = cache.bytes.saturating_add(count);
    }

    /// The last list that a removed instance gets: its own, and nobody else's.
    pub(super) fn last_word(
        &self,
        account: i64,
        signed: &Signed,
        instance: i64,
        removal: Removal,
        now: Timestamp,
    ) -> Signed {
        let (keys, krl) = (signed.keys.clone(), signed.krl.clone());
        self.sign(account, keys, krl, &For::Last(instance, removal), now)
    }

    fn sign(
        &self,
        account: i64,
        keys: Arc<Keys>,
        krl: Option<Arc<KrlFile>>,
        whose: &For,
        now: Timestamp,
    ) -> Signed {
        let signers = self.signers();
        let (instance, removal) = match *whose {
            For::Account => (None, None),
            For::Instance(instance) => (Some(instance), None),
            For::Last(instance, removal) => (Some(instance), Some(removal)),
        };
        let (except, listed): (_, Vec<&KeyRow>) = match instance {
            None => (keys.special(), keys.everywhere().collect()),
            Some(instance) => (Vec::new(), keys.on(instance).collect()),
        };
        let (issued_at, turn) = issue(account, keys.head.changed_at, now);
        let payload = Payload {
            v: 1,
            account,
            instance,
            except,
            revision: keys.head.revision,
            issued_at,
            expires_at: later(issued_at, LIFE_MS),
            keys: listed
                .into_iter()
                .map(|key| SnapshotKey {
                    id: key.id,
                    name: key.name.clone(),
                    public_key: key.public_key.clone(),
                    options: key.options.clone(),
                    expires_at: key.expires_at,
                    saved_at: key.saved_at,
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
                    fingerprint: Some(order.fingerprint.clone()).filter(|it| !it.is_empty()),
                    serial: order.serial,
                    key_id: order.key_id.clone(),
                    asked_at: order.asked_at,
                    until: order.until,
                })
                .collect(),
            user_ca: keys.trust.user_ca.clone(),
            krl: krl.as_deref().map(KrlFile::named),
            principals: match keys.trust.user_ca.is_empty() {
                true => BTreeMap::new(),
                false => [("*".to_owned(), vec![account_principal(account)])].into(),
            },
            signers: signers.lines(),
            removed: removal.map(|removal| Removed {
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
            krl,
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
mod tests;
