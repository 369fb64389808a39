//! Secrets from files or from `$CREDENTIALS_DIRECTORY`, never from the TOML (systemd.exec(5),
//! CREDENTIALS).
//!
//! Refuses what is no plain file, too large, empty, or not text. A file that others may read is
//! read, and says so: refusing it would stop a machine that worked.

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest secret file.
pub const MAX_SECRET: u64 = 4 * 1024;

/// Secret text. Shown nowhere; leaves memory when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes secret text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Not for logs, nor for messages.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret that was read.
#[derive(Debug)]
pub struct SecretFile {
    /// The secret, without the blanks and newlines at its ends.
    pub secret: Secret,
    /// Its file may be read by group or others: worth a warning.
    pub readable_by_others: bool,
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// No such file: not given yet.
    #[error("{0}: no such file")]
    Missing(PathBuf),
    /// There is something that is not a secret: a directory, too much, nothing, not text.
    #[error("{0}: {1}")]
    Unfit(PathBuf, &'static str),
    /// The system's own refusal.
    #[error("{0}")]
    Io(PathBuf, #[source] io::Error),
}

/// Reads a secret of at most [`MAX_SECRET`] bytes and trims it.
///
/// # Errors
/// [`SecretError`].
pub fn read_secret_file(path: &Path) -> Result<SecretFile, SecretError> {
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => SecretError::Missing(path.to_owned()),
        _ => SecretError::Io(path.to_owned(), error),
    };
    let unfit = |why| SecretError::Unfit(path.to_owned(), why);
    // Opening a pipe would wait for its writer, so the name is looked at first.
    let plain = |about: &Metadata| match about.is_file() {
        true => Ok(()),
        false => Err(unfit("not a plain file")),
    };
    plain(&std::fs::metadata(path).map_err(io)?)?;
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    plain(&about)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET as usize + 1));
    file.take(MAX_SECRET + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_SECRET {
        return Err(unfit("larger than 4 KiB"));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| unfit("not text"))?
        .trim();
    if text.is_empty() {
        return Err(unfit("empty"));
    }
    if text.contains(|c: char| c.is_control()) {
        return Err(unfit("more than one line"));
    }
    Ok(SecretFile {
        secret: Secret::new(text.to_owned()),
        readable_by_others: about.mode() & 0o044 != 0,
    })
}

/// Where systemd has put the credential `name`, if it has: `$CREDENTIALS_DIRECTORY/NAME`. Names
/// with a slash are no credentials, and a blank byte is none: a unit's default for a file that is
/// not there (SetCredential).
#[must_use]
pub fn credential(env: &dyn Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    let directory = PathBuf::from(env("CREDENTIALS_DIRECTORY")?);
    let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    let path = directory.join(name);
    let given = std::fs::metadata(&path).is_ok_and(|about| about.is_file() && about.len() > 1);
    (plain && directory.is_absolute() && given).then_some(path)
}

#[cfg(test)]
mod tests;
