//! A directory by handle, reached by a walk that the owner of a home cannot bend.
//!
//! Root writes in directories that belong to users. So every component is opened relative to the
//! one before it and never followed blindly: a link counts only in a directory that root owns and
//! only root may change; below the first directory of anybody else, none does. (One walk serves
//! every kernel; `openat2` would save a few system calls a change and need this walk all the same
//! where a container's filter answers ENOSYS or EPERM.)

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

/// Most links that one walk follows, as the kernel's own limit.
const MOST_LINKS: usize = 40;

/// Why there is no directory to work in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirError {
    /// A component is not there.
    #[error("{} is not there", at.display())]
    Missing {
        /// The first component that is missing.
        at: PathBuf,
    },
    /// A component is not safe to pass.
    #[error("{} {why}", at.display())]
    Unsafe {
        /// Which.
        at: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system says no.
    #[error("{}: {source}", at.display())]
    Io {
        /// Where.
        at: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
}

/// Whose directories may be passed and written in: root's, and this user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user's id.
    pub uid: u32,
    /// The user's primary group.
    pub gid: u32,
}

impl Owner {
    /// Root itself.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    /// Walks to an absolute path. Every directory on the way must be root's or the owner's.
    ///
    /// # Errors
    /// [`DirError`], with the component that it stopped at.
    pub fn open(path: &Path, owner: Owner) -> Result<Self, DirError> {
        let mut walk = Walk::begin(owner)?;
        walk.go(path)?;
        walk.finish()
    }

    /// The same, and makes the last component, 0700 and the owner's, when only that is missing and
    /// its parent is `home`. A home itself is never made.
    ///
    /// # Errors
    /// [`DirError`], with the component that it stopped at.
    pub fn open_or_create(path: &Path, home: &Path, owner: Owner) -> Result<Self, DirError> {
        match Self::open(path, owner) {
            // By its name: a link of root's on the way to the home gives it another path.
            Err(DirError::Missing { at })
                if at.file_name() == path.file_name() && path.parent() == Some(home) => {}
            other => return other,
        }
        let parent = Self::open(home, owner)?;
        let name = path.file_name().unwrap_or_default();
        match rustix::fs::mkdirat(&parent.fd, name, Mode::RWXU) {
            Ok(()) => parent.adopt_new(name, owner)?,
            Err(Errno::EXIST) => {}
            Err(fault) => return Err(io(path, fault)),
        }
        Self::open(path, owner)
    }

    /// The path that was asked for; for messages only.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings names that were made or replaced here to the disk.
    ///
    /// # Errors
    /// What fsync(2) says.
    pub fn sync(&self) -> std::io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// Looks at a name without following it; `None` when it is not there.
    ///
    /// # Errors
    /// What fstatat(2) says.
    pub(super) fn look(&self, name: &OsStr) -> std::io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Those of the first `most` names in this directory that begin with `prefix`: its owner may
    /// have put any number there.
    ///
    /// # Errors
    /// What getdents(2) says.
    pub(super) fn names_with(&self, prefix: &[u8], most: usize) -> std::io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)?.take(most) {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name.starts_with(prefix) {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        Ok(names)
    }

    /// Hands a directory that we have just made to its owner. The owner of the parent may have put
    /// another in its place meanwhile: only an empty, private one of root's is given away.
    fn adopt_new(&self, name: &OsStr, owner: Owner) -> Result<(), DirError> {
        let at = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map_err(|fault| io(&at, fault))?;
        let stat = rustix::fs::fstat(&fd).map_err(|fault| io(&at, fault))?;
        if stat.st_uid != owner.uid {
            let empty = rustix::fs::Dir::read_from(&fd)
                .map_err(|fault| io(&at, fault))?
                .all(|entry| entry.is_ok_and(|e| matches!(e.file_name().to_bytes(), b"." | b"..")));
            if stat.st_uid != 0 || stat.st_mode & 0o7777 != 0o700 || !empty {
                let why = "was put there while it was being made";
                return Err(DirError::Unsafe { at, why });
            }
            give_to(&fd, owner).map_err(|source| DirError::Io { at, source })?;
        }
        self.sync().map_err(|source| DirError::Io {
            at: self.path.clone(),
            source,
        })
    }
}

/// Owner and group of a descriptor; a no-op where they are right already.
pub(super) fn give_to(fd: impl AsFd, owner: Owner) -> std::io::Result<()> {
    let stat = rustix::fs::fstat(&fd)?;
    if (stat.st_uid, stat.st_gid) == (owner.uid, owner.gid) {
        return Ok(());
    }
    let uid = rustix::fs::Uid::from_raw(owner.uid);
    let gid = rustix::fs::Gid::from_raw(owner.gid);
    Ok(rustix::fs::fchown(fd, Some(uid), Some(gid))?)
}

/// A walk on its way.
struct Walk {
    at: OwnedFd,
    path: PathBuf,
    owner: Owner,
    /// Only root could have changed anything on the way so far.
    roots_own: bool,
    links: usize,
}

impl Walk {
    fn begin(owner: Owner) -> Result<Self, DirError> {
        let path = PathBuf::from("/");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let at = rustix::fs::open("/", flags, Mode::empty()).map_err(|f| io(&path, f))?;
        let mut walk = Self {
            at,
            path,
            owner,
            roots_own: true,
            links: 0,
        };
        walk.judge()?;
        Ok(walk)
    }

    fn go(&mut self, path: &Path) -> Result<(), DirError> {
        let mut todo: VecDeque<OsString> = components(path);
        while let Some(name) = todo.pop_front() {
            let here = self.path.join(&name);
            if name == ".." {
                return Err(DirError::Unsafe {
                    at: here,
                    why: "goes upwards",
                });
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let next = match rustix::fs::openat(&self.at, &name, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => return Err(DirError::Missing { at: here }),
                Err(fault) => return Err(io(&here, fault)),
            };
            let stat = rustix::fs::fstat(&next).map_err(|fault| io(&here, fault))?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    self.at = next;
                    self.path = here;
                    self.judge()?;
                }
                FileType::Symlink => {
                    let target = self.follow(&next, &here, stat.st_uid)?;
                    if target.is_absolute() {
                        let links = self.links;
                        *self = Self::begin(self.owner)?;
                        self.links = links;
                    }
                    for name in components(&target).into_iter().rev() {
                        todo.push_front(name);
                    }
                }
                _ => {
                    return Err(DirError::Unsafe {
                        at: here,
                        why: "is not a directory",
                    });
                }
            }
        }
        Ok(())
    }

    /// Owner and mode of the directory that was just entered.
    fn judge(&mut self) -> Result<(), DirError> {
        let stat = rustix::fs::fstat(&self.at).map_err(|fault| io(&self.path, fault))?;
        if stat.st_uid != 0 && stat.st_uid != self.owner.uid {
            return Err(DirError::Unsafe {
                at: self.path.clone(),
                why: "belongs to another user",
            });
        }
        self.roots_own &= stat.st_uid == 0 && stat.st_mode & 0o022 == 0;
        Ok(())
    }

    /// Where a link leads, if it counts.
    fn follow(&mut self, link: &OwnedFd, at: &Path, uid: u32) -> Result<PathBuf, DirError> {
        if !self.roots_own || uid != 0 {
            return Err(DirError::Unsafe {
                at: at.to_owned(),
                why: "is a symbolic link that a user may change",
            });
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(io(at, Errno::LOOP));
        }
        let target = rustix::fs::readlinkat(link, "", Vec::new()).map_err(|fault| io(at, fault))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    fn finish(self) -> Result<Dir, DirError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.at, ".", flags, Mode::empty())
            .map_err(|fault| io(&self.path, fault))?;
        Ok(Dir {
            fd,
            path: self.path,
        })
    }
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn io(at: &Path, fault: Errno) -> DirError {
    DirError::Io {
        at: at.to_owned(),
        source: fault.into(),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets files up by path")]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

    const USER: Owner = Owner {
        uid: 4711,
        gid: 4711,
    };

    /// A home of a user, below a directory of root's own.
    fn home() -> (tempfile::TempDir, PathBuf) {
        let top = tempfile::tempdir_in("/var/lib").unwrap();
        std::fs::set_permissions(top.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let home = top.path().join("home");
        std::fs::create_dir(&home).unwrap();
        chown(&home, Some(USER.uid), Some(USER.gid)).unwrap();
        (top, home)
    }

    #[test]
    #[ignore = "needs root; tests/run includes it"]
    fn a_missing_ssh_directory_is_made_for_its_owner_and_a_home_is_not() {
        let (_top, home) = home();
        let ssh = home.join(".ssh");
        Dir::open_or_create(&ssh, &home, USER).unwrap();
        let made = std::fs::metadata(&ssh).unwrap();
        assert_eq!((made.uid(), made.gid()), (4711, 4711));
        assert_eq!(made.mode() & 0o7777, 0o700);
        let nobody = home.join("none/.ssh");
        assert!(matches!(
            Dir::open_or_create(&nobody, &home.join("none"), USER),
            Err(DirError::Missing { .. })
        ));
    }

    #[test]
    #[ignore = "needs root; tests/run includes it"]
    fn a_link_in_a_users_home_never_counts() {
        let (_top, home) = home();
        let ssh = home.join(".ssh");
        symlink("/etc", &ssh).unwrap();
        let fault = Dir::open_or_create(&ssh, &home, USER).unwrap_err();
        assert!(matches!(fault, DirError::Unsafe { .. }), "{fault}");
        std::fs::remove_file(&ssh).unwrap();
        std::fs::write(&ssh, "").unwrap();
        let fault = Dir::open(&ssh, USER).unwrap_err();
        assert!(fault.to_string().ends_with("is not a directory"), "{fault}");
    }

    #[test]
    #[ignore = "needs root; tests/run includes it"]
    fn a_link_of_roots_own_counts() {
        let (top, home) = home();
        symlink("home", top.path().join("alias")).unwrap();
        let dir = Dir::open(&top.path().join("alias"), USER).unwrap();
        assert_eq!(dir.path(), home);
        let alias = top.path().join("alias");
        let made = Dir::open_or_create(&alias.join(".ssh"), &alias, USER).unwrap();
        assert_eq!(made.path(), home.join(".ssh"));
        std::fs::set_permissions(top.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Dir::open(&top.path().join("alias"), USER).is_err());
    }

    #[test]
    #[ignore = "needs root; tests/run includes it"]
    fn another_users_directory_on_the_way_is_not_passed() {
        let (_top, home) = home();
        let other = Owner { uid: 4712, gid: 1 };
        let fault = Dir::open(&home, other).unwrap_err();
        assert!(fault.to_string().ends_with("belongs to another user"));
        assert!(Dir::open(&home.join("../home"), USER).is_err());
    }

    #[test]
    #[ignore = "needs root; tests/run includes it"]
    fn a_ring_of_links_ends() {
        let (top, _home) = home();
        symlink("b", top.path().join("a")).unwrap();
        symlink("a", top.path().join("b")).unwrap();
        assert!(Dir::open(&top.path().join("a"), USER).is_err());
    }
}
