//! What is remembered of the drop-in, so that a run that was cut off is finished by the next:
//! `state-dir/sshd.json`.

use crate::sys::private_file;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// The drop-in as sshd was last seen to be well with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Its text; none for no drop-in.
    #[serde(default)]
    pub(super) verified: Option<String>,
    /// Something else may stand there, or may be in force, and nobody has seen sshd with it.
    #[serde(default)]
    pub(super) unsettled: bool,
}

impl State {
    /// What the run before left; nothing where that cannot be read.
    pub(super) fn load(state_dir: &Path) -> Self {
        match private_file::read(&place(state_dir)) {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Ok(None) => Self::default(),
            Err(fault) => {
                tracing::warn!(%fault, "the record of the drop-in cannot be read");
                Self::default()
            }
        }
    }

    pub(super) fn save(&self, state_dir: &Path) -> io::Result<()> {
        if *self == Self::load(state_dir) {
            return Ok(());
        }
        private_file::replace(&place(state_dir), &serde_json::to_vec(self)?)
    }

    /// Whether nothing was ever written.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether anything is remembered of a drop-in.
#[must_use]
pub fn is_remembered(state_dir: &Path) -> bool {
    !State::load(state_dir).is_empty()
}

fn place(state_dir: &Path) -> PathBuf {
    state_dir.join("sshd.json")
}
