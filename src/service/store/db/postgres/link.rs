//! The way to the server: which hosts, which password, which TLS, how long.

use super::fault::{Fault, Kind};
use crate::config::{Postgres, read_secret_file};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Connection, Socket, Statement};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// How long one host has to take a connection, and all of it: TLS, password, settings.
const CONNECT: Duration = Duration::from_secs(3);
const WHOLE: Duration = Duration::from_secs(8);

/// When a silent peer is asked, how often, and how many silences are its end.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(5), 3);

/// The server's own ends of what takes too long.
const SETTINGS: &str = "SET statement_timeout = '20s'; SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '30s'; SET client_min_messages = 'warning'";

/// Statements that a connection keeps ready; there are not so many.
const READY: usize = 512;

/// Where distributions keep the CAs that all of the system believes.
const SYSTEM_CAS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// A connection.
pub(in crate::service::store) struct Link {
    /// To speak by.
    pub(in crate::service::store) client: Client,
    pub(super) statements: RefCell<HashMap<String, Statement>>,
}

impl Link {
    pub(super) fn keep(&self, sql: &str, statement: &Statement) {
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= READY {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
    }

    pub(super) fn forget(&self) {
        self.statements.borrow_mut().clear();
    }
}

/// How a connection is made.
pub(in crate::service::store) struct Way {
    config: Config,
    password_file: Option<PathBuf>,
    tls: Tls,
}

impl Way {
    /// Reads the CAs; the password is read at every connection, so that it can change.
    ///
    /// # Errors
    /// [`Fault`] of kind `Other`, with the file's name.
    pub(in crate::service::store) fn load(database: &Postgres) -> Result<Self, Fault> {
        let mut config = Config::new();
        for (host, port) in &database.hosts {
            config.host(host).port(*port);
        }
        if let Some(user) = &database.user {
            config.user(user);
        }
        let (idle, each, times) = KEEPALIVE;
        config
            .dbname(&database.name)
            .application_name("sshkeyd")
            .connect_timeout(CONNECT)
            .keepalives(true)
            .keepalives_idle(idle)
            .keepalives_interval(each)
            .keepalives_retries(times)
            .tcp_user_timeout(idle + each * times)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(match database.tls {
                true => SslMode::Require,
                false => SslMode::Disable,
            });
        let tls = match database.tls {
            true => Some(connector(database.ca_file.as_deref())?),
            false => None,
        };
        Ok(Self {
            config,
            password_file: database.password_file.clone(),
            tls: Tls(tls),
        })
    }

    /// Connects; what the server says unasked is read over. Run it on the runtime that the link is
    /// used on.
    pub(in crate::service::store) async fn connect(&self) -> Result<Link, Fault> {
        let (client, connection) = self.dial().await?;
        tokio::spawn(async {
            // Whoever waits for an answer hears of its end.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the database");
            }
        });
        match tokio::time::timeout(WHOLE, client.batch_execute(SETTINGS)).await {
            Ok(set) => set?,
            Err(_) => return Err(Fault::silent()),
        }
        Ok(Link {
            client,
            statements: RefCell::default(),
        })
    }

    /// Connects, without the settings; what the server says is the caller's to read.
    pub(in crate::service::store) async fn dial(
        &self,
    ) -> Result<(Client, Connection<Socket, Encrypted<Socket>>), Fault> {
        let mut config = self.config.clone();
        if let Some(path) = &self.password_file {
            config.password(password(path)?);
        }
        match tokio::time::timeout(WHOLE, config.connect(self.tls.clone())).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(Fault::silent()),
        }
    }
}

/// The password, as it is now.
fn password(path: &Path) -> Result<Zeroizing<String>, Fault> {
    let read = read_secret_file(path).map_err(|error| Fault::new(Kind::Away, error.to_string()))?;
    Ok(Zeroizing::new(read.secret.expose().to_owned()))
}

/// Shakes hands with servers that one of these CAs vouches for, by the name that was dialled.
fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, Fault> {
    let unfit = |path: &Path, what: &dyn std::fmt::Display| {
        Fault::new(Kind::Other, format!("{}: {what}", path.display()))
    };
    let path = match ca_file {
        Some(path) => path,
        None => SYSTEM_CAS
            .iter()
            .map(Path::new)
            .find(|path| path.exists())
            .ok_or_else(|| {
                let what =
                    "there is no list of CAs on this machine; name one with database-ca-file";
                Fault::new(Kind::Other, what)
            })?,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| unfit(path, &e))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        // One odd CA of a system's hundred is passed over.
        let _ = roots.add(certificate.map_err(|e| unfit(path, &e))?);
    }
    if roots.is_empty() {
        return Err(unfit(path, &"no CA certificate in it"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| unfit(path, &e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// TLS as tokio-postgres asks for it; `None`: never asked.
#[derive(Clone)]
struct Tls(Option<TlsConnector>);

/// A handshake that is to be made with the host of this name; none where none is wanted.
struct Handshake(Option<(TlsConnector, ServerName<'static>)>);

/// A connection under TLS. Without channel binding: the certificate is verified.
pub(in crate::service::store) struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        let Some(connector) = &self.0 else {
            return Ok(Handshake(None));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Handshake(Some((connector.clone(), name))))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async {
            let none = || io::Error::other("TLS was not asked for");
            let (connector, name) = self.0.ok_or_else(none)?;
            connector.connect(name, stream).await.map(Encrypted)
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
