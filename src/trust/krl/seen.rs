//! Whether a list revokes a certificate of which only sshd's log is known: fingerprints stand where
//! a list has blobs.

use super::Krl;
use crate::keys::Fingerprint;

/// What sshd's log says of a certificate that somebody logged in with.
#[derive(Debug, Clone, Copy)]
pub struct SeenCertificate<'a> {
    /// The CA that signed it.
    pub ca: Fingerprint,
    /// Its serial; 0: none.
    pub serial: u64,
    /// Its key ID.
    pub key_id: &'a str,
    /// The key in it, where the log names it.
    pub key: Option<Fingerprint>,
}

impl Krl {
    /// Whether such a certificate is revoked: itself, the key in it, or the CA that signed it.
    #[must_use]
    pub fn revokes_seen(&self, seen: SeenCertificate<'_>) -> bool {
        let named = [Some(seen.ca), seen.key];
        let is_named = |key: Fingerprint| named.contains(&Some(key));
        if named.iter().flatten().any(|key| self.sha256.contains(key))
            || self.keys.iter().any(|blob| is_named(Fingerprint::of(blob)))
        {
            return true;
        }
        self.certificates.iter().any(|(ca, of)| {
            (ca.is_empty() || Fingerprint::of(ca) == seen.ca)
                && (of.key_ids.contains(seen.key_id.as_bytes())
                    || (seen.serial != 0 && of.serials.contains(seen.serial)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Signer;

    #[test]
    fn what_a_log_says_is_enough_to_know_a_revoked_certificate() {
        let key = |seed| Signer::from_seed(&[seed; 32]).public();
        let seen = SeenCertificate {
            ca: key(1).fingerprint(),
            serial: 7,
            key_id: "3/7/9",
            key: Some(key(9).fingerprint()),
        };
        let says = |change: &dyn Fn(&mut Krl)| {
            let mut krl = Krl::default();
            change(&mut krl);
            krl.revokes_seen(seen)
        };
        assert!(!says(&|_| {}));
        for ca in [1, 2] {
            assert_eq!(says(&|krl| krl.of_ca(&key(ca)).serials.insert(7)), ca == 1);
            let by_id = |krl: &mut Krl| {
                krl.of_ca(&key(ca)).key_ids.insert(b"3/7/9".into());
            };
            assert_eq!(says(&by_id), ca == 1);
        }
        assert!(!says(&|krl| krl.of_ca(&key(1)).serials.insert(8)));
        for (seed, revoked) in [(9, true), (1, true), (2, false)] {
            let by_hash = |krl: &mut Krl| {
                krl.sha256.insert(key(seed).fingerprint());
            };
            let by_blob = |krl: &mut Krl| {
                krl.keys.insert(key(seed).blob().to_vec());
            };
            assert_eq!((says(&by_hash), says(&by_blob)), (revoked, revoked));
        }
        let of_any = |krl: &mut Krl| {
            let of = krl.certificates.entry(Vec::new()).or_default();
            of.serials.insert(7);
        };
        assert!(says(&of_any));
    }
}
