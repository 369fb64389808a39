//! What of a certificate an sshd is shown, and what of it may explain that sshd refuses it.

use super::Certificate;
use jiff::Timestamp;
use ssh_key::{Algorithm, HashAlg};

impl Certificate {
    /// The bytes that a client offers; `None` where they would not be those that were read.
    #[must_use]
    pub fn blob(&self) -> Option<Vec<u8>> {
        self.certificate.to_bytes().ok()
    }

    /// The names under which it may be offered, the best first: the certificate's own type, and for
    /// RSA one of each hash (PubkeyAcceptedAlgorithms of sshd_config(5)).
    #[must_use]
    pub fn algorithms(&self) -> Vec<String> {
        match self.certificate.algorithm() {
            Algorithm::Rsa { .. } => ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"]
                .map(|name| format!("{name}-cert-v01@openssh.com"))
                .to_vec(),
            other => vec![other.to_certificate_type()],
        }
    }

    /// How its CA signed it (CASignatureAlgorithms of sshd_config(5)).
    #[must_use]
    pub fn signed_by(&self) -> String {
        match self.certificate.signature().algorithm() {
            Algorithm::Rsa { hash: None } => "ssh-rsa".to_owned(),
            Algorithm::Rsa {
                hash: Some(HashAlg::Sha256),
            } => "rsa-sha2-256".to_owned(),
            Algorithm::Rsa { .. } => "rsa-sha2-512".to_owned(),
            other => other.as_str().to_owned(),
        }
    }

    /// Whether it is good from some addresses only: as `from=` before a key.
    #[must_use]
    pub fn has_source_address(&self) -> bool {
        let mut options = self.certificate.critical_options().iter();
        options.any(|(name, _)| name == "source-address")
    }

    /// Whether this is a time at which it may be good.
    #[must_use]
    pub fn is_in_time(&self, now: Timestamp) -> bool {
        self.valid_after() <= now && now < self.valid_before()
    }

    /// Whether another one says the same but for its key ID, its serial and its nonce: then what
    /// sshd says of the two differs for no other reason.
    #[must_use]
    pub fn is_twin_of(&self, other: &Self) -> bool {
        let (one, other) = (&self.certificate, &other.certificate);
        one.public_key() == other.public_key()
            && one.signature_key() == other.signature_key()
            && one.cert_type() == other.cert_type()
            && one.valid_principals() == other.valid_principals()
            && one.valid_after() == other.valid_after()
            && one.valid_before() == other.valid_before()
            && one.critical_options() == other.critical_options()
            && one.extensions() == other.extensions()
    }
}
