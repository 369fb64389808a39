//! What somebody else did to what is ours in a file, between two turns.
//!
//! Only our own part is looked at: what others do to their own lines is theirs to do.

use crate::keys::{Fingerprint, KeySet};
use sha2::{Digest as _, Sha256};

/// What of ours stands in a file: enough to tell whether somebody changed it, and what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    keys: KeySet,
    digest: Option<[u8; 32]>,
}

/// What somebody changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    /// Keys of ours that he took out.
    pub taken: Vec<Fingerprint>,
    /// Keys that he put among ours.
    pub put: Vec<Fingerprint>,
}

impl Trace {
    /// What `text`, which holds these keys, looks like; no text is no trace.
    #[must_use]
    pub fn new(keys: KeySet, text: &[u8]) -> Self {
        let digest = (!text.is_empty()).then(|| Sha256::digest(text).into());
        Self { keys, digest }
    }

    /// The keys.
    #[must_use]
    pub(super) fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// What was changed from this, which was left, to `found`; `None` when nothing was.
    #[must_use]
    pub fn drift(&self, found: &Self) -> Option<Drift> {
        if self == found {
            return None;
        }
        let beyond = |one: &Self, other: &Self| {
            let keys = one.keys.iter();
            keys.filter(|key| !other.keys.contains(key))
                .copied()
                .collect()
        };
        Some(Drift {
            taken: beyond(self, found),
            put: beyond(found, self),
        })
    }
}

impl Drift {
    /// In words, at most this many keys named each way.
    #[must_use]
    pub fn in_words(&self, most: usize) -> String {
        let list = |keys: &[Fingerprint]| {
            let mut words: Vec<_> = keys.iter().take(most).map(Fingerprint::to_string).collect();
            if keys.len() > most {
                words.push(format!("{} more", keys.len() - most));
            }
            words.join(", ")
        };
        let mut parts = Vec::new();
        if !self.taken.is_empty() {
            parts.push(format!("took out {}", list(&self.taken)));
        }
        if !self.put.is_empty() {
            parts.push(format!("put in {}", list(&self.put)));
        }
        if parts.is_empty() {
            parts.push("changed its text".to_owned());
        }
        parts.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::key;
    use super::*;

    #[test]
    fn a_change_is_told_by_what_it_took_and_what_it_put() {
        let of = |n: &[u8]| n.iter().map(|n| key(*n).key.fingerprint()).collect();
        let left = Trace::new(of(&[1, 2]), b"a");
        assert_eq!(left.drift(&left), None);
        let words = |keys: &[u8], text: &[u8]| {
            let found = Trace::new(of(keys), text);
            left.drift(&found).unwrap().in_words(1)
        };
        let name = |n: u8| key(n).key.fingerprint();
        assert_eq!(words(&[1, 2], b"b"), "changed its text");
        assert_eq!(words(&[2], b"b"), format!("took out {}", name(1)));
        let both = format!("took out {} and put in {}", name(2), name(3));
        assert_eq!(words(&[1, 3], b"b"), both);
        assert!(words(&[], b"").ends_with("1 more"));
    }
}
