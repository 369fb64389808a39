//! The index of one user as the agent keeps it: `state-dir/keys/UID`, and `UID.previous` beside it.
//!
//! Replaced whole and durably; what is damaged never becomes the previous one, and a key that was
//! taken out goes from both. Plans nothing: `sync` says what the bytes are to be.

use super::SinkError;
use crate::keys::{IndexError, IndexLine, MAX_INDEX, decode_index};
use crate::sys::atomic_file::ReadError;
use crate::sys::dir::DirError;
use crate::sys::published::{PublishError, Published};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// What is behind the name of the index before the one in force.
const PREVIOUS: &str = ".previous";

/// One user's index.
#[derive(Debug)]
pub struct IndexFile {
    dir: Published,
    name: OsString,
    uid: u32,
}

/// An index as it was read; nothing where there is none.
#[derive(Debug, Default)]
pub struct IndexRead {
    /// Its bytes, where they may be used.
    pub on_disk: Option<Vec<u8>>,
    /// Its lines, or those of the one before where this one cannot be used.
    pub known: Vec<IndexLine>,
    /// Whether anything stands there.
    pub is_there: bool,
}

impl IndexFile {
    /// Opens the directory of an index, and makes it where it is missing; what a run that was cut
    /// off left in it goes.
    ///
    /// # Errors
    /// [`SinkError`]: also where `sshkeyd authorized-keys` could not, or would not, read there.
    pub fn open(path: &Path, uid: u32) -> Result<Self, SinkError> {
        let parent = path.parent().unwrap_or_else(|| Path::new("/"));
        let (dir, name) = (Published::make(parent)?, path.file_name());
        let name = name.unwrap_or_default().to_owned();
        dir.sweep(&name)?;
        dir.sweep(&previous(&name))?;
        Ok(Self { dir, name, uid })
    }

    /// The same, and nothing is made or changed; `None` where there is no such directory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look(path: &Path, uid: u32) -> Result<Option<Self>, SinkError> {
        let parent = path.parent().unwrap_or_else(|| Path::new("/"));
        let dir = match Published::open(parent) {
            Err(PublishError::Way(DirError::Missing { .. })) => return Ok(None),
            dir => dir?,
        };
        let name = path.file_name().unwrap_or_default().to_owned();
        Ok(Some(Self { dir, name, uid }))
    }

    /// Reads it. What is damaged, or not root's alone, counts as not there; the one before then
    /// says which keys were.
    ///
    /// # Errors
    /// What the system says about reading.
    pub fn read(&self) -> Result<IndexRead, SinkError> {
        let now = self.read_one(&self.name)?;
        if now.on_disk.is_some() {
            return Ok(now);
        }
        let before = self.read_one(&previous(&self.name))?;
        Ok(IndexRead {
            on_disk: None,
            known: before.known,
            is_there: now.is_there || before.is_there,
        })
    }

    fn read_one(&self, name: &OsStr) -> Result<IndexRead, SinkError> {
        let unusable = |is_there| IndexRead {
            is_there,
            ..IndexRead::default()
        };
        let (file, size) = match self.dir.file(name) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(unusable(false)),
            Err(ReadError::NotPlain(_)) => return Ok(unusable(true)),
            Err(fault) => return Err(fault.into()),
        };
        let bytes = whole(file, size)?;
        Ok(match decode_index(&bytes, self.uid) {
            Ok(known) => IndexRead {
                on_disk: Some(bytes),
                known,
                is_there: true,
            },
            Err(_) => unusable(true),
        })
    }

    /// Puts new bytes in the place of what was read, which becomes the previous one. For a change
    /// by which no line goes, or becomes narrower.
    ///
    /// # Errors
    /// What the system says; the old index stands then.
    pub fn replace(&self, read: &IndexRead, bytes: &[u8], unique: u64) -> Result<(), SinkError> {
        let previous = previous(&self.name);
        let keep = read.on_disk.is_some().then_some(&*previous);
        Ok(self.dir.replace(&self.name, keep, bytes, unique)?)
    }

    /// Puts new bytes in the place of both: a damaged index means the one before, and a key that
    /// was taken out must not come back by it. The index itself is last, so that a run that was cut
    /// off is seen by it.
    ///
    /// # Errors
    /// What the system says; the old index stands then.
    pub fn replace_both(&self, bytes: &[u8], unique: u64) -> Result<(), SinkError> {
        for name in [&previous(&self.name), &self.name] {
            self.dir.replace(name, None, bytes, unique)?;
        }
        Ok(())
    }

    /// Takes both away, the previous one first: it must not be found without the other.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self) -> Result<(), SinkError> {
        let previous = previous(&self.name);
        self.dir.sweep(&previous)?;
        self.dir.sweep(&self.name)?;
        Ok(self.dir.remove(&[&previous, &self.name])?)
    }
}

impl From<PublishError> for SinkError {
    fn from(fault: PublishError) -> Self {
        match fault {
            PublishError::Way(fault) => Self::Way(fault),
            PublishError::Unsafe(fault) => Self::Unreadable(fault),
            PublishError::Io(fault) => Self::Io(fault),
        }
    }
}

impl From<IndexError> for SinkError {
    fn from(fault: IndexError) -> Self {
        Self::Io(std::io::Error::other(fault))
    }
}

/// The name of the index before the one of this name.
pub(super) fn previous(name: &OsStr) -> OsString {
    let mut name = name.to_owned();
    name.push(PREVIOUS);
    name
}

/// All bytes of an index; no more than one may have.
pub(super) fn whole(file: File, size: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(MAX_INDEX)).unwrap_or_default());
    file.take(MAX_INDEX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs root; tests/run includes it"]
    fn a_look_makes_nothing_and_both_are_replaced_and_removed() {
        let top = tempfile::tempdir_in("/var/lib").unwrap();
        let path = top.path().join("keys/1");
        assert!(IndexFile::look(&path, 1).unwrap().is_none());
        assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), 0);
        let file = IndexFile::open(&path, 1).unwrap();
        let read = file.read().unwrap();
        assert!(!read.is_there && read.on_disk.is_none());
        let bytes = crate::keys::encode_index(1, &[]).unwrap();
        file.replace(&read, &bytes, 1).unwrap();
        let look = IndexFile::look(&path, 1).unwrap().unwrap();
        assert_eq!(look.read().unwrap().on_disk, Some(bytes.clone()));
        file.replace_both(&bytes, 2).unwrap();
        let previous = std::fs::read(top.path().join("keys/1.previous")).unwrap();
        assert_eq!(previous, bytes);
        file.remove().unwrap();
        assert!(!look.read().unwrap().is_there);
    }
}
