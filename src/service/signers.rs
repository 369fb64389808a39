//! Who signs snapshots: the signers of `secrets-dir`, and how one follows the other.
//!
//! After a rotation the service signs with the old one and the new one for 90 days, and keeps the
//! hand-over for agents that were off for longer (protocol.md section 2, "Signers"). It adopts what
//! it finds in `secrets-dir` at start and at HUP, and refuses a directory that is another
//! service's: every agent would hold.

use super::secrets::{self, Secrets};
use super::store::{HandoverRow, SetRow, StoreError, signers_in_force};
use super::{Service, ServiceError};
use crate::config::ServerConfig;
use crate::trust::Signer;
use crate::wire::{HANDOVER_NAMESPACE, HandoverPayload};
use jiff::{SignedDuration, Timestamp};

/// How often `secrets-dir` is looked at for signers that another replica has put in force.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(10);

/// How long both sign.
const OVERLAP: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The signers that are held.
#[derive(Clone)]
pub(super) struct Signers {
    /// Signs from here on.
    pub(super) current: Signer,
    /// Signs too, for those who do not know the current one yet.
    pub(super) previous: Option<Signer>,
    /// The public key lines of all before. Where agents were told of one of these last, it was given
    /// away, or the database is an older copy: nothing leads on from it.
    pub(super) former: Vec<String>,
}

impl Signers {
    /// Those that sign, the one that stays first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Signer> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// Their public key lines.
    pub(super) fn lines(&self) -> Vec<String> {
        self.all()
            .map(|signer| signer.public().to_string())
            .collect()
    }

    /// Without the previous one once its time is over.
    fn trimmed(self, set: Option<&SetRow>, now: Timestamp) -> Self {
        let over = set.is_some_and(|set| {
            set.signers == self.lines() && now.duration_since(set.at) >= OVERLAP
        });
        let lapsed = set.is_some_and(|set| {
            // It left this set before: it does not come back with a restart.
            set.signers == [self.current.public().to_string()]
        });
        Self {
            previous: self.previous.filter(|_| !over && !lapsed),
            ..self
        }
    }

    /// Whether the set in force is one that comes after these.
    fn are_behind(&self, set: &SetRow) -> bool {
        let first = set.signers.first();
        first.is_some_and(|first| !self.lines().contains(first) && !self.former.contains(first))
    }

    /// The hand-over to these from the set in force.
    fn from(&self, set: &SetRow) -> Step {
        let wanted = self.lines();
        if set.signers == wanted {
            return Step::Same;
        }
        let knows = |signer: &&Signer| set.signers.contains(&signer.public().to_string());
        if let Some(by) = self.all().find(knows) {
            let payload = HandoverPayload {
                v: 1,
                signers: wanted,
            };
            let payload = serde_json::to_vec(&payload)
                .expect("plain structs with string keys always have a JSON form");
            let signature = by.sign(HANDOVER_NAMESPACE, &payload);
            return Step::Handover(HandoverRow { payload, signature });
        }
        if self.former.iter().any(|line| set.signers.contains(line)) {
            return Step::Break;
        }
        Step::Stranger
    }
}

/// How a set follows another.
enum Step {
    Same,
    Handover(HandoverRow),
    /// Without hand-over: agents want a new token.
    Break,
    /// Nothing here knows the set in force.
    Stranger,
}

impl Service {
    /// Adopts the signers that `secrets-dir` holds.
    ///
    /// # Errors
    /// [`ServiceError::Strangers`] where the directory is not that of this database.
    pub(super) async fn adopt(&self, secrets: Secrets) -> Result<(), ServiceError> {
        if !self.store.is_sealed_by(secrets.tag()).await? {
            return Err(ServiceError::Strangers("sealing-key"));
        }
        // No list is signed meanwhile: one revision never speaks of two sets.
        let changing = self.snapshots.changing().await;
        let mut signers = secrets.signers;
        // Replicas may start at the same time: whoever is second finds the first one's set.
        for _ in 0..8 {
            let (set, now) = (self.store.signer_set().await?, self.now());
            signers = signers.trimmed(set.as_ref(), now);
            // Of many replicas one that has an old directory does not take the others back to it.
            if self.store.is_shared() && set.as_ref().is_some_and(|set| signers.are_behind(set)) {
                return Err(ServiceError::Strangers("snapshot-signer"));
            }
            let handover = match set.as_ref().map(|set| signers.from(set)) {
                Some(Step::Same) => {
                    changing.sign_by(signers);
                    return Ok(());
                }
                Some(Step::Stranger) => return Err(ServiceError::Strangers("snapshot-signer")),
                Some(Step::Handover(handover)) => Some(handover),
                Some(Step::Break) => {
                    tracing::warn!(
                        "nothing leads on from the signers that agents were told of last; those that \
                         know none of the present ones want a new token"
                    );
                    None
                }
                None => None,
            };
            let (before, lines) = (set.map(|set| set.id), signers.lines());
            let adopted = self.store.adopt_signers(before, lines, handover, now);
            if adopted.await? {
                if before.is_some() {
                    let signer = signers.current.public().fingerprint().to_string();
                    tracing::info!(signer, "snapshot signer adopted");
                }
                changing.sign_by(signers);
                return Ok(());
            }
        }
        Err(ServiceError::Strangers("snapshot-signer"))
    }

    /// Lets the previous signer go when its time is over; call it now and then.
    ///
    /// # Errors
    /// As [`Service::adopt`].
    pub(super) async fn retire_signer(&self) -> Result<(), ServiceError> {
        let signers = self.snapshots.signers();
        if signers.previous.is_none() {
            return Ok(());
        }
        let (set, now) = (self.store.signer_set().await?, self.now());
        let trimmed = Signers::clone(&signers).trimmed(set.as_ref(), now);
        if trimmed.previous.is_some() {
            return Ok(());
        }
        let secrets = Secrets {
            sealing_key: (*self.sealing_key).clone(),
            signers: trimmed,
        };
        self.adopt(secrets).await
    }

    /// Adopts the signers that were loaded when the service was opened.
    ///
    /// # Errors
    /// As [`Service::adopt`].
    pub(super) async fn adopt_loaded(&self) -> Result<(), ServiceError> {
        let secrets = Secrets {
            sealing_key: (*self.sealing_key).clone(),
            signers: Signers::clone(&self.snapshots.signers()),
        };
        self.adopt(secrets).await
    }

    /// Takes in the signers that another replica has put in force, as soon as `secrets-dir` holds
    /// them; until then no list is signed here. Never returns.
    pub(super) async fn follow_signers(&self) {
        loop {
            self.snapshots.stale().await;
            let loaded = match Secrets::load(&self.secrets_dir) {
                Ok(secrets) => self.adopt(secrets).await,
                Err(error) => Err(error),
            };
            if let Err(error) = loaded {
                tracing::error!(
                    %error,
                    "another replica has put other signers in force; no list is signed here"
                );
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Reads `secrets-dir` again and adopts what it holds.
    ///
    /// # Errors
    /// As at start; the signers of before stay.
    pub async fn reload_secrets(&self, config: &ServerConfig) -> Result<(), ServiceError> {
        self.adopt(Secrets::load(&config.secrets_dir)?).await
    }
}

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The fingerprint of the signer of before.
    pub old: String,
    /// The fingerprint of the new one.
    pub new: String,
}

/// Makes a new snapshot signer in `secrets-dir`; a server adopts it at its next start or HUP.
/// `compromised`: the old one signs nothing more, and nothing leads on from it.
///
/// # Errors
/// [`ServiceError::NotAdopted`] where the old one is not in force: of two rotations the service
/// would know neither end, and start no more. [`ServiceError::Secrets`], [`ServiceError::Store`].
/// The old one stays.
pub fn rotate_signer(config: &ServerConfig, compromised: bool) -> Result<Rotated, ServiceError> {
    secrets::is_ours(&config.secrets_dir)?;
    let old = Secrets::load(&config.secrets_dir)?.signers.current;
    match signers_in_force(&config.database) {
        Ok(Some(set)) if set.contains(&old.public().to_string()) => {}
        // Nobody was ever told of a signer.
        Err(StoreError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        Ok(_) => return Err(ServiceError::NotAdopted),
        Err(error) => return Err(error.into()),
    }
    let new = secrets::new_signer();
    let (old_key, new_key) = (old.public(), new.public());
    secrets::put_signers(&config.secrets_dir, &old, &new, compromised)?;
    Ok(Rotated {
        old: old_key.fingerprint().to_string(),
        new: new_key.fingerprint().to_string(),
    })
}
