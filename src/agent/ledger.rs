//! What the agent owns in each file, on the disk: `state-dir/targets.json`.

use crate::keys::PublicKey;
use crate::sync::Owned;
use crate::sys::private_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// Every file's record, by its path. A clone is the same ledger: turns at several files keep one.
#[derive(Debug, Clone)]
pub(super) struct Ledger(Arc<Mutex<Book>>);

#[derive(Debug)]
struct Book {
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
        Ok(Self(Arc::new(Mutex::new(Book {
            path,
            on_disk: entries.clone(),
            entries,
        }))))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn entry(&self, file: &Path) -> Entry {
        let book = self.book();
        let entry = book.entries.get(&*file.to_string_lossy());
        entry.cloned().unwrap_or_default()
    }

    pub(super) fn put(&self, file: &Path, entry: Entry) {
        let file = file.to_string_lossy().into_owned();
        let mut book = self.book();
        if entry.is_empty() {
            book.entries.remove(&file);
        } else {
            book.entries.insert(file, entry);
        }
    }

    /// Files with something of ours in them.
    pub(super) fn files(&self) -> Vec<String> {
        let book = self.book();
        let ours = book.entries.iter();
        let ours = ours.filter(|(_, entry)| !entry.owned.keys.is_empty());
        ours.map(|(file, _)| file.clone()).collect()
    }

    /// Brings what changed to the disk; nothing is written when nothing did.
    pub(super) fn save(&self) -> io::Result<()> {
        let mut book = self.book();
        if book.entries == book.on_disk {
            return Ok(());
        }
        let entries = &book.entries;
        private_file::replace_by(&book.path, |file| Ok(serde_json::to_writer(file, entries)?))?;
        book.on_disk = book.entries.clone();
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
        let ledger = Ledger::load(dir.path()).unwrap();
        assert!(!path.exists() && dir.path().join("targets.json.damaged").exists());
        let key = crate::trust::Signer::from_seed(&[1; 32]).public();
        let entry = Entry::new(Owned::default(), [&key].into_iter());
        ledger.put(Path::new("/a"), entry.clone());
        ledger.save().unwrap();
        let again = Ledger::load(dir.path()).unwrap().entry(Path::new("/a"));
        assert_eq!((&again, again.gone()), (&entry, vec![key]));
    }
}
