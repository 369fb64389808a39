//! Key pairs, and an SSH server that obeys an authorized_keys file, with no package installed.

use ssh_key::{Algorithm, PrivateKey};
use sshkeyd::demo::ssh_client::{LoginError, login};
use sshkeyd::demo::ssh_server::SshServer;
use sshkeyd::keys::PublicKey;
use std::path::PathBuf;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A key pair.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) private: PrivateKey,
    pub(crate) public: PublicKey,
}

/// Makes one.
pub(crate) fn pair() -> Pair {
    let private = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let text = private.public_key().to_openssh().unwrap();
    let public = PublicKey::parse_text(&text).unwrap().0;
    Pair { private, public }
}

/// A public key alone.
pub(crate) fn public_key() -> PublicKey {
    pair().public
}

/// The server, on threads of its own.
pub(crate) struct RusshServer {
    pub(crate) server: SshServer,
    runtime: Runtime,
    _stop: oneshot::Sender<()>,
}

impl RusshServer {
    pub(crate) fn start(authorized_keys: PathBuf) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let server = runtime
            .block_on(SshServer::start(
                authorized_keys,
                sshkeyd::sys::clock::now,
                shutdown,
            ))
            .unwrap();
        Self {
            server,
            runtime,
            _stop: stop,
        }
    }

    /// Logs in for real; whether it gets in.
    pub(crate) fn lets_in(&self, pair: &Pair) -> bool {
        let (address, host_key) = (self.server.address, &self.server.host_key);
        let entered = login(address, host_key, "anyone", &pair.private);
        match self.runtime.block_on(entered) {
            Ok(_) => true,
            Err(LoginError::Refused) => false,
            Err(other) => panic!("{other}"),
        }
    }
}
