//! The service's own secrets: the sealing key and the snapshot signer, in `secrets-dir`.
//!
//! Made once, 0600 in a 0700 directory, and read ever after. Refuses a file that is not what it
//! should be: a new signer would make every agent hold.

use super::ServiceError;
use crate::sys::private_file;
use crate::trust::Signer;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// Both.
pub(super) struct Secrets {
    /// 32 random bytes: the MAC key of nonces.
    pub(super) sealing_key: Zeroizing<[u8; 32]>,
    /// Signs snapshots.
    pub(super) signer: Signer,
}

impl Secrets {
    /// Reads them, or makes those that are missing.
    pub(super) fn load(dir: &Path) -> Result<Self, ServiceError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| fault(dir, e))?;

        let path = dir.join("sealing-key");
        let random = || Zeroizing::new(rand::random::<[u8; 32]>().to_vec());
        let bytes = private_file::create_once(&path, random).map_err(|e| fault(&path, e))?;
        let sealing_key = bytes
            .first_chunk()
            .filter(|_| bytes.len() == 32)
            .ok_or_else(|| damaged(&path, "not 32 bytes"))?;

        let path = dir.join("snapshot-signer");
        let random = || {
            let seed = Zeroizing::new(rand::random::<[u8; 32]>());
            Zeroizing::new(Signer::from_seed(&seed).to_openssh().as_bytes().to_vec())
        };
        let bytes = private_file::create_once(&path, random).map_err(|e| fault(&path, e))?;
        let signer = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|pem| Signer::from_openssh(pem).ok())
            .ok_or_else(|| damaged(&path, "not an Ed25519 private key"))?;

        Ok(Self {
            sealing_key: Zeroizing::new(*sealing_key),
            signer,
        })
    }
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
        assert_eq!(first.signer.public(), second.signer.public());
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
