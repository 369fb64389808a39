//! A certificate, signed.

use super::{Limits, MAX_PRINCIPALS, Role, is_principal};
use crate::keys::PublicKey;
use crate::trust::Signer;
use jiff::Timestamp;
use ssh_key::certificate::{Builder, CertType};

/// What a certificate is to say.
#[derive(Debug, Clone)]
pub struct NewCertificate<'a> {
    /// For a user or a host.
    pub role: Role,
    /// The key that it is over.
    pub key: &'a PublicKey,
    /// Never 0, and never given out twice by its CA.
    pub serial: u64,
    /// Who it leads back to.
    pub key_id: &'a str,
    /// At least one.
    pub principals: &'a [String],
    /// From this second on.
    pub valid_after: Timestamp,
    /// Up to this second, which is not in it.
    pub valid_before: Timestamp,
    /// What it allows; a host's allows nothing.
    pub limits: &'a Limits,
}

/// Why a certificate is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// One without principals would be good for everyone.
    #[error("a certificate names at least one principal, at most 256, each one word")]
    Principals,
    /// It would never be good, or could not be revoked.
    #[error("a certificate has a serial, and ends after it begins")]
    Validity,
    /// The key is none that a certificate can hold.
    #[error("no certificate can be made over this key")]
    Key,
}

impl Signer {
    /// Signs as `ssh-keygen -s` does. The nonce is random, and never used twice.
    ///
    /// # Errors
    /// [`IssueError`]: nothing is signed.
    pub fn certify(
        &self,
        new: &NewCertificate<'_>,
        nonce: &[u8; 32],
    ) -> Result<String, IssueError> {
        let named = !new.principals.is_empty() && new.principals.len() <= MAX_PRINCIPALS;
        if !named || !new.principals.iter().all(|name| is_principal(name)) {
            return Err(IssueError::Principals);
        }
        let second = |at: Timestamp| u64::try_from(at.as_second());
        let (Ok(after), Ok(before)) = (second(new.valid_after), second(new.valid_before)) else {
            return Err(IssueError::Validity);
        };
        if new.serial == 0 || after >= before {
            return Err(IssueError::Validity);
        }
        self.signed(new, nonce, after, before)
            .map_err(|_| IssueError::Key)
    }

    fn signed(
        &self,
        new: &NewCertificate<'_>,
        nonce: &[u8; 32],
        after: u64,
        before: u64,
    ) -> ssh_key::Result<String> {
        let key = ssh_key::PublicKey::from_bytes(new.key.blob())?;
        let mut certificate = Builder::new(*nonce, &key, after, before)?;
        certificate.serial(new.serial)?.key_id(new.key_id)?;
        for name in new.principals {
            certificate.valid_principal(name)?;
        }
        match new.role {
            Role::Host => {
                certificate.cert_type(CertType::Host)?;
            }
            Role::User => {
                certificate.cert_type(CertType::User)?;
                for (name, value) in &new.limits.critical {
                    certificate.critical_option(*name, value.as_str())?;
                }
                for name in &new.limits.extensions {
                    certificate.extension(*name, "")?;
                }
            }
        }
        certificate.sign(self.private())?.to_openssh()
    }
}
