//! Which directories hold files of ours: `state-dir/trust-files.json`, on the disk before the first
//! of them is made.

use crate::sys::private_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    #[serde(default)]
    pub(super) directories: BTreeSet<PathBuf>,
}

impl Record {
    /// What the run before left; nothing where that cannot be read.
    pub(super) fn load(state_dir: &Path) -> Self {
        match private_file::read(&place(state_dir)) {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Ok(None) => Self::default(),
            Err(fault) => {
                tracing::warn!(%fault, "the record of sshd's files of certificates");
                Self::default()
            }
        }
    }

    /// Takes directories that are this one by another way, through a link or spelled otherwise, for
    /// this one: what stands there is not to be taken away as a former one's. Gives what they were
    /// called.
    pub(super) fn take_in(&mut self, current: &Path) -> Vec<PathBuf> {
        let Ok(real) = current.canonicalize() else {
            return Vec::new();
        };
        let is_it = |at: &&PathBuf| {
            at.as_os_str() != current.as_os_str() && at.canonicalize().is_ok_and(|at| at == real)
        };
        let same: Vec<_> = self.directories.iter().filter(is_it).cloned().collect();
        for at in &same {
            self.directories.remove(at);
        }
        if !same.is_empty() {
            self.directories.insert(current.to_owned());
        }
        same
    }

    pub(super) fn is_there(state_dir: &Path) -> bool {
        !Self::load(state_dir).directories.is_empty()
    }

    pub(super) fn save(&self, state_dir: &Path) -> io::Result<()> {
        if *self == Self::load(state_dir) {
            return Ok(());
        }
        private_file::replace(&place(state_dir), &serde_json::to_vec(self)?)
    }
}

fn place(state_dir: &Path) -> PathBuf {
    state_dir.join("trust-files.json")
}
