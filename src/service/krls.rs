//! Revocation lists as files: encoded once for each number, kept for those who fetch them by
//! digest.
//!
//! The same list is the same bytes on every replica and at every signing, since its digest is
//! signed. Some lists of before are kept: who got a snapshot a moment before a change fetches the
//! list that it names, however fast changes come.

use crate::trust::Krl;
use crate::wire::KrlRef;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// The longest list that stands in the snapshot itself.
const INLINE: usize = 4 * 1024;

/// Lists of one account that are kept: the one in force and those before it.
const OF_ACCOUNT: usize = 4;

/// Bytes of all lists that are kept here; past that all go, and the ones in force are found with
/// their snapshots.
const BYTES: usize = 64 * 1024 * 1024;

/// A revocation list as a file.
#[derive(Debug)]
pub(super) struct KrlFile {
    /// Its number.
    pub(super) version: u64,
    /// Hexadecimal digest.
    pub(super) sha256: String,
    /// As sshd reads it.
    pub(super) bytes: Bytes,
}

impl KrlFile {
    /// Encodes it.
    pub(super) fn new(krl: &Krl) -> Self {
        let bytes = krl.encode();
        let digest = Sha256::digest(&bytes);
        Self {
            version: krl.version,
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            bytes: bytes.into(),
        }
    }

    /// What a snapshot says of it.
    pub(super) fn named(&self) -> KrlRef {
        let inline = self.bytes.len() <= INLINE;
        KrlRef {
            version: self.version,
            sha256: self.sha256.clone(),
            size: u64::try_from(self.bytes.len()).unwrap_or(u64::MAX),
            base64: inline.then(|| STANDARD.encode(&self.bytes)),
        }
    }
}

/// Those that are kept.
#[derive(Default)]
pub(super) struct Krls(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    accounts: HashMap<i64, VecDeque<Arc<KrlFile>>>,
    bytes: usize,
}

impl Krls {
    /// The list of this digest, if it is kept.
    pub(super) fn digest(&self, account: i64, sha256: &str) -> Option<Arc<KrlFile>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let files = kept.accounts.get(&account)?;
        files.iter().find(|file| file.sha256 == sha256).cloned()
    }

    /// Keeps the list that is in force now.
    pub(super) fn keep(&self, account: i64, file: Arc<KrlFile>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let had = kept.accounts.get(&account);
        if had.is_some_and(|files| files.iter().any(|had| had.sha256 == file.sha256)) {
            return;
        }
        if kept.bytes.saturating_add(file.bytes.len()) > BYTES {
            *kept = Kept::default();
        }
        kept.bytes += file.bytes.len();
        let files = kept.accounts.entry(account).or_default();
        files.push_front(file);
        let gone = (files.len() > OF_ACCOUNT)
            .then(|| files.pop_back())
            .flatten();
        kept.bytes -= gone.map_or(0, |gone| gone.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u64) -> Arc<KrlFile> {
        Arc::new(KrlFile::new(&Krl {
            version,
            ..Krl::default()
        }))
    }

    #[test]
    fn the_last_lists_of_an_account_are_found_by_their_digests() {
        let krls = Krls::default();
        for version in [1, 2, 3, 4, 5, 6, 6] {
            krls.keep(1, file(version));
        }
        let found = |account, version| krls.digest(account, &file(version).sha256);
        assert!(found(1, 2).is_none() && found(2, 6).is_none());
        let third = found(1, 3).unwrap();
        assert_eq!(third.version, 3);
        let bytes = krls.0.lock().unwrap().bytes;
        assert_eq!(bytes, 4 * third.bytes.len());
    }

    #[test]
    fn only_a_short_list_stands_in_the_snapshot() {
        let mut krl = Krl::default();
        assert!(KrlFile::new(&krl).named().base64.is_some());
        krl.keys.insert(vec![7; INLINE]);
        let named = KrlFile::new(&krl).named();
        assert!(named.base64.is_none() && named.size > 4_096);
    }
}
