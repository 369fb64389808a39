//! What the agent owns in each file, on the disk: `state-dir/targets.json`.

use crate::keys::PublicKey;
use crate::sync::Owned;
use crate::sys::private_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Most keys of one file that are remembered after they were taken out.
const MAX_GONE: usize = 256;

/// One file's record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// What is ours there.
    #[serde(default)]
    pub(super) owned: Owned,
    /// Keys that were taken out and may be accepted all the same, as public key lines.
    #[serde(default)]
    gone: Vec<String>,
}

impl Entry {
    pub(super) fn gone(&self) -> Vec<PublicKey> {
        self.gone
            .iter()
            .filter_map(|line| PublicKey::parse_text(line).ok())
            .map(|(key, _)| key)
            .collect()
    }

    pub(super) fn new<'a>(owned: Owned, gone: impl Iterator<Item = &'a PublicKey>) -> Self {
        let gone = gone.take(MAX_GONE).map(PublicKey::to_string).collect();
        Self { owned, gone }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Every file's record, by its path.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    path: PathBuf,
    on_disk: BTreeMap<String, Entry>,
    entries: BTreeMap<String, Entry>,
}

impl Ledger {
    pub(super) fn load(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("targets.json");
        let entries: BTreeMap<String, Entry> = match private_file::read(&path)? {
            // Without it a damaged block keeps what it holds: better than an agent that is down.
            Some(bytes) => match serde_json::from_slice(&bytes) {
                Ok(entries) => entries,
                Err(fault) => {
                    tracing::error!(%fault, "the record of targets is damaged; set aside");
                    private_file::set_aside(&path, "damaged")?;
                    BTreeMap::new()
                }
            },
            None => BTreeMap::new(),
        };
        Ok(Self {
            path,
            on_disk: entries.clone(),
            entries,
        })
    }

    pub(super) fn entry(&self, file: &Path) -> Entry {
        let entry = self.entries.get(&*file.to_string_lossy());
        entry.cloned().unwrap_or_default()
    }

    pub(super) fn put(&mut self, file: &Path, entry: Entry) {
        let file = file.to_string_lossy().into_owned();
        if entry.is_empty() {
            self.entries.remove(&file);
        } else {
            self.entries.insert(file, entry);
        }
    }

    /// Files with something of ours in them.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(|(_, entry)| !entry.owned.keys.is_empty())
            .map(|(file, _)| file.as_str())
    }

    /// Brings what changed to the disk; nothing is written when nothing did.
    pub(super) fn save(&mut self) -> io::Result<()> {
        if self.entries == self.on_disk {
            return Ok(());
        }
        private_file::replace(&self.path, &serde_json::to_vec(&self.entries)?)?;
        self.on_disk = self.entries.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_record_is_set_aside_and_a_good_one_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("targets.json");
        private_file::replace(&path, b"{\"/a\":").unwrap();
        let mut ledger = Ledger::load(dir.path()).unwrap();
        assert!(!path.exists() && dir.path().join("targets.json.damaged").exists());
        let key = crate::trust::Signer::from_seed(&[1; 32]).public();
        let entry = Entry::new(Owned::default(), [&key].into_iter());
        ledger.put(Path::new("/a"), entry.clone());
        ledger.save().unwrap();
        let again = Ledger::load(dir.path()).unwrap().entry(Path::new("/a"));
        assert_eq!((&again, again.gone()), (&entry, vec![key]));
    }
}
