//! Writing over a file that cannot be replaced, because its name is a mount point: rename(2) says
//! EBUSY. A reader may see half of it, so this is done only where it is asked for.
//!
//! What the file held and what it is to hold go durably into a record first; the record goes when
//! the file is on the disk. Killed in between, the next run knows from the record what is ours in
//! the file, what it held, and what others appended meanwhile: [`InPlace::recover`].

use super::super::dir::Dir;
use super::super::private_file;
use super::current::{Seen, read_all};
use super::{CommitError, Current, MAX_FILE};
use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// The record's first words; then, in decimal, the length of the old bytes and whether the file
/// was damaged before; then the old bytes and the new ones.
const MAGIC: &str = "sshkeyd-in-place-1";

/// Where the record of one file is kept.
#[derive(Debug, Clone)]
pub struct InPlace {
    record: PathBuf,
}

/// What a write that was cut off left.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    old: Vec<u8>,
    new: Vec<u8>,
    /// The file held something else than `old` when the write began: it was being mended.
    mending: bool,
}

impl InPlace {
    /// The record of a file is kept here; the path's directory is private to us.
    #[must_use]
    pub fn new(record: PathBuf) -> Self {
        Self { record }
    }

    /// What the file would read if the write that was cut off had not begun, with what others
    /// appended since; `None` where none was cut off, or the file has since become somebody's.
    ///
    /// # Errors
    /// The record is there and cannot be read, or cannot be taken away where it is of no use.
    pub fn recover(&self, now: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(bytes) = private_file::read(&self.record)? else {
            return Ok(None);
        };
        let mended = Record::parse(&bytes).and_then(|record| record.mended(now));
        if mended.is_none() {
            self.forget()?;
        }
        Ok(mended)
    }

    /// Writes `new` over the file that was read, which held `old` but for a write that was cut off.
    /// Gives what others appended meanwhile: it is not in the file any more.
    ///
    /// # Errors
    /// [`CommitError::Changed`] when it is not the file that was read, and nothing was written;
    /// else the record stands and tells the next run.
    pub fn write(
        &self,
        dir: &Dir,
        name: &OsStr,
        current: &Current,
        old: &[u8],
        new: &[u8],
    ) -> Result<Vec<u8>, CommitError> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open = |more| rustix::fs::openat(dir, name, flags | more, Mode::empty());
        let file = File::from(open(OFlags::CLOEXEC).map_err(io::Error::from)?);
        let is_as_read = || {
            let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
            Ok::<_, io::Error>(Seen::of(&stat) == current.seen)
        };
        if !is_as_read()? {
            return Err(CommitError::Changed);
        }
        let record = Record {
            old: old.to_vec(),
            new: new.to_vec(),
            mending: old != current.bytes(),
        };
        private_file::replace(&self.record, &record.to_bytes())?;
        if !is_as_read()? {
            self.forget()?;
            return Err(CommitError::Changed);
        }
        let held = current.bytes().len();
        if new.len() > held {
            // Blank lines first, at the end whatever the end is by now: from here on what others
            // append comes after all of ours.
            let pad = vec![b'\n'; new.len() - held];
            let end = File::from(open(OFlags::APPEND | OFlags::CLOEXEC).map_err(io::Error::from)?);
            io::Write::write_all(&mut &end, &pad)?;
            if file.metadata()?.len() != new.len() as u64 {
                return Err(self.withdraw(&file, held, pad.len())?);
            }
        }
        let span = held.max(new.len());
        file.write_all_at(new, 0)?;
        let late = tail(&file, span)?;
        if !late.is_empty() || span > new.len() {
            file.set_len(new.len() as u64)?;
        }
        file.sync_all()?;
        self.forget()?;
        Ok(late)
    }

    /// Somebody appended just before our blank lines did: they go again, and his line stays.
    fn withdraw(&self, file: &File, held: usize, pad: usize) -> io::Result<CommitError> {
        let mut now = Vec::new();
        read_all_at(file, 0, &mut now)?;
        let foreign = now.get(held..).unwrap_or_default();
        let blank = foreign.iter().rev().take_while(|b| **b == b'\n').count();
        // One of the newlines is the end of his line.
        let keep = now.len() - blank.saturating_sub(1).min(pad);
        file.set_len(keep as u64)?;
        file.sync_all()?;
        self.forget()?;
        Ok(CommitError::Changed)
    }

    /// The record has served. It must be gone for good: one that came back after a power cut would
    /// speak of a file that others have changed since.
    fn forget(&self) -> io::Result<()> {
        private_file::remove(&self.record)
    }
}

/// What lies beyond an offset.
fn tail(file: &File, from: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_all_at(file, from as u64, &mut bytes)?;
    Ok(bytes)
}

fn read_all_at(file: &File, from: u64, into: &mut Vec<u8>) -> io::Result<()> {
    let mut file = file.try_clone()?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(from))?;
    *into = read_all(&mut file)?;
    Ok(())
}

impl Record {
    fn to_bytes(&self) -> Vec<u8> {
        let mending = u8::from(self.mending);
        let mut bytes = format!("{MAGIC} {} {mending}\n", self.old.len()).into_bytes();
        bytes.extend_from_slice(&self.old);
        bytes.extend_from_slice(&self.new);
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|b| *b == b'\n')?;
        let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
        let mut words = head.strip_prefix(MAGIC)?.split_ascii_whitespace();
        let old: usize = words.next()?.parse().ok()?;
        let mending = words.next()? == "1";
        let body = bytes.get(end + 1..)?;
        let (old, new) = body.split_at_checked(old)?;
        Some(Self {
            old: old.to_vec(),
            new: new.to_vec(),
            mending,
        })
    }

    /// The old bytes and what others appended; `None` where the file is whole: still the old one,
    /// the new one already, or another that somebody put there since.
    fn mended(&self, now: &[u8]) -> Option<Vec<u8>> {
        let Self { old, new, mending } = self;
        let span = old.len().max(new.len());
        if now == old || now == new || now.len() as u64 > MAX_FILE {
            return None;
        }
        let ours = now.get(..span.min(now.len())).unwrap_or_default();
        // A page that never reached the disk reads as zeros.
        let is_ours = |(at, byte): (usize, &u8)| {
            let padded = old.get(at).unwrap_or(&b'\n');
            byte == padded || Some(byte) == new.get(at) || *byte == 0
        };
        let cut_off = now.len() >= old.len().min(new.len()) && ours.iter().enumerate().all(is_ours);
        if !cut_off && (now.starts_with(new) || now.starts_with(old) || !mending) {
            return None;
        }
        let mut mended = old.clone();
        let appended = now.get(span..).unwrap_or_default();
        if !appended.is_empty() && mended.last().is_some_and(|last| *last != b'\n') {
            mended.push(b'\n');
        }
        mended.extend_from_slice(appended);
        Some(mended)
    }
}

/// Whether a name is a mount point, as statx(2) says; false where the kernel (before 5.8) does not.
///
/// # Errors
/// What statx(2) says.
pub fn is_mount_point(dir: &Dir, name: &OsStr) -> io::Result<bool> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    match rustix::fs::statx(dir, name, flags, StatxFlags::TYPE) {
        Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM | rustix::io::Errno::NOENT) => {
            Ok(false)
        }
        Err(fault) => Err(fault.into()),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets files up by path")]
mod tests;
