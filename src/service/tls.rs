//! TLS by rustls: certificate and key from files, read again when they were renewed.
//!
//! A renewal is noticed at the next connection, at most once a second. A pair that is not whole
//! keeps the old one in force and is named in the log once.

use super::ServiceError;
use crate::config::TlsFiles;
use crate::sys::clock;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::ProducesTickets;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at, at the most.
const LOOK: Duration = Duration::from_secs(1);

/// Device, inode, size, modification time of one file.
type Mark = (u64, u64, u64, i64, i64);

/// The pair in force, and what it was read from.
pub(super) struct Reloading {
    files: TlsFiles,
    tickets: Arc<dyn ProducesTickets>,
    state: Mutex<State>,
}

struct State {
    acceptor: TlsAcceptor,
    marks: Option<[Mark; 2]>,
    looked: Duration,
}

impl Reloading {
    /// Reads both files.
    pub(super) fn load(files: TlsFiles) -> Result<Self, ServiceError> {
        let tickets = ring::Ticketer::new().map_err(|e| fault(&files.key, e))?;
        let marks = marks(&files);
        let acceptor = read(&files, tickets.clone())?;
        Ok(Self {
            files,
            tickets,
            state: Mutex::new(State {
                acceptor,
                marks,
                looked: clock::monotonic(),
            }),
        })
    }

    /// What to shake hands with now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor_at(clock::monotonic())
    }

    fn acceptor_at(&self, now: Duration) -> TlsAcceptor {
        // A state is replaced whole.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(state.looked) >= LOOK {
            state.looked = now;
            // Taken before the files are read: a change in between is found at the next look.
            let marks = marks(&self.files);
            if marks != state.marks {
                state.marks = marks;
                match read(&self.files, self.tickets.clone()) {
                    Ok(acceptor) => {
                        state.acceptor = acceptor;
                        tracing::info!(path = %self.files.certificate.display(), "TLS reloaded");
                    }
                    Err(error) => tracing::warn!(%error, "TLS not reloaded, the old pair stays"),
                }
            }
        }
        state.acceptor.clone()
    }
}

fn read(files: &TlsFiles, tickets: Arc<dyn ProducesTickets>) -> Result<TlsAcceptor, ServiceError> {
    let path = &files.certificate;
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| fault(path, e))?;
    if chain.is_empty() {
        return Err(fault(path, "no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| fault(&files.key, e))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| fault(path, e))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| fault(path, e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A fleet that comes back at once resumes by ticket: no signature each.
    config.ticketer = tickets;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn marks(files: &TlsFiles) -> Option<[Mark; 2]> {
    let mark = |path: &Path| {
        let m = std::fs::metadata(path).ok()?;
        Some((m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec()))
    };
    Some([mark(&files.certificate)?, mark(&files.key)?])
}

fn fault(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ServiceError {
    ServiceError::Tls {
        path: path.to_owned(),
        source: source.into(),
    }
}

#[cfg(test)]
pub(in crate::service) mod tests {
    use super::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    /// Writes a fresh self-signed pair and gives its certificate.
    pub(in crate::service) fn renew(files: &TlsFiles) -> CertificateDer<'static> {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        put(&files.key, &pair.signing_key.serialize_pem());
        put(&files.certificate, &pair.cert.pem());
        pair.cert.der().clone()
    }

    fn put(path: &Path, text: &str) {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// A client that trusts this certificate alone.
    pub(in crate::service) fn client(certificate: CertificateDer<'static>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    async fn trusts(acceptor: TlsAcceptor, certificate: CertificateDer<'static>) -> bool {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from("localhost").unwrap();
        let connector = client(certificate);
        let (client, _) = tokio::join!(connector.connect(name, here), acceptor.accept(there));
        client.is_ok()
    }

    #[tokio::test]
    async fn a_renewed_pair_is_taken_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            certificate: dir.path().join("cert.pem"),
            key: dir.path().join("key.pem"),
        };
        let first = renew(&files);
        let tls = Reloading::load(files.clone()).unwrap();
        let start = clock::monotonic() + LOOK;
        assert!(trusts(tls.acceptor_at(start), first.clone()).await);

        let second = renew(&files);
        let too_soon = tls.acceptor_at(start + LOOK / 2);
        assert!(trusts(too_soon, first).await);
        assert!(trusts(tls.acceptor_at(start + LOOK), second.clone()).await);

        put(&files.certificate, "nothing");
        assert!(trusts(tls.acceptor_at(start + LOOK * 2), second.clone()).await);
        std::fs::remove_file(&files.certificate).unwrap();
        assert!(trusts(tls.acceptor_at(start + LOOK * 3), second).await);

        let third = renew(&files);
        assert!(trusts(tls.acceptor_at(start + LOOK * 4), third).await);
    }

    #[test]
    fn a_missing_or_foreign_key_is_named_at_start() {
        let dir = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            certificate: dir.path().join("cert.pem"),
            key: dir.path().join("key.pem"),
        };
        assert!(Reloading::load(files.clone()).is_err());
        renew(&files);
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        put(&files.key, &other.signing_key.serialize_pem());
        assert!(Reloading::load(files).is_err());
    }
}
