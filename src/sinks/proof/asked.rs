//! What sshd is asked about: a key, or a certificate over one, and what may explain a refusal.

use super::Algorithms;
use crate::keys::{Fingerprint, PublicKey};
use crate::trust::Certificate;
use jiff::Timestamp;
use std::sync::Arc;

/// A key to ask for, and what about its line may explain a refusal.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The key.
    pub key: PublicKey,
    /// The certificate over it that is offered in its place, if it is one.
    pub certificate: Option<Offer>,
    /// Its line has a `from=` option: a query from loopback is refused.
    pub has_from: bool,
    /// Its `expiry-time` has passed; of a certificate, it is not in its time.
    pub expired: bool,
}

/// A certificate as it is offered. A clone shares it.
#[derive(Debug, Clone)]
pub struct Offer {
    pub(super) blob: Arc<[u8]>,
    fingerprint: Fingerprint,
    algorithms: Arc<[String]>,
    signed_by: Arc<str>,
}

impl Asked {
    /// A key whose line explains no refusal.
    #[must_use]
    pub fn plain(key: PublicKey) -> Self {
        Self {
            key,
            certificate: None,
            has_from: false,
            expired: false,
        }
    }

    /// A certificate, with what it says itself of why sshd may refuse it now. A `force-command` says
    /// nothing: sshd takes such a certificate, and runs that. `None` where it could not be offered
    /// unchanged.
    #[must_use]
    pub fn certificate(certificate: &Certificate, now: Timestamp) -> Option<Self> {
        let blob: Arc<[u8]> = certificate.blob()?.into();
        Some(Self {
            key: certificate.key().clone(),
            has_from: certificate.has_source_address(),
            expired: !certificate.is_in_time(now),
            certificate: Some(Offer {
                fingerprint: Fingerprint::of(&blob),
                blob,
                algorithms: certificate.algorithms().into(),
                signed_by: certificate.signed_by().into(),
            }),
        })
    }

    /// What answers are told by: the key's fingerprint, or for a certificate the digest of its own
    /// bytes, so that several over one key are told apart.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let offer = self.certificate.as_ref();
        offer.map_or_else(|| self.key.fingerprint(), |offer| offer.fingerprint)
    }

    /// Whether sshd's configuration refuses such a certificate whoever made it. Of keys nothing is
    /// said: one that sshd never takes is not accepted.
    pub(super) fn is_ruled_out(&self, by: &Algorithms) -> bool {
        self.certificate.as_ref().is_some_and(|offer| {
            !offer.algorithms.iter().any(|name| by.takes_key(name))
                || !by.takes_signature(&offer.signed_by)
        })
    }
}
