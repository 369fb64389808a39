//! Who this agent is: its identity key, its run, and what the host says of itself.
//!
//! State is bound to the host that made it, so that a cloned image does not go on as its original
//! (protocol.md section 1, "Clones").

use crate::sys::private_file;
use crate::trust::Signer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use zeroize::Zeroizing;

/// Where a host names itself, in files.
const FILES: [(&str, &str); 2] = [
    ("machine-id", "/etc/machine-id"),
    ("product-uuid", "/sys/class/dmi/id/product_uuid"),
];
/// Where a container is named, in the environment.
const VARIABLE: &str = "CONTAINER_ID";
/// Longest name of a host that is kept.
const MAX_MARK: u64 = 256;

/// A run id: random, made at every start of an agent.
#[must_use]
pub fn new_run() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The identity key; made, and brought to the disk, at first use.
pub(super) fn identity(state_dir: &Path) -> io::Result<Signer> {
    let pem = private_file::create_once(&state_dir.join("identity"), || {
        let seed = Zeroizing::new(rand::random::<[u8; 32]>());
        let pem = Signer::from_seed(&seed).to_openssh();
        Zeroizing::new(pem.as_bytes().to_vec())
    })?;
    let text = std::str::from_utf8(&pem).map_err(io::Error::other)?;
    Signer::from_openssh(text).map_err(io::Error::other)
}

/// The public half of the identity key that is kept, if one is.
pub(super) fn kept_identity(state_dir: &Path) -> io::Result<Option<String>> {
    let Some(pem) = private_file::read(&state_dir.join("identity"))? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&pem).map_err(io::Error::other)?;
    let signer = Signer::from_openssh(text).map_err(io::Error::other)?;
    Ok(Some(signer.public().to_string()))
}

/// What a host says of itself: those marks that exist.
///
/// The device of `/` is not among them: on an overlay root it is an anonymous number that changes
/// with every start of the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HostMarks(BTreeMap<String, String>);

impl HostMarks {
    /// Reads the marks of this host.
    pub(super) fn read(env: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let mut marks = BTreeMap::new();
        for (name, path) in FILES {
            let text = std::fs::File::open(path).and_then(|file| {
                let mut text = String::new();
                io::Read::read_to_string(&mut io::Read::take(file, MAX_MARK), &mut text)?;
                Ok(text)
            });
            if let Some(text) = text.ok().filter(|text| !text.trim().is_empty()) {
                marks.insert(name.to_owned(), text.trim().to_owned());
            }
        }
        if let Some(id) = env(VARIABLE).filter(|id| !id.is_empty()) {
            marks.insert(VARIABLE.to_owned(), id.to_string_lossy().into_owned());
        }
        Self(marks)
    }

    /// The first mark that both have and that differs: this is another host.
    pub(super) fn changed(&self, now: &Self) -> Option<String> {
        self.0
            .iter()
            .find(|(name, was)| now.0.get(*name).is_some_and(|is| is != *was))
            .map(|(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(pairs: &[(&str, &str)]) -> HostMarks {
        HostMarks(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn a_mark_that_changed_tells_a_clone_and_one_that_came_or_went_does_not() {
        let was = marks(&[("machine-id", "a"), ("product-uuid", "u")]);
        let clone = marks(&[("machine-id", "b"), ("product-uuid", "u")]);
        assert_eq!(was.changed(&clone).as_deref(), Some("machine-id"));
        assert_eq!(was.changed(&marks(&[("machine-id", "a")])), None);
        assert_eq!(was.changed(&marks(&[("CONTAINER_ID", "9")])), None);
    }

    #[test]
    fn an_identity_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = identity(dir.path()).unwrap().public();
        assert_eq!(identity(dir.path()).unwrap().public(), first);
        assert_ne!(new_run(), new_run());
    }
}
