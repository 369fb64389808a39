//! Replacing a file so that a reader sees the old bytes or the new ones, that power may go at any
//! moment, and that nothing which others append meanwhile is lost.
//!
//! `stage` (beside the target, attributes on the descriptor) → `seal` (fsync) → `commit` (look
//! again, exchange, fsync the directory, look at the name and at the old inode once more). Each is
//! a type, so that a test can stop between any two. Names are used only below a [`Dir`] handle.

mod current;
mod in_place;
mod own;

pub use current::{Current, ReadError};
pub use in_place::{InPlace, is_mount_point};

use super::dir::{Dir, Owner, give_to};
use current::Seen;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};

/// Largest file that is read or replaced, in bytes.
pub const MAX_FILE: u64 = 8 * 1024 * 1024;

/// Somebody who renames over the file this often while we put his file back is at play.
const MOST_PUT_BACK: usize = 64;

/// Most names of a directory that one sweep looks at. What a crash left further on stays until there
/// are fewer: it is in nobody's way.
const MOST_LOOKED_AT: usize = 4096;

/// What a file carries beside its bytes and sshd or the kernel looks at: its ACL and its label.
const XATTRS: [&str; 2] = ["system.posix_acl_access", "security.selinux"];

/// Why nothing was replaced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Somebody changed the file since it was read: read it again.
    #[error("changed while it was being replaced")]
    Changed,
    /// The name is a mount point.
    #[error("is a mount point and cannot be replaced")]
    Busy,
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// New bytes in a temporary file beside the target, with the attributes of what they replace.
/// Dropped before [`Sealed::commit`], it leaves nothing.
#[derive(Debug)]
pub struct Staged<'d> {
    temp: Temp<'d>,
    name: OsString,
    bytes: Vec<u8>,
}

/// A name that goes when it is dropped.
#[derive(Debug)]
struct Temp<'d> {
    dir: &'d Dir,
    name: OsString,
    file: File,
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; `sweep` takes leftovers at the next turn.
        let _ = rustix::fs::unlinkat(self.dir, &self.name, AtFlags::empty());
    }
}

impl<'d> Staged<'d> {
    /// Writes `bytes` beside `name`. A file that is there lends owner, group, mode, ACL and label;
    /// a new one is the owner's, 0600. `unique` names the temporary file; the caller brings the
    /// randomness.
    ///
    /// # Errors
    /// What the system says; nothing is left behind.
    pub fn stage(
        dir: &'d Dir,
        name: &OsStr,
        bytes: Vec<u8>,
        replaces: Option<&Current>,
        owner: Owner,
        unique: u64,
    ) -> io::Result<Self> {
        let mut temp_name = temp_prefix(name);
        temp_name.push(format!("{unique:016x}"));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = rustix::fs::openat(dir, &temp_name, flags | OFlags::CLOEXEC, mode)?;
        let mut temp = Temp {
            dir,
            name: temp_name,
            file: File::from(fd),
        };
        match replaces {
            Some(current) => copy_attributes(&current.file, &temp.file)?,
            None => {
                give_to(&temp.file, owner)?;
                // The umask may have taken from what openat was told.
                rustix::fs::fchmod(&temp.file, mode)?;
            }
        }
        temp.file.write_all(&bytes)?;
        Ok(Self {
            temp,
            name: name.to_owned(),
            bytes,
        })
    }

    /// Brings the bytes to the disk.
    ///
    /// # Errors
    /// What fsync(2) says; nothing is left behind.
    pub fn seal(self) -> io::Result<Sealed<'d>> {
        rustix::fs::fsync(&self.temp.file)?;
        Ok(Sealed { staged: self })
    }
}

/// New bytes that are on the disk and have no name of weight yet.
#[derive(Debug)]
pub struct Sealed<'d> {
    staged: Staged<'d>,
}

/// The new bytes went into place, by name and on the disk.
#[derive(Debug)]
#[must_use]
pub struct Receipt {
    /// The file as it is now.
    pub current: Current,
    /// The file that was replaced, where there was one: who had it open may still write to it.
    pub replaced: Option<Current>,
    /// What reached the old file while it was being replaced, and is not in the new one yet.
    pub late: Vec<u8>,
    /// False when somebody has put another file under the name since.
    pub in_place: bool,
}

impl Sealed<'_> {
    /// Puts the bytes in place of `expected`, or of nothing.
    ///
    /// # Errors
    /// [`CommitError::Changed`] when something else stands there by now, and nothing was done.
    pub fn commit(self, expected: Option<Current>) -> Result<Receipt, CommitError> {
        let Self { staged } = self;
        let (dir, name) = (staged.temp.dir, &staged.name);
        let mut late = Vec::new();
        let mut old = expected;
        match &mut old {
            None => move_into(dir, &staged.temp.name, name)?,
            Some(old) => {
                let now = dir.look(name)?.map(|stat| Seen::of(&stat));
                if now != Some(old.seen) {
                    return Err(CommitError::Changed);
                }
                if exchange(dir, &staged.temp.name, name)? {
                    let taken = dir.look(&staged.temp.name)?.map(|stat| Seen::of(&stat));
                    if !taken.is_some_and(|taken| taken.same_file(&old.seen)) {
                        let ours = Seen::of(
                            &rustix::fs::fstat(&staged.temp.file).map_err(io::Error::from)?,
                        );
                        put_back(dir, &staged.temp.name, name, ours)?;
                        return Err(CommitError::Changed);
                    }
                }
            }
        }
        let Staged {
            temp, bytes, name, ..
        } = staged;
        let file = temp.file.try_clone()?;
        drop(temp);
        dir.sync()?;
        if let Some(old) = &mut old {
            late = old.late()?;
        }
        let seen = Seen::of(&rustix::fs::fstat(&file).map_err(io::Error::from)?);
        let named = dir.look(&name)?.map(|stat| Seen::of(&stat));
        Ok(Receipt {
            current: Current {
                bytes: bytes.into(),
                file,
                seen,
            },
            replaced: old,
            late,
            in_place: named.is_some_and(|named| named.same_file(&seen)),
        })
    }
}

/// Takes away what a run that was cut off left beside `name`: never more than our own prefix, and
/// never more at once than keeps a turn short.
///
/// # Errors
/// What the system says about reading the directory.
pub fn sweep(dir: &Dir, name: &OsStr) -> io::Result<usize> {
    let prefix = temp_prefix(name);
    let left = dir.names_with(prefix.as_encoded_bytes(), MOST_LOOKED_AT)?;
    for name in &left {
        let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
    }
    Ok(left.len())
}

fn temp_prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".sshkeyd-");
    prefix
}

/// Gives a name to what has none of weight yet, only where nothing stands.
fn move_into(dir: &Dir, from: &OsStr, to: &OsStr) -> Result<(), CommitError> {
    match rustix::fs::renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(CommitError::Changed),
        // A file system without the flag: a link has the same promise.
        Err(Errno::INVAL | Errno::NOSYS) => {
            match rustix::fs::linkat(dir, from, dir, to, AtFlags::empty()) {
                Ok(()) => Ok(()),
                Err(Errno::EXIST) => Err(CommitError::Changed),
                Err(fault) => Err(io::Error::from(fault).into()),
            }
        }
        Err(fault) => Err(io::Error::from(fault).into()),
    }
}

/// Somebody's rename came between our look and our exchange, so that his file has the temporary
/// name now and `ours` has his: they change places again. Whatever else came to stand there
/// meanwhile is newer than his, and goes back in its turn; else it would go with the temporary
/// name.
fn put_back(dir: &Dir, temp: &OsStr, name: &OsStr, ours: Seen) -> Result<(), CommitError> {
    let mut put_in = ours;
    for _ in 0..MOST_PUT_BACK {
        let Some(going_in) = dir.look(temp)?.map(|stat| Seen::of(&stat)) else {
            break;
        };
        exchange(dir, temp, name)?;
        let came_out = dir.look(temp)?.map(|stat| Seen::of(&stat));
        if came_out.is_none_or(|out| out.same_file(&put_in)) {
            break;
        }
        put_in = going_in;
    }
    Ok(())
}

/// Swaps two names; true when the old file has the temporary name now. A file system that cannot
/// swap replaces: the old file lives on by its handle only.
fn exchange(dir: &Dir, temp: &OsStr, name: &OsStr) -> Result<bool, CommitError> {
    let swapped = match rustix::fs::renameat_with(dir, temp, dir, name, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::renameat(dir, temp, dir, name).map(|()| false)
        }
        Err(fault) => Err(fault),
    };
    swapped.map_err(|fault| match fault {
        Errno::BUSY => CommitError::Busy,
        Errno::NOENT => CommitError::Changed,
        fault => io::Error::from(fault).into(),
    })
}

/// Owner before mode: a change of owner clears mode bits.
fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    let owner = Owner {
        uid: stat.st_uid,
        gid: stat.st_gid,
    };
    give_to(to, owner)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o777))?;
    for name in XATTRS {
        let mut value = vec![0; 4096];
        match rustix::fs::fgetxattr(from, name, &mut value[..]) {
            Ok(len) => {
                value.truncate(len);
                rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty())?;
            }
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets files up by path")]
mod tests;
