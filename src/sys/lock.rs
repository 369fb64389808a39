//! One agent a state directory: flock(2) on the file `lock` in it.
//!
//! The lock is the kernel's and goes with the process, so a crash leaves none behind. The number in
//! the file only tells a person who holds it.

use super::own_dir;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The state directory is ours until this is dropped.
#[derive(Debug)]
pub struct Lock {
    held: Flock<File>,
}

/// Why the directory is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it; its number, where it could be read.
    #[error("in use by another agent{}", .0.map(|pid| format!(", process {pid}")).unwrap_or_default())]
    HeldBy(Option<u32>),
    /// The system's own refusal.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Lock {
    /// Takes the lock of the directory without waiting. The directory is made (0700) if it is not
    /// there, and refused where others could change it or take its place.
    ///
    /// # Errors
    /// [`LockError`]; after `HeldBy` the directory must not be touched.
    pub fn try_take(directory: &Path) -> Result<Self, LockError> {
        own_dir::claim(directory, 0o700)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(directory.join("lock"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut held) => {
                held.set_len(0)?;
                held.rewind()?;
                writeln!(held, "{}", std::process::id())?;
                Ok(Self { held })
            }
            Err((file, Errno::EAGAIN)) => Err(LockError::HeldBy(pid_in(file))),
            Err((_, errno)) => Err(LockError::Io(errno.into())),
        }
    }
}

impl Lock {
    /// Takes the holder's number out of the file, at an end that was meant; the directory stays
    /// ours until this is dropped.
    pub fn take_back_number(&self) {
        // A number that stays is that of a process which is gone, as after a crash.
        let _ = self.held.set_len(0);
    }

    /// Lets go of the directory and takes the lock's own file away.
    ///
    /// # Errors
    /// What unlink(2) says.
    pub fn remove(self, directory: &Path) -> io::Result<()> {
        std::fs::remove_file(directory.join("lock"))
    }
}

fn pid_in(file: File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let lock = Lock::try_take(&state).unwrap();
        let second = Lock::try_take(&state).unwrap_err();
        assert!(matches!(second, LockError::HeldBy(Some(pid)) if pid == std::process::id()));
        lock.take_back_number();
        let nameless = Lock::try_take(&state).unwrap_err();
        assert!(matches!(nameless, LockError::HeldBy(None)), "{nameless}");
        drop(lock);
        drop(Lock::try_take(&state).unwrap());
    }

    #[test]
    fn a_symlink_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nonexistent/elsewhere", dir.path().join("lock")).unwrap();
        assert!(matches!(Lock::try_take(dir.path()), Err(LockError::Io(_))));
    }
}
