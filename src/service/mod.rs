//! The account key service: accounts, their keys and instances, and signed lists for agents.
//!
//! The map: `store/` keeps, `snapshots` signs, `hub` wakes those who wait, `board` knows who was
//! heard, `holds` counts held queries, `rollout` draws the picture of a key, `auth` and `token`
//! say who asks, `api/` has a file a resource, `listen` and `tls` are the door. A save goes
//! `api` → `store` (one transaction: key and revision) → `hub` → every held query → `snapshots`
//! (one signature) → answer. Refuses to speak plaintext off loopback, and to log a token or a key.

mod accounts;
mod api;
mod auth;
mod board;
mod holds;
mod hub;
mod listen;
mod nonce;
mod patience;
mod permissions;
mod proxies;
mod refusals;
mod rollout;
mod sealing;
mod secrets;
mod signers;
mod snapshots;
mod store;
mod tls;
mod token;
mod words;

pub use accounts::{AccountError, NewAccount};
pub use signers::{Rotated, rotate_signer};

use crate::config::{ServerConfig, TlsFiles};
use crate::sys::clock;
use crate::wire::InstanceState;
use board::Board;
use holds::Holds;
use hub::Hub;
use ipnet::IpNet;
use jiff::Timestamp;
use nonce::Nonces;
use refusals::Refusals;
use sealing::Sealing;
use secrets::Secrets;
use snapshots::Snapshots;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Store, StoreError};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

/// Says what time it is.
type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The service, open: cheap to clone.
#[derive(Clone)]
pub struct Service {
    store: Store,
    hub: Arc<Hub>,
    board: Arc<Board>,
    holds: Arc<Holds>,
    nonces: Arc<Nonces>,
    snapshots: Arc<Snapshots>,
    sealing_key: Arc<Zeroizing<[u8; 32]>>,
    sealing: Arc<Sealing>,
    refusals: Arc<Refusals>,
    proxies: Arc<[IpNet]>,
    public_url: Arc<str>,
    on_loopback: bool,
    danger_plaintext: bool,
    max_held: usize,
    clock: Clock,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({})", self.public_url)
    }
}

impl Service {
    /// Opens the database and the secrets, making what is missing. Reads and writes files, so call
    /// it before there is other work to do.
    ///
    /// # Errors
    /// [`ServiceError`], when either cannot be had.
    pub fn open(config: &ServerConfig) -> Result<Self, ServiceError> {
        Self::open_at(config, Arc::new(clock::now))
    }

    fn open_at(config: &ServerConfig, clock: Clock) -> Result<Self, ServiceError> {
        let secrets = Secrets::load(&config.secrets_dir)?;
        let hub = Arc::new(Hub::default());
        let bell = hub.clone();
        let committed: store::Committed = Arc::new(move |commit| bell.committed(commit));
        let (store, seen) = Store::open(&config.database, committed)?;
        Ok(Self {
            store,
            hub,
            board: Arc::new(Board::new(seen)),
            holds: Holds::new(config.max_held),
            sealing: Arc::new(Sealing::new(&secrets.sealing_key)),
            refusals: Arc::default(),
            proxies: config.trusted_proxies.clone().into(),
            on_loopback: config.listen.ip().is_loopback(),
            nonces: Arc::new(Nonces::new(secrets.sealing_key.clone())),
            sealing_key: Arc::new(secrets.sealing_key),
            snapshots: Arc::new(Snapshots::new(secrets.signers)),
            public_url: config.public_url.trim_end_matches('/').into(),
            danger_plaintext: config.danger_plaintext,
            max_held: config.max_held,
            clock,
        })
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Lets orders leave their lists once they have done their work; never returns.
    async fn settle(&self) {
        loop {
            self.hub.answers().await;
            if let Err(error) = self.retire_signer().await {
                tracing::debug!(%error, "signers");
            }
            if let Err(error) = self.settle_orders().await {
                tracing::debug!(%error, "orders");
            }
        }
    }

    /// The same, once. An instance that is stale may still be there: it is waited for.
    async fn settle_orders(&self) -> Result<(), StoreError> {
        let (board, now) = (self.board.clone(), self.now());
        let is_live = move |instance| {
            let state = board.look(instance, true, now).state;
            matches!(state, InstanceState::Live | InstanceState::Stale)
        };
        self.store.settle_orders(is_live, now).await
    }
}

/// Serves until `shutdown` is done: then takes no more, ends held queries at once, and gives what
/// is under way ten seconds.
///
/// # Errors
/// [`ServiceError::Plaintext`] and [`ServiceError::Tls`], before anything is served.
pub async fn serve(
    service: Service,
    listener: TcpListener,
    tls: Option<TlsFiles>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServiceError> {
    let address = listener.local_addr().map_err(ServiceError::Listen)?;
    if tls.is_none() && !address.ip().to_canonical().is_loopback() && !service.danger_plaintext {
        return Err(ServiceError::Plaintext(address));
    }
    let tls = tls.map(tls::Reloading::load).transpose()?;
    service.adopt_loaded().await?;
    tracing::info!(%address, tls = tls.is_some(), "serving");
    let (sweeper, settler) = (service.clone(), service.clone());
    tokio::select! {
        () = listen::run(service, listener, tls, shutdown) => {}
        () = async { sweeper.hub.sweep(&sweeper.store).await } => {}
        () = settler.settle() => {}
    }
    tracing::info!(%address, "stopped");
    Ok(())
}

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The configuration is to be changed.
    #[error(
        "{0} is not loopback and there is no TLS; set tls.certificate and tls.key, or \
         danger-plaintext"
    )]
    Plaintext(std::net::SocketAddr),
    /// Certificate or key are to be put right.
    #[error("{path}: {source}", path = path.display())]
    Tls {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Secrets and database are not of one service.
    #[error(
        "secrets-dir: {0} is not the one that this database was used with; bring the directory \
         back that goes with it, or name another database"
    )]
    Strangers(&'static str),
    /// A secret is to be put right.
    #[error("{}", placed(path, source))]
    Secrets {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The database is not to be had; the text says whether to try again.
    #[error(transparent)]
    Store(Box<dyn std::error::Error + Send + Sync>),
    /// The listener is no good.
    #[error("listener: {0}")]
    Listen(#[source] io::Error),
}

/// A fault with its place in front, once: `sys::private_file` names some places itself.
fn placed(path: &Path, fault: &io::Error) -> String {
    let (path, fault) = (path.display().to_string(), fault.to_string());
    if fault.starts_with(&path) {
        fault
    } else {
        format!("{path}: {fault}")
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}
