//! Which host certificate sshd shows: a key exchange of its own with the certificate's algorithm,
//! and nothing after it.
//!
//! russh has checked by then that whoever answers holds the private half of the key inside
//! (RFC 4253, section 8); the certificate itself is for the caller to judge.

use super::Limits;
use super::budget::source;
use super::probe::{CLIENT_ID, HangUp, connect};
use crate::keys::PublicKey;
use crate::trust::Certificate;
use russh::client;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKeyOrCertificate};
use russh::{Preferred, SshId};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use tokio::time::timeout;

/// What sshd shows for a type of host key.
#[derive(Debug, Clone)]
pub enum Shown {
    /// This certificate.
    Certificate(Box<Certificate>),
    /// A plain key, or no key of that type.
    None,
    /// Nothing answers, or not in time, or what answers breaks off.
    Unknown,
}

/// Connects, and looks at what is shown for keys of the type of `key`.
pub async fn shown_certificate(address: SocketAddr, key: &PublicKey) -> Shown {
    let limits = Limits::STANDARD;
    let Some(algorithm) = algorithm(key.key_type()) else {
        return Shown::None;
    };
    let connecting = connect(address, source(address, rand::random()));
    let Ok(Ok(stream)) = timeout(limits.connect, connecting).await else {
        return Shown::Unknown;
    };
    let Ok((stream, _hang_up)) = HangUp::of(stream) else {
        return Shown::Unknown;
    };
    let seen = Arc::new(OnceLock::new());
    let config = client::Config {
        client_id: SshId::Standard(Cow::Borrowed(CLIENT_ID)),
        inactivity_timeout: Some(limits.all),
        preferred: Preferred {
            key: Cow::Owned(vec![algorithm.clone()]),
            host_key_certificates: Cow::Owned(vec![algorithm]),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    };
    let looker = Looker { seen: seen.clone() };
    let handshake = client::connect_stream(Arc::new(config), stream, looker);
    let end = timeout(limits.handshake, handshake).await;
    match (seen.get(), end) {
        (Some(Some(text)), _) => match Certificate::parse(text) {
            Ok(certificate) => Shown::Certificate(Box::new(certificate)),
            Err(_) => Shown::None,
        },
        (Some(None), _) | (None, Ok(Err(russh::Error::NoCommonAlgo { .. }))) => Shown::None,
        (None, _) => Shown::Unknown,
    }
}

/// Keeps what it is shown, and goes no further.
struct Looker {
    /// The certificate's line; `None` inside for a plain key.
    seen: Arc<OnceLock<Option<String>>>,
}

impl client::Handler for Looker {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        presented: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let text = match presented {
            PublicKeyOrCertificate::Certificate(certificate) => certificate.to_openssh().ok(),
            PublicKeyOrCertificate::PublicKey { .. } => None,
        };
        let _ = self.seen.set(text);
        Ok(false)
    }
}

fn algorithm(key_type: &str) -> Option<Algorithm> {
    let ecdsa = |curve| Algorithm::Ecdsa { curve };
    Some(match key_type {
        "ssh-ed25519" => Algorithm::Ed25519,
        "ecdsa-sha2-nistp256" => ecdsa(EcdsaCurve::NistP256),
        "ecdsa-sha2-nistp384" => ecdsa(EcdsaCurve::NistP384),
        "ecdsa-sha2-nistp521" => ecdsa(EcdsaCurve::NistP521),
        "ssh-rsa" => Algorithm::Rsa {
            hash: Some(HashAlg::Sha512),
        },
        _ => return None,
    })
}
