//! SSHSIG signatures (PROTOCOL.sshsig): made by one Ed25519 key, judged against public keys that
//! the caller already trusts. What a signature says of its own key is never believed.

use crate::keys::PublicKey;
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{HashAlg, LineEnding, PrivateKey, SshSig};
use std::fmt;
use zeroize::Zeroizing;

/// The SSHSIG namespace of an agent's renewal.
pub const AGENT_NAMESPACE: &str = "agent@sshkeyd";

/// Longest armoured signature that is looked at, in bytes: an RSA-16384 one is below 8 KiB.
const MAX_SIGNATURE: usize = 16 * 1024;

/// Why a signature is worth nothing, or a key cannot sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No SSHSIG armour, or damaged.
    #[error("not an SSH signature")]
    Malformed,
    /// By another key, over other bytes, or for another namespace.
    #[error("the signature does not fit")]
    Wrong,
    /// Not an unencrypted Ed25519 private key.
    #[error("not an unencrypted Ed25519 private key")]
    Key,
}

/// An Ed25519 private key that signs. Its `Debug` shows the public half only.
#[derive(Clone)]
pub struct Signer {
    key: PrivateKey,
}

impl Signer {
    /// The key that this seed stands for; randomness is the caller's to bring.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            key: PrivateKey::from(Ed25519Keypair::from_seed(seed)),
        }
    }

    /// Reads an `OPENSSH PRIVATE KEY`.
    ///
    /// # Errors
    /// [`SignatureError::Key`] unless it is Ed25519 and not encrypted.
    pub fn from_openssh(pem: &str) -> Result<Self, SignatureError> {
        let key = PrivateKey::from_openssh(pem).map_err(|_| SignatureError::Key)?;
        match key.key_data() {
            KeypairData::Ed25519(_) => Ok(Self { key }),
            _ => Err(SignatureError::Key),
        }
    }

    /// The same key as ssh-keygen(1) would write it.
    #[must_use]
    pub fn to_openssh(&self) -> Zeroizing<String> {
        let encoded = self.key.to_openssh(LineEnding::LF);
        encoded.expect("an unencrypted Ed25519 key encodes")
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let text = self.key.public_key().to_openssh();
        let text = text.expect("an Ed25519 key encodes");
        let (key, _) = PublicKey::parse_text(&text).expect("an Ed25519 key is one we would write");
        key
    }

    pub(super) fn private(&self) -> &PrivateKey {
        &self.key
    }

    /// Signs as `ssh-keygen -Y sign -n NAMESPACE` does: armoured, SHA-512.
    #[must_use]
    pub fn sign(&self, namespace: &'static str, message: &[u8]) -> String {
        let signature = self.key.sign(namespace, HashAlg::Sha512, message);
        let armoured = signature.and_then(|signature| signature.to_pem(LineEnding::LF));
        armoured.expect("an Ed25519 key signs, for a namespace that is not empty")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = self.key.public_key().fingerprint(HashAlg::Sha256);
        write!(f, "Signer({fingerprint})")
    }
}

/// Judges one armoured signature: by this key, in this namespace, over these bytes.
///
/// # Errors
/// [`SignatureError::Malformed`] or [`SignatureError::Wrong`].
pub fn verify(
    namespace: &str,
    message: &[u8],
    signature: &str,
    by: &PublicKey,
) -> Result<(), SignatureError> {
    if signature.len() > MAX_SIGNATURE {
        return Err(SignatureError::Malformed);
    }
    let signature = SshSig::from_pem(signature).map_err(|_| SignatureError::Malformed)?;
    let key = ssh_key::PublicKey::from_bytes(by.blob()).map_err(|_| SignatureError::Wrong)?;
    key.verify(namespace, message, &signature)
        .map_err(|_| SignatureError::Wrong)
}

/// Whose signature it says it is: for words about one that was refused, never to believe one.
#[must_use]
pub fn claimed_signer(signature: &str) -> Option<PublicKey> {
    if signature.len() > MAX_SIGNATURE {
        return None;
    }
    let signature = SshSig::from_pem(signature).ok()?;
    let line = ssh_key::PublicKey::from(signature.public_key().clone());
    let (key, _) = PublicKey::parse_text(&line.to_openssh().ok()?).ok()?;
    Some(key)
}

/// Judges a set: good when any one of at most eight signatures is by any one of the keys.
///
/// # Errors
/// [`SignatureError::Wrong`] when none is; [`SignatureError::Malformed`] when there is none to
/// judge, or too many.
pub fn verify_any<'a>(
    namespace: &str,
    message: &[u8],
    signatures: &[String],
    by: impl IntoIterator<Item = &'a PublicKey> + Clone,
) -> Result<(), SignatureError> {
    if signatures.is_empty() || signatures.len() > 8 {
        return Err(SignatureError::Malformed);
    }
    let good = signatures.iter().any(|signature| {
        by.clone()
            .into_iter()
            .any(|key| verify(namespace, message, signature, key).is_ok())
    });
    if good {
        Ok(())
    } else {
        Err(SignatureError::Wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_bytes_its_key_and_its_namespace_only() {
        let (ours, other) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
        let signature = ours.sign("snapshot@sshkeyd", b"list");
        let (key, other) = (ours.public(), other.public());
        assert_eq!(
            verify("snapshot@sshkeyd", b"list", &signature, &key),
            Ok(())
        );
        for (namespace, message, by) in [
            ("agent@sshkeyd", &b"list"[..], &key),
            ("snapshot@sshkeyd", b"lis", &key),
            ("snapshot@sshkeyd", b"list", &other),
        ] {
            let judged = verify(namespace, message, &signature, by);
            assert_eq!(judged, Err(SignatureError::Wrong));
        }
    }

    #[test]
    fn one_good_signature_of_a_known_signer_is_enough_and_none_is_not() {
        let (old, new) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
        let signatures = [old.sign("n", b"m"), new.sign("n", b"m")];
        let pinned = [new.public()];
        assert!(verify_any("n", b"m", &signatures, &pinned).is_ok());
        assert!(verify_any("n", b"m", &signatures[..1], &pinned).is_err());
        assert!(verify_any("n", b"m", &[], &pinned).is_err());
    }

    #[test]
    fn a_key_reads_what_it_writes_and_hides_itself() {
        let signer = Signer::from_seed(&[7; 32]);
        let pem = signer.to_openssh();
        let again = Signer::from_openssh(&pem).unwrap();
        assert_eq!(again.public(), signer.public());
        assert!(format!("{signer:?}").starts_with("Signer(SHA256:"));
        assert_eq!(
            Signer::from_openssh("hello").map(|_| ()),
            Err(SignatureError::Key)
        );
    }
}
