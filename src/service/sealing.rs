//! Secrets that the database keeps for their owner to see again: sealed under the key in
//! `secrets-dir`, so that a copy of the database alone gives none of them away.
//!
//! XChaCha20-Poly1305 with a random nonce in front. What a secret is and whose goes into the tag:
//! a sealed secret that was moved to another row does not open.

use super::store::Hash;
use super::token::Token;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Sets this key apart from anything else that the sealing key makes.
const PURPOSE: &[u8] = b"sshkeyd sealed secrets v1\0";
const NONCE: usize = 24;

/// Seals and opens.
pub(super) struct Sealing(XChaCha20Poly1305);

impl Sealing {
    /// Under a key that is made of this one.
    pub(super) fn new(sealing_key: &[u8; 32]) -> Self {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(sealing_key).expect("HMAC takes a key of any length");
        mac.update(PURPOSE);
        Self(XChaCha20Poly1305::new(&mac.finalize().into_bytes()))
    }

    /// Seals a secret of this place: what it is, and whose.
    pub(super) fn seal(&self, place: &str, secret: &[u8]) -> Vec<u8> {
        let nonce = rand::random::<[u8; NONCE]>();
        let sealed = self.0.encrypt(
            &XNonce::from(nonce),
            Payload {
                msg: secret,
                aad: place.as_bytes(),
            },
        );
        let mut out = nonce.to_vec();
        out.extend(sealed.expect("a secret is far shorter than what one nonce may seal"));
        out
    }

    /// Seals a token; its place is its own hash.
    pub(super) fn seal_token(&self, token: &Token) -> Vec<u8> {
        self.seal(&place_of(&token.hash()), token.reveal().as_bytes())
    }

    /// Opens a token that has this hash.
    pub(super) fn open_token(&self, hash: &Hash, sealed: &[u8]) -> Option<Token> {
        let text = self.open(&place_of(hash), sealed)?;
        Token::parse(std::str::from_utf8(&text).ok()?).filter(|token| token.hash() == *hash)
    }

    /// Opens it; `None`: not sealed here, or not of this place.
    pub(super) fn open(&self, place: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, msg) = sealed.split_first_chunk::<NONCE>()?;
        let payload = Payload {
            msg,
            aad: place.as_bytes(),
        };
        let opened = self.0.decrypt(&XNonce::from(*nonce), payload).ok()?;
        Some(Zeroizing::new(opened))
    }
}

fn place_of(hash: &Hash) -> String {
    hash.iter().fold("token ".to_owned(), |place, byte| {
        format!("{place}{byte:02x}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_in_its_own_place_and_under_its_own_key_only() {
        let sealing = Sealing::new(&[7; 32]);
        let sealed = sealing.seal("api-key 1", b"secret");
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_eq!(
            sealing.open("api-key 1", &sealed).unwrap().as_slice(),
            b"secret"
        );
        assert!(sealing.open("api-key 2", &sealed).is_none());
        assert!(Sealing::new(&[8; 32]).open("api-key 1", &sealed).is_none());
        let mut bent = sealed.clone();
        bent[30] ^= 1;
        assert!(sealing.open("api-key 1", &bent).is_none());
        assert!(sealing.open("api-key 1", &sealed[..10]).is_none());
        assert_ne!(sealed, sealing.seal("api-key 1", b"secret"));
    }
}
