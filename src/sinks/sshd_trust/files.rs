//! The files themselves: read, replaced and taken away below handles of root's directories.

use super::{KRL, MARK, PRINCIPALS, TrustFiles, USER_CA};
use crate::keys::{Fingerprint, Line, PublicKey, read_line};
use crate::sys::atomic_file::ReadError;
use crate::sys::plain_file;
use crate::sys::published::{PublishError, Published};
use crate::sys::safe_path::passable_by_all;
use crate::trust::{Krl, MAX_KRL};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Most files of principals that are looked at.
const MAX_USERS: usize = 4096;

/// What stands at a name.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    /// Something that we would not have left so: a link, another's, one that others may change, or
    /// below a directory that they may. With what sshd reads there, which looks at none of this.
    Odd(Option<Vec<u8>>),
    Bytes(Vec<u8>),
}

/// Everything that stands.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) user_ca: Found,
    pub(super) krl: Found,
    pub(super) principals: BTreeMap<String, Found>,
}

impl Found {
    pub(super) fn is(&self, wanted: &[u8]) -> bool {
        matches!(self, Self::Bytes(bytes) if bytes == wanted)
    }

    /// A text of ours.
    pub(super) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) if bytes.starts_with(MARK.as_bytes()) => Some(bytes),
            _ => None,
        }
    }

    /// A revocation list that can be read, and is as we left it.
    pub(super) fn krl(&self) -> Option<Krl> {
        match self {
            Self::Bytes(bytes) => Krl::parse(bytes).ok(),
            Self::Nothing | Self::Odd(_) => None,
        }
    }

    /// The one that sshd goes by, whoever may change it.
    pub(super) fn krl_in_use(&self) -> Option<Krl> {
        match self {
            Self::Bytes(bytes) | Self::Odd(Some(bytes)) => Krl::parse(bytes).ok(),
            Self::Nothing | Self::Odd(None) => None,
        }
    }

    /// A plain text without our mark.
    pub(super) fn is_anothers(&self) -> bool {
        matches!(self, Self::Bytes(_)) && self.text().is_none()
    }
}

impl Seen {
    pub(super) fn digests(&self, files: &TrustFiles) -> BTreeMap<PathBuf, [u8; 32]> {
        let principals = self.principals.iter();
        let all = principals.map(|(user, found)| (files.principals(user), found));
        let fixed = [(files.user_ca(), &self.user_ca), (files.krl(), &self.krl)];
        let digest_of = |(path, found): (PathBuf, &Found)| match found {
            Found::Bytes(bytes) => Some((path, digest(bytes))),
            Found::Nothing | Found::Odd(_) => None,
        };
        all.chain(fixed).filter_map(digest_of).collect()
    }
}

impl TrustFiles {
    pub(super) fn see(&self) -> Seen {
        let top = Published::open(&self.directory);
        let at = |name: &str| match &top {
            Ok(top) => found(top, name),
            Err(_) => odd(&self.directory.join(name)),
        };
        let place = self.directory.join(PRINCIPALS);
        let below = Published::open(&place).ok();
        let names = below.as_ref().map_or_else(Vec::new, |_| names_in(&place));
        let principals = below.iter().flat_map(|below| {
            let names = names.iter().map(|name| (name.clone(), found(below, name)));
            names.filter(|(_, found)| !matches!(found, Found::Nothing))
        });
        Seen {
            user_ca: at(USER_CA),
            krl: at(KRL),
            principals: principals.collect(),
        }
    }

    /// Puts a file in place, durable when this returns.
    pub(super) async fn write(
        &self,
        name: &str,
        below: Option<&str>,
        bytes: Arc<Vec<u8>>,
    ) -> Result<(), String> {
        let (top, name) = (self.directory.clone(), name.to_owned());
        let below = below.map(|below| self.directory.join(below));
        if Path::new(&name).file_name() != Some(OsStr::new(&name)) {
            return Err(format!("{name} is no name of a file"));
        }
        off_loop(move || {
            // What stands above it is somebody's: it is not opened to others for our sake.
            passable_by_all(top.parent().unwrap_or(&top)).map_err(PublishError::from)?;
            let mut place = Published::make(&top)?;
            if let Some(below) = below {
                place = Published::make(&below)?;
            }
            let name = OsStr::new(&name);
            place.sweep(name)?;
            Ok(place.replace(name, None, &bytes, rand::random())?)
        })
        .await
    }

    /// Takes files of principals away: nobody's certificate logs in as these users any more.
    pub(super) async fn take_out(&self, users: &[&String]) -> Result<(), String> {
        if users.is_empty() {
            return Ok(());
        }
        let place = self.directory.join(PRINCIPALS);
        let users: Vec<String> = users.iter().map(|user| (*user).clone()).collect();
        off_loop(move || {
            let names: Vec<_> = users.iter().map(OsStr::new).collect();
            Ok(Published::open(&place)?.remove(&names)?)
        })
        .await
    }

    /// Takes away what is not wanted any more: CAs and principals, and the revocation list where
    /// `krl` says so. `named` are values in sshd's configuration: what one of them names stays, for
    /// sshd would miss it. Gives what is left of ours.
    pub async fn clear(
        &self,
        (user_ca, krl): (bool, bool),
        named: &BTreeSet<String>,
    ) -> Vec<PathBuf> {
        let files = self.clone();
        let named = named.clone();
        let done = off_loop(move || {
            let keeps_krl = !krl || is_named(&files.krl(), &named);
            let keeps_ca = !user_ca || is_named(&files.user_ca(), &named);
            let seen = files.see();
            let mut left = Vec::new();
            let Ok(top) = Published::open(&files.directory) else {
                return Ok(left);
            };
            let mut names = Vec::new();
            if user_ca && !matches!(seen.user_ca, Found::Nothing) {
                match keeps_ca {
                    true => left.push(files.user_ca()),
                    false => names.push(OsStr::new(USER_CA)),
                }
            }
            if user_ca && !keeps_ca {
                let place = files.directory.join(PRINCIPALS);
                if let Ok(below) = Published::open(&place) {
                    let ours = seen
                        .principals
                        .iter()
                        .filter(|(_, found)| !found.is_anothers());
                    let users: Vec<_> = ours.map(|(user, _)| OsStr::new(user)).collect();
                    below.remove(&users)?;
                }
                // What somebody else has in it keeps it.
                let _ = std::fs::remove_dir(place);
            }
            if krl && !matches!(seen.krl, Found::Nothing) {
                match keeps_krl {
                    true => left.push(files.krl()),
                    false => names.push(OsStr::new(KRL)),
                }
            }
            if !names.is_empty() {
                top.remove(&names)?;
            }
            let _ = std::fs::remove_dir(&files.directory);
            Ok(left)
        });
        match done.await {
            Ok(left) => left,
            Err(why) => {
                tracing::warn!(directory = %self.directory.display(), why, "files are left");
                vec![self.directory.clone()]
            }
        }
    }
}

/// Why a file is not as it is to be; only for people.
#[derive(Debug, thiserror::Error)]
enum FileFault {
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

async fn off_loop<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileFault> + Send + 'static,
) -> Result<T, String> {
    let done = spawn_blocking(work)
        .await
        .map_err(|fault| fault.to_string())?;
    done.map_err(|fault| fault.to_string())
}

fn found(place: &Published, name: &str) -> Found {
    let file = match place.file(OsStr::new(name)) {
        Ok(Some((file, _))) => file,
        Ok(None) => return Found::Nothing,
        Err(ReadError::NotPlain(_) | ReadError::Io(_)) => return odd(&place.path().join(name)),
    };
    let mut bytes = Vec::new();
    match file.take(MAX_KRL as u64 + 1).read_to_end(&mut bytes) {
        Ok(_) => Found::Bytes(bytes),
        Err(_) => Found::Odd(None),
    }
}

/// What stands at a path that is not to be trusted.
fn odd(path: &Path) -> Found {
    match path.symlink_metadata() {
        Err(fault) if fault.kind() == ErrorKind::NotFound => Found::Nothing,
        _ => Found::Odd(plain_file::read(path, MAX_KRL as u64).ok()),
    }
}

/// Whether one of these values is this file, be it by another way: through a link, or with a
/// comment behind it.
fn is_named(path: &Path, named: &BTreeSet<String>) -> bool {
    if named.contains(&path.display().to_string()) {
        return true;
    }
    let Ok(real) = path.canonicalize() else {
        return false;
    };
    let words = named
        .iter()
        .flat_map(|value| value.split_ascii_whitespace());
    let mut paths = words.filter(|word| word.starts_with('/'));
    paths.any(|word| std::fs::canonicalize(word).is_ok_and(|path| path == real))
}

/// Names of users; what begins with a dot is a leftover of ours.
fn names_in(place: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let names = names.filter(|name| !name.starts_with('.'));
    names.take(MAX_USERS).collect()
}

/// What the CA file reads. Without CAs it trusts none, and is still there for whoever names it.
pub(super) fn ca_text(cas: &[PublicKey]) -> String {
    let mut text = format!("{MARK}: CAs of the account, whose certificates log users in here.\n");
    for ca in cas {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{ca} sshkeyd");
    }
    text
}

/// What a file of principals reads (sshd_config(5), AuthorizedPrincipalsFile).
pub(super) fn principals_text(names: &[String]) -> String {
    let mut text = format!("{MARK}: certificates for these names log in as this user.\n");
    let names: BTreeSet<_> = names.iter().collect();
    for name in names {
        let _ = writeln!(text, "{name}");
    }
    text
}

/// The CAs of a text.
pub(super) fn cas_in(text: &[u8]) -> Vec<Fingerprint> {
    let lines = text.split(|b| *b == b'\n');
    let keys = lines.filter_map(|line| match read_line(line) {
        Line::Entry(entry) => Some(entry.key.fingerprint()),
        _ => None,
    });
    keys.collect()
}

pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
