//! Everything about a directory that a careless root could change.

use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Each name below a directory, with its inode, owner, mode, times and a digest of what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<PathBuf, (String, String)>);

impl Tree {
    /// Looks at it, links not followed, what is no plain file not opened.
    pub(crate) fn of(directory: &Path) -> Self {
        let mut tree = BTreeMap::new();
        let mut todo = vec![directory.to_owned()];
        while let Some(path) = todo.pop() {
            let about = fs::symlink_metadata(&path).unwrap();
            let mut holds = String::new();
            if about.is_dir() {
                let below = fs::read_dir(&path).unwrap();
                todo.extend(below.map(|entry| entry.unwrap().path()));
            } else if about.is_symlink() {
                holds = fs::read_link(&path).unwrap().display().to_string();
            } else if about.is_file() {
                let digest = Sha256::digest(fs::read(&path).unwrap());
                holds = format!("{digest:?}");
            }
            let fixed = format!(
                "{} {:o} {}:{} {} {holds}",
                about.ino(),
                about.mode(),
                about.uid(),
                about.gid(),
                about.size()
            );
            let times = format!(
                "{}.{} {}",
                about.mtime(),
                about.mtime_nsec(),
                about.ctime_nsec()
            );
            tree.insert(path, (fixed, times));
        }
        Self(tree)
    }

    /// The same, whenever it was written.
    pub(crate) fn without_times(&self) -> Vec<(PathBuf, String)> {
        let of = |(path, (fixed, _)): (&PathBuf, &(String, String))| (path.clone(), fixed.clone());
        self.0.iter().map(of).collect()
    }
}
