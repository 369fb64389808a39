//! The nonce of a renewal: time, random bytes, and a MAC over both under the sealing key.
//!
//! Nothing is kept when one is given out, so asking for many costs only the asking; any replica
//! that has the sealing key knows it again. Once per instance: the store sees to that.

use super::store::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// How long a nonce is good.
const LIFE: SignedDuration = SignedDuration::from_secs(60);

/// Sets this MAC apart from anything else the key may ever seal.
const PURPOSE: &[u8] = b"sshkeyd renewal nonce v1\0";

/// Time, then random bytes.
const BODY: usize = 16;

/// Gives out nonces and knows them again.
pub(super) struct Nonces(Zeroizing<[u8; 32]>);

/// A nonce that is ours and fresh.
pub(super) struct Fresh {
    /// When it was given out.
    pub(super) at: Timestamp,
    /// When it is no good any more.
    pub(super) expires: Timestamp,
    /// What the store keeps of it.
    pub(super) hash: Hash,
}

impl Nonces {
    /// Under this key.
    pub(super) fn new(sealing_key: Zeroizing<[u8; 32]>) -> Self {
        Self(sealing_key)
    }

    /// A new one, and its time.
    pub(super) fn issue(&self, now: Timestamp) -> (String, Timestamp) {
        let ms = now.as_millisecond();
        let mut bytes = ms.to_be_bytes().to_vec();
        bytes.extend(rand::random::<[u8; 8]>());
        if let Some(mac) = self.mac(&bytes) {
            bytes.extend(mac.finalize().into_bytes());
        }
        let at = Timestamp::from_millisecond(ms).unwrap_or(now);
        (URL_SAFE_NO_PAD.encode(bytes), at)
    }

    /// `None`: not ours, or older than a minute.
    pub(super) fn check(&self, text: &str, now: Timestamp) -> Option<Fresh> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, tag) = bytes.split_at_checked(BODY)?;
        self.mac(body)?.verify_slice(tag).ok()?;
        let at = Timestamp::from_millisecond(i64::from_be_bytes(*body.first_chunk()?)).ok()?;
        let expires = at.checked_add(LIFE).ok()?;
        // One from another replica may be a little ahead of our clock.
        let early = at.checked_sub(LIFE).ok()?;
        (early <= now && now < expires).then(|| Fresh {
            at,
            expires,
            hash: Sha256::digest(&bytes).into(),
        })
    }

    fn mac(&self, body: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).ok()?;
        mac.update(PURPOSE);
        mac.update(body);
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_known_for_a_minute_by_its_own_key_only() {
        let nonces = Nonces::new(Zeroizing::new([7; 32]));
        let now = Timestamp::from_second(1_000_000).unwrap();
        let (nonce, at) = nonces.issue(now);
        assert_eq!(at, now);
        assert_eq!(nonces.check(&nonce, now).unwrap().at, at);
        let later = |s| now + SignedDuration::from_secs(s);
        assert!(nonces.check(&nonce, later(59)).is_some());
        assert!(nonces.check(&nonce, later(60)).is_none());
        assert!(nonces.check(&nonce, later(-61)).is_none());
        let others = Nonces::new(Zeroizing::new([8; 32]));
        assert!(others.check(&nonce, now).is_none());
        for text in ["", "AAAA", &nonce[1..], &format!("{nonce}AAAA")] {
            assert!(nonces.check(text, now).is_none());
        }
    }
}
