//! The second factor: time-based codes (RFC 6238 over RFC 4226: SHA-1, six digits, 30 seconds) and
//! backup codes.
//!
//! Pure: a secret, a code and a time in, a step out. That a step or a backup code is good once is
//! the store's to see to. A backup code is kept as a MAC under the sealing key: its 50 bits would
//! not withstand whoever has a copy of the database alone.

use super::super::store::Hash;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Bytes of a secret: as many as the hash has (RFC 4226, section 4, R6).
pub(super) const SECRET: usize = 20;

/// How many backup codes there are.
const BACKUP_CODES: usize = 10;

/// Seconds of a step.
const STEP: i64 = 30;

/// Steps before and after now that count: clocks differ (RFC 6238, section 5.2).
const WINDOW: i64 = 1;

/// Without letters that are read for others.
const BACKUP_ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz123456789";

/// RFC 4648, section 6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Sets this MAC apart from anything else that the sealing key makes.
const PURPOSE: &[u8] = b"sshkeyd backup code v1\0";

/// A code as a person types it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Code {
    /// Six digits of an authenticator.
    Digits(u32),
    /// Anything else.
    Backup(Zeroizing<String>),
}

impl Code {
    /// Blanks and hyphens do not count, nor does case.
    pub(super) fn read(text: &str) -> Self {
        let plain: String = text
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '-')
            .take(64)
            .collect();
        match plain.parse() {
            Ok(digits) if plain.len() == 6 && plain.bytes().all(|b| b.is_ascii_digit()) => {
                Self::Digits(digits)
            }
            _ => Self::Backup(Zeroizing::new(plain.to_lowercase())),
        }
    }
}

/// Steps whose code this is, within the window, the earliest first.
pub(super) fn steps(secret: &[u8], digits: u32, now: Timestamp) -> Vec<i64> {
    let step = now.as_second().div_euclid(STEP);
    (step - WINDOW..=step + WINDOW)
        .filter(|step| bool::from(code(secret, *step).ct_eq(&digits)))
        .collect()
}

/// The code of a step (RFC 4226, section 5.3).
fn code(secret: &[u8], step: i64) -> u32 {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let offset = usize::from(digest.last().copied().unwrap_or(0) & 0x0f);
    let word = digest.get(offset..).and_then(|rest| rest.first_chunk());
    (u32::from_be_bytes(*word.unwrap_or(&[0; 4])) & 0x7fff_ffff) % 1_000_000
}

/// A secret as an authenticator takes it.
pub(super) fn base32(secret: &[u8]) -> String {
    let bit = |n: usize| secret.get(n / 8).map_or(0, |byte| byte >> (7 - n % 8) & 1);
    let digit = |n: usize| (n * 5..n * 5 + 5).fold(0, |digit, n| digit << 1 | bit(n));
    (0..(secret.len() * 8).div_ceil(5))
        .filter_map(|n| BASE32.get(usize::from(digit(n))))
        .map(|b| char::from(*b))
        .collect()
}

/// `otpauth://…`, as authenticators read it from a picture.
pub(super) fn uri(email: &str, secret: &str) -> String {
    let mut name = String::new();
    for byte in email.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                name.push(char::from(byte));
            }
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    format!(
        "otpauth://totp/sshkeyd:{name}?secret={secret}&issuer=sshkeyd&algorithm=SHA1&digits=6\
         &period={STEP}"
    )
}

/// New backup codes, as they are shown once.
pub(super) fn backup_codes() -> Vec<Zeroizing<String>> {
    let one = || {
        let random = rand::random::<[u8; 10]>();
        let letters = random
            .iter()
            .filter_map(|byte| BACKUP_ALPHABET.get(usize::from(byte % 32)));
        let mut text = Zeroizing::new(String::with_capacity(11));
        for (at, letter) in letters.enumerate() {
            if at == 5 {
                text.push('-');
            }
            text.push(char::from(*letter));
        }
        text
    };
    (0..BACKUP_CODES).map(|_| one()).collect()
}

/// What is kept of a backup code: `code` without its hyphen, as [`Code::read`] gives it.
pub(super) fn backup_hash(sealing_key: &[u8; 32], account: i64, code: &str) -> Hash {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(sealing_key).expect("HMAC takes a key of any length");
    mac.update(PURPOSE);
    mac.update(&account.to_be_bytes());
    mac.update(code.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, SHA-1, the last six digits of its eight.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = b"12345678901234567890";
        for (second, digits) in [
            (59, 287_082),
            (1_111_111_109, 81_804),
            (1_111_111_111, 50_471),
            (1_234_567_890, 5_924),
            (2_000_000_000, 279_037),
            (20_000_000_000, 353_130),
        ] {
            let at = Timestamp::from_second(second).unwrap();
            assert_eq!(steps(secret, digits, at), [second / 30], "{second}");
        }
    }

    #[test]
    fn the_step_before_and_the_one_after_count_and_no_other() {
        let secret = [7; SECRET];
        let now = Timestamp::from_second(3_000_000).unwrap();
        for ago in -3..=3 {
            let found = steps(&secret, code(&secret, 100_000 + ago), now);
            assert_eq!(found.contains(&(100_000 + ago)), ago.abs() <= 1, "{ago}");
        }
    }

    #[test]
    fn base32_is_that_of_the_rfc() {
        for (bytes, text) in [("f", "MY"), ("fo", "MZXQ"), ("foobar", "MZXW6YTBOI")] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
        assert_eq!(
            uri("é@x y.org", "MY"),
            "otpauth://totp/sshkeyd:%C3%A9%40x%20y.org?secret=MY&issuer=sshkeyd&algorithm=SHA1\
             &digits=6&period=30"
        );
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        assert_eq!(Code::read(" 081 804\n"), Code::Digits(81_804));
        let backup = |text: &str| Code::Backup(Zeroizing::new(text.to_owned()));
        assert_eq!(Code::read("ABCDE-fghj1 "), backup("abcdefghj1"));
        assert_eq!(Code::read("+12345"), backup("+12345"));
        assert_eq!(Code::read(""), backup(""));
    }

    #[test]
    fn backup_codes_are_ten_and_differ_and_are_kept_by_account() {
        let codes = backup_codes();
        let different: std::collections::BTreeSet<_> =
            codes.iter().map(|c| c.to_string()).collect();
        assert_eq!(different.len(), 10);
        for code in &codes {
            let Code::Backup(read) = Code::read(code) else {
                panic!("{}", code.as_str());
            };
            assert_eq!(read.len(), 10);
            let kept = backup_hash(&[1; 32], 1, &read);
            assert_ne!(kept, backup_hash(&[1; 32], 2, &read));
            assert_ne!(kept, backup_hash(&[2; 32], 1, &read));
        }
    }
}
