//! Sessions that were opened by a certificate: whose it is, whether it is revoked by now, and when it
//! has ended at the latest.
//!
//! sshd's log names a certificate's CA, serial, ID and key, and not its end. An account's CA signs for
//! a day at the most, so a day after the login it has ended, whatever it said.

use super::map::{Live, Wanted};
use crate::keys::Fingerprint;
use crate::trust::{Krl, SeenCertificate};
use crate::wire::SessionCertificate;
use std::collections::BTreeSet;
use std::time::Duration;

/// The longest that a certificate of an account's CA is good (interface.md section 5).
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The CA that the log names.
fn ca(certificate: &SessionCertificate) -> Option<Fingerprint> {
    certificate.ca.parse().ok()
}

fn is_of(certificate: &SessionCertificate, cas: &BTreeSet<Fingerprint>) -> bool {
    ca(certificate).is_some_and(|ca| cas.contains(&ca))
}

impl Wanted {
    /// Whether this certificate is meant: two CAs may have given out the same serial or ID, so only
    /// of those that the order is about.
    pub(super) fn is_certificate(&self, certificate: &SessionCertificate) -> bool {
        is_of(certificate, &self.cas)
            && (self.any_certificate
                || self.serial == Some(certificate.serial)
                || self.key_id.as_ref() == Some(&certificate.key_id))
    }
}

impl Live {
    /// Whether it was opened, beyond doubt, by a certificate of one of these CAs that this list
    /// revokes.
    #[must_use]
    pub fn is_revoked(&self, krl: &Krl, cas: &BTreeSet<Fingerprint>) -> bool {
        let revoked = |login: &super::accepted::Login| {
            let certificate = login.certificate.as_ref();
            let certificate = certificate.filter(|certificate| is_of(certificate, cas));
            certificate.is_some_and(|certificate| {
                ca(certificate).is_some_and(|ca| {
                    krl.revokes_seen(SeenCertificate {
                        ca,
                        serial: certificate.serial,
                        key_id: &certificate.key_id,
                        key: login.key,
                    })
                })
            })
        };
        !self.is_contested() && self.logins().any(revoked)
    }

    /// Since the boot, when the certificate of one of these CAs by which it was opened, beyond doubt,
    /// has ended at the latest.
    #[must_use]
    pub fn ends_at(&self, cas: &BTreeSet<Fingerprint>) -> Option<Duration> {
        let by_one = self.logins().any(|login| {
            let certificate = login.certificate.as_ref();
            certificate.is_some_and(|certificate| is_of(certificate, cas))
        });
        (by_one && !self.is_contested()).then(|| self.began.saturating_add(LONGEST))
    }
}
