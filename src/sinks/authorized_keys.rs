//! One user's authorized_keys file: found by a walk, read by handle, replaced whole.
//!
//! Holds what arrived late between two tries, so that nothing that others append is lost. Plans
//! nothing: `sync` says what the bytes are to be.

use crate::keys::AuthorizedKeys;
use crate::sync::{Code, FileWrite, Finding};
use crate::sys::atomic_file::{
    CommitError, Current, InPlace, MAX_FILE, ReadError, Receipt, Staged, is_mount_point, sweep,
};
use crate::sys::clock;
use crate::sys::dir::{Dir, DirError, Owner};
use crate::sys::safe_path::UnsafePath;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a replaced file is watched for what is still written to it.
pub const LINGER: Duration = Duration::from_secs(2);

/// Most replaced files of one target that are watched at a time; each costs a descriptor.
const MAX_LINGERING: usize = 64;

/// Most bytes of them that are kept, but for the newest: room for two of the largest.
const MAX_LINGERING_BYTES: u64 = 2 * MAX_FILE;

/// Why a file could not be read or replaced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// Somebody changed the file meanwhile: read it again.
    #[error("changed while it was being replaced")]
    Changed,
    /// The way to the file.
    #[error(transparent)]
    Way(#[from] DirError),
    /// What stands at the path.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Whoever is to read it could not, or would not.
    #[error(transparent)]
    Unreadable(#[from] UnsafePath),
    /// The file is a mount point.
    #[error("is a mount point and cannot be replaced")]
    BindMounted,
    /// The turn took so long that what it was to write may no longer be right.
    #[error("took too long; what was to be written is looked at again")]
    Overtaken,
    /// The system says no.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<CommitError> for SinkError {
    fn from(fault: CommitError) -> Self {
        match fault {
            CommitError::Changed => Self::Changed,
            CommitError::Busy => Self::BindMounted,
            CommitError::Io(fault) => Self::Io(fault),
        }
    }
}

impl SinkError {
    /// The condition that this is, about that file.
    #[must_use]
    pub fn finding(&self, path: &Path, home: &Path) -> Finding {
        let code = match self {
            Self::Changed => Code::FileBusy,
            Self::Overtaken => Code::TargetStuck,
            Self::Way(DirError::Missing { at }) if home.starts_with(at) => Code::HomeMissing,
            Self::Way(DirError::Missing { .. }) => Code::DirectoryMissing,
            Self::Way(DirError::Io { .. }) => Code::WriteFailed,
            Self::Way(_) | Self::Unreadable(_) => Code::UnsafePath,
            Self::Read(ReadError::NotPlain(_)) => Code::NotAPlainFile,
            Self::BindMounted => Code::BindMounted,
            Self::Read(_) | Self::Io(_) => Code::WriteFailed,
        };
        Finding::new(code, path.display().to_string(), self.to_string())
    }
}

/// One user's file.
#[derive(Debug)]
pub struct KeysFile {
    /// The file's directory; `None` while it is not there and only a write would make it.
    dir: Option<Dir>,
    parent: PathBuf,
    home: PathBuf,
    name: OsString,
    owner: Owner,
    carry: Carry,
    /// How a mount point is written, and whether it may be.
    in_place: Option<(InPlace, bool)>,
    /// A write in place was cut off, and the file reads otherwise than it was read.
    damaged: bool,
    /// rename(2) said so.
    is_mount_point: bool,
    /// Nothing more is written once this says so.
    overtaken: Option<Arc<AtomicBool>>,
}

/// What one turn leaves to the next, so that nothing that others wrote is lost between them.
#[derive(Debug, Default)]
pub struct Carry {
    /// Lines that reached the file while it was being replaced and are not in it yet.
    late: Vec<u8>,
    /// Files that were replaced, and may still be written to.
    lingering: Vec<Lingering>,
}

impl Carry {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.late.is_empty() && self.lingering.is_empty()
    }

    /// Lets go of replaced files that were watched long enough. `now` is monotonic.
    pub fn let_go(&mut self, now: Duration) {
        let is_watched = |old: &Lingering| now.saturating_sub(old.since) < LINGER;
        self.lingering.retain(is_watched);
    }

    /// Keeps to the limits; the newest is kept whatever its size.
    fn forget_the_oldest(&mut self) {
        let mut bytes = 0;
        let kept = self.lingering.iter().rev().take(MAX_LINGERING);
        let kept = kept.enumerate().take_while(|(nth, old)| {
            bytes += old.file.bytes().len() as u64;
            *nth == 0 || bytes <= MAX_LINGERING_BYTES
        });
        let excess = self.lingering.len() - kept.count();
        self.lingering.drain(..excess);
    }
}

/// A file that was replaced. Whoever had it open goes on writing to it, as `cat >>` at the other end
/// of ssh-copy-id(1) does for as long as its input takes.
#[derive(Debug)]
struct Lingering {
    file: Current,
    since: Duration,
}

/// The file as it was read, with what came late joined to it.
#[derive(Debug)]
pub struct Read {
    /// What it holds.
    pub keys: AuthorizedKeys,
    /// What the file held before a write in place was cut off.
    held: Option<Arc<Vec<u8>>>,
    on_disk: Option<Current>,
}

impl KeysFile {
    /// Walks to the file's directory. A `.ssh` that is missing in a home that is there is made by
    /// the first write, not before.
    ///
    /// # Errors
    /// [`SinkError`]; nothing was written then.
    pub fn open(path: &Path, home: &Path, owner: Owner) -> Result<Self, SinkError> {
        let file = Self::look(path, home, owner)?;
        if let Some(dir) = &file.dir {
            sweep(dir, &file.name)?;
        }
        Ok(file)
    }

    /// The same walk, to look only: nothing is cleared up.
    ///
    /// # Errors
    /// [`SinkError`].
    pub fn look(path: &Path, home: &Path, owner: Owner) -> Result<Self, SinkError> {
        let parent = path.parent().unwrap_or_else(|| Path::new("/"));
        let name = path.file_name().unwrap_or_default().to_owned();
        let dir = match Dir::open(parent, owner) {
            Ok(dir) => Some(dir),
            Err(DirError::Missing { at })
                if at.file_name() == parent.file_name() && parent.parent() == Some(home) =>
            {
                // The home itself must be there, and safe.
                Dir::open(home, owner)?;
                None
            }
            Err(fault) => return Err(fault.into()),
        };
        Ok(Self {
            dir,
            parent: parent.to_owned(),
            home: home.to_owned(),
            name,
            owner,
            carry: Carry::default(),
            in_place: None,
            damaged: false,
            is_mount_point: false,
            overtaken: None,
        })
    }

    /// Where the record of writes in place is kept. A mount point is written in place only where
    /// it `may` be; what a write that was cut off left is mended all the same.
    #[must_use]
    pub fn with_in_place(mut self, record: InPlace, may: bool) -> Self {
        self.in_place = Some((record, may));
        self
    }

    /// Nothing more is written once `overtaken` says so.
    #[must_use]
    pub fn until(mut self, overtaken: Arc<AtomicBool>) -> Self {
        self.overtaken = Some(overtaken);
        self
    }

    /// Takes up what earlier turns left: what was written to replaced files since belongs into this
    /// one. A file that cannot be read any more is passed over.
    pub fn resume(&mut self, carry: Carry) {
        self.carry = carry;
        for old in &mut self.carry.lingering {
            let late = old.file.late().unwrap_or_default();
            join(&mut self.carry.late, &late);
        }
    }

    /// Hands out what is left to the next turn, also when this one failed.
    pub fn hand_over(&mut self) -> Carry {
        std::mem::take(&mut self.carry)
    }

    /// Whether the file lacks what it was read to hold: lines wait that are not in it yet, or a
    /// write in place was cut off.
    #[must_use]
    pub fn has_late(&self) -> bool {
        self.damaged || !self.carry.late.is_empty()
    }

    /// Reads the file; one that is not there reads as empty.
    ///
    /// # Errors
    /// [`SinkError`]; nothing was read then.
    pub fn read(&mut self) -> Result<Read, SinkError> {
        let on_disk = match &self.dir {
            Some(dir) => Current::read(dir, &self.name, self.owner)?,
            None => None,
        };
        let mut held = on_disk.as_ref().map(Current::shared).unwrap_or_default();
        let mended = match &self.in_place {
            Some((record, _)) => record.recover(&held)?,
            None => None,
        };
        self.damaged = mended.is_some();
        held = mended.map_or(held, Arc::new);
        let mut bytes = Arc::clone(&held);
        if !self.carry.late.is_empty() {
            join(Arc::make_mut(&mut bytes), &self.carry.late);
        }
        Ok(Read {
            keys: AuthorizedKeys::parse(bytes),
            held: self.damaged.then_some(held),
            on_disk,
        })
    }

    /// Puts new bytes in the place of what was read. What reaches the old file meanwhile is kept
    /// for the next [`read`](Self::read).
    ///
    /// # Errors
    /// [`SinkError::Changed`]: read again and plan anew.
    pub fn replace(&mut self, read: Read, write: FileWrite, unique: u64) -> Result<(), SinkError> {
        go_on(self.overtaken.as_deref())?;
        // Of a long list they are megabytes.
        drop(read.keys);
        let Read { on_disk, held, .. } = read;
        let dir = match &mut self.dir {
            Some(dir) => dir,
            None => {
                let made = Dir::open_or_create(&self.parent, &self.home, self.owner)?;
                self.dir.insert(made)
            }
        };
        let dir = &*dir;
        if let Some(now) = &on_disk
            && (held.is_some() || self.is_mount_point || is_mount_point(dir, &self.name)?)
        {
            let (record, may) = self.in_place.as_ref().ok_or(SinkError::BindMounted)?;
            if !may && held.is_none() {
                return Err(SinkError::BindMounted);
            }
            let held = held.as_deref().map_or_else(|| now.bytes(), Vec::as_slice);
            self.carry.late = record.write(dir, &self.name, now, held, &write.bytes)?;
            return Ok(());
        }
        let (name, owner) = (&self.name, self.owner);
        let staged = Staged::stage(dir, name, write.bytes, on_disk.as_ref(), owner, unique)?;
        let sealed = staged.seal()?;
        // fsync(2) is where a file system hangs; what was right before may be wrong by now.
        go_on(self.overtaken.as_deref())?;
        let receipt = match sealed.commit(on_disk) {
            Err(CommitError::Busy) if self.in_place.as_ref().is_some_and(|(_, may)| *may) => {
                // A kernel that does not say of itself what is a mount point.
                self.is_mount_point = true;
                return Err(SinkError::Changed);
            }
            done => done?,
        };
        let Receipt {
            replaced,
            late,
            in_place,
            ..
        } = receipt;
        self.carry.late = late;
        let since = clock::monotonic();
        let replaced = replaced.map(|file| Lingering { file, since });
        self.carry.lingering.extend(replaced);
        self.carry.forget_the_oldest();
        if in_place {
            Ok(())
        } else {
            Err(SinkError::Changed)
        }
    }
}

fn go_on(overtaken: Option<&AtomicBool>) -> Result<(), SinkError> {
    match overtaken {
        Some(overtaken) if overtaken.load(Ordering::Relaxed) => Err(SinkError::Overtaken),
        _ => Ok(()),
    }
}

/// Appends lines; a last line without newline gets one first, or two keys would become one.
fn join(bytes: &mut Vec<u8>, late: &[u8]) {
    if !late.is_empty() && bytes.last().is_some_and(|last| *last != b'\n') {
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(late);
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets files up by path")]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn what_a_failed_turn_had_in_hand_comes_back_in_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let about = std::fs::metadata(dir.path()).unwrap();
        let owner = Owner {
            uid: about.uid(),
            gid: about.gid(),
        };
        let path = dir.path().join("authorized_keys");
        std::fs::write(&path, "a\n").unwrap();
        let open = || KeysFile::open(&path, dir.path(), owner).unwrap();
        let options = std::fs::OpenOptions::new().append(true).open(&path);
        let mut slow = options.unwrap();
        let mut file = open();
        let bytes = b"b\n".to_vec();
        let read = file.read().unwrap();
        file.replace(read, FileWrite { bytes }, 1).unwrap();
        slow.write_all(b"late\n").unwrap();
        let mut carry = file.hand_over();
        for _ in 0..2 {
            let mut next = open();
            next.resume(carry);
            assert!(next.has_late());
            assert_eq!(next.read().unwrap().keys.bytes(), b"b\nlate\n");
            carry = next.hand_over();
        }
        carry.let_go(clock::monotonic() + LINGER);
        assert!(!carry.is_empty(), "lines are never let go");
    }

    #[test]
    fn large_files_that_were_replaced_are_not_all_kept_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let about = std::fs::metadata(dir.path()).unwrap();
        let (uid, gid) = (about.uid(), about.gid());
        let path = dir.path().join("authorized_keys");
        let mut file = KeysFile::open(&path, dir.path(), Owner { uid, gid }).unwrap();
        let kept = |file: &KeysFile| {
            let all = file.carry.lingering.iter();
            all.map(|old| old.file.bytes().len() as u64).sum::<u64>()
        };
        for n in 0..5 {
            let bytes = vec![b'#'; usize::try_from(MAX_FILE).unwrap() - n];
            let read = file.read().unwrap();
            file.replace(read, FileWrite { bytes }, n as u64).unwrap();
            assert!(kept(&file) <= MAX_LINGERING_BYTES);
        }
        assert_eq!(file.carry.lingering.len(), 2);
    }
}
