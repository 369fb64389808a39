//! The drop-in itself: read, replaced and taken away below a handle of its directory.
//!
//! One file, by the name that is configured, root's and 0644. A file of that name without our mark
//! is somebody's and stays; the directory is never made.

use super::MARK;
use crate::sys::atomic_file::{CommitError, Current, ReadError, Staged, sweep};
use crate::sys::dir::{Dir, DirError, Owner};
use std::path::Path;

/// What stands at the drop-in's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Nothing,
    /// A file that we wrote.
    Ours(String),
    /// A file of somebody else.
    Another,
}

/// Why it cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum DropInError {
    /// Its directory.
    #[error("{0}; make the directory (root's, 0755) and let sshd_config include it")]
    Missing(DirError),
    /// The way to it.
    #[error(transparent)]
    Way(DirError),
    /// What stands there.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It could not be replaced.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The system says no.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is somebody else's by now.
    #[error("somebody has put a file of his own there")]
    Taken,
}

impl From<DirError> for DropInError {
    fn from(fault: DirError) -> Self {
        match fault {
            DirError::Missing { .. } => Self::Missing(fault),
            other => Self::Way(other),
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Standing, DropInError> {
    let (dir, name) = open(path)?;
    let current = Current::read(&dir, name, Owner::ROOT)?;
    Ok(current.map_or(Standing::Nothing, |file| standing(&file)))
}

/// Makes the file read `text`, or takes it away. Nothing is written where it reads so already.
pub(super) fn put(path: &Path, text: Option<&str>) -> Result<(), DropInError> {
    let (dir, name) = open(path)?;
    sweep(&dir, name)?;
    let current = Current::read(&dir, name, Owner::ROOT)?;
    let now = current.as_ref().map_or(Standing::Nothing, standing);
    let unique = rand::random();
    match (now, text, current) {
        (Standing::Another, _, _) => Err(DropInError::Taken),
        (Standing::Nothing, None, _) | (_, None, None) => Ok(()),
        (_, None, Some(current)) => Ok(current.remove(&dir, name, unique)?),
        (Standing::Ours(now), Some(text), _) if now == text => Ok(()),
        (_, Some(text), current) => {
            let bytes = text.as_bytes().to_vec();
            let staged = Staged::stage(&dir, name, bytes, current.as_ref(), Owner::ROOT, unique)?;
            let receipt = staged.readable()?.seal()?.commit(current)?;
            if receipt.in_place {
                Ok(())
            } else {
                Err(CommitError::Changed.into())
            }
        }
    }
}

fn open(path: &Path) -> Result<(Dir, &std::ffi::OsStr), DropInError> {
    let parent = path.parent().unwrap_or_else(|| Path::new("/"));
    let dir = Dir::open(parent, Owner::ROOT)?;
    Ok((dir, path.file_name().unwrap_or_default()))
}

fn standing(file: &Current) -> Standing {
    let text = String::from_utf8_lossy(file.bytes());
    // The words of the mark may be put otherwise one day; those before the colon stay.
    let mark = MARK.split(':').next().unwrap_or(MARK);
    if text.starts_with(mark) {
        Standing::Ours(text.into_owned())
    } else {
        Standing::Another
    }
}
