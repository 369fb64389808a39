//! Small files that are nobody else's business: private keys, session keys, sealing keys.
//!
//! Mode 0600, whole or not there, on disk before we go on. Refuses to read what is not a plain
//! file, belongs to another user, or may be read or written by others. Never follows a symlink at
//! the end of the path; the directories above it are trusted.

use nix::fcntl::OFlag;
use rustix::fs::{CWD, RenameFlags, rename, renameat_with};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Largest private file, in bytes.
pub const MAX_PRIVATE: u64 = 32 * 1024 * 1024;
/// What is written at a time, in bytes.
const BUFFER: usize = 32 * 1024;

/// The bytes of the file; made by `make` and written (0600, its directory 0700 where it is not
/// there) when there is no such file yet. Callers at the same time, also in other processes, all
/// get the bytes of the one that was first.
///
/// # Errors
/// As [`read`]; or the file could not be made durable.
pub fn create_once(
    path: &Path,
    make: impl FnOnce() -> Zeroizing<Vec<u8>>,
) -> io::Result<Zeroizing<Vec<u8>>> {
    if let Some(bytes) = read(path)? {
        return Ok(bytes);
    }
    let directory = directory_of(path)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let bytes = make();
    let staged = Staged::write(path, &bytes)?;
    match staged.put_new(path) {
        Ok(()) => {
            sync_directory(directory)?;
            Ok(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // The other's rename may not be on disk yet, and we are about to rely on it.
            sync_directory(directory)?;
            read(path)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        }
        Err(error) => Err(error),
    }
}

/// The bytes of the file; none when there is none.
///
/// # Errors
/// It is not a plain file of ours or root's that only its owner may read (`PermissionDenied`,
/// `InvalidInput`), or larger than [`MAX_PRIVATE`]; nothing of it may be used then.
pub fn read(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
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
    let refuse =
        |kind, why: String| Err(io::Error::new(kind, format!("{}: {why}", path.display())));
    if !about.is_file() {
        return refuse(
            io::ErrorKind::InvalidInput,
            "not a plain file; move it away".to_owned(),
        );
    }
    if about.mode() & 0o077 != 0 {
        let mode = about.mode() & 0o7777;
        let why = format!("others may use it (mode {mode:04o}); make it 0600");
        return refuse(io::ErrorKind::PermissionDenied, why);
    }
    let us = super::users::current_uid();
    if about.uid() != us && about.uid() != 0 {
        let why = format!("belongs to user {}; it must be user {us}'s", about.uid());
        return refuse(io::ErrorKind::PermissionDenied, why);
    }
    if about.len() > MAX_PRIVATE {
        return refuse(
            io::ErrorKind::InvalidInput,
            "too large; move it away".to_owned(),
        );
    }
    // Room for all of it: a vector that grows would leave copies of the secret behind. Room for no
    // more: all of it is zeroed at the end, and would count as memory in use.
    let mut bytes = Zeroizing::new(Vec::with_capacity(about.len() as usize + 1));
    file.take(about.len() + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > about.len() {
        return refuse(
            io::ErrorKind::InvalidData,
            "grew while it was read; try again".to_owned(),
        );
    }
    Ok(Some(bytes))
}

/// Puts `bytes` in the place of the file, whole or not at all, durable when this returns. Its
/// directory is made (0700) where it is not there.
///
/// # Errors
/// The old file stands unchanged, but for an error of the directory's fsync: then either stands.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = directory_of(path)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    Staged::write(path, bytes)?.put_over(path)?;
    sync_directory(directory)
}

/// The same, of bytes that `write` makes one after the other, so that they are never in memory all
/// at once. For what is no secret: some of them stay in freed memory.
///
/// # Errors
/// As [`replace`], and what `write` says.
pub fn replace_by(
    path: &Path,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    let directory = directory_of(path)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let staged = Staged::write_by(path, |file| {
        let mut buffered = io::BufWriter::with_capacity(BUFFER, file);
        write(&mut buffered)?;
        buffered.flush()
    })?;
    staged.put_over(path)?;
    sync_directory(directory)
}

/// Gives the file another name beside its own, for a person to look at; nothing where there is
/// none.
///
/// # Errors
/// What rename(2) and fsync(2) say.
pub fn set_aside(path: &Path, suffix: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{suffix}"));
    match rename(path, path.with_file_name(name)) {
        Ok(()) => sync_directory(directory_of(path)?),
        Err(Errno::NOENT) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

/// Takes the file away, for good when this returns; nothing where there is none.
///
/// # Errors
/// What unlink(2) and fsync(2) say.
pub fn remove(path: &Path) -> io::Result<()> {
    match rustix::fs::unlink(path) {
        Ok(()) => sync_directory(directory_of(path)?),
        Err(Errno::NOENT) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

/// Removes a plain file whose bytes are not to be found on the disk afterwards: zeros take their
/// place first. (A file system that never writes in place keeps the old blocks until it needs them.)
///
/// # Errors
/// What open(2), write(2), fsync(2) and unlink(2) say.
pub fn shred(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)?;
    let length = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(length), &mut &file)?;
    file.sync_all()?;
    std::fs::remove_file(path)?;
    sync_directory(directory_of(path)?)
}

/// Takes away what runs that were cut off left in a directory of ours and in those just below it:
/// never more than our own temporary files.
///
/// # Errors
/// What the system says about reading the directory.
pub fn sweep(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let below = std::fs::read_dir(entry.path())?;
            below
                .flatten()
                .for_each(|entry| take_leftover(&entry.path()));
        }
        take_leftover(&entry.path());
    }
    Ok(())
}

fn take_leftover(path: &Path) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unique = name
        .strip_suffix(".tmp")
        .and_then(|name| name.rsplit_once('.'));
    let is_ours = |(_, unique): (&str, &str)| {
        unique.len() == 16 && unique.bytes().all(|b| b.is_ascii_hexdigit())
    };
    if unique.is_some_and(is_ours) {
        let _ = std::fs::remove_file(path);
    }
}

/// A file beside its place, complete and on disk; gone when it is dropped.
struct Staged(PathBuf);

impl Staged {
    fn write(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        if bytes.len() as u64 > MAX_PRIVATE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // Straight to the file: a buffer would keep a copy of the secret.
        Self::write_by(path, |file| file.write_all(bytes))
    }

    fn write_by(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:016x}.tmp", rand::random::<u64>()));
        let beside = path.with_file_name(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&beside)?;
        let staged = Self(beside);
        write(&mut file)?;
        if file.metadata()?.len() > MAX_PRIVATE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        file.sync_all()?;
        Ok(staged)
    }

    /// To its place, when nothing is there.
    fn put_new(&self, path: &Path) -> io::Result<()> {
        match renameat_with(CWD, &self.0, CWD, path, RenameFlags::NOREPLACE) {
            // File systems without this flag have hard links, which do not replace either.
            Err(Errno::INVAL | Errno::NOSYS) => std::fs::hard_link(&self.0, path),
            renamed => Ok(renamed?),
        }
    }

    fn put_over(&self, path: &Path) -> io::Result<()> {
        Ok(rename(&self.0, path)?)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename there is nothing left under this name.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn directory_of(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(directory) if directory.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(directory) => Ok(directory),
        None => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
