//! A directory for one demo, private, and gone afterwards unless its user named it.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Longest path of the directory, in bytes: `run/agent.sock` in it has to be a socket's name, which
/// has 107 (unix(7)).
const LONGEST: usize = 92;

/// The directory.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes the directory that was named, or one of its own below the system's for such.
    ///
    /// # Errors
    /// It cannot be made, or the one that was named is not empty.
    pub fn make(named: Option<&Path>) -> io::Result<Self> {
        let own =
            || std::env::temp_dir().join(format!("sshkeyd-demo-{:08x}", rand::random::<u32>()));
        let path = named.map_or_else(own, Path::to_path_buf);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists && named.is_some() => {
                if std::fs::read_dir(&path)?.next().is_some() {
                    let text = format!("{} is not empty; name another", path.display());
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
                }
            }
            made => made.map_err(|fault| placed(&path, &fault))?,
        }
        let scratch = Self {
            path: path.canonicalize()?,
            keep: named.is_some(),
        };
        if scratch.path.as_os_str().len() > LONGEST {
            let text = "too long for a socket in it; name a shorter one with --dir";
            return Err(placed(&scratch.path, &io::Error::other(text)));
        }
        Ok(scratch)
    }

    /// Whether it stays.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.keep
    }

    /// Where it is, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn placed(path: &Path, fault: &io::Error) -> io::Error {
    io::Error::new(fault.kind(), format!("{}: {fault}", path.display()))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // What is left then lies below the system's directory for such things.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
