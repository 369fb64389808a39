//! A list out of bytes, whole or not at all: as `ssh_krl_from_blob` in OpenSSH's krl.c.

use super::{
    BITMAP, CERT_EXTENSION, CERTIFICATES, EXPLICIT_KEY, EXTENSION, FINGERPRINT_SHA1,
    FINGERPRINT_SHA256, FORMAT, KEY_ID, Krl, MAGIC, MAX_KRL, MAX_SINGLE, RevokedCertificates,
    SERIAL_BITMAP, SERIAL_LIST, SERIAL_RANGE, SIGNATURE,
};
use crate::keys::Fingerprint;

/// Why bytes are no list that is understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KrlError {
    /// Another file: PROTOCOL.krl begins otherwise.
    #[error("not a key revocation list")]
    NotAKrl,
    /// It ends too soon, or a length in it is wrong.
    #[error("a key revocation list that is cut short or damaged")]
    Damaged,
    /// Something in it that we do not know, and that may revoke something.
    #[error("a key revocation list with {0}, which is not known here")]
    Unknown(String),
    /// sshd itself refuses it, or it is more than we read.
    #[error("a key revocation list with {0}")]
    TooLarge(&'static str),
}

impl Krl {
    /// Reads a list. Signatures in it are not checked: sshd does not either.
    ///
    /// # Errors
    /// [`KrlError`]: nothing of it may be used then.
    pub fn parse(bytes: &[u8]) -> Result<Self, KrlError> {
        if bytes.len() > MAX_KRL {
            return Err(KrlError::TooLarge("over 8 MiB"));
        }
        let mut reader = Reader(bytes);
        if reader.u64() != Ok(MAGIC) {
            return Err(KrlError::NotAKrl);
        }
        let format = reader.u32()?;
        if format != FORMAT {
            return Err(KrlError::Unknown(format!("format {format}")));
        }
        let mut krl = Self {
            version: reader.u64()?,
            generated_at: reader.u64()?,
            ..Self::default()
        };
        let _flags = reader.u64()?;
        let _reserved = reader.string()?;
        krl.comment = String::from_utf8_lossy(reader.string()?).into_owned();
        let mut single = 0;
        while !reader.0.is_empty() {
            let kind = reader.u8()?;
            // A signature is over all that stands before it, and nothing but more of them follows.
            if kind == SIGNATURE {
                let (_key, _signature) = (reader.string()?, reader.string()?);
                continue;
            }
            let mut body = Reader(reader.string()?);
            match kind {
                CERTIFICATES => {
                    let ca = body.string()?.to_vec();
                    let _reserved = body.string()?;
                    let of_ca = krl.certificates.entry(ca).or_default();
                    certificates(&mut body, of_ca, &mut single)?;
                }
                EXPLICIT_KEY => {
                    while !body.0.is_empty() {
                        krl.keys.insert(body.string()?.to_vec());
                    }
                }
                FINGERPRINT_SHA1 => {
                    while !body.0.is_empty() {
                        krl.sha1.insert(body.hash()?);
                    }
                }
                FINGERPRINT_SHA256 => {
                    while !body.0.is_empty() {
                        krl.sha256.insert(Fingerprint::from_digest(body.hash()?));
                    }
                }
                EXTENSION => extension(&mut body)?,
                other => return Err(KrlError::Unknown(format!("section {other}"))),
            }
        }
        Ok(krl)
    }
}

fn certificates(
    body: &mut Reader<'_>,
    of_ca: &mut RevokedCertificates,
    single: &mut usize,
) -> Result<(), KrlError> {
    let mut one_more = || {
        *single += 1;
        if *single > MAX_SINGLE {
            return Err(KrlError::TooLarge("over a million single serials"));
        }
        Ok(())
    };
    while !body.0.is_empty() {
        let kind = body.u8()?;
        let mut part = Reader(body.string()?);
        match kind {
            SERIAL_LIST => {
                while !part.0.is_empty() {
                    one_more()?;
                    of_ca.serials.insert(part.u64()?);
                }
            }
            SERIAL_RANGE => {
                let (first, last) = (part.u64()?, part.u64()?);
                if first > last {
                    return Err(KrlError::Damaged);
                }
                of_ca.serials.insert_range(first..=last);
            }
            SERIAL_BITMAP => {
                let (from, bits) = (part.u64()?, part.string()?);
                // Without the byte that keeps the highest bit from being a sign.
                let bits = bits.strip_prefix(&[0]).unwrap_or(bits);
                if bits.len() as u64 * 8 > BITMAP {
                    return Err(KrlError::TooLarge("a bitmap over 16,384 bits"));
                }
                for (byte, at) in bits.iter().rev().zip((0_u64..).step_by(8)) {
                    for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
                        one_more()?;
                        let serial = from.checked_add(at + bit).ok_or(KrlError::Damaged)?;
                        of_ca.serials.insert(serial);
                    }
                }
            }
            KEY_ID => {
                while !part.0.is_empty() {
                    of_ca.key_ids.insert(part.string()?.to_vec());
                }
            }
            CERT_EXTENSION => extension(&mut part)?,
            other => return Err(KrlError::Unknown(format!("certificate section {other}"))),
        }
        if !part.0.is_empty() {
            return Err(KrlError::Damaged);
        }
    }
    Ok(())
}

/// One that is critical may revoke what we would not see.
fn extension(body: &mut Reader<'_>) -> Result<(), KrlError> {
    let name = String::from_utf8_lossy(body.string()?).into_owned();
    let critical = body.u8()? != 0;
    let _contents = body.string()?;
    if critical {
        return Err(KrlError::Unknown(format!(
            "extension \"{}\"",
            name.escape_debug()
        )));
    }
    Ok(())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], KrlError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(KrlError::Damaged)?;
        self.0 = rest;
        Ok(*array)
    }

    fn u8(&mut self) -> Result<u8, KrlError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, KrlError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, KrlError> {
        self.array().map(u64::from_be_bytes)
    }

    fn string(&mut self) -> Result<&'a [u8], KrlError> {
        let length = usize::try_from(self.u32()?).map_err(|_| KrlError::Damaged)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(KrlError::Damaged)?;
        self.0 = rest;
        Ok(string)
    }

    fn hash<const N: usize>(&mut self) -> Result<[u8; N], KrlError> {
        self.string()?.try_into().map_err(|_| KrlError::Damaged)
    }
}
