//! Reading a file that a path names, when whoever may write there may put anything in its place.
//!
//! Owns one rule: what is no plain file is not read and never waited for. The name is looked at
//! before it is opened, because opening a device may do something, and again by the handle, because
//! the name may have changed. O_NONBLOCK makes the open of a FIFO return at once (open(2)).

use nix::fcntl::OFlag;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The bytes of a plain file, at most `limit` of them. Symlinks are followed.
///
/// # Errors
/// What the system says; [`io::ErrorKind::InvalidInput`] for anything but a plain file,
/// [`io::ErrorKind::FileTooLarge`] above the limit.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    plain(&std::fs::metadata(path)?)?;
    read_opened(path, limit)
}

/// The half after the first look.
fn read_opened(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    plain(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

fn plain(about: &Metadata) -> io::Result<()> {
    if about.is_file() {
        return Ok(());
    }
    let what = "not a plain file; put one there";
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets files up by path")]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    #[test]
    fn a_pipe_that_took_the_files_place_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
        // Past the first look, as if the pipe had come between.
        let fault = read_opened(&path, 100).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(
            read(&path, 100).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        let fault = read(Path::new("/dev/zero"), 100).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_limit_is_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(
            read(&path, 4).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
