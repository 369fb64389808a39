//! Devices that logged in before: a token that says so, good for one account.
//!
//! It opens nothing: it only sets its bearer's guesses apart from everybody else's. Account, a
//! number of its own, a time, and a MAC over them under the sealing key, so any replica knows it.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

/// Sets this MAC apart from anything else that the sealing key makes.
const PURPOSE: &[u8] = b"sshkeyd device token v1\0";

/// Account, number, time.
const BODY: usize = 8 + NUMBER + 8;
const NUMBER: usize = 16;

/// How long a device is known after its last login: as long as browsers keep a cookie at most
/// (RFC 6265bis, section 5.5), in seconds.
pub(in crate::service) const LIFE: i64 = 400 * 24 * 60 * 60;

/// A device of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) struct Device {
    /// Whose.
    pub(super) account: i64,
    /// Which.
    pub(super) number: [u8; NUMBER],
}

impl Device {
    /// A new one.
    pub(super) fn random(account: i64) -> Self {
        Self {
            account,
            number: rand::random(),
        }
    }

    /// Its token, as of now.
    pub(super) fn token(self, sealing_key: &[u8; 32], now: Timestamp) -> String {
        let mut bytes = self.account.to_be_bytes().to_vec();
        bytes.extend(self.number);
        bytes.extend(now.as_second().to_be_bytes());
        let tag = mac(sealing_key, &bytes).finalize().into_bytes();
        bytes.extend(tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token; `None`: it is none of ours, or too old.
    pub(super) fn read(token: &str, sealing_key: &[u8; 32], now: Timestamp) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (body, tag) = bytes.split_at_checked(BODY)?;
        mac(sealing_key, body).verify_slice(tag).ok()?;
        let (account, rest) = body.split_first_chunk::<8>()?;
        let (number, at) = rest.split_first_chunk::<NUMBER>()?;
        let at = i64::from_be_bytes(*at.first_chunk()?);
        (now.as_second().checked_sub(at)? < LIFE).then_some(Self {
            account: i64::from_be_bytes(*account),
            number: *number,
        })
    }
}

fn mac(sealing_key: &[u8; 32], body: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(sealing_key).expect("HMAC takes a key of any length");
    mac.update(PURPOSE);
    mac.update(body);
    mac
}

/// The value of the one cookie that has this name.
pub(in crate::service) fn cookie_named<'a>(
    headers: &'a HeaderMap,
    wanted: &str,
) -> Option<&'a str> {
    let all = headers.get_all(COOKIE).iter();
    let pairs = all
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(name, _)| *name == wanted);
    match (ours.next(), ours.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn a_device_is_known_again_by_its_own_key_and_for_its_time_only() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let device = Device::random(7);
        let token = device.token(&[1; 32], now);
        assert_eq!(Device::read(&token, &[1; 32], now), Some(device));
        assert_eq!(Device::read(&token, &[2; 32], now), None);
        let later = |s| now + SignedDuration::from_secs(s);
        assert!(Device::read(&token, &[1; 32], later(LIFE - 1)).is_some());
        assert!(Device::read(&token, &[1; 32], later(LIFE)).is_none());
        let other = format!(
            "{}{}",
            if token.starts_with('A') { "B" } else { "A" },
            &token[1..]
        );
        for bent in ["", "AAAA", &token[1..], &other, &format!("{token}AAAA")] {
            assert_eq!(Device::read(bent, &[1; 32], now), None, "{bent}");
        }
    }
}
