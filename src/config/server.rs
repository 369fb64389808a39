//! `server.toml`, checked: what the account key service is told to do.

use super::check::Check;
use super::database::Database;
use super::raw;
use super::recover::ROOT;
use super::source::is;
use ipnet::IpNet;
use serde_spanned::Spanned;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8022);
const SECRETS_DIR: &str = "/var/lib/sshkeyd-server/secrets";
const SESSION_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A session that ends within minutes is no use; one that outlives a month is a password.
const SESSION_LIFETIMES: RangeInclusive<Duration> =
    Duration::from_secs(5 * 60)..=Duration::from_secs(31 * 24 * 60 * 60);
/// Requests that may be held at a time; more are told to come again.
const MAX_HELD: usize = 10_000;
/// More than a million sockets no one process should have.
const MOST_HELD: RangeInclusive<u64> = 1..=1_000_000;

/// The service's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The address that clients use, without slashes at its end.
    pub public_url: String,
    /// Where it keeps what it knows.
    pub database: Database,
    /// The sealing key and the snapshot signing key.
    pub secrets_dir: PathBuf,
    /// The certificate; none when it speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Plain HTTP off loopback is wanted.
    pub danger_plaintext: bool,
    /// Blocking queries held at a time.
    pub max_held: usize,
    /// Proxies whose word on a caller's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Anyone may make an account.
    pub sign_up: bool,
    /// How long a person's session lasts.
    pub session_lifetime: Duration,
    /// An owner may see an API key again.
    pub reveal_api_keys: bool,
    /// Where the programs that `/install` hands out are; `None`: this one.
    pub install_dir: Option<PathBuf>,
}

/// `tls.…`, both files there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl Check<'_> {
    /// The whole file; none where anything is at fault.
    pub(super) fn server(&mut self, file: &raw::ServerFile) -> Option<ServerConfig> {
        let Some(server) = &file.server else {
            self.missing(
                &ROOT,
                "server",
                "no [server]",
                "write it anew from the example",
            );
            return None;
        };
        let (at, raw) = (server.span(), server.get_ref());
        let listen = match &raw.listen {
            Some(value) => self.socket_address(value, value.get_ref(), ""),
            None => Some(LISTEN),
        };
        let public_url = match &raw.public_url {
            Some(value) => self.url(value),
            None => {
                let todo = "give the address that clients use: public-url = \"https://…\"";
                self.missing(&at, "public-url", "no public-url", todo);
                None
            }
        };
        let database = self.database(raw);
        let secrets_dir = self.path_or(&raw.secrets_dir, SECRETS_DIR);
        let tls = self.tls(raw);
        let trusted_proxies = self.networks(raw);
        let session_lifetime = self.duration(
            &raw.session_lifetime,
            "session-lifetime",
            SESSION_LIFETIME,
            SESSION_LIFETIMES,
        );
        let max_held = self.max_held(raw);
        let install_dir = self.path(&raw.install_dir);
        let config = ServerConfig {
            listen: listen?,
            public_url: public_url?,
            database: database?,
            secrets_dir: secrets_dir?,
            tls: tls?,
            danger_plaintext: is(&raw.danger_plaintext),
            max_held: max_held?,
            trusted_proxies: trusted_proxies?,
            sign_up: is(&raw.sign_up),
            session_lifetime: session_lifetime?,
            reveal_api_keys: raw.reveal_api_keys.as_ref().is_none_or(|v| *v.get_ref()),
            install_dir: install_dir.ok()?,
        };
        Some(config)
    }

    /// Off loopback only with TLS, or when plain HTTP is asked for by its dangerous name.
    pub(super) fn plaintext(&mut self, file: &raw::ServerFile) {
        let Some(raw) = file.server.as_ref().map(Spanned::get_ref) else {
            return;
        };
        let Some(listen) = &raw.listen else {
            return;
        };
        let Ok(address) = listen.get_ref().parse::<SocketAddr>() else {
            return;
        };
        let guarded = raw.tls.is_some() || is(&raw.danger_plaintext);
        let cut = ["tls", "danger-plaintext"];
        if !address.ip().is_loopback()
            && !guarded
            && !cut.iter().any(|key| self.cut.had_anywhere(key))
        {
            let what = format!("{address} is not loopback, and there is no TLS");
            let todo = "give tls.certificate and tls.key, or danger-plaintext = true";
            self.fault(&listen.span(), what, todo);
        }
    }

    fn max_held(&mut self, raw: &raw::Server) -> Option<usize> {
        let Some(value) = &raw.max_held else {
            return Some(MAX_HELD);
        };
        let number = Some(*value.get_ref()).filter(|number| MOST_HELD.contains(number));
        if number.is_none() {
            let what = format!("{} is no number of held queries", value.get_ref());
            self.fault(&value.span(), what, "give 1 to 1000000");
        }
        usize::try_from(number?).ok()
    }

    /// Addresses, and networks as `10.0.0.0/8`.
    fn networks(&mut self, raw: &raw::Server) -> Option<Vec<IpNet>> {
        let Some(values) = &raw.trusted_proxies else {
            return Some(Vec::new());
        };
        let mut networks = Some(Vec::new());
        for value in values.get_ref() {
            let text = value.get_ref();
            let address = text.parse::<IpAddr>().map(IpNet::from);
            match address.or_else(|_| text.parse::<IpNet>()) {
                Ok(network) => networks
                    .iter_mut()
                    .for_each(|all| all.push(network.trunc())),
                Err(_) => {
                    let what = format!("\"{}\" is no address and no network", text.escape_debug());
                    self.fault(&value.span(), what, "write it as 192.0.2.7 or 10.0.0.0/8");
                    networks = None;
                }
            }
        }
        networks
    }

    /// Both files or none; the inner option is that of the configuration.
    fn tls(&mut self, raw: &raw::Server) -> Option<Option<TlsFiles>> {
        let Some(tls) = &raw.tls else {
            return Some(None);
        };
        let (at, raw) = (tls.span(), tls.get_ref());
        let certificate = self.tls_file(&raw.certificate, &at, "certificate");
        let key = self.tls_file(&raw.key, &at, "key");
        Some(Some(TlsFiles {
            certificate: certificate?,
            key: key?,
        }))
    }

    fn tls_file(&mut self, value: &raw::Text, at: &Range<usize>, key: &str) -> Option<PathBuf> {
        match value {
            Some(value) => self.existing(value),
            None => {
                let what = format!("tls without tls.{key}");
                self.missing(at, key, &what, "give both tls.certificate and tls.key");
                None
            }
        }
    }
}
