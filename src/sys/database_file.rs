//! Files that a database library writes by their names: made private before there is a byte in
//! them, put into their place whole, locked beside.
//!
//! What root makes in a directory of another user's belongs to that user: the service would not get
//! at it otherwise (`DynamicUser=` of systemd.exec(5)).

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Makes an empty file, 0600.
///
/// # Errors
/// What the system says; there is a file of that name.
pub fn make(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    give(&file, path)
}

/// Puts a file into the place of another, or where there is none; both are in one directory. It is
/// on the disk when this returns, and there is no moment with half of it.
///
/// # Errors
/// The old file stands, but for an error of the directory's fsync: then either stands.
pub fn put_over(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    rustix::fs::rename(from, to)?;
    File::open(directory_of(to))?.sync_all()
}

/// Gives the file a second name beside its own, which stays when something is put over the first.
///
/// # Errors
/// What link(2) and fsync(2) say.
pub fn keep_as(path: &Path, name: &Path) -> io::Result<()> {
    std::fs::hard_link(path, name)?;
    File::open(directory_of(path))?.sync_all()
}

/// Gives the file another name in its directory; nothing where there is none.
///
/// # Errors
/// What rename(2) and fsync(2) say.
pub fn move_aside(path: &Path, name: &Path) -> io::Result<()> {
    match rustix::fs::rename(path, name) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(fault) => Err(fault.into()),
        Ok(()) => File::open(directory_of(path))?.sync_all(),
    }
}

/// A name in the same directory that nobody else uses.
#[must_use]
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.tmp", rand::random::<u64>()));
    path.with_file_name(name)
}

/// Whether both names are one file.
#[must_use]
pub fn same(one: &Path, other: &Path) -> bool {
    let id = |path| std::fs::metadata(path).map(|about| (about.dev(), about.ino()));
    match (id(one), id(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// A lock beside the file, of the kernel's: it goes with the process.
#[derive(Debug)]
pub struct Held {
    _lock: Flock<File>,
}

impl Held {
    /// Uses the file, beside others that do.
    ///
    /// # Errors
    /// `WouldBlock`: somebody has it alone.
    pub fn shared(path: &Path) -> io::Result<Self> {
        Self::take(path, FlockArg::LockSharedNonblock)
    }

    /// Has the file alone.
    ///
    /// # Errors
    /// `WouldBlock`: somebody uses it.
    pub fn alone(path: &Path) -> io::Result<Self> {
        Self::take(path, FlockArg::LockExclusiveNonblock)
    }

    fn take(path: &Path, how: FlockArg) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let path = path.with_file_name(name);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&path)?;
        give(&file, &path)?;
        match Flock::lock(file, how) {
            Ok(lock) => Ok(Self { _lock: lock }),
            Err((_, Errno::EAGAIN)) => Err(io::ErrorKind::WouldBlock.into()),
            Err((_, errno)) => Err(errno.into()),
        }
    }
}

/// Gives what root has made to the owner of its directory.
fn give(file: &File, path: &Path) -> io::Result<()> {
    if super::users::current_uid() != 0 {
        return Ok(());
    }
    let directory = std::fs::metadata(directory_of(path))?;
    let about = file.metadata()?;
    // A directory that anyone may write in, as /tmp, says nothing of whose files are in it.
    let is_private = directory.mode() & 0o022 == 0;
    if is_private && about.uid() == 0 && directory.uid() != 0 {
        fchown(file, Some(directory.uid()), Some(directory.gid()))?;
    }
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_it_alone_waits_for_those_who_use_it_and_they_for_him() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let (one, other) = (Held::shared(&path).unwrap(), Held::shared(&path).unwrap());
        let blocked =
            |held: io::Result<Held>| held.unwrap_err().kind() == io::ErrorKind::WouldBlock;
        drop(one);
        assert!(blocked(Held::alone(&path)));
        drop(other);
        let alone = Held::alone(&path).unwrap();
        assert!(blocked(Held::shared(&path)) && blocked(Held::alone(&path)));
        drop(alone);
        Held::shared(&path).unwrap();
    }

    #[test]
    fn what_is_put_over_keeps_the_old_one_under_its_second_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let fill = |path: &Path, text: &str| {
            make(path).unwrap();
            let mut file = OpenOptions::new().append(true).open(path).unwrap();
            io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        fill(&at("a"), "old");
        let new = beside(&at("a"));
        fill(&new, "new");
        keep_as(&at("a"), &at("kept")).unwrap();
        assert!(same(&at("a"), &at("kept")) && !same(&at("a"), &new));
        put_over(&new, &at("a")).unwrap();
        let read = |name| std::fs::read_to_string(at(name)).unwrap();
        assert_eq!(
            (read("a"), read("kept")),
            ("new".to_owned(), "old".to_owned())
        );
        let mode = std::fs::metadata(at("a")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(make(&at("a")).is_err());
    }
}
