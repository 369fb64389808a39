//! Tokens: `skd_api_…`, `skd_ses_…`, `skd_enr_…`.
//!
//! 32 random bytes in base62, at a fixed width of 43, then six characters of checksum: the first
//! four bytes of the SHA-256 of all that stands before, in base62. So a secret scanner can know
//! one, and a mistyped one costs no look into the database. A token is kept as its SHA-256 and
//! nothing slower: with 256 random bits there is nothing to guess.

use super::store::Hash;
use sha2::{Digest as _, Sha256};
use std::fmt;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SECRET: usize = 43;
const CHECK: usize = 6;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A program of the account's owner.
    Api,
    /// An agent's session.
    Session,
    /// One enrolment.
    Enrolment,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Api => "skd_api_",
            Self::Session => "skd_ses_",
            Self::Enrolment => "skd_enr_",
        }
    }
}

/// One token: a secret.
pub(super) struct Token {
    kind: Kind,
    text: Zeroizing<String>,
}

impl Token {
    /// A new one, from the system's random numbers.
    pub(super) fn random(kind: Kind) -> Self {
        let secret = Zeroizing::new(rand::random::<[u8; 32]>());
        Self::from_secret(kind, &secret)
    }

    fn from_secret(kind: Kind, secret: &[u8; 32]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(8 + SECRET + CHECK));
        text.push_str(kind.prefix());
        base62(secret, SECRET, &mut text);
        let check = checksum(&text);
        text.push_str(&check);
        Self { kind, text }
    }

    /// Reads a token: its form and its checksum. `None`: it is none, whatever else it is.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let kind = [Kind::Api, Kind::Session, Kind::Enrolment]
            .into_iter()
            .find(|kind| text.starts_with(kind.prefix()))?;
        if text.len() != kind.prefix().len() + SECRET + CHECK || !text.is_ascii() {
            return None;
        }
        let (body, check) = text.split_at(text.len() - CHECK);
        let good = checksum(body).as_bytes().ct_eq(check.as_bytes());
        bool::from(good).then(|| Self {
            kind,
            text: Zeroizing::new(text.to_owned()),
        })
    }

    /// What it is for.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Its last four characters, to tell keys apart in a listing.
    pub(super) fn tail(&self) -> String {
        let end = self.text.len().saturating_sub(4);
        self.text.get(end..).unwrap_or_default().to_owned()
    }

    /// What the database keeps of it.
    pub(super) fn hash(&self) -> Hash {
        Sha256::digest(self.text.as_bytes()).into()
    }

    /// The secret itself, for the one answer that holds it.
    pub(super) fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.kind.prefix())
    }
}

fn checksum(body: &str) -> String {
    let digest = Sha256::digest(body.as_bytes());
    let mut out = String::with_capacity(CHECK);
    base62(
        digest.first_chunk::<4>().unwrap_or(&[0; 4]),
        CHECK,
        &mut out,
    );
    out
}

/// Writes a big-endian number as exactly `width` digits.
fn base62(number: &[u8], width: usize, out: &mut String) {
    let mut number = Zeroizing::new(number.to_vec());
    let mut digits = Zeroizing::new(Vec::with_capacity(width));
    for _ in 0..width {
        let mut rest = 0_u32;
        for byte in number.iter_mut() {
            let here = rest * 256 + u32::from(*byte);
            // Below 62 * 256, so the quotient is below 256.
            *byte = (here / 62) as u8;
            rest = here % 62;
        }
        digits.push(rest as usize);
    }
    let digit = |d: &usize| ALPHABET.get(*d).map(|b| char::from(*b));
    out.extend(digits.iter().rev().filter_map(digit));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was() {
        for kind in [Kind::Api, Kind::Session, Kind::Enrolment] {
            let token = Token::random(kind);
            assert_eq!(token.reveal().len(), 57);
            let read = Token::parse(token.reveal()).unwrap();
            assert_eq!(read.kind(), kind);
            assert_eq!(read.hash(), token.hash());
        }
    }

    #[test]
    fn the_width_is_the_same_for_the_smallest_and_the_largest_number() {
        let zero = Token::from_secret(Kind::Api, &[0; 32]);
        assert!(
            zero.reveal()
                .starts_with(&format!("skd_api_{}", "0".repeat(43)))
        );
        let full = Token::from_secret(Kind::Api, &[255; 32]);
        assert_eq!(full.reveal().len(), zero.reveal().len());
        assert!(!full.reveal().starts_with("skd_api_0"));
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let token = Token::random(Kind::Session);
        for place in 0..token.reveal().len() {
            let mut bytes = token.reveal().as_bytes().to_vec();
            bytes[place] = if bytes[place] == b'a' { b'b' } else { b'a' };
            let text = String::from_utf8(bytes).unwrap();
            assert!(Token::parse(&text).is_none(), "{place}");
        }
        for text in ["", "skd_api_", "skd_api_é", &token.reveal()[1..]] {
            assert!(Token::parse(text).is_none());
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = Token::random(Kind::Enrolment);
        assert_eq!(format!("{token:?}"), "skd_enr_…");
    }
}
