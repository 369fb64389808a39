//! What nobody but root may change, from `/` down.
//!
//! Mirrors `safe_path` in OpenSSH's `misc.c`, by which sshd judges a program before it runs it as
//! AuthorizedKeysCommand: links are resolved first, then the file and every directory above it must
//! be root's and writable by nobody else. Changes nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Write permission of anybody but the owner.
const OTHERS_WRITE: u32 = 0o022;

/// Why a path is not safe.
#[derive(Debug, thiserror::Error)]
#[error("{} {why}", at.display())]
pub struct UnsafePath {
    /// The file or directory that is not.
    pub at: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// A program that sshd would run as its command: gives its path without links.
///
/// # Errors
/// [`UnsafePath`], with the first thing that sshd would object to.
pub fn safe_program(program: &Path) -> Result<PathBuf, UnsafePath> {
    let unsafe_path = |at: &Path, why: String| UnsafePath {
        at: at.to_owned(),
        why,
    };
    let path = std::fs::canonicalize(program).map_err(|e| unsafe_path(program, e.to_string()))?;
    let about = std::fs::metadata(&path).map_err(|e| unsafe_path(&path, e.to_string()))?;
    if !about.is_file() {
        return Err(unsafe_path(&path, "is not a regular file".to_owned()));
    }
    roots_alone(&path)?;
    Ok(path)
}

/// Whether this path, already without links, and all above it are root's alone to change.
///
/// # Errors
/// [`UnsafePath`], with the lowest that is not.
pub fn roots_alone(path: &Path) -> Result<(), UnsafePath> {
    for at in path.ancestors() {
        judge(at, 0)?;
    }
    Ok(())
}

/// The same, and every user may pass, or run, each of them.
///
/// # Errors
/// [`UnsafePath`], with the lowest that is not so.
pub fn passable_by_all(path: &Path) -> Result<(), UnsafePath> {
    for at in path.ancestors() {
        judge(at, 0o001)?;
    }
    Ok(())
}

fn judge(at: &Path, needed: u32) -> Result<(), UnsafePath> {
    let about = std::fs::metadata(at).map_err(|fault| fault.to_string());
    let why = match about {
        Err(fault) => Some(fault),
        Ok(about) if about.uid() != 0 => Some(format!(
            "belongs to user {}; it must be root's",
            about.uid()
        )),
        Ok(about) if about.mode() & OTHERS_WRITE != 0 => Some(format!(
            "may be changed by others (mode {:04o}); only root may",
            about.mode() & 0o7777
        )),
        Ok(about) if about.mode() & needed != needed => Some(format!(
            "cannot be passed by others (mode {:04o}); add o+x",
            about.mode() & 0o7777
        )),
        Ok(_) => None,
    };
    why.map_or(Ok(()), |why| {
        Err(UnsafePath {
            at: at.to_owned(),
            why,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    #[ignore = "needs root; tests/run includes it"]
    fn a_program_is_refused_for_what_sshd_would_refuse_it_for() {
        let top = tempfile::tempdir_in("/var/lib").unwrap();
        mode(top.path(), 0o755);
        let dir = top.path().join("bin");
        fs::create_dir(&dir).unwrap();
        mode(&dir, 0o755);
        let program = dir.join("program");
        fs::copy("/bin/true", &program).unwrap();
        mode(&program, 0o755);
        assert_eq!(safe_program(&program).unwrap(), program);
        let link = top.path().join("link");
        symlink("bin/program", &link).unwrap();
        assert_eq!(safe_program(&link).unwrap(), program);

        let refused = |at: &Path, why: &str| {
            let fault = safe_program(&program).unwrap_err();
            assert_eq!(fault.at, at);
            assert!(fault.why.contains(why), "{fault}");
        };
        mode(&program, 0o775);
        refused(&program, "may be changed by others");
        mode(&program, 0o755);
        chown(&program, Some(1), None).unwrap();
        refused(&program, "user 1");
        chown(&program, Some(0), None).unwrap();
        mode(&dir, 0o777);
        refused(&dir, "may be changed by others");
        mode(&dir, 0o755);
        for closed in [top.path(), &program] {
            mode(closed, 0o744);
            assert!(safe_program(&program).is_ok());
            let fault = passable_by_all(&program).unwrap_err();
            assert_eq!(fault.at, closed, "{fault}");
            mode(closed, 0o755);
        }
        assert!(safe_program(&dir).unwrap_err().why.contains("regular"));
    }
}
