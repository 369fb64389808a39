//! Key revocation lists, as sshd reads them (PROTOCOL.krl): our own codec, since nothing has one.
//!
//! What stands in a list is revoked, nothing else is. Written small and cheap to read: serials as
//! ranges, else as bitmaps of at most 16,384 bits (sshd takes no wider one, and with a list that it
//! cannot read nobody logs in), else one by one. Read whole or refused: a list of which a part is
//! not understood would let somebody in.

mod encode;
mod parse;
mod seen;
mod serials;
#[cfg(test)]
mod tests;

pub use parse::KrlError;
pub use seen::SeenCertificate;
pub use serials::Serials;

use crate::keys::{Fingerprint, PublicKey};
use std::collections::{BTreeMap, BTreeSet};

/// `SSHKRL\n\0`.
const MAGIC: u64 = 0x5353_484b_524c_0a00;
const FORMAT: u32 = 1;

/// Section types (PROTOCOL.krl, section "KRL sections").
const CERTIFICATES: u8 = 1;
const EXPLICIT_KEY: u8 = 2;
const FINGERPRINT_SHA1: u8 = 3;
const SIGNATURE: u8 = 4;
const FINGERPRINT_SHA256: u8 = 5;
const EXTENSION: u8 = 255;

/// Types of what stands in a section of certificates.
const SERIAL_LIST: u8 = 0x20;
const SERIAL_RANGE: u8 = 0x21;
const SERIAL_BITMAP: u8 = 0x22;
const KEY_ID: u8 = 0x23;
const CERT_EXTENSION: u8 = 0x39;

/// The widest bitmap that sshd reads: `SSHBUF_MAX_BIGNUM` in OpenSSH's sshbuf.h, in bits.
const BITMAP: u64 = 16_384;

/// The most bytes of a list that is read.
pub const MAX_KRL: usize = 8 * 1024 * 1024;

/// The most serials that one bitmap or list names one by one, over a whole list that is read.
const MAX_SINGLE: usize = 1_000_000;

/// A key revocation list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Krl {
    /// Its number; a later list has a higher one.
    pub version: u64,
    /// When it was made, Unix seconds.
    pub generated_at: u64,
    /// Words for people.
    pub comment: String,
    /// Revoked certificates, by the blob of the CA key that signed them; an empty blob: of any CA.
    pub certificates: BTreeMap<Vec<u8>, RevokedCertificates>,
    /// Revoked keys, by blob: as plain keys, in certificates, and as CAs.
    pub keys: BTreeSet<Vec<u8>>,
    /// The same, by SHA-256 of the blob.
    pub sha256: BTreeSet<Fingerprint>,
    /// The same, by SHA-1 of the blob: only ever in lists of others.
    pub sha1: BTreeSet<[u8; 20]>,
}

/// Revoked certificates of one CA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevokedCertificates {
    /// By serial.
    pub serials: Serials,
    /// By key ID, byte for byte.
    pub key_ids: BTreeSet<Vec<u8>>,
}

/// What of a certificate a list is asked about.
#[derive(Debug, Clone, Copy)]
pub struct CertificateRef<'a> {
    /// The blob of the CA key that signed it.
    pub ca: &'a [u8],
    /// Its serial; 0: none.
    pub serial: u64,
    /// Its key ID.
    pub key_id: &'a [u8],
    /// The blob of the plain key in it.
    pub key: &'a [u8],
}

impl Krl {
    /// Revokes certificates of this CA.
    pub fn of_ca(&mut self, ca: &PublicKey) -> &mut RevokedCertificates {
        self.certificates.entry(ca.blob().to_vec()).or_default()
    }

    /// Takes in all that another list revokes; number, time and comment stay.
    pub fn merge(&mut self, other: &Self) {
        for (ca, theirs) in &other.certificates {
            let ours = self.certificates.entry(ca.clone()).or_default();
            for range in theirs.serials.ranges() {
                ours.serials.insert_range(range);
            }
            ours.key_ids.extend(theirs.key_ids.iter().cloned());
        }
        self.keys.extend(other.keys.iter().cloned());
        self.sha256.extend(&other.sha256);
        self.sha1.extend(&other.sha1);
    }

    /// Whether a plain key is revoked, by its blob. As `ssh_krl_check_key` in OpenSSH's krl.c.
    #[must_use]
    pub fn revokes_key(&self, blob: &[u8]) -> bool {
        use sha1::Digest as _;
        self.keys.contains(blob)
            || self.sha256.contains(&Fingerprint::of(blob))
            || (!self.sha1.is_empty()
                && self
                    .sha1
                    .contains(<[u8; 20]>::from(sha1::Sha1::digest(blob)).as_slice()))
    }

    /// Whether a certificate is revoked: itself, the key in it, or the CA that signed it.
    #[must_use]
    pub fn revokes_certificate(&self, certificate: CertificateRef<'_>) -> bool {
        let named = |of: &RevokedCertificates| {
            of.key_ids.contains(certificate.key_id)
                || (certificate.serial != 0 && of.serials.contains(certificate.serial))
        };
        let of_any: &[u8] = &[];
        self.revokes_key(certificate.key)
            || self.revokes_key(certificate.ca)
            || [certificate.ca, of_any]
                .iter()
                .filter_map(|ca| self.certificates.get(*ca))
                .any(named)
    }
}
