//! Directories of our own: state, and the control socket's.
//!
//! Whoever may rename in one of them, or in one above it, could put another in its place. So each
//! directory on the way must be root's or ours and closed to others (or sticky, as /tmp is, where
//! nobody may move what is not his); a link on the way counts where only root could have made it,
//! and the last component is never one. What is wrong is refused by name, and nothing is mended.

use super::users::current_uid;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

/// Most links that one walk follows, as the kernel's own limit.
const MOST_LINKS: usize = 40;

/// Makes sure of a directory that nobody else can change or take the place of. What is missing is
/// made, with this mode.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] with the component that is at fault; else what the system
/// says.
pub fn claim(path: &Path, mode: u32) -> io::Result<()> {
    let us = current_uid();
    let absolute = std::path::absolute(path)?;
    let mut todo: VecDeque<OsString> = parts(&absolute);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    judge(&at, &std::fs::symlink_metadata(&at)?, us, todo.is_empty())?;
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let here = at.join(&part);
        let about = match std::fs::symlink_metadata(&here) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
                match DirBuilder::new().mode(mode).create(&here) {
                    Err(fault) if fault.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(fault);
                    }
                    _ => std::fs::symlink_metadata(&here)?,
                }
            }
            about => about?,
        };
        if about.is_symlink() {
            if todo.is_empty() {
                return refuse(
                    &here,
                    "is a symbolic link; name the directory that it leads to",
                );
            }
            links += 1;
            if about.uid() != 0 && about.uid() != us || links > MOST_LINKS {
                return refuse(&here, "is a symbolic link that a user may change");
            }
            let target = std::fs::read_link(&here)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                todo.push_front(part);
            }
            continue;
        }
        judge(&here, &about, us, todo.is_empty())?;
        at = here;
    }
    Ok(())
}

fn judge(at: &Path, about: &Metadata, us: u32, is_last: bool) -> io::Result<()> {
    if !about.is_dir() {
        return refuse(at, "is not a directory");
    }
    // Above the last one only root is asked of: what a user of his own rights keeps in his home is
    // as safe as the home is.
    if us != 0 && !is_last {
        return Ok(());
    }
    if about.uid() != 0 && about.uid() != us {
        return refuse(at, &format!("belongs to user {}", about.uid()));
    }
    let mode = about.mode() & 0o7777;
    if mode & 0o022 != 0 && (is_last || mode & 0o1000 == 0) {
        let why = format!("may be changed by others (mode {mode:04o}); take their right away");
        return refuse(at, &why);
    }
    Ok(())
}

fn refuse(at: &Path, why: &str) -> io::Result<()> {
    let text = format!("{} {why}", at.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets files up by path")]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    fn refusal(path: &Path) -> String {
        let fault = claim(path, 0o700).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::PermissionDenied, "{fault}");
        fault.to_string()
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_there_is_left_as_it_is() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("a/b");
        claim(&path, 0o700).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&path), 0o700);
        set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        claim(&path, 0o700).unwrap();
        assert_eq!(mode(&path), 0o755);
    }

    #[test]
    fn a_link_or_a_file_or_an_open_directory_is_refused_by_name() {
        let top = tempfile::tempdir().unwrap();
        let [real, link, file] = ["real", "link", "file"].map(|name| top.path().join(name));
        std::fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        std::fs::write(&file, "").unwrap();
        assert!(refusal(&link).starts_with(&format!("{} is a symbolic link", link.display())));
        assert!(!real.join("state").exists());
        assert!(refusal(&file).ends_with("is not a directory"));
        set_permissions(&real, Permissions::from_mode(0o770)).unwrap();
        assert!(refusal(&real).contains("(mode 0770)"));
    }

    #[test]
    #[ignore = "needs root; tests/run includes it"]
    fn nobody_else_may_stand_above_it() {
        let top = tempfile::tempdir_in("/var/lib").unwrap();
        let open = top.path().join("open");
        std::fs::create_dir(&open).unwrap();
        set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert!(refusal(&open.join("state")).contains("open may be changed by others"));
        assert!(!open.join("state").exists());
        // Sticky: others may add here, and move nothing that is not theirs.
        set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
        claim(&open.join("state"), 0o700).unwrap();
        chown(open.join("state"), Some(4711), None).unwrap();
        assert!(refusal(&open.join("state")).ends_with("belongs to user 4711"));
        let theirs = open.join("theirs");
        symlink("/var", &theirs).unwrap();
        std::os::unix::fs::lchown(&theirs, Some(4711), None).unwrap();
        assert!(refusal(&theirs.join("x")).contains("a user may change"));
        chown(&open, Some(4711), None).unwrap();
        assert!(refusal(&open.join("other")).ends_with("belongs to user 4711"));
    }
}
