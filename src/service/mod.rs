//! The account key service: accounts, their keys and instances, and signed lists for agents.
//!
//! The map: `store/` keeps, `snapshots` signs, `hub` wakes those who wait, `board` knows who was
//! heard, `holds`, `rates` and `crowd` count who asks for how much, `rollout` draws the picture of
//! a key, `auth`, `token` and `proxies` say who asks and from where, `metrics` counts, `api/` has a file a resource, `listen` and `tls` are the door. A save goes
//! `api` → `store` (one transaction: key and revision) → `hub` → every held query → `snapshots`
//! (one signature) → answer. Refuses to speak plaintext off loopback, and to log a token or a key.

mod account_acts;
mod accounts;
mod api;
mod auth;
mod backup;
mod board;
mod ca;
mod console;
mod crowd;
mod holds;
mod host_keys;
mod host_names;
mod hub;
mod krls;
mod limits;
mod listen;
mod metrics;
mod moving;
mod nonce;
mod patience;
mod people;
mod permissions;
mod programs;
mod proxies;
mod rates;
mod refusals;
mod rollout;
mod rotation;
mod sealing;
mod secrets;
mod signers;
mod snapshots;
mod store;
mod tls;
mod token;
mod uses;
mod words;

pub use account_acts::AccountSummary;
pub use accounts::{AccountError, NewAccount};
pub use backup::{BackupError, Restored, backup, lift, restore};
pub use moving::{Moved, export, export_to, import};
pub use signers::{Rotated, rotate_signer};

use crate::config::{ServerConfig, TlsFiles};
use crate::sys::clock;
use crate::sys::database_file::Held;
use board::Board;
use bytes::Bytes;
use holds::Holds;
use hub::Hub;
use jiff::Timestamp;
use metrics::Metrics;
use nonce::Nonces;
use people::People;
use programs::Programs;
use proxies::Proxies;
use rates::Rates;
use refusals::Refusals;
use sealing::Sealing;
use secrets::Secrets;
use snapshots::Snapshots;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use store::{Store, StoreError};
use tokio::net::TcpListener;
use uses::Uses;
use zeroize::Zeroizing;

/// How long a question to the database may take while the service counts as alive.
const ALIVE: std::time::Duration = std::time::Duration::from_secs(30);

/// Says what time it is.
type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The service, open: cheap to clone, for every request has one of its own.
#[derive(Clone)]
pub struct Service(Arc<Parts>);

/// What all clones of a [`Service`] share.
#[derive(Clone)]
pub struct Parts {
    store: Store,
    hub: Arc<Hub>,
    board: Arc<Board>,
    holds: Arc<Holds>,
    nonces: Arc<Nonces>,
    snapshots: Arc<Snapshots>,
    sealing_key: Arc<Zeroizing<[u8; 32]>>,
    sealing: Arc<Sealing>,
    refusals: Arc<Refusals>,
    people: Arc<People>,
    uses: Arc<Uses>,
    programs: Arc<Programs>,
    reveal_api_keys: bool,
    proxies: Arc<Proxies>,
    rates: Arc<Rates>,
    metrics: Arc<Metrics>,
    openapi: Arc<OnceLock<Bytes>>,
    public_url: Arc<str>,
    secrets_dir: Arc<Path>,
    on_loopback: bool,
    danger_plaintext: bool,
    max_held: usize,
    clock: Clock,
    /// Nobody restores the database meanwhile.
    _in_use: Arc<Option<Held>>,
}

impl Deref for Service {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parts({})", self.public_url)
    }
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
        let in_use = config.database.file().map(in_use).transpose()?;
        let secrets = Secrets::load(&config.secrets_dir)?;
        let hub = Arc::new(Hub::default());
        let metrics = Arc::new(Metrics::default());
        let (bell, counts) = (hub.clone(), metrics.clone());
        let committed: store::Committed = Arc::new(move |commit: store::Commit| {
            counts.revoked(commit.revoked);
            bell.committed(commit);
        });
        let (store, seen) = Store::open(&config.database, committed)?;
        Ok(Self(Arc::new(Parts {
            board: Arc::new(Board::new(seen, store.is_shared())),
            store,
            hub,
            holds: Holds::new(config.max_held),
            sealing: Arc::new(Sealing::new(&secrets.sealing_key)),
            refusals: Arc::default(),
            people: Arc::new(People::new(config, secrets.sealing_key.clone())),
            uses: Arc::default(),
            reveal_api_keys: config.reveal_api_keys,
            programs: Arc::new(Programs::new(config.install_dir.clone())),
            proxies: Arc::new(Proxies::new(config.trusted_proxies.clone())),
            rates: Arc::default(),
            openapi: Arc::default(),
            on_loopback: config.listen.ip().is_loopback(),
            nonces: Arc::new(Nonces::new(secrets.sealing_key.clone())),
            sealing_key: Arc::new(secrets.sealing_key),
            snapshots: Arc::new(Snapshots::new(secrets.signers, metrics.clone())),
            metrics,
            secrets_dir: config.secrets_dir.as_path().into(),
            public_url: config.public_url.trim_end_matches('/').into(),
            danger_plaintext: config.danger_plaintext,
            max_held: config.max_held,
            clock,
            _in_use: Arc::new(in_use),
        })))
    }

    /// Takes in what of a configuration that was read again can change without a restart; gives the
    /// keys of the rest that differ from `running`, which wait for one.
    #[must_use]
    pub fn reload(&self, running: &ServerConfig, new: &ServerConfig) -> Vec<&'static str> {
        self.proxies.set(new.trusted_proxies.clone());
        let fixed = [
            ("listen", running.listen == new.listen),
            ("public-url", running.public_url == new.public_url),
            ("database", running.database == new.database),
            ("secrets-dir", running.secrets_dir == new.secrets_dir),
            ("tls", running.tls == new.tls),
            (
                "danger-plaintext",
                running.danger_plaintext == new.danger_plaintext,
            ),
            ("sign-up", running.sign_up == new.sign_up),
            (
                "session-lifetime",
                running.session_lifetime == new.session_lifetime,
            ),
            (
                "reveal-api-keys",
                running.reveal_api_keys == new.reveal_api_keys,
            ),
            ("max-held", running.max_held == new.max_held),
            ("install-dir", running.install_dir == new.install_dir),
        ];
        let differ = fixed.iter().filter(|(_, same)| !same);
        differ.map(|(key, _)| *key).collect()
    }

    /// Whether work is still done: the database's thread answers, were it with a fault.
    pub async fn is_alive(&self) -> bool {
        match tokio::time::timeout(ALIVE, self.store.ping()).await {
            Ok(Err(StoreError::Busy | StoreError::Lost)) | Err(_) => false,
            Ok(_) => true,
        }
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Lets orders leave their lists once they have done their work, CAs follow one another, and
    /// certificates that are over be forgotten; never returns.
    async fn settle(&self) {
        loop {
            self.hub.answers().await;
            if let Err(error) = self.retire_signer().await {
                tracing::debug!(%error, "signers");
            }
            if let Err(error) = self.settle_orders().await {
                tracing::debug!(%error, "orders");
            }
            if let Err(error) = self.settle_rotations().await {
                tracing::debug!(%error, "rotations of CAs");
            }
            if let Err(error) = self.store.forget_certificates(self.now()).await {
                tracing::debug!(%error, "certificates that are over");
            }
            if let Err(error) = self.forget_guesses().await {
                tracing::debug!(%error, "wrong guesses");
            }
            if let Err(error) = self.forget_removed().await {
                tracing::debug!(%error, "removed instances");
            }
        }
    }

    /// Forgets what was said by instances that are gone: a minute after their last word, with their
    /// account, by another process.
    async fn forget_removed(&self) -> Result<(), StoreError> {
        if let Some(there) = self.store.instances_below(self.board.len()).await? {
            self.board.keep(&there);
        }
        Ok(())
    }

    /// Lets orders leave that every instance which may be there has answered.
    async fn settle_orders(&self) -> Result<(), StoreError> {
        for account in self.store.accounts_with_orders().await? {
            self.hear_others(account).await?;
        }
        let (board, now) = (self.board.clone(), self.now());
        let is_there = move |instance| board.look(instance, true, now).is_there();
        self.store.settle_orders(is_there, now).await
    }
}

/// Has the file, beside others that use it.
fn in_use(file: &Path) -> Result<Held, StoreError> {
    Held::shared(file).map_err(|source| {
        let source = match source.kind() {
            io::ErrorKind::WouldBlock => io::Error::other("being restored; wait for its end"),
            _ => source,
        };
        StoreError::File {
            path: file.to_owned(),
            source,
        }
    })
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
    listen::warn_of_files(service.max_held);
    tracing::info!(%address, tls = tls.is_some(), "serving");
    let (sweeper, settler, writer) = (service.clone(), service.clone(), service.clone());
    let follower = service.clone();
    let store = service.store.clone();
    tokio::select! {
        () = listen::run(service, listener, tls, shutdown) => {}
        () = async { sweeper.hub.sweep(&sweeper.store).await } => {}
        () = settler.settle() => {}
        () = follower.follow_signers() => {}
        () = writer.gather_uses() => {}
        () = writer.gather_refused_logins() => {}
    }
    writer.write_refused_logins().await;
    writer.write_uses().await;
    if let Err(error) = store.write_reports().await {
        tracing::warn!(%error, "what instances said last is not kept");
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
    /// The service is to take in the last rotation first.
    #[error(
        "secrets-dir: the snapshot signer there is not in force yet; reload the service, or start \
         it, and run this again"
    )]
    NotAdopted,
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
