//! A public key as bytes: its key type, its blob, and which ones we would write.

use super::fingerprint::Fingerprint;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// RSA keys below this are refused: sshd's own default is `RequiredRSASize 1024`, and 2048 is what
/// ssh-keygen(1) has made at the least since OpenSSH 5.
pub const MIN_RSA_BITS: usize = 2048;

/// Longest key text that is looked at: a 16,384-bit RSA key with a generous comment.
const MAX_TEXT: usize = 16 * 1024;

/// Any key that sshd would find in a line: a type word and a blob that names the same type.
///
/// Only for looking at other people's lines; what we write is a [`PublicKey`]. A clone shares the
/// blob: of a long list the same keys stand in many places.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RawKey(Arc<[u8]>);

impl RawKey {
    /// Reads the two words of a line, as `sshkey_read` in OpenSSH's `sshkey.c` does: the blob must
    /// be base64 and name the type that stands before it.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`], [`KeyError::Base64`] or [`KeyError::TypeMismatch`].
    pub fn from_words(key_type: &[u8], base64: &[u8]) -> Result<Self, KeyError> {
        let key_type = std::str::from_utf8(key_type).map_err(|_| KeyError::NotAKey)?;
        if key_type.is_empty() || !key_type.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(KeyError::NotAKey);
        }
        // sshd's decoder passes over white space, so a line that ends in CR is still a key.
        let base64: Cow<'_, [u8]> = if base64.iter().any(u8::is_ascii_whitespace) {
            let text = base64.iter().copied();
            text.filter(|b| !b.is_ascii_whitespace()).collect()
        } else {
            base64.into()
        };
        let blob = STANDARD.decode(&base64).map_err(|_| KeyError::Base64)?;
        let inner = string_at(&blob, 0).ok_or(KeyError::NotAKey)?;
        if inner != key_type.as_bytes() {
            return Err(KeyError::TypeMismatch);
        }
        Ok(Self(blob.into()))
    }

    /// The key type: `ssh-ed25519`, `ssh-rsa`, ….
    #[must_use]
    pub fn key_type(&self) -> &str {
        // The blob begins with it: no key is made otherwise.
        let inner = string_at(&self.0, 0).unwrap_or_default();
        std::str::from_utf8(inner).unwrap_or_default()
    }

    /// The public key blob.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.0
    }

    /// The blob's SHA-256 fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }

    /// The bits of the modulus, for an RSA key.
    #[must_use]
    pub fn rsa_bits(&self) -> Option<usize> {
        let is_rsa = self.key_type() == "ssh-rsa";
        rsa_bits(&self.0).filter(|_| is_rsa)
    }

    /// The key as a line without options and comment.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{} {}", self.key_type(), STANDARD.encode(&self.0))
    }
}

impl fmt::Debug for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key_type(), self.fingerprint())
    }
}

/// A plain public key that we would write: of a type that sshd takes, of a size that is not weak.
///
/// Equality is that of type and blob; a comment is no part of a key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(RawKey);

impl PublicKey {
    /// Reads one public key from text that a person or a program gave: `type base64 [comment]`,
    /// blanks around it allowed. Gives the comment too, without control characters.
    ///
    /// # Errors
    /// Each way in which people get this wrong has its own [`KeyError`], none is guessed around.
    pub fn parse_text(text: &str) -> Result<(Self, String), KeyError> {
        if text.len() > MAX_TEXT {
            return Err(KeyError::TooLong);
        }
        if text.contains('\0') {
            return Err(KeyError::Nul);
        }
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.contains("PRIVATE KEY") || text.starts_with("PuTTY-User-Key-File") {
            return Err(KeyError::Private);
        }
        if let Some((first, rest)) = text.split_once(['\n', '\r']) {
            let more_keys = rest.lines().any(|l| Self::parse_text(l).is_ok());
            return Err(match Self::parse_text(first) {
                Ok(_) if more_keys => KeyError::SeveralKeys,
                _ => KeyError::Newline,
            });
        }
        let mut words = text.split([' ', '\t']).filter(|w| !w.is_empty());
        let first = words.next().ok_or(KeyError::Empty)?;
        let Some(second) = words.next() else {
            return Err(if looks_like_path(first) {
                KeyError::Path
            } else {
                KeyError::NotAKey
            });
        };
        match RawKey::from_words(first.as_bytes(), second.as_bytes()) {
            Ok(raw) => {
                let comment = words.collect::<Vec<_>>().join(" ");
                Ok((Self::try_from(raw)?, printable(&comment)))
            }
            Err(KeyError::TypeMismatch) => Err(KeyError::TypeMismatch),
            Err(_) if is_key_type(first) => Err(KeyError::Base64),
            Err(_) if text.split([' ', '\t']).any(is_key_type) => Err(KeyError::Options),
            Err(_) if looks_like_path(text) => Err(KeyError::Path),
            Err(_) => Err(KeyError::NotAKey),
        }
    }

    /// The key type: `ssh-ed25519`, `ssh-rsa`, ….
    #[must_use]
    pub fn key_type(&self) -> &str {
        self.0.key_type()
    }

    /// The public key blob.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        self.0.blob()
    }

    /// The blob's SHA-256 fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint()
    }

    /// The same key without the promise.
    #[must_use]
    pub fn as_raw(&self) -> &RawKey {
        &self.0
    }
}

/// `type base64`: canonical, without comment.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key_type(), STANDARD.encode(self.blob()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<RawKey> for PublicKey {
    type Error = KeyError;

    fn try_from(raw: RawKey) -> Result<Self, KeyError> {
        let key_type = raw.key_type();
        if key_type.contains("-cert-v01@openssh.com") {
            return Err(KeyError::Certificate);
        }
        if key_type == "ssh-dss" {
            return Err(KeyError::Dsa);
        }
        if !WRITABLE.contains(&key_type) {
            return Err(KeyError::UnknownType(key_type.to_owned()));
        }
        // The crate judges the inside: lengths and trailing bytes. Whether an ECDSA point is on its curve
        // is left to sshd, which refuses such a key.
        ssh_key::PublicKey::from_bytes(raw.blob()).map_err(|_| KeyError::Malformed)?;
        if key_type == "ssh-rsa" {
            let bits = rsa_bits(raw.blob()).ok_or(KeyError::Malformed)?;
            if bits < MIN_RSA_BITS {
                return Err(KeyError::RsaTooShort(bits));
            }
        }
        Ok(Self(raw))
    }
}

/// Key types of sshd's default PubkeyAcceptedAlgorithms, as they stand in a blob.
const WRITABLE: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Why a text or a key is refused. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Nothing there.
    #[error("empty; give the text of a .pub file")]
    Empty,
    /// Over the limit on key text.
    #[error("longer than any public key; give the text of one .pub file")]
    TooLong,
    /// A NUL byte.
    #[error("has a NUL byte; give the text of a .pub file")]
    Nul,
    /// A private key.
    #[error("this is a private key; keep it secret, and give the .pub file beside it")]
    Private,
    /// More than one key.
    #[error("more than one key; save them one by one")]
    SeveralKeys,
    /// A line break inside.
    #[error("has a line break inside; give the key as one line")]
    Newline,
    /// A file name instead of its content.
    #[error("this is a file's name; give the text inside the file")]
    Path,
    /// Options stand before the key.
    #[error("has options before the key; give the key alone, and the options as `options`")]
    Options,
    /// Nothing that could be a key.
    #[error("not an SSH public key; it begins with its type, as in `ssh-ed25519 AAAA…`")]
    NotAKey,
    /// The second word is not base64.
    #[error("the part after the key type is not base64; it may have been cut")]
    Base64,
    /// The blob names another type.
    #[error("the key's bytes are of another type than the word before them")]
    TypeMismatch,
    /// The type is known and the bytes are no such key.
    #[error("the key's bytes are damaged; copy it again")]
    Malformed,
    /// A certificate.
    #[error("this is a certificate; give the plain public key")]
    Certificate,
    /// DSA.
    #[error("DSA keys are refused by sshd since OpenSSH 7.0; make an Ed25519 key")]
    Dsa,
    /// A short RSA key, with its bits.
    #[error("RSA of {0} bits is too weak; 2048 at the least, or an Ed25519 key")]
    RsaTooShort(usize),
    /// A type that sshd would not take.
    #[error("key type \"{0}\" is not known; Ed25519, ECDSA, RSA and their sk- forms are")]
    UnknownType(String),
}

impl KeyError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too-long",
            Self::Nul => "nul",
            Self::Private => "private-key",
            Self::SeveralKeys => "several-keys",
            Self::Newline => "newline",
            Self::Path => "path",
            Self::Options => "options-in-front",
            Self::NotAKey => "not-a-key",
            Self::Base64 => "not-base64",
            Self::TypeMismatch => "type-mismatch",
            Self::Malformed => "malformed",
            Self::Certificate => "certificate",
            Self::Dsa => "dsa",
            Self::RsaTooShort(_) => "rsa-too-short",
            Self::UnknownType(_) => "unknown-type",
        }
    }
}

/// Text as it may stand in a file or on a terminal: control characters gone, 256 bytes at most.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out: String = text.chars().filter(|c| !c.is_control()).collect();
    let mut end = out.len().min(256);
    while !out.is_char_boundary(end) {
        end -= 1;
    }
    out.truncate(end);
    out
}

fn is_key_type(word: &str) -> bool {
    WRITABLE.contains(&word) || word == "ssh-dss" || word.contains("-cert-v01@openssh.com")
}

fn looks_like_path(text: &str) -> bool {
    text.starts_with(['/', '~', '.']) || text.ends_with(".pub") || text.contains("/id_")
}

/// The length-prefixed string that begins at `at` (RFC 4251, section 5).
fn string_at(blob: &[u8], at: usize) -> Option<&[u8]> {
    let head = blob.get(at..at.checked_add(4)?)?;
    let len = u32::from_be_bytes(head.try_into().ok()?) as usize;
    blob.get(at + 4..at.checked_add(4)?.checked_add(len)?)
}

/// Bits of the modulus: `string "ssh-rsa", mpint e, mpint n` (RFC 4253, section 6.6).
fn rsa_bits(blob: &[u8]) -> Option<usize> {
    let name = string_at(blob, 0)?;
    let e_at = 4 + name.len();
    let n_at = e_at + 4 + string_at(blob, e_at)?.len();
    let n = string_at(blob, n_at)?;
    let first = n.iter().position(|b| *b != 0)?;
    let top = n.get(first)?;
    Some((n.len() - first) * 8 - top.leading_zeros() as usize)
}

#[cfg(test)]
mod tests;
