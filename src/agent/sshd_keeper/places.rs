//! Whose keys stand where sshd would not look by itself: `state-dir/key-places.json`.

use super::place_of;
use crate::config;
use crate::sys::private_file;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Places of keys that sshd would not look in by itself, by the user whose keys stand there: own
/// files, sshd's tokens in their paths, and the command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places(BTreeMap<String, BTreeSet<String>>);

impl Places {
    pub(super) fn load(state_dir: &Path) -> io::Result<Self> {
        let known = private_file::read(&place(state_dir))?;
        let read = |bytes: &[u8]| match serde_json::from_slice(bytes) {
            Ok(files) => files,
            Err(fault) => {
                tracing::error!(%fault, "the record of the keys' places is damaged");
                BTreeMap::new()
            }
        };
        Ok(Self(known.map_or_else(BTreeMap::new, |bytes| read(&bytes))))
    }

    /// Remembers those of the targets, and forgets what has another place by now. Gives those that
    /// no target names and that stay in force: of users without a target, and of `open` ones.
    pub(super) fn also_of(
        self,
        targets: &[config::Target],
        open: &BTreeSet<String>,
        state_dir: &Path,
    ) -> io::Result<BTreeSet<String>> {
        let mut now: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for target in targets {
            if let Some(place) = place_of(target) {
                now.entry(target.user.clone()).or_default().insert(place);
            }
        }
        let mut more = BTreeSet::new();
        for (user, paths) in &self.0 {
            let is_kept = |target: &config::Target| target.user == *user;
            if open.contains(user) || !targets.iter().any(is_kept) {
                more.extend(paths.iter().cloned());
                now.entry(user.clone())
                    .or_default()
                    .extend(paths.iter().cloned());
            }
        }
        let now = Self(now);
        if now != self {
            now.save(state_dir)?;
        }
        Ok(more)
    }

    pub(super) fn save(&self, state_dir: &Path) -> io::Result<()> {
        if *self == Self::load(state_dir)? {
            return Ok(());
        }
        private_file::replace(&place(state_dir), &serde_json::to_vec(&self.0)?)
    }
}

fn place(state_dir: &Path) -> PathBuf {
    state_dir.join("key-places.json")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{own, target};
    use super::*;
    use crate::config::Method;

    #[test]
    fn an_own_file_stays_named_until_its_user_has_another_place() {
        let dir = tempfile::tempdir().unwrap();
        let also = |targets: &[config::Target], open: &[&str]| {
            let open = open.iter().map(|user| (*user).to_owned()).collect();
            let known = Places::load(dir.path()).unwrap();
            let more = known.also_of(targets, &open, dir.path()).unwrap();
            more.into_iter().collect::<Vec<_>>()
        };
        let first: [&str; 0] = [];
        assert_eq!(
            also(&[own("al", "/a/%u"), own("bo", "/b/%u")], &["al", "bo"]),
            first
        );
        // al is taken out: his keys stay in force. bo moves, and is not written yet.
        assert_eq!(also(&[own("bo", "/c/%u")], &["bo"]), ["/a/%u", "/b/%u"]);
        assert_eq!(also(&[own("bo", "/c/%u")], &[]), ["/a/%u"]);
        let block = target("al", Method::Block, "%h/.ssh/authorized_keys");
        assert_eq!(
            also(std::slice::from_ref(&block), &["al"]),
            ["/a/%u", "/c/%u"]
        );
        assert_eq!(also(&[block], &[]), ["/c/%u"]);
    }
}
