//! What sshd's AuthorizedKeysCommand is to be, and what `sshkeyd authorized-keys` prints.
//!
//! Reads the index and nothing else; says nothing of a user where it is in doubt. Obeys
//! sshd_config(5), AuthorizedKeysCommand and TOKENS, and `user_key_command_allowed2` in OpenSSH's
//! `auth2-pubkey.c`.

use super::keys_index::{previous, whole};
use crate::keys::{Fingerprint, IndexError, IndexLine, decode_index, find_in_index};
use crate::sync::{Code, Finding};
use crate::sys::atomic_file::ReadError;
use crate::sys::published::{PublishError, Published};
use crate::sys::safe_path::{passable_by_all, safe_program};
use crate::sys::users;
use jiff::Timestamp;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Where the index is without configuration.
pub const INDEX: &str = "/var/lib/sshkeyd/keys";
/// Who runs the command: a user with no rights.
pub const KEYS_USER: &str = "sshkeyd-keys";

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The directory is not to be trusted, or is not there.
    #[error(transparent)]
    Directory(#[from] PublishError),
    /// The index is not to be trusted, and neither is the one before it.
    #[error("{now}; the one before it {before}")]
    Index {
        /// What is wrong with the index.
        now: String,
        /// What is wrong with the one before.
        before: String,
    },
}

/// What an index says of one user.
#[derive(Debug)]
pub struct Looked {
    /// Lines for sshd, each with a newline.
    pub text: Vec<u8>,
    /// Why this is from the index before, where it is.
    pub doubt: Option<String>,
}

/// The lines of one user's index: that of `wanted`, or all. A key whose time is over is left out,
/// also for an sshd that knows no `expiry-time`. A user without an index has no line.
///
/// # Errors
/// [`LookupError`]: nothing is known, so nothing is to be printed.
pub fn look_up(
    directory: &Path,
    uid: u32,
    wanted: Option<Fingerprint>,
    now: Timestamp,
) -> Result<Looked, LookupError> {
    let directory = Published::open(directory)?;
    let name = uid.to_string();
    let name = OsStr::new(&name);
    let (found, doubt) = match lines(&directory, name, uid, wanted) {
        Ok(found) => (found.unwrap_or_default(), None),
        Err(fault) => match lines(&directory, &previous(name), uid, wanted) {
            Ok(Some(found)) => (found, Some(fault.to_string())),
            Ok(None) => return Err(in_doubt(&fault, "is not there")),
            Err(before) => return Err(in_doubt(&fault, &before.to_string())),
        },
    };
    let mut text = Vec::new();
    for line in found.iter().filter(|line| !line.has_ended(now)) {
        text.extend(&line.line);
        text.push(b'\n');
    }
    Ok(Looked { text, doubt })
}

fn in_doubt(now: &io::Error, before: &str) -> LookupError {
    LookupError::Index {
        now: now.to_string(),
        before: before.to_owned(),
    }
}

/// `None` where there is no such index.
fn lines(
    directory: &Published,
    name: &OsStr,
    uid: u32,
    wanted: Option<Fingerprint>,
) -> io::Result<Option<Vec<IndexLine>>> {
    let (file, size) = match directory.file(name) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(None),
        Err(ReadError::Io(fault)) => return Err(fault),
        Err(fault) => return Err(io::Error::other(fault)),
    };
    let found = match wanted {
        Some(wanted) => find_in_index(size, uid, wanted, |at, to| {
            file.read_exact_at(to, at).is_ok()
        })
        .map(|line| line.into_iter().collect()),
        None => decode_index(&whole(file, size)?, uid),
    };
    found.map(Some).map_err(io::Error::other::<IndexError>)
}

/// The value of AuthorizedKeysCommand. The key goes as type and blob: `%f` is no SHA-256 where
/// FingerprintHash says so.
#[must_use]
pub fn command_line(program: &Path, index: &Path) -> String {
    let index = if index == Path::new(INDEX) {
        String::new()
    } else {
        format!(" --index {}", index.display())
    };
    format!("{} authorized-keys{index} %u %t %k", program.display())
}

/// What is to be in force for the method `command`, as keyword and value: AuthorizedKeysCommand
/// and AuthorizedKeysCommandUser. `program` is our own executable.
///
/// # Errors
/// The condition that says why sshd would not run it.
pub fn directives(
    program: &Path,
    index: &Path,
) -> Result<[(&'static str, String); 2], Box<Finding>> {
    let about = "AuthorizedKeysCommand";
    let unsafe_command = |text| Box::new(Finding::new(Code::CommandUnsafe, about, text));
    let program = safe_program(program)
        .and_then(|program| passable_by_all(&program).map(|()| program))
        .map_err(|fault| unsafe_command(fault.to_string()))?;
    for path in [&*program, index] {
        // sshd splits the value at blanks, and puts values where a `%` stands.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-@:,=".contains(c);
        if !path.to_str().is_some_and(|path| path.chars().all(plain)) {
            let text = format!("{} is no word for sshd_config", path.display());
            return Err(unsafe_command(text));
        }
    }
    match users::lookup(KEYS_USER) {
        Ok(Some(user)) if user.uid != 0 => {}
        Ok(Some(_)) => return Err(user_missing(format!("user {KEYS_USER} is root"))),
        Ok(None) => return Err(user_missing(format!("there is no user {KEYS_USER}"))),
        Err(fault) => return Err(user_missing(fault.to_string())),
    }
    Ok([
        ("AuthorizedKeysCommand", command_line(&program, index)),
        ("AuthorizedKeysCommandUser", KEYS_USER.to_owned()),
    ])
}

fn user_missing(text: String) -> Box<Finding> {
    let about = "AuthorizedKeysCommandUser";
    Box::new(Finding::new(Code::KeysUserMissing, about, text))
}

/// How a command that stands there already (as `sshd -T` prints it) can go on working behind ours:
/// the value that an administrator would set.
#[must_use]
pub fn chained(ours: &str, theirs: &str) -> String {
    let theirs = theirs.trim();
    // `user_key_command_allowed2`: a command without arguments is given the user's name.
    let user = if theirs.contains([' ', '\t']) {
        ""
    } else {
        " %u"
    };
    format!("{ours} --chain {theirs}{user}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_index_only_where_it_is_not_the_default() {
        let line = |index| command_line(Path::new("/usr/bin/sshkeyd"), Path::new(index));
        assert_eq!(line(INDEX), "/usr/bin/sshkeyd authorized-keys %u %t %k");
        assert_eq!(
            line("/srv/keys"),
            "/usr/bin/sshkeyd authorized-keys --index /srv/keys %u %t %k"
        );
    }

    #[test]
    fn a_command_that_stands_there_goes_on_behind_ours() {
        let ours = "/usr/bin/sshkeyd authorized-keys %u %t %k";
        for (theirs, chain) in [
            (
                "/usr/bin/sss_ssh_authorizedkeys",
                "/usr/bin/sss_ssh_authorizedkeys %u",
            ),
            ("/opt/keys --for %u \"a b\"", "/opt/keys --for %u \"a b\""),
        ] {
            assert_eq!(chained(ours, theirs), format!("{ours} --chain {chain}"));
        }
    }

    #[test]
    fn a_program_that_sshd_would_not_run_is_a_condition() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("sshkeyd");
        std::fs::copy("/bin/true", &program).unwrap();
        let fault = directives(&program, Path::new(INDEX)).unwrap_err();
        assert_eq!(fault.code, Code::CommandUnsafe);
        let fault = directives(Path::new("/bin/true"), Path::new("/a b")).unwrap_err();
        assert!(fault.text.contains("/a b"), "{}", fault.text);
    }
}
