//! What sshd's StrictModes would refuse: the owner and mode of a key file and of each directory
//! above it, up to the home.
//!
//! The rule is `safe_path` of OpenSSH's misc.c, as auth2-pubkeyfile.c asks it about the file by
//! descriptor and about the directories by their real path. [`judge`] is the rule and looks at
//! nothing; [`look`] gathers what it judges; [`without_private_groups`] is what Debian's and Ubuntu's
//! sshd leaves of it. Nothing is changed here: what we did not create we do
//! not chmod.

use crate::sys::users;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file or directory as StrictModes sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its real path.
    pub path: PathBuf,
    /// Its owner.
    pub uid: u32,
    /// Its type and mode, as stat(2) gives them.
    pub mode: u32,
}

/// What sshd refuses a file for, in the words of a fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// sshd reads regular files only.
    #[error("{} is not a regular file; sshd reads none but those", path.display())]
    NotRegular {
        /// Which.
        path: PathBuf,
    },
    /// It belongs to somebody who is neither root nor the user.
    #[error("{} belongs to user {uid}; sshd wants it to be root's or the user's own", path.display())]
    Owner {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Others than its owner may write to it.
    #[error(
        "{} is writable by {} (mode {mode:04o}); sshd ignores the keys until it is not: \
         chmod go-w",
        path.display(),
        writers(*mode)
    )]
    Mode {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

fn writers(mode: u32) -> &'static str {
    match (mode & 0o020 != 0, mode & 0o002 != 0) {
        (true, true) => "its group and by everybody",
        (true, false) => "its group",
        (false, _) => "everybody",
    }
}

/// Everything that StrictModes would refuse; nothing where it is content. sshd names the first of
/// them only and looks no further.
///
/// `file` is the key file, `above` each directory from the one that holds it up to `/`, `home` the
/// real path of the user's home where that can be had: no directory above it counts.
#[must_use]
pub fn judge(file: &Place, above: &[Place], home: Option<&Path>, uid: u32) -> Vec<Refusal> {
    const REGULAR: u32 = 0o100_000;
    const TYPE: u32 = 0o170_000;
    let mut refused = Vec::new();
    if file.mode & TYPE != REGULAR {
        let path = file.path.clone();
        refused.push(Refusal::NotRegular { path });
    }
    let mut all = Some(file).into_iter().chain(above);
    for place in all.by_ref() {
        let path = place.path.clone();
        if place.uid != 0 && place.uid != uid {
            let uid = place.uid;
            refused.push(Refusal::Owner { path, uid });
        } else if place.mode & 0o022 != 0 {
            let mode = place.mode & 0o7777;
            refused.push(Refusal::Mode { path, mode });
        }
        if home == Some(&place.path) {
            break;
        }
    }
    refused
}

/// Looks at a key file and judges it, its links followed as sshd follows them. `Ok` with nothing
/// where there is no such file: then sshd has nothing to refuse.
///
/// # Errors
/// What realpath(3) and stat(2) say; may wait for as long as the file system does.
pub fn look(file: &Path, home: &Path, uid: u32) -> io::Result<Vec<Refusal>> {
    let real = match std::fs::canonicalize(file) {
        Ok(real) => real,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(fault) => return Err(fault),
    };
    let home = std::fs::canonicalize(home).ok();
    let place = |path: &Path| {
        let about = std::fs::metadata(path)?;
        Ok(Place {
            path: path.to_owned(),
            uid: about.uid(),
            mode: about.mode(),
        })
    };
    let above: io::Result<Vec<_>> = real.ancestors().skip(1).map(place).collect();
    Ok(judge(&place(&real)?, &above?, home.as_deref(), uid))
}

/// What Debian's sshd lets pass all the same (its `secure_permissions` in misc.c): a place that its
/// group may write to, where that group is its owner's alone.
#[must_use]
pub fn without_private_groups(refused: Vec<Refusal>) -> Vec<Refusal> {
    let passes = |refusal: &Refusal| match refusal {
        Refusal::Mode { path, mode } if mode & 0o002 == 0 => std::fs::metadata(path)
            .is_ok_and(|about| users::is_private_group(about.gid(), about.uid())),
        _ => false,
    };
    refused.into_iter().filter(|one| !passes(one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: u32 = 1000;

    fn place(path: &str, uid: u32, mode: u32) -> Place {
        let path = path.into();
        Place { path, uid, mode }
    }

    fn judged(places: &[(&str, u32, u32)], home: Option<&str>) -> Vec<String> {
        let mut places = places
            .iter()
            .map(|(path, uid, mode)| place(path, *uid, *mode));
        let file = places.next().unwrap();
        let above: Vec<_> = places.collect();
        let refused = judge(&file, &above, home.map(Path::new), USER);
        refused.iter().map(Refusal::to_string).collect()
    }

    #[test]
    fn a_group_writable_home_is_refused_and_what_is_above_it_is_not() {
        let usual = [
            ("/home/a/.ssh/authorized_keys", USER, 0o100_600),
            ("/home/a/.ssh", USER, 0o040_700),
            ("/home/a", USER, 0o040_755),
            ("/home", 4711, 0o040_777),
            ("/", 0, 0o040_755),
        ];
        assert!(judged(&usual, Some("/home/a")).is_empty());
        let mut open = usual;
        open[2].2 = 0o040_775;
        let said = judged(&open, Some("/home/a"));
        assert_eq!(said.len(), 1);
        assert!(
            said[0].starts_with("/home/a is writable by its group (mode 0775);"),
            "{said:?}"
        );
        // Without a home that can be found every directory counts.
        assert_eq!(judged(&usual, None).len(), 1);
    }

    #[test]
    fn the_file_itself_must_be_plain_and_nobody_elses() {
        let file = |uid, mode| judged(&[("/etc/keys/a", uid, mode)], None);
        assert!(file(USER, 0o100_644).is_empty() && file(0, 0o100_644).is_empty());
        assert!(file(1001, 0o100_600)[0].contains("belongs to user 1001"));
        assert!(file(USER, 0o100_602)[0].contains("writable by everybody"));
        assert!(file(USER, 0o100_666)[0].contains("by its group and by everybody"));
        assert!(file(USER, 0o010_600)[0].contains("not a regular file"));
    }
}
