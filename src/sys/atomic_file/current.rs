//! A file as it was read: only a plain one of the user's, and what tells that it changed since.

use super::super::dir::{Dir, Owner};
use super::MAX_FILE;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::sync::Arc;

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not a file that we would read: its content could be root's and not the user's.
    #[error("{0}")]
    NotPlain(&'static str),
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A file as it was read: its bytes, and the handle by which later appends are seen.
#[derive(Debug)]
pub struct Current {
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) file: File,
    pub(super) seen: Seen,
}

/// What tells that a file is no longer the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Seen {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    pub(super) fn same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl Current {
    /// Reads a name in a directory; `None` when nothing is there.
    ///
    /// It must be a regular file of the owner's, or of root's with one link: a second name of a
    /// root-only file would otherwise be copied to the user.
    ///
    /// # Errors
    /// [`ReadError`]; nothing was read then.
    pub fn read(dir: &Dir, name: &OsStr, owner: Owner) -> Result<Option<Self>, ReadError> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(ReadError::NotPlain("is a symbolic link")),
            Err(Errno::NXIO) => return Err(ReadError::NotPlain("is a socket")),
            Err(fault) => return Err(io::Error::from(fault).into()),
        };
        let stat = rustix::fs::fstat(&fd).map_err(io::Error::from)?;
        let why = if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            Some("is not a regular file")
        } else if stat.st_uid != owner.uid && stat.st_uid != 0 {
            Some("belongs to another user")
        } else if stat.st_uid != owner.uid && stat.st_nlink != 1 {
            Some("is root's and has more than one name")
        } else if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > MAX_FILE {
            Some("is larger than 8 MiB")
        } else {
            None
        };
        if let Some(why) = why {
            return Err(ReadError::NotPlain(why));
        }
        let mut file = File::from(fd);
        let bytes = read_all(&mut file)?;
        Ok(Some(Self {
            bytes: bytes.into(),
            file,
            seen: Seen::of(&stat),
        }))
    }

    /// The bytes that were read.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, to be held beside this.
    #[must_use]
    pub fn shared(&self) -> Arc<Vec<u8>> {
        Arc::clone(&self.bytes)
    }

    /// Bytes that reached this file since it was read, or since this was last asked, by whoever
    /// still has it open: what was appended, or the new lines where it was written over.
    ///
    /// # Errors
    /// What the system says about reading it.
    pub fn late(&mut self) -> io::Result<Vec<u8>> {
        let stat = Seen::of(&rustix::fs::fstat(&self.file)?);
        // The change time moves with our own rename; size and modification time do not.
        if (stat.size, stat.modified) == (self.seen.size, self.seen.modified) {
            return Ok(Vec::new());
        }
        self.file.rewind()?;
        let now = read_all(&mut self.file)?;
        let late = if let Some(tail) = now.strip_prefix(&self.bytes[..]) {
            tail.to_vec()
        } else {
            let known: std::collections::HashSet<_> = lines(&self.bytes).collect();
            lines(&now)
                .filter(|line| !known.contains(line))
                .flatten()
                .copied()
                .collect()
        };
        self.seen = stat;
        self.bytes = now.into();
        Ok(late)
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|b| *b == b'\n')
}

pub(super) fn read_all(file: &mut File) -> io::Result<Vec<u8>> {
    // Room for what is there by now: a vector that grows takes twice that.
    let size = file.metadata()?.len().min(MAX_FILE) as usize;
    let mut bytes = Vec::with_capacity(size + 1);
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(bytes)
}
