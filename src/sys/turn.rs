//! One at a time: a lock that is waited for, and a word that one turn leaves for the next.
//!
//! flock(2), so that a turn ends with its process. For commands of one user that would all do the
//! same at once; nobody else can reach the file (0600, never through a symlink at its end).

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// The longest word that is left, in bytes.
const MAX_WORD: u64 = 4096;

/// Ours until it is dropped.
#[derive(Debug)]
pub struct Turn(Flock<File>);

impl Turn {
    /// Takes the turn without waiting; none where somebody else has it. The file is made where it
    /// is not there, its directory is not.
    ///
    /// # Errors
    /// What open(2) and flock(2) say.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Some(Self(held))),
            Err((_, Errno::EAGAIN)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// Waits for it; none where nobody let go of it in that time.
    ///
    /// # Errors
    /// As [`Turn::try_take`].
    pub fn wait(path: &Path, within: Duration) -> io::Result<Option<Self>> {
        let file = open(path)?;
        let (tell, told) = mpsc::sync_channel(1);
        // flock(2) knows no time limit. A thread that waits on holds nothing, and ends with the
        // process; a turn that comes too late is let go of at once.
        std::thread::Builder::new()
            .name("turn".to_owned())
            .spawn(move || tell.send(Flock::lock(file, FlockArg::LockExclusive)))?;
        match told.recv_timeout(within) {
            Ok(Ok(held)) => Ok(Some(Self(held))),
            Ok(Err((_, errno))) => Err(errno.into()),
            Err(_) => Ok(None),
        }
    }

    /// What the last turn that left something left; empty: nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn word(&mut self) -> io::Result<String> {
        self.0.rewind()?;
        let mut text = String::new();
        (&*self.0).take(MAX_WORD).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Leaves a word for the next turn, in the place of the one before.
    ///
    /// # Errors
    /// What the system says.
    pub fn leave(&mut self, word: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(word.as_bytes())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_waits_and_reads_what_the_first_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let mut first = Turn::try_take(&path).unwrap().unwrap();
        assert!(Turn::try_take(&path).unwrap().is_none());
        assert!(
            Turn::wait(&path, Duration::from_millis(20))
                .unwrap()
                .is_none()
        );
        first.leave("a long word").unwrap();
        first.leave("done").unwrap();
        let waits = std::thread::spawn(move || Turn::wait(&path, Duration::from_secs(30)));
        drop(first);
        let mut second = waits.join().unwrap().unwrap().unwrap();
        assert_eq!(second.word().unwrap(), "done");
    }

    #[test]
    fn a_symlink_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::os::unix::fs::symlink("/nonexistent/elsewhere", &path).unwrap();
        assert!(Turn::try_take(&path).is_err());
    }
}
