//! The last list that was believed, on the disk: what is in force while a source is away.
//!
//! For a signed source the list, its floor and the signers to believe next are one record, brought
//! to the disk in one write before anything is applied (protocol.md section 2).

use crate::keys::{Fingerprint, KeyList, ListedKey, Options, PublicKey, Rejected};
use crate::sys::private_file;
use crate::trust::Floor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use zeroize::Zeroizing;

/// The record's version.
const VERSION: u32 = 1;

/// A list as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LastGood {
    v: u32,
    keys: Vec<StoredKey>,
    #[serde(default)]
    rejected: Vec<Rejected>,
    /// When the source last gave or confirmed it.
    pub(super) received_at: Timestamp,
    /// What a signed source said beside its keys.
    #[serde(default)]
    pub(super) signed: Option<SignedPart>,
}

/// What a signed source said beside its keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SignedPart {
    /// Whose list it is.
    pub(super) account: i64,
    /// The instance that it was given to.
    pub(super) instance: i64,
    /// The highest revision that was taken.
    pub(super) floor: Floor,
    /// Who may sign the next one, as public key lines.
    pub(super) signers: Vec<String>,
    /// After this the list is stale.
    pub(super) expires_at: Timestamp,
    /// The instance was removed from its account: nothing more comes.
    #[serde(default)]
    pub(super) removed: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredKey {
    id: String,
    name: String,
    public_key: String,
    options: Options,
    expires_at: Option<Timestamp>,
    saved_at: Option<Timestamp>,
}

impl LastGood {
    pub(super) fn new(list: &KeyList, received_at: Timestamp, signed: Option<SignedPart>) -> Self {
        let stored = |key: &ListedKey| StoredKey {
            id: key.id.clone(),
            name: key.name.clone(),
            public_key: key.key.to_string(),
            options: key.options.clone(),
            expires_at: key.expires_at,
            saved_at: key.saved_at,
        };
        Self {
            v: VERSION,
            keys: list.accepted.iter().map(stored).collect(),
            rejected: list.rejected.clone(),
            received_at,
            signed,
        }
    }

    /// The list.
    pub(super) fn list(&self) -> KeyList {
        let mut list = KeyList {
            accepted: Vec::with_capacity(self.keys.len()),
            rejected: self.rejected.clone(),
        };
        for key in &self.keys {
            list.push(match PublicKey::parse_text(&key.public_key) {
                Ok((public, _)) => Ok(ListedKey {
                    id: key.id.clone(),
                    name: key.name.clone(),
                    key: public,
                    options: key.options.clone(),
                    expires_at: key.expires_at,
                    saved_at: key.saved_at,
                }),
                Err(fault) => Err(Rejected {
                    at: format!("key {}", key.id),
                    why: fault.to_string(),
                    fingerprint: None::<Fingerprint>,
                }),
            });
        }
        list
    }

    /// Reads a record; `None` when there is none. A damaged one is an error: it must not be taken
    /// for a source that never answered.
    pub(super) fn load(path: &Path) -> io::Result<Option<Self>> {
        let Some(bytes) = private_file::read(path)? else {
            return Ok(None);
        };
        let record: Self = serde_json::from_slice(&bytes)?;
        if record.v != VERSION {
            return Err(io::Error::other(format!(
                "version {} is not known",
                record.v
            )));
        }
        Ok(Some(record))
    }

    /// Reads a record; a damaged one is given another name, and its source has never answered: keys
    /// are only added until it does.
    pub(super) fn load_or_set_aside(path: &Path) -> io::Result<Option<Self>> {
        Self::load(path).or_else(|fault| {
            tracing::error!(path = %path.display(), %fault, "the last good list is damaged; set aside");
            private_file::set_aside(path, "damaged")?;
            Ok(None)
        })
    }

    /// Brings the record to the disk.
    pub(super) fn store(&self, path: &Path) -> io::Result<()> {
        let bytes = Zeroizing::new(serde_json::to_vec(self)?);
        private_file::replace(path, &bytes)
    }
}
