//! Somebody else's RevokedKeys taken into ours: a binary list, or a text of keys
//! (`sshkey_check_revoked` in OpenSSH's authfile.c).

use crate::keys::{Line, read_line};
use crate::sys::plain_file;
use crate::trust::{Krl, KrlError, MAX_KRL};
use std::path::Path;
use std::sync::Arc;

/// What sshd is to go by, made of several lists.
#[derive(Debug, Default)]
pub struct Merged {
    krl: Krl,
}

impl Merged {
    /// Takes a list in. The highest number is that of the whole.
    pub fn add(&mut self, other: &Krl) {
        self.krl.merge(other);
        self.krl.version = self.krl.version.max(other.version);
        self.krl.generated_at = self.krl.generated_at.max(other.generated_at);
    }

    /// Its number, and the file.
    #[must_use]
    pub fn encode(mut self) -> (u64, Arc<Vec<u8>>) {
        self.krl.comment = "sshkeyd: several lists".to_owned();
        (self.krl.version, Arc::new(self.krl.encode()))
    }
}

/// What a file revokes that RevokedKeys could name. Its number says nothing about ours. May block.
///
/// # Errors
/// Why nothing of it can be used: with such a file sshd refuses everybody.
pub fn revoked_in(path: &Path) -> Result<Krl, String> {
    let bytes = plain_file::read(path, MAX_KRL as u64).map_err(|fault| fault.to_string())?;
    match Krl::parse(&bytes) {
        Ok(krl) => Ok(Krl {
            version: 0,
            generated_at: 0,
            ..krl
        }),
        Err(KrlError::NotAKrl) => text(&bytes),
        Err(fault) => Err(fault.to_string()),
    }
}

fn text(bytes: &[u8]) -> Result<Krl, String> {
    let mut krl = Krl::default();
    for (line, at) in bytes.split(|b| *b == b'\n').zip(1..) {
        match read_line(line) {
            Line::Entry(entry) => drop(krl.keys.insert(entry.key.blob().to_vec())),
            Line::Unreadable(fault) => return Err(format!("line {at} is no key ({fault})")),
            Line::Blank | Line::Comment(_) => {}
        }
    }
    Ok(krl)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets files up by path")]
mod tests {
    use super::*;
    use crate::trust::Signer;

    #[test]
    fn a_list_of_either_kind_is_taken_in_and_rubbish_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revoked");
        let key = |seed| Signer::from_seed(&[seed; 32]).public();
        std::fs::write(&path, format!("# gone\n\n{} a\n", key(1))).unwrap();
        let text = revoked_in(&path).unwrap();
        assert!(text.revokes_key(key(1).blob()));
        let mut binary = Krl {
            version: 99,
            ..Krl::default()
        };
        binary.of_ca(&key(3)).serials.insert(7);
        std::fs::write(&path, binary.encode()).unwrap();
        let binary = revoked_in(&path).unwrap();
        let mut merged = Merged::default();
        merged.add(&Krl {
            version: 5,
            ..Krl::default()
        });
        merged.add(&text);
        merged.add(&binary);
        let (version, bytes) = merged.encode();
        let krl = Krl::parse(&bytes).unwrap();
        assert_eq!((version, krl.version), (5, 5));
        assert!(krl.revokes_key(key(1).blob()));
        assert!(krl.certificates[key(3).blob()].serials.contains(7));
        std::fs::write(&path, "rubbish\n").unwrap();
        assert!(revoked_in(&path).unwrap_err().contains("line 1"));
        std::fs::write(&path, &bytes[..20]).unwrap();
        assert!(revoked_in(&path).is_err());
    }
}
