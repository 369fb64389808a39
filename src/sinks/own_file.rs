//! A file that is ours alone: taken away whole, and whether its user can come to it.
//!
//! sshd opens it as its user (OpenSSH `auth2-pubkeyfile.c`, `auth_openkeyfile`), so each directory
//! on the way must let him pass.

use super::SinkError;
use crate::sys::atomic_file::{CommitError, Current, sweep};
use crate::sys::dir::{Dir, DirError, Owner};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How often a file that is written meanwhile is looked at again.
const TRIES: u64 = 5;

/// Takes the file away and gives what it held; none where there is none. `is_ours` judges what it
/// holds. `unique` names it on its way out.
///
/// # Errors
/// [`SinkError`]; the file stands then.
pub fn remove(
    path: &Path,
    owner: Owner,
    unique: u64,
    is_ours: impl Fn(&[u8]) -> bool,
) -> Result<Option<Vec<u8>>, SinkError> {
    let parent = path.parent().unwrap_or_else(|| Path::new("/"));
    let name = path.file_name().unwrap_or_default();
    let dir = match Dir::open(parent, owner) {
        Ok(dir) => dir,
        Err(DirError::Missing { .. }) => return Ok(None),
        Err(fault) => return Err(fault.into()),
    };
    sweep(&dir, name)?;
    for attempt in 0..TRIES {
        let Some(current) = Current::read(&dir, name, owner)? else {
            return Ok(None);
        };
        if !is_ours(current.bytes()) {
            return Ok(None);
        }
        let bytes = current.bytes().to_vec();
        match current.remove(&dir, name, unique.wrapping_add(attempt)) {
            Ok(()) => return Ok(Some(bytes)),
            Err(CommitError::Changed) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Err(SinkError::Changed)
}

/// The directory on the way to the file that does not let its user pass.
#[must_use]
pub fn impassable(path: &Path, owner: Owner) -> Option<PathBuf> {
    let bars = |dir: &&Path| {
        let about = std::fs::metadata(dir);
        about.is_ok_and(|about| {
            let bits = match (about.uid() == owner.uid, about.gid() == owner.gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            about.mode() & bits == 0
        })
    };
    // Root passes everywhere, as sshd does for him.
    let mut above = path.ancestors().skip(1).filter(|_| owner.uid != 0);
    above.find(bars).map(Path::to_owned)
}
