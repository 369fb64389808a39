//! The service's own secrets: the sealing key and the snapshot signers, in `secrets-dir`.
//!
//! Made once, 0600 in a 0700 directory, and read ever after. Refuses a file that is not what it
//! should be: a new signer would make every agent hold.

use super::ServiceError;
use super::signers::Signers;
use super::store::Hash;
use crate::sys::private_file;
use crate::trust::Signer;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use zeroize::Zeroizing;

/// What seals secrets.
const SEALING: &str = "sealing-key";
/// The signer that signs from here on.
const SIGNER: &str = "snapshot-signer";
/// The one before, after a rotation.
const PREVIOUS: &str = "previous-signer";
/// The public keys of all before, one a line: no secret, and no use but to know them again.
const FORMER: &str = "former-signers.pub";
/// As many are remembered, the last ones.
const REMEMBERED: usize = 64;

/// Sets this MAC apart from anything else that the key makes.
const TAG: &[u8] = b"sshkeyd secrets of a database v1\0";

/// All of them.
pub(super) struct Secrets {
    /// 32 random bytes: the MAC key of nonces, and what seals secrets in the database.
    pub(super) sealing_key: Zeroizing<[u8; 32]>,
    /// Sign snapshots.
    pub(super) signers: Signers,
}

impl Secrets {
    /// Reads them, or makes those that are missing.
    pub(super) fn load(dir: &Path) -> Result<Self, ServiceError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| fault(dir, e))?;

        let path = dir.join(SEALING);
        let random = || Zeroizing::new(rand::random::<[u8; 32]>().to_vec());
        let bytes = private_file::create_once(&path, random).map_err(|e| fault(&path, e))?;
        let sealing_key = bytes
            .first_chunk()
            .filter(|_| bytes.len() == 32)
            .ok_or_else(|| damaged(&path, "not 32 bytes"))?;

        let path = dir.join(SIGNER);
        let random = || pem(&new_signer());
        let bytes = private_file::create_once(&path, random).map_err(|e| fault(&path, e))?;
        let current = signer(&path, &bytes)?;
        let path = dir.join(PREVIOUS);
        let previous = match private_file::read(&path).map_err(|e| fault(&path, e))? {
            Some(bytes) => Some(signer(&path, &bytes)?),
            None => None,
        };
        Ok(Self {
            sealing_key: Zeroizing::new(*sealing_key),
            signers: Signers {
                // A rotation that was cut off before its last step has both the same.
                previous: previous.filter(|previous| previous.public() != current.public()),
                current,
                former: former(dir)?,
            },
        })
    }

    /// What the database knows the sealing key by.
    pub(super) fn tag(&self) -> Hash {
        tag_of(self.sealing_key.as_slice())
    }
}

/// The same of the key in a directory, where nothing is made; `None`: there is none.
pub(super) fn tag_in(dir: &Path) -> Result<Option<Hash>, ServiceError> {
    let path = dir.join(SEALING);
    let bytes = private_file::read(&path).map_err(|e| fault(&path, e))?;
    match bytes {
        Some(bytes) if bytes.len() != 32 => Err(damaged(&path, "not 32 bytes")),
        bytes => Ok(bytes.map(|bytes| tag_of(&bytes))),
    }
}

fn tag_of(sealing_key: &[u8]) -> Hash {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(sealing_key).expect("HMAC takes a key of any length");
    mac.update(TAG);
    mac.finalize().into_bytes().into()
}

/// Whether the directory is this user's: what another one puts there the service cannot read, and
/// so would not start again.
pub(super) fn is_ours(dir: &Path) -> Result<(), ServiceError> {
    let owner = match std::fs::metadata(dir) {
        Ok(about) => about.uid(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fault(dir, error)),
    };
    if owner == crate::sys::users::current_uid() {
        return Ok(());
    }
    let what = format!("belongs to user {owner}; run this as that user");
    Err(fault(
        dir,
        io::Error::new(io::ErrorKind::PermissionDenied, what),
    ))
}

/// A new snapshot signer.
pub(super) fn new_signer() -> Signer {
    Signer::from_seed(&Zeroizing::new(rand::random::<[u8; 32]>()))
}

/// Puts a new signer in the place of the old one. Whatever cuts it off, the directory holds the
/// old one or both.
pub(super) fn put_signers(
    dir: &Path,
    old: &Signer,
    new: &Signer,
    compromised: bool,
) -> Result<(), ServiceError> {
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        private_file::replace(&path, bytes).map_err(|e| fault(&path, e))
    };
    let take = |name: &str| {
        let path = dir.join(name);
        match private_file::shred(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            shredded => shredded.map_err(|e| fault(&path, e)),
        }
    };
    let mut lines = former(dir)?;
    lines.push(old.public().to_string());
    let known = lines.len().saturating_sub(REMEMBERED);
    let lines: String = lines.drain(known..).map(|line| line + "\n").collect();
    put(FORMER, lines.as_bytes())?;
    if compromised {
        take(PREVIOUS)?;
    } else {
        put(PREVIOUS, &pem(old))?;
    }
    put(SIGNER, &pem(new))
}

fn former(dir: &Path) -> Result<Vec<String>, ServiceError> {
    let path = dir.join(FORMER);
    let bytes = private_file::read(&path).map_err(|e| fault(&path, e))?;
    let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(text
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect())
}

fn pem(signer: &Signer) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(signer.to_openssh().as_bytes().to_vec())
}

fn signer(path: &Path, bytes: &[u8]) -> Result<Signer, ServiceError> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|pem| Signer::from_openssh(pem).ok())
        .ok_or_else(|| damaged(path, "not an Ed25519 private key"))
}

fn fault(path: &Path, source: io::Error) -> ServiceError {
    ServiceError::Secrets {
        path: path.to_owned(),
        source,
    }
}

fn damaged(path: &Path, what: &'static str) -> ServiceError {
    fault(path, io::Error::new(io::ErrorKind::InvalidData, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn secrets_are_made_once_and_a_damaged_one_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("secrets");
        let first = Secrets::load(&dir).unwrap();
        let second = Secrets::load(&dir).unwrap();
        assert_eq!(first.sealing_key, second.sealing_key);
        assert_eq!(first.signers.lines(), second.signers.lines());
        let path = dir.join("snapshot-signer");
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(10)
            .unwrap();
        let place = path.display().to_string();
        let said = |error: Option<ServiceError>| error.unwrap().to_string();
        let damaged = said(Secrets::load(&dir).err());
        assert_eq!(damaged, format!("{place}: not an Ed25519 private key"));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 10);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let open = said(Secrets::load(&dir).err());
        assert_eq!(open.matches(&place).count(), 1, "{open}");
    }
}
