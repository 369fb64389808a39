//! A listening Unix socket with a mode of its own: unix(7).
//!
//! Its directory is made (0755) where it is missing, and must be safe by [`own_dir`]'s rules: whoever
//! could rename in it could put his own socket in our place. A socket that nobody listens on any more is
//! taken away; one that somebody does is left.

use super::own_dir;
use rustix::fs::{AtFlags, CWD, Mode};
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// A socket that goes when it is dropped.
#[derive(Debug)]
pub struct Listening {
    /// Where requests come in.
    pub listener: UnixListener,
    path: PathBuf,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Listens at `path`.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when somebody answers there, [`io::ErrorKind::PermissionDenied`]
/// when the directory belongs to somebody else; else what the system says.
pub async fn listen(path: &Path, mode: u32) -> io::Result<Listening> {
    let directory = path.parent().unwrap_or_else(|| Path::new("/"));
    let is_new = !directory.exists();
    own_dir::claim(directory, 0o755)?;
    if is_new {
        // Whoever may ask must be able to get here, whatever the umask is.
        rustix::fs::chmodat(CWD, directory, Mode::from_raw_mode(0o755), AtFlags::empty())?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(old) if old.file_type().is_socket() => {
            // A listener whose queue is full answers otherwise, and lives.
            match UnixStream::connect(path).await {
                Err(fault) if fault.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)?;
                }
                _ => return Err(io::ErrorKind::AddrInUse.into()),
            }
        }
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
        Err(fault) => return Err(fault),
    }
    let listener = UnixListener::bind(path)?;
    rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())?;
    Ok(Listening {
        listener,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/agent.sock");
        let first = listen(&path, 0o666).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o666);
        let busy = listen(&path, 0o666).await.unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::AddrInUse);
        let Listening { .. } = &first;
        drop(first);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(listen(&path, 0o666).await.unwrap());
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_directory_that_others_may_change_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let fault = listen(&dir.path().join("s"), 0o666).await.unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::PermissionDenied);
    }
}
