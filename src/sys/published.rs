//! Files that root publishes: everybody may read them, root alone may change them.
//!
//! A directory of root's, 0755, with files of root's, 0644, each whole or not there, on the disk
//! before we go on. A reader trusts nothing that anybody but root may change on the way, and no
//! link. Nothing here is a secret.

use super::atomic_file::{ReadError, sweep};
use super::dir::{Dir, DirError, Owner, give_to};
use super::safe_path::{UnsafePath, passable_by_all, roots_alone};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

const DIRECTORY: u32 = 0o755;
const FILE: u32 = 0o644;
/// What others need of a directory to pass it.
const PASS: u32 = 0o011;

/// Why there is no such directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It is not to be trusted, or cannot be reached.
    #[error(transparent)]
    Way(#[from] DirError),
    /// Somebody else may change it.
    #[error(transparent)]
    Unsafe(#[from] UnsafePath),
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A directory that only root may change.
#[derive(Debug)]
pub struct Published {
    dir: Dir,
}

impl Published {
    /// Opens one to read in it.
    ///
    /// # Errors
    /// [`PublishError`]; nothing in it may be used then.
    pub fn open(path: &Path) -> Result<Self, PublishError> {
        let dir = Dir::open(path, Owner::ROOT)?;
        roots_alone(dir.path())?;
        Ok(Self { dir })
    }

    /// Opens one to write in it. It is made where only it is missing; it and the directory above it
    /// are ours, and are given the modes that others need to read here.
    ///
    /// # Errors
    /// [`PublishError`]: also where others could not get here.
    pub fn make(path: &Path) -> Result<Self, PublishError> {
        let above = Dir::open(path.parent().unwrap_or_else(|| Path::new("/")), Owner::ROOT)?;
        let about = rustix::fs::fstat(&above).map_err(io::Error::from)?;
        if about.st_mode & PASS != PASS {
            let mode = Mode::from_raw_mode((about.st_mode & 0o7777) | PASS);
            rustix::fs::fchmod(&above, mode).map_err(io::Error::from)?;
        }
        let name = path.file_name().unwrap_or_default();
        match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(DIRECTORY)) {
            Ok(()) => above.sync()?,
            Err(Errno::EXIST) => {}
            Err(fault) => return Err(io::Error::from(fault).into()),
        }
        let dir = Dir::open(path, Owner::ROOT)?;
        let about = rustix::fs::fstat(&dir).map_err(io::Error::from)?;
        if about.st_mode & 0o7777 != DIRECTORY {
            // The umask may have taken from what mkdirat was told.
            rustix::fs::fchmod(&dir, Mode::from_raw_mode(DIRECTORY)).map_err(io::Error::from)?;
        }
        passable_by_all(dir.path())?;
        Ok(Self { dir })
    }

    /// Where it is, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Opens a file in it; `None` where there is none.
    ///
    /// # Errors
    /// [`ReadError::NotPlain`]: nothing of it may be used.
    pub fn file(&self, name: &OsStr) -> Result<Option<(File, u64)>, ReadError> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.dir, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(ReadError::NotPlain("is a symbolic link")),
            Err(Errno::NXIO) => return Err(ReadError::NotPlain("is a socket")),
            Err(fault) => return Err(io::Error::from(fault).into()),
        };
        let about = rustix::fs::fstat(&fd).map_err(io::Error::from)?;
        let why = if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
            Some("is not a regular file")
        } else if about.st_uid != 0 {
            Some("is not root's")
        } else if about.st_mode & 0o022 != 0 {
            Some("may be changed by others")
        } else if about.st_mode & 0o444 != 0o444 {
            Some("may not be read by others")
        } else {
            None
        };
        match why {
            Some(why) => Err(ReadError::NotPlain(why)),
            None => Ok(Some((
                File::from(fd),
                u64::try_from(about.st_size).unwrap_or(u64::MAX),
            ))),
        }
    }

    /// Takes away what a run that was cut off left beside a name.
    ///
    /// # Errors
    /// What the system says about reading the directory.
    pub fn sweep(&self, name: &OsStr) -> io::Result<()> {
        sweep(&self.dir, name).map(|_| ())
    }

    /// Puts bytes under a name, durable when this returns. Where `previous` is a name, what stood
    /// there before gets it. `unique` names temporary files.
    ///
    /// # Errors
    /// What the system says; the old file stands, but for an error of the directory's fsync.
    pub fn replace(
        &self,
        name: &OsStr,
        previous: Option<&OsStr>,
        bytes: &[u8],
        unique: u64,
    ) -> io::Result<()> {
        let mut temp = OsString::from(".");
        temp.push(name);
        temp.push(format!(".sshkeyd-{unique:016x}"));
        let written = self.write(&temp, bytes);
        let placed = written.and_then(|()| self.place(&temp, name, previous));
        if placed.is_err() {
            // `sweep` takes what cannot be taken now.
            let _ = rustix::fs::unlinkat(&self.dir, &temp, AtFlags::empty());
        }
        placed?;
        self.dir.sync()
    }

    fn write(&self, temp: &OsStr, bytes: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = rustix::fs::openat(&self.dir, temp, flags | OFlags::CLOEXEC, mode)?;
        let mut file = File::from(fd);
        give_to(&file, Owner::ROOT)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(FILE))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn place(&self, temp: &OsStr, name: &OsStr, previous: Option<&OsStr>) -> io::Result<()> {
        if let Some(previous) = previous {
            match rustix::fs::renameat_with(&self.dir, temp, &self.dir, name, RenameFlags::EXCHANGE)
            {
                // The new one stands; the old one has the temporary name.
                Ok(()) => return Ok(rustix::fs::renameat(&self.dir, temp, &self.dir, previous)?),
                // Nothing to exchange with, or a file system that cannot: there the one before
                // stays what it is.
                Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(rustix::fs::renameat(&self.dir, temp, &self.dir, name)?)
    }

    /// Takes names away, in this order, durable when this returns. What is not there is gone
    /// already.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, names: &[&OsStr]) -> io::Result<()> {
        for name in names {
            match rustix::fs::unlinkat(&self.dir, *name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        self.dir.sync()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets files up by path")]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
    use std::path::PathBuf;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let top = tempfile::tempdir_in("/var/lib").unwrap();
        let dir = top.path().join("keys");
        (top, dir)
    }

    fn text(published: &Published, name: &str) -> Option<String> {
        let (file, _) = published.file(OsStr::new(name)).unwrap()?;
        Some(io::read_to_string(file).unwrap())
    }

    fn put(published: &Published, previous: bool, text: &str, unique: u64) {
        let previous = previous.then_some(OsStr::new("1.previous"));
        let done = published.replace(OsStr::new("1"), previous, text.as_bytes(), unique);
        done.unwrap();
    }

    #[test]
    #[ignore = "needs root; tests/run includes it"]
    fn what_is_published_is_roots_and_the_one_before_is_kept() {
        let (top, dir) = place();
        fs::set_permissions(top.path(), Permissions::from_mode(0o700)).unwrap();
        let published = Published::make(&dir).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!((mode(top.path()), mode(&dir)), (0o711, 0o755));
        assert_eq!(text(&published, "1"), None);
        put(&published, true, "a", 1);
        assert_eq!(text(&published, "1.previous"), None);
        put(&published, true, "b", 2);
        put(&published, false, "c", 3);
        assert_eq!(text(&published, "1").unwrap(), "c");
        assert_eq!(text(&published, "1.previous").unwrap(), "a");
        assert_eq!(mode(&dir.join("1")), 0o644);
        for name in [
            ".1.sshkeyd-0000000000000009",
            ".11.sshkeyd-0000000000000009",
        ] {
            fs::write(dir.join(name), "x").unwrap();
        }
        published.sweep(OsStr::new("1")).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
        published.sweep(OsStr::new("11")).unwrap();
        put(&published, true, "d", 4);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
        let names = ["1.previous", "1", "none"].map(OsStr::new);
        published.remove(&names).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    #[ignore = "needs root; tests/run includes it"]
    fn nothing_that_others_may_change_is_read() {
        let (top, dir) = place();
        let published = Published::make(&dir).unwrap();
        put(&published, false, "a", 1);
        let file = dir.join("1");
        let refused = || published.file(OsStr::new("1")).unwrap_err().to_string();
        fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
        assert_eq!(refused(), "may be changed by others");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        chown(&file, Some(1), None).unwrap();
        assert_eq!(refused(), "is not root's");
        fs::rename(&file, dir.join("2")).unwrap();
        symlink("2", &file).unwrap();
        assert_eq!(refused(), "is a symbolic link");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(refused(), "is not a regular file");

        let link = top.path().join("link");
        symlink("keys", &link).unwrap();
        assert!(Published::open(&link).is_ok(), "root's own link");
        for (path, mode) in [(&dir, 0o775), (&top.path().to_owned(), 0o777)] {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            let fault = Published::open(&dir).unwrap_err();
            assert!(matches!(fault, PublishError::Unsafe(_)), "{fault}");
            fs::set_permissions(path, Permissions::from_mode(0o711)).unwrap();
        }
        chown(&dir, Some(1), None).unwrap();
        let fault = Published::open(&dir).unwrap_err();
        assert!(matches!(fault, PublishError::Way(_)), "{fault}");
    }
}
