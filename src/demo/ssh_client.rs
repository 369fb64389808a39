//! An SSH client that logs in once, with a private key and for real.
//!
//! Believes one host key and no other. Runs a command that asks nothing of the server, and gives
//! what the server said to it.

use crate::keys::PublicKey;
use russh::client::{self, AuthResult, Handle};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, Disconnect};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a login may take, from the first packet to the last.
pub const LOGIN_LIMIT: Duration = Duration::from_secs(15);

/// Most of what a server says that is kept.
const MAX_OUTPUT: usize = 64 * 1024;

/// A login that came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// What the server wrote to the session, at most 64 KiB of it.
    pub output: String,
    /// The exit status of the command, where the server gave one.
    pub exit_status: Option<u32>,
}

/// Why there was no login.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The server does not take this key for this user.
    #[error("permission denied (publickey)")]
    Refused,
    /// Another host key than the one that was named.
    #[error("the server has another host key; it is not the one that was started here")]
    WrongHost,
    /// Not done within [`LOGIN_LIMIT`].
    #[error("no end after {} s", LOGIN_LIMIT.as_secs())]
    Timeout,
    /// The connection broke.
    #[error("connection broken")]
    Broken(#[source] russh::Error),
}

/// Logs in at `address`, whose host key is `host_key`, runs `true` and logs out.
///
/// # Errors
/// See [`LoginError`]; only [`LoginError::Refused`] says something about the key.
pub async fn login(
    address: SocketAddr,
    host_key: &PublicKey,
    user: &str,
    private_key: &PrivateKey,
) -> Result<Login, LoginError> {
    tokio::time::timeout(LOGIN_LIMIT, run(address, host_key, user, private_key))
        .await
        .unwrap_or(Err(LoginError::Timeout))
}

async fn run(
    address: SocketAddr,
    host_key: &PublicKey,
    user: &str,
    private_key: &PrivateKey,
) -> Result<Login, LoginError> {
    let config = Arc::new(client::Config {
        inactivity_timeout: Some(LOGIN_LIMIT),
        nodelay: true,
        ..client::Config::default()
    });
    let guard = OneHost(host_key.blob().to_vec());
    let mut handle = client::connect(config, address, guard)
        .await
        .map_err(|e| match e {
            russh::Error::UnknownKey => LoginError::WrongHost,
            e => LoginError::Broken(e),
        })?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(private_key.clone()), Some(HashAlg::Sha512));
    let answer = handle.authenticate_publickey(user, key).await;
    let result = match answer.map_err(LoginError::Broken)? {
        AuthResult::Success => session(&handle).await.map_err(LoginError::Broken),
        // An empty list is russh's word for a connection that ended.
        AuthResult::Failure {
            remaining_methods, ..
        } if remaining_methods.is_empty() => Err(LoginError::Broken(russh::Error::Disconnect)),
        AuthResult::Failure { .. } => Err(LoginError::Refused),
    };
    let _ = handle.disconnect(Disconnect::ByApplication, "", "").await;
    result
}

async fn session(handle: &Handle<OneHost>) -> Result<Login, russh::Error> {
    let mut channel = handle.channel_open_session().await?;
    channel.exec(true, "true").await?;
    let mut output = Vec::new();
    let mut exit_status = None;
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                let room = MAX_OUTPUT.saturating_sub(output.len()).min(data.len());
                output.extend(data.iter().take(room));
            }
            ChannelMsg::ExitStatus {
                exit_status: status,
            } => exit_status = Some(status),
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    Ok(Login {
        output: String::from_utf8_lossy(&output).into_owned(),
        exit_status,
    })
}

/// Believes the host key with this blob.
struct OneHost(Vec<u8>);

impl client::Handler for OneHost {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        presented: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = presented else {
            return Ok(false);
        };
        Ok(key.to_bytes()? == self.0)
    }
}
