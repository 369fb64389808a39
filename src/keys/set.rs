//! A set of fingerprints that many may hold at once: who has ten thousand keys has them once.

use super::Fingerprint;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

/// Fingerprints in order, none twice. Never changed, only replaced; a clone shares the memory.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySet(Arc<[Fingerprint]>);

impl KeySet {
    /// Whether this key is one of them.
    #[must_use]
    pub fn contains(&self, key: &Fingerprint) -> bool {
        self.0.binary_search(key).is_ok()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Fingerprint> {
        self.0.iter()
    }
}

impl Default for KeySet {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<Fingerprint> for KeySet {
    fn from_iter<I: IntoIterator<Item = Fingerprint>>(keys: I) -> Self {
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        Self(keys.into())
    }
}

impl<const N: usize> From<[Fingerprint; N]> for KeySet {
    fn from(keys: [Fingerprint; N]) -> Self {
        keys.into_iter().collect()
    }
}

impl<'a> IntoIterator for &'a KeySet {
    type Item = &'a Fingerprint;
    type IntoIter = std::slice::Iter<'a, Fingerprint>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Serialize for KeySet {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for KeySet {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Vec::deserialize(from).map(Self::from_iter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_reads_back_as_it_was_written_and_holds_no_key_twice() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|blob| Fingerprint::of(blob));
        let set = KeySet::from([c, a, b, a]);
        assert_eq!(set.len(), 3);
        assert!(set.contains(&b) && !set.contains(&Fingerprint::of(b"d")));
        assert!(set.iter().is_sorted());
        let json = serde_json::to_string(&set).unwrap();
        let written: std::collections::BTreeSet<_> = [a, b, c].into();
        assert_eq!(json, serde_json::to_string(&written).unwrap());
        assert_eq!(serde_json::from_str::<KeySet>(&json).unwrap(), set);
        assert!(KeySet::default().is_empty());
    }
}
