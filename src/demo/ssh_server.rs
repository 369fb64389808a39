//! An SSH server that obeys an authorized_keys file and does nothing else.
//!
//! The file is read afresh for every offered key, so a save is felt at the next login. It takes any
//! user name, runs no command, has no shell, forwards nothing: a session gets one line and ends.
//! Answers an offer without a signature as sshd does (RFC 4252, section 7), so the proof works
//! against it.

use super::admission::admits;
use crate::keys::{Fingerprint, PublicKey};
use crate::sinks::proof::HangUp;
use jiff::Timestamp;
use russh::keys::{Algorithm, PrivateKey, ssh_key};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty};
use std::borrow::Cow;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Connections at one time; what comes beyond them is hung up on.
pub const MAX_CONNECTIONS: usize = 64;

/// How long a connection may last: none has more to do than one login.
pub const MAX_LIFE: Duration = Duration::from_secs(60);

/// How long a connection may be silent.
const MAX_SILENCE: Duration = Duration::from_secs(20);

/// Refused offers before a connection ends, as sshd's MaxAuthTries.
const MAX_AUTH_TRIES: usize = 6;

/// Channels of one connection.
const MAX_CHANNELS: u32 = 4;

/// Most of an authorized_keys file; one that is longer lets nobody in.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// How long to wait when the host has no descriptor for another connection.
const BREATH: Duration = Duration::from_millis(100);

/// A running server.
#[derive(Debug)]
pub struct SshServer {
    /// Where it listens: 127.0.0.1, and a port that was free.
    pub address: SocketAddr,
    /// Its host key, made at the start and kept nowhere.
    pub host_key: PublicKey,
    /// Ends after `shutdown`, when every connection is closed.
    pub task: JoinHandle<()>,
}

impl SshServer {
    /// Listens until `shutdown` is done. `now` is asked when a line has an `expiry-time`.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(
        authorized_keys: PathBuf,
        now: fn() -> Timestamp,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let private = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)
            .map_err(|e| io::Error::other(e.to_string()))?;
        let text = private
            .public_key()
            .to_openssh()
            .map_err(|e| io::Error::other(e.to_string()))?;
        let (host_key, _) = PublicKey::parse_text(&text).map_err(io::Error::other)?;
        let door = Arc::new(Door {
            authorized_keys,
            now,
            config: Arc::new(config(private)),
        });
        let task = tokio::spawn(async move {
            // Both are dropped here: the listener, and with the set every connection.
            let mut connections = JoinSet::new();
            tokio::select! {
                () = shutdown => {}
                () = accept(&listener, &door, &mut connections) => {}
            }
            connections.shutdown().await;
        });
        Ok(Self {
            address,
            host_key,
            task,
        })
    }
}

async fn accept(listener: &TcpListener, door: &Arc<Door>, connections: &mut JoinSet<()>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        if connections.len() < MAX_CONNECTIONS {
            connections.spawn(serve(stream, door.clone()));
        }
    }
}

async fn serve(stream: TcpStream, door: Arc<Door>) {
    let Ok((stream, _hang_up)) = HangUp::of(stream) else {
        return;
    };
    let guest = Guest {
        door: door.clone(),
        key: None,
        channels: 0,
        pty: false,
    };
    // What goes wrong on a connection is the client's to see.
    let _ = tokio::time::timeout(MAX_LIFE, async {
        server::run_stream(door.config.clone(), stream, guest)
            .await?
            .await
    })
    .await;
}

fn config(host_key: PrivateKey) -> server::Config {
    let id = concat!("SSH-2.0-sshkeyd_demo_", env!("CARGO_PKG_VERSION"));
    server::Config {
        server_id: russh::SshId::Standard(Cow::Borrowed(id)),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // Whether a public key is in a file that everyone here can read is no secret to time.
        auth_rejection_time: Duration::ZERO,
        keys: vec![host_key],
        max_auth_attempts: MAX_AUTH_TRIES,
        inactivity_timeout: Some(MAX_SILENCE),
        nodelay: true,
        ..server::Config::default()
    }
}

/// What every connection shares.
struct Door {
    authorized_keys: PathBuf,
    now: fn() -> Timestamp,
    config: Arc<server::Config>,
}

impl Door {
    async fn opens(self: &Arc<Self>, key: &ssh_key::PublicKey, algorithm: &Algorithm) -> bool {
        // SHA-1 signatures are refused by sshd since OpenSSH 8.8.
        if matches!(algorithm, Algorithm::Rsa { hash: None }) {
            return false;
        }
        let Ok(blob) = key.to_bytes() else {
            return false;
        };
        let door = self.clone();
        tokio::task::spawn_blocking(move || {
            read(&door.authorized_keys).is_ok_and(|text| admits(&text, &blob, (door.now)()))
        })
        .await
        .unwrap_or(false)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

/// One connection.
struct Guest {
    door: Arc<Door>,
    /// The key that it logged in with.
    key: Option<Fingerprint>,
    channels: u32,
    pty: bool,
}

impl Guest {
    fn greet(&self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.channel_success(channel)?;
        let end = if self.pty { "\r\n" } else { "\n" };
        let line = match self.key {
            Some(key) => format!("you are in, by key {key}{end}"),
            None => return Err(russh::Error::Inconsistent),
        };
        session.data(channel, line.into_bytes())?;
        session.exit_status_request(channel, 0)?;
        session.eof(channel)?;
        session.close(channel)
    }
}

impl server::Handler for Guest {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(answer(
            self.door.opens(offer.public_key, offer.algorithm).await,
        ))
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: server::VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        // Asked again: the line may have gone between the offer and the signature.
        let open = self.door.opens(key.public_key, key.algorithm).await;
        if open {
            self.key = Some(Fingerprint::of(&key.public_key.to_bytes()?));
        }
        Ok(answer(open))
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels += 1;
        if self.channels > MAX_CHANNELS {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
        } else {
            reply.accept().await;
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.pty = true;
        session.channel_success(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.greet(channel, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.greet(channel, session)
    }
}

fn answer(open: bool) -> Auth {
    if open { Auth::Accept } else { Auth::reject() }
}
