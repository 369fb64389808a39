//! Would OpenSSH take this certificate, now, for this name? As `sshkey_cert_check_authority` in
//! sshkey.c and `auth_process_principals` in auth2-pubkey.c do it.

use super::Role;
use crate::keys::{Fingerprint, PublicKey};
use jiff::Timestamp;
use ssh_key::certificate::CertType;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg};

/// The longest text of a certificate that is read, in bytes.
const MAX_TEXT: usize = 32 * 1024;

/// Critical options that sshd knows in a user's certificate (PROTOCOL.certkeys).
const CRITICAL: [&str; 3] = ["force-command", "source-address", "verify-required"];

/// A certificate, read and not yet believed.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub(super) certificate: ssh_key::Certificate,
    key: PublicKey,
    ca: PublicKey,
}

/// Why a certificate is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFault {
    /// No certificate, or of a key that we would not write.
    #[error("not an SSH certificate that is understood here")]
    Malformed,
    /// Its signature is not by the CA key that it names.
    #[error("the CA's signature does not fit")]
    Signature,
    /// sshd's default CASignatureAlgorithms leaves this one out.
    #[error("the CA signs by {0}, which sshd does not take from a CA")]
    Algorithm(String),
    /// Another CA than those that are trusted.
    #[error("it is signed by {0}, which is not trusted here")]
    Ca(Fingerprint),
    /// A host's in the place of a user's, or the reverse.
    #[error("it is a certificate for the other end")]
    Role,
    /// Not good yet.
    #[error("it is not good before {0}")]
    NotYet(Timestamp),
    /// Good no more.
    #[error("it was good until {0}")]
    Over(Timestamp),
    /// It names nobody: it would be good for everybody.
    #[error("it names no principal")]
    NoPrincipals,
    /// It names others.
    #[error("it does not name {0}")]
    Principal(String),
    /// One that is not known must be refused (PROTOCOL.certkeys, "Critical options").
    #[error("its critical option \"{0}\" is not known to sshd")]
    CriticalOption(String),
}

impl Certificate {
    /// Reads `ssh-ed25519-cert-v01@openssh.com AAAA… comment`.
    ///
    /// # Errors
    /// [`CertificateFault::Malformed`].
    pub fn parse(line: &str) -> Result<Self, CertificateFault> {
        let line = line.trim();
        if line.len() > MAX_TEXT || line.chars().any(char::is_control) {
            return Err(CertificateFault::Malformed);
        }
        let certificate =
            ssh_key::Certificate::from_openssh(line).map_err(|_| CertificateFault::Malformed)?;
        let key = |data: &ssh_key::public::KeyData| {
            let line = ssh_key::PublicKey::from(data.clone()).to_openssh().ok()?;
            PublicKey::parse_text(&line).ok().map(|(key, _)| key)
        };
        let (subject, ca) = (
            key(certificate.public_key()),
            key(certificate.signature_key()),
        );
        let (Some(key), Some(ca)) = (subject, ca) else {
            return Err(CertificateFault::Malformed);
        };
        Ok(Self {
            certificate,
            key,
            ca,
        })
    }

    /// Whether it is good at this time for this name, by one of these CAs.
    ///
    /// # Errors
    /// [`CertificateFault`]: the first that is found.
    pub fn judge(
        &self,
        role: Role,
        cas: &[PublicKey],
        at: Timestamp,
        principal: &str,
    ) -> Result<(), CertificateFault> {
        if !cas.contains(&self.ca) {
            return Err(CertificateFault::Ca(self.ca.fingerprint()));
        }
        let algorithm = self.certificate.signature().algorithm();
        if !may_sign(&algorithm) {
            return Err(CertificateFault::Algorithm(algorithm.to_string()));
        }
        let wanted = match role {
            Role::User => CertType::User,
            Role::Host => CertType::Host,
        };
        if self.certificate.cert_type() != wanted {
            return Err(CertificateFault::Role);
        }
        if at < self.valid_after() {
            return Err(CertificateFault::NotYet(self.valid_after()));
        }
        if at >= self.valid_before() {
            return Err(CertificateFault::Over(self.valid_before()));
        }
        // Its signature and its CA are what is left for this to say.
        let seconds = u64::try_from(at.as_second()).unwrap_or(0);
        let ca = self
            .certificate
            .signature_key()
            .fingerprint(HashAlg::Sha256);
        self.certificate
            .validate_at(seconds, [&ca])
            .map_err(|_| CertificateFault::Signature)?;
        let names = self.certificate.valid_principals();
        if names.is_empty() {
            return Err(CertificateFault::NoPrincipals);
        }
        if !names.iter().any(|name| name == principal) {
            return Err(CertificateFault::Principal(principal.to_owned()));
        }
        let known = |name: &str| role == Role::User && CRITICAL.contains(&name);
        let options = self.certificate.critical_options();
        match options.iter().find(|(name, _)| !known(name)) {
            Some((name, _)) => Err(CertificateFault::CriticalOption(name.clone())),
            None => Ok(()),
        }
    }

    /// The key that it is over.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The key that signed it, as it says.
    #[must_use]
    pub fn ca(&self) -> &PublicKey {
        &self.ca
    }

    /// Its serial; 0: none.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.certificate.serial()
    }

    /// Who it leads back to.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.certificate.key_id()
    }

    /// Whom it names.
    #[must_use]
    pub fn principals(&self) -> &[String] {
        self.certificate.valid_principals()
    }

    /// Good from this second on.
    #[must_use]
    pub fn valid_after(&self) -> Timestamp {
        time(self.certificate.valid_after())
    }

    /// Good up to this second, which is not in it.
    #[must_use]
    pub fn valid_before(&self) -> Timestamp {
        time(self.certificate.valid_before())
    }
}

/// A time that lies past all that has a name is one that never comes.
fn time(seconds: u64) -> Timestamp {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

/// CASignatureAlgorithms as sshd_config(5) has it by default: above all, no SHA-1.
fn may_sign(algorithm: &Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::Ed25519
            | Algorithm::SkEd25519
            | Algorithm::SkEcdsaSha2NistP256
            | Algorithm::Ecdsa {
                curve: EcdsaCurve::NistP256 | EcdsaCurve::NistP384 | EcdsaCurve::NistP521
            }
            | Algorithm::Rsa {
                hash: Some(HashAlg::Sha256 | HashAlg::Sha512)
            }
    )
}
