//! The last list that was believed, on the disk: what is in force while a source is away.
//!
//! For a signed source the list, its floor and the signers to believe next are one record, brought
//! to the disk in one write before anything is applied (protocol.md section 2).

use super::trust::TrustPart;
use crate::keys::{Fingerprint, KeyList, ListedKey, Options, PublicKey, Rejected};
use crate::sync::Agreement;
use crate::sys::private_file;
use crate::trust::Floor;
use jiff::Timestamp;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The record's version.
const VERSION: u32 = 1;

/// A list as it is kept; the list itself is shared with whoever goes by it.
#[derive(Debug, Clone)]
pub(super) struct LastGood {
    /// The list.
    pub(super) list: Arc<KeyList>,
    /// When the source last gave or confirmed it.
    pub(super) received_at: Timestamp,
    /// What a signed source said beside its keys.
    pub(super) signed: Option<SignedPart>,
    /// A much shorter list that an unsigned source offers, and how often by now.
    pub(super) offered: Option<Agreement>,
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
    /// What the list says of certificates; `None` in a record of a time when none was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trust: Option<TrustPart>,
}

/// A record as it is written: one key after the other, none of them twice in memory.
#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    #[serde(serialize_with = "write_keys")]
    keys: &'a [ListedKey],
    rejected: &'a [Rejected],
    revoked: &'a BTreeSet<Fingerprint>,
    received_at: Timestamp,
    signed: &'a Option<SignedPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offered: &'a Option<Agreement>,
}

/// A record as it is read, in the same way.
#[derive(Deserialize)]
struct Found {
    v: u32,
    #[serde(deserialize_with = "read_keys")]
    keys: KeyList,
    #[serde(default)]
    rejected: Vec<Rejected>,
    #[serde(default)]
    revoked: BTreeSet<Fingerprint>,
    received_at: Timestamp,
    #[serde(default)]
    signed: Option<SignedPart>,
    #[serde(default)]
    offered: Option<Agreement>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey<'a> {
    id: Cow<'a, str>,
    name: Cow<'a, str>,
    public_key: String,
    options: Cow<'a, Options>,
    expires_at: Option<Timestamp>,
    saved_at: Option<Timestamp>,
}

fn write_keys<S: Serializer>(keys: &[ListedKey], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(keys.iter().map(|key| StoredKey {
        id: Cow::Borrowed(&key.id),
        name: Cow::Borrowed(&key.name),
        public_key: key.key.to_string(),
        options: Cow::Borrowed(&key.options),
        expires_at: key.expires_at,
        saved_at: key.saved_at,
    }))
}

fn read_keys<'de, D: Deserializer<'de>>(from: D) -> Result<KeyList, D::Error> {
    struct Keys;

    impl<'de> Visitor<'de> for Keys {
        type Value = KeyList;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of keys")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut keys: A) -> Result<KeyList, A::Error> {
            let mut list = KeyList::default();
            while let Some(key) = keys.next_element::<StoredKey<'_>>()? {
                list.push(key.listed());
            }
            list.accepted.shrink_to_fit();
            Ok(list)
        }
    }

    from.deserialize_seq(Keys)
}

impl StoredKey<'_> {
    fn listed(self) -> Result<ListedKey, Rejected> {
        match PublicKey::parse_text(&self.public_key) {
            Ok((key, _)) => Ok(ListedKey {
                id: self.id.into_owned(),
                name: self.name.into_owned(),
                key,
                options: self.options.into_owned(),
                expires_at: self.expires_at,
                saved_at: self.saved_at,
            }),
            Err(fault) => Err(Rejected {
                at: format!("key {}", self.id),
                why: fault.to_string(),
                fingerprint: None::<Fingerprint>,
            }),
        }
    }
}

impl LastGood {
    /// Reads a record; `None` when there is none. A damaged one is an error: it must not be taken
    /// for a source that never answered.
    pub(super) fn load(path: &Path) -> io::Result<Option<Self>> {
        let Some(bytes) = private_file::read(path)? else {
            return Ok(None);
        };
        let mut found: Found = serde_json::from_slice(&bytes)?;
        if found.v != VERSION {
            return Err(io::Error::other(format!(
                "version {} is not known",
                found.v
            )));
        }
        // What was left out then stands before what is left out now.
        let left_out = std::mem::replace(&mut found.keys.rejected, found.rejected);
        found.keys.rejected.extend(left_out);
        found.keys.revoked = found.revoked;
        Ok(Some(Self {
            list: Arc::new(found.keys),
            received_at: found.received_at,
            signed: found.signed,
            offered: found.offered,
        }))
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
        let record = Written {
            v: VERSION,
            keys: &self.list.accepted,
            rejected: &self.list.rejected,
            revoked: &self.list.revoked,
            received_at: self.received_at,
            signed: &self.signed,
            offered: &self.offered,
        };
        private_file::replace_by(path, |file| Ok(serde_json::to_writer(file, &record)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_as_it_was_kept() {
        let public = |seed| crate::trust::Signer::from_seed(&[seed; 32]).public();
        let key = |seed: u8| ListedKey {
            id: seed.to_string(),
            name: "a \"b\"".to_owned(),
            key: public(seed),
            options: Options::parse("no-pty,from=\"10.0.0.1\"").unwrap(),
            expires_at: Some("2026-12-01T08:00:00Z".parse().unwrap()),
            saved_at: None,
        };
        let list = KeyList {
            accepted: vec![key(1), key(2)],
            rejected: vec![Rejected {
                at: "key 3".to_owned(),
                why: "it is damaged".to_owned(),
                fingerprint: Some(public(3).fingerprint()),
            }],
            revoked: [public(4).fingerprint()].into(),
        };
        let record = LastGood {
            list: Arc::new(list),
            received_at: Timestamp::UNIX_EPOCH,
            signed: None,
            offered: None,
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        record.store(&path).unwrap();
        let again = LastGood::load(&path).unwrap().unwrap();
        assert_eq!(again.list, record.list);

        // A key that is no key any more costs that key, and its place is named.
        let text = std::fs::read_to_string(&path).unwrap();
        let damaged = text.replacen("ssh-ed25519 AAAA", "ssh-ed25519 BBBB", 1);
        private_file::replace(&path, damaged.as_bytes()).unwrap();
        let again = LastGood::load(&path).unwrap().unwrap();
        let places = again.list.rejected.iter().map(|key| key.at.as_str());
        assert_eq!(again.list.accepted, [key(2)]);
        assert_eq!(places.collect::<Vec<_>>(), ["key 3", "key 1"]);
        private_file::replace(&path, text.replace("\"v\":1", "\"v\":2").as_bytes()).unwrap();
        assert!(LastGood::load(&path).is_err());
    }
}
