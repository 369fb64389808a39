//! One connection to sshd: known host key or nothing, questions without a signature, hung up.
//!
//! russh asks for a signature only after sshd's PK_OK, so a signer that was called has the answer
//! (RFC 4252, section 7). It owns no private key and never logs in. Nothing of russh outlives it:
//! the socket is shut when it is dropped, which ends russh's task too.

use super::banner::printable;
use super::verdict::{Answer, Unknown};
use super::{Asked, Limits, Sshd};
use crate::keys::PublicKey;
use russh::client::{self, AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKeyOrCertificate, ssh_key};
use russh::{MethodKind, Preferred};
use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// What a connection says of us; sshd logs it at a verbose level only.
const CLIENT_ID: &str = concat!("SSH-2.0-sshkeyd_", env!("CARGO_PKG_VERSION"));

/// How long sshd and russh may take to part.
const PARTING: Duration = Duration::from_secs(1);

/// Our side opens no channel, so its window is never used.
const WINDOW: u32 = 32 * 1024;

/// What is offered, in russh's form.
#[derive(Debug, Clone)]
pub(super) enum Offered {
    Key(ssh_key::PublicKey),
    Certificate(Box<ssh_key::Certificate>),
}

/// What is asked about in the form that russh offers; `None` where its bytes would not arrive
/// unchanged.
pub(super) fn offer(asked: &Asked) -> Option<Offered> {
    let known = |algorithm| !matches!(algorithm, Algorithm::Other(_));
    if let Some(certificate) = &asked.certificate {
        let offer = ssh_key::Certificate::from_bytes(&certificate.blob).ok()?;
        let same = known(offer.algorithm()) && offer.to_bytes().ok()? == *certificate.blob;
        return same.then(|| Offered::Certificate(Box::new(offer)));
    }
    let blob = asked.key.blob();
    let offer = ssh_key::PublicKey::from_bytes(blob).ok()?;
    let same = known(offer.algorithm()) && offer.to_bytes().ok()?.as_slice() == blob;
    same.then_some(Offered::Key(offer))
}

impl Offered {
    fn is_rsa(&self) -> bool {
        let algorithm = match self {
            Self::Key(key) => key.algorithm(),
            Self::Certificate(certificate) => certificate.algorithm(),
        };
        matches!(algorithm, Algorithm::Rsa { .. })
    }
}

/// Connects, from `source` where that can be had.
pub(super) async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(source) = source {
        // A host whose loopback is narrower than 127/8 is asked from its usual address.
        let _ = socket.bind((source, 0).into());
    }
    socket.connect(address).await
}

/// A connection whose host key is known.
pub(super) struct Session {
    handle: Handle<Client>,
    rsa_hash: Option<Option<HashAlg>>,
    usable: bool,
    /// The server's identification string.
    pub(super) banner: Option<String>,
    /// Keys that were refused on it.
    pub(super) refusals: u32,
    /// Whether any key got an answer.
    pub(super) answered: bool,
    // After the handle, so that russh has gone when the socket is shut.
    _hang_up: HangUp,
}

impl Session {
    pub(super) async fn open(
        sshd: &Sshd,
        source: Option<IpAddr>,
        limits: &Limits,
    ) -> Result<Self, Unknown> {
        let stream = match tokio::time::timeout(limits.connect, connect(sshd.address, source)).await
        {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => return Err(Unknown::NoSshd),
            Err(_) => return Err(Unknown::Timeout),
        };
        let (stream, hang_up) = HangUp::of(stream).map_err(|_| Unknown::Disconnected)?;
        let banner = Arc::new(OnceLock::new());
        let client = Client {
            host_keys: sshd.host_keys.iter().map(|k| k.blob().to_vec()).collect(),
            banner: banner.clone(),
        };
        let config = Arc::new(config(&sshd.host_keys, limits));
        let handshake = client::connect_stream(config, stream, client);
        let handle = match tokio::time::timeout(limits.handshake, handshake).await {
            Ok(handle) => handle.map_err(|e| why(&e))?,
            Err(_) => return Err(Unknown::Timeout),
        };
        Ok(Self {
            handle,
            rsa_hash: None,
            usable: true,
            banner: banner.get().cloned(),
            refusals: 0,
            answered: false,
            _hang_up: hang_up,
        })
    }

    /// Whether another key may be asked: a late answer would be taken for that key's.
    pub(super) fn is_usable(&self) -> bool {
        self.usable && !self.handle.is_closed()
    }

    /// Would sshd take this for `user`?
    pub(super) async fn ask(&mut self, user: &str, offered: Offered, limit: Duration) -> Answer {
        let asking = self.ask_unbounded(user, offered);
        let answer = match tokio::time::timeout(limit, asking).await {
            Ok(answer) => answer,
            Err(_) => Answer::Unknown(Unknown::Timeout),
        };
        match answer {
            Answer::Accepted | Answer::Refused => self.answered = true,
            Answer::Unknown(_) => self.usable = false,
        }
        answer
    }

    async fn ask_unbounded(&mut self, user: &str, offered: Offered) -> Answer {
        let hash = match offered.is_rsa() {
            true => self.rsa_hash().await,
            false => None,
        };
        let (handle, none) = (&mut self.handle, &mut NoSignature);
        let asked = match offered {
            Offered::Key(key) => {
                handle
                    .authenticate_publickey_with(user, key, hash, none)
                    .await
            }
            Offered::Certificate(certificate) => {
                handle
                    .authenticate_certificate_with(user, *certificate, hash, none)
                    .await
            }
        };
        match asked {
            Err(Unsigned::Asked) => Answer::Accepted,
            Err(Unsigned::Gone) => Answer::Unknown(Unknown::Disconnected),
            Ok(AuthResult::Success) => Answer::Unknown(Unknown::OddAnswer),
            Ok(AuthResult::Failure {
                remaining_methods,
                partial_success,
            }) => {
                // russh gives an empty list for a connection that ended; sshd's has a method.
                if remaining_methods.is_empty() {
                    Answer::Unknown(Unknown::Disconnected)
                } else if partial_success {
                    Answer::Unknown(Unknown::SeveralMethods)
                } else if remaining_methods.contains(&MethodKind::PublicKey) {
                    Answer::Refused
                } else {
                    Answer::Unknown(Unknown::PublickeyNotOffered)
                }
            }
        }
    }

    /// The hash to name for RSA keys: what `server-sig-algs` allows (RFC 8332, section 3.3), else
    /// rsa-sha2-512.
    async fn rsa_hash(&mut self) -> Option<HashAlg> {
        if let Some(known) = self.rsa_hash {
            return known;
        }
        let best = match self.handle.best_supported_rsa_hash().await {
            Ok(Some(best)) => best,
            Ok(None) | Err(_) => Some(HashAlg::Sha512),
        };
        self.rsa_hash = Some(best);
        best
    }

    /// Says goodbye, and waits until russh's task has ended.
    pub(super) async fn close(mut self) {
        let parting = async {
            let reason = russh::Disconnect::ByApplication;
            let _ = self.handle.disconnect(reason, "", "").await;
            let _ = (&mut self.handle).await;
        };
        let _ = tokio::time::timeout(PARTING, parting).await;
    }
}

/// Shuts the socket when dropped, whoever else still holds it.
pub(crate) struct HangUp(std::net::TcpStream);

impl HangUp {
    pub(crate) fn of(stream: TcpStream) -> io::Result<(TcpStream, Self)> {
        stream.set_nodelay(true)?;
        let stream = stream.into_std()?;
        let hang_up = Self(stream.try_clone()?);
        Ok((TcpStream::from_std(stream)?, hang_up))
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// russh's side of a connection: judges the host key, keeps the banner.
struct Client {
    host_keys: Vec<Vec<u8>>,
    banner: Arc<OnceLock<String>>,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        presented: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = presented else {
            return Ok(false);
        };
        let blob = key.to_bytes()?;
        Ok(self.host_keys.contains(&blob))
    }

    async fn kex_done(
        &mut self,
        _shared_secret: Option<&[u8]>,
        _names: &russh::Names,
        session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        let _ = self.banner.set(printable(session.remote_sshid()));
        Ok(())
    }
}

/// A signer that signs nothing: that it was called is all it has to say.
struct NoSignature;

/// Why a question ended without a failure message.
enum Unsigned {
    /// sshd wants the signature: it would take the key.
    Asked,
    /// The connection is gone.
    Gone,
}

impl From<russh::SendError> for Unsigned {
    fn from(_: russh::SendError) -> Self {
        Self::Gone
    }
}

impl russh::Signer for NoSignature {
    type Error = Unsigned;

    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        _hash: Option<HashAlg>,
        _to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Unsigned> {
        Err(Unsigned::Asked)
    }
}

fn config(host_keys: &[PublicKey], limits: &Limits) -> client::Config {
    client::Config {
        client_id: russh::SshId::Standard(Cow::Borrowed(CLIENT_ID)),
        window_size: WINDOW,
        channel_buffer_size: 1,
        inactivity_timeout: Some(limits.all),
        preferred: Preferred {
            key: Cow::Owned(host_key_algorithms(host_keys)),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

/// Host key algorithms, those of known keys first: sshd presents the first that it has.
fn host_key_algorithms(known: &[PublicKey]) -> Vec<Algorithm> {
    let rsa = |hash| Algorithm::Rsa { hash: Some(hash) };
    let ecdsa = |curve| Algorithm::Ecdsa { curve };
    let mut all = vec![
        ("ssh-ed25519", Algorithm::Ed25519),
        ("ecdsa-sha2-nistp256", ecdsa(EcdsaCurve::NistP256)),
        ("ecdsa-sha2-nistp384", ecdsa(EcdsaCurve::NistP384)),
        ("ecdsa-sha2-nistp521", ecdsa(EcdsaCurve::NistP521)),
        ("ssh-rsa", rsa(HashAlg::Sha512)),
        ("ssh-rsa", rsa(HashAlg::Sha256)),
    ];
    all.sort_by_key(|(name, _)| !known.iter().any(|k| k.key_type() == *name));
    all.into_iter().map(|(_, algorithm)| algorithm).collect()
}

fn why(error: &russh::Error) -> Unknown {
    match error {
        russh::Error::UnknownKey => Unknown::WrongHost,
        russh::Error::Version => Unknown::NoSshd,
        russh::Error::NoCommonAlgo { kind, .. } => match kind {
            russh::AlgorithmKind::Key => Unknown::WrongHost,
            _ => Unknown::NoCommonAlgorithm,
        },
        _ => Unknown::Disconnected,
    }
}
