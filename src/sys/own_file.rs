//! A user's own file, changed by his own command and his own rights: `known_hosts`, a certificate
//! beside its key.
//!
//! Whole or not at all, durable, with owner and mode as they were; a symlink is followed and stays,
//! since whoever runs the command made it; root follows none but root's. What others append meanwhile (ssh does) is not lost.
//! Not for files of other users: `atomic_file` walks to those.

use super::users;
use nix::fcntl::OFlag;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Path, PathBuf};

/// Largest file that is changed, in bytes.
pub const MAX_OWN_FILE: u64 = 8 * 1024 * 1024;

/// Somebody who changes the file this often meanwhile is at play.
const MOST_TRIES: usize = 16;

/// Links on a way that root goes (`SYMLOOP_MAX` of Linux).
const MOST_LINKS: usize = 40;

/// Why a file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OwnFileError<E> {
    /// Whoever asked does not want it changed after all.
    #[error("{0}")]
    Refused(E),
    /// The system says no.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Gives the bytes of the file (none where it is not there) to `change`, and puts what that makes of
/// them in their place; nothing is done where it makes none. True: the file is another one now. A
/// new one gets `mode`, and its directory is made (0700) where only that is missing.
///
/// # Errors
/// [`OwnFileError`]; the file stands as it was.
pub fn update<E>(
    path: &Path,
    mode: u32,
    mut change: impl FnMut(Option<&[u8]>) -> Result<Option<Vec<u8>>, E>,
) -> Result<bool, OwnFileError<E>> {
    let path = resolve(path)?;
    for _ in 0..MOST_TRIES {
        let mut old = Old::read(&path)?;
        let bytes = old.as_ref().map(|old| &old.bytes[..]);
        let Some(new) = change(bytes).map_err(OwnFileError::Refused)? else {
            return Ok(false);
        };
        let staged = Staged::write(&path, &new, old.as_ref(), mode)?;
        if Seen::at(&path)? != old.as_ref().map(|old| old.seen) {
            continue;
        }
        rustix::fs::rename(&staged.path, &path).map_err(io::Error::from)?;
        if let Some(old) = &mut old {
            let mut late = Vec::new();
            old.file.seek(SeekFrom::Start(old.bytes.len() as u64))?;
            (&old.file).take(MAX_OWN_FILE).read_to_end(&mut late)?;
            if !late.is_empty() {
                let mut appended = OpenOptions::new().append(true).open(&path)?;
                appended.write_all(&late)?;
                appended.sync_all()?;
            }
        }
        File::open(directory_of(&path))?.sync_all()?;
        return Ok(true);
    }
    let text = "changed again and again while it was being replaced; try again";
    Err(io::Error::other(text).into())
}

/// Puts these bytes in the place of the file, whatever it holds; a new one gets `mode`.
///
/// # Errors
/// The file stands as it was.
pub fn replace(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let same = |_: Option<&[u8]>| Ok::<_, std::convert::Infallible>(Some(bytes.to_vec()));
    match update(path, mode, same) {
        Ok(_) => Ok(()),
        Err(OwnFileError::Io(error)) => Err(error),
        Err(OwnFileError::Refused(never)) => match never {},
    }
}

/// Where the bytes are: at the end of all symlinks. A file that is not there has its name in its
/// directory, which is made.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    if users::current_uid() == 0 {
        roots_links_alone(path)?;
    }
    if path.symlink_metadata().is_ok() {
        return path.canonicalize();
    }
    let directory = directory_of(path);
    if !directory.exists() {
        DirBuilder::new().mode(0o700).create(directory)?;
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(directory.canonicalize()?.join(name))
}

/// Refuses a way through a link that somebody else made: root would write where that one wants.
fn roots_links_alone(path: &Path) -> io::Result<()> {
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.components().rev();
        parts.map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut todo = parts(&std::path::absolute(path)?);
    let (mut at, mut links) = (PathBuf::new(), 0);
    while let Some(part) = todo.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        at.push(part);
        let about = match at.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            about => about?,
        };
        if !about.is_symlink() {
            continue;
        }
        links += 1;
        if about.uid() != 0 || links > MOST_LINKS {
            let text = format!(
                "{} is a link of user {}, which root does not follow; run the command as that \
                 user, or name the file itself",
                at.display(),
                about.uid()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let target = at.read_link()?;
        at.pop();
        todo.extend(parts(&target));
    }
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What tells that a file is another one than it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen([i64; 4], u64, u64);

impl Seen {
    fn of(about: &Metadata) -> Self {
        let times = [
            about.mtime(),
            about.mtime_nsec(),
            about.ctime(),
            about.ctime_nsec(),
        ];
        Self(times, about.ino(), about.len())
    }

    fn at(path: &Path) -> io::Result<Option<Self>> {
        match path.symlink_metadata() {
            Ok(about) => Ok(Some(Self::of(&about))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The file as it was read.
struct Old {
    file: File,
    about: Metadata,
    seen: Seen,
    bytes: Vec<u8>,
}

impl Old {
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let about = file.metadata()?;
        if !about.is_file() {
            let text = "not a plain file; put one there";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut bytes = Vec::new();
        (&file).take(MAX_OWN_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_OWN_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let seen = Seen::of(&about);
        Ok(Some(Self {
            file,
            about,
            seen,
            bytes,
        }))
    }
}

/// New bytes beside the file; gone when dropped, unless they went into place.
struct Staged {
    path: PathBuf,
}

impl Staged {
    fn write(path: &Path, bytes: &[u8], old: Option<&Old>, mode: u32) -> io::Result<Self> {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".sshkeyd-{:016x}", rand::random::<u64>()));
        let staged = Self {
            path: path.with_file_name(name),
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&staged.path)?;
        let made = file.metadata()?;
        // Root who works on another user's file leaves it his; a new one is as its directory.
        let (uid, gid, mode) = match old {
            Some(old) => (old.about.uid(), old.about.gid(), old.about.mode() & 0o777),
            None => {
                let around = directory_of(path).metadata()?;
                match made.uid() {
                    0 => (around.uid(), around.gid(), mode),
                    uid => (uid, made.gid(), mode),
                }
            }
        };
        if (uid, gid) != (made.uid(), made.gid()) {
            fchown(&file, Some(uid), Some(gid))?;
        }
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(staged)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After the rename there is nothing left under this name.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets files up by path")]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn add(path: &Path, line: &str) -> Result<bool, OwnFileError<Infallible>> {
        update(path, 0o600, |old| {
            let mut new = old.unwrap_or_default().to_vec();
            new.extend_from_slice(line.as_bytes());
            Ok(Some(new))
        })
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("real"), dir.path().join("ssh/known_hosts"));
        fs::create_dir(dir.path().join("ssh")).unwrap();
        fs::write(&file, "a\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        assert!(add(&link, "b\n").unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), "a\nb\n");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(dir.path()).len(), 2);
    }

    #[test]
    #[ignore = "needs root; tests/run includes it"]
    fn root_follows_no_link_that_somebody_else_made() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("secret"), "a\n").unwrap();
        fs::create_dir(at("etc")).unwrap();
        symlink("secret", at("file")).unwrap();
        symlink("etc", at("dir")).unwrap();
        symlink("file", at("by-root")).unwrap();
        assert!(add(&at("by-root"), "b\n").unwrap() && add(&at("dir/x"), "b\n").unwrap());
        for link in ["file", "dir"] {
            std::os::unix::fs::lchown(at(link), Some(1), Some(1)).unwrap();
        }
        for path in ["file", "by-root", "dir/x", "dir/new"] {
            let error = add(&at(path), "c\n").unwrap_err().to_string();
            assert!(error.contains("a link of user 1"), "{path}: {error}");
        }
        assert_eq!(fs::read_to_string(at("secret")).unwrap(), "a\nb\n");
        assert_eq!(names(&at("etc")), ["x"]);
    }

    #[test]
    fn a_new_file_gets_its_mode_and_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".ssh/known_hosts");
        assert!(add(&file, "a\n").unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        assert!(add(&dir.path().join("no/such/place"), "a").is_err());
    }

    #[test]
    fn what_somebody_appends_meanwhile_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_hosts");
        fs::write(&file, "a\n").unwrap();
        let mut times = 0;
        let changed = update(&file, 0o600, |old| {
            times += 1;
            if times == 1 {
                let mut other = OpenOptions::new().append(true).open(&file).unwrap();
                other.write_all(b"theirs\n").unwrap();
            }
            let mut new = old.unwrap().to_vec();
            new.extend_from_slice(b"ours\n");
            Ok::<_, Infallible>(Some(new))
        });
        assert!(changed.unwrap() && times == 2);
        assert_eq!(fs::read_to_string(&file).unwrap(), "a\ntheirs\nours\n");
    }

    #[test]
    fn nothing_is_left_where_nothing_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_hosts");
        assert!(!update(&file, 0o600, |_| Ok::<_, Infallible>(None)).unwrap());
        let refused = update(&file, 0o600, |_| Err::<Option<Vec<u8>>, _>("no"));
        assert!(matches!(refused, Err(OwnFileError::Refused("no"))));
        fs::create_dir(&file).unwrap();
        assert!(add(&file, "a").is_err());
        assert_eq!(names(dir.path()), ["known_hosts"]);
    }
}
