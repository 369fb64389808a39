//! Which host keys sshd serves: the public halves of the files that `sshd -T` names.

use super::name_of;
use crate::config::SshdPaths;
use crate::keys::PublicKey;
use crate::sinks::proof::EffectiveConfig;
use crate::sinks::sshd_config;
use crate::sys::plain_file;
use crate::trust::Certificate;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::task::spawn_blocking;

/// Longest file of a public key or a certificate.
const MAX_FILE: u64 = 32 * 1024;
/// Most files that are looked at.
const MAX_FILES: usize = 32;

/// What sshd has been told of itself.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// Its host keys, one of a type; only of types that a certificate is asked for.
    pub keys: Vec<PublicKey>,
    /// Files of public keys, there or not.
    pub files: Vec<PathBuf>,
    /// HostCertificate, each as `sshd -T` prints it; `None` where it says nothing.
    pub named: Option<Vec<String>>,
    /// Keys that an administrator's own certificate is over, with its file.
    pub taken: Vec<(PublicKey, PathBuf)>,
}

/// Looks. Where `sshd -T` says nothing, no key is known to be served; where it names none, those of
/// the configuration are looked at. Certificates below `ours` are ours.
pub async fn served(address: Option<SocketAddr>, paths: &SshdPaths, ours: &Path) -> Served {
    let (_, settings) = sshd_config::effective(address, paths, "root").await;
    let settings = settings.ok();
    let named = settings.as_ref().map(EffectiveConfig::of);
    let mut files = named.map_or_else(Vec::new, |config| {
        let beside = |(private, public): (&PathBuf, PathBuf)| {
            // HostKey may name the public half, with the private one in a HostKeyAgent.
            let is_public = private.extension().is_some_and(|end| end == "pub");
            if is_public { private.clone() } else { public }
        };
        let public = config.host_key_files();
        config.host_keys.iter().zip(public).map(beside).collect()
    });
    if files.is_empty() {
        files.clone_from(&paths.host_keys);
    }
    files.truncate(MAX_FILES);
    let named = settings.map(|settings| {
        let named = settings.all("hostcertificate").iter();
        let named = named.filter(|value| *value != "none").cloned();
        named.take(MAX_FILES).collect::<Vec<_>>()
    });
    let others: Vec<_> = named
        .iter()
        .flatten()
        .map(PathBuf::from)
        .filter(|file| !file.starts_with(ours))
        .collect();
    let read = match named {
        Some(_) => files.clone(),
        None => Vec::new(),
    };
    let found = spawn_blocking(move || {
        let mut keys: Vec<PublicKey> = Vec::new();
        for key in read.iter().filter_map(|file| public_key(file)) {
            let is_new = !keys.iter().any(|had| had.key_type() == key.key_type());
            if is_new && name_of(key.key_type()).is_some() {
                keys.push(key);
            }
        }
        let of = |file: PathBuf| {
            let certificate = Certificate::parse(&text(&file)?).ok()?;
            Some((certificate.key().clone(), file))
        };
        (keys, others.into_iter().filter_map(of).collect())
    });
    let (keys, taken) = found.await.unwrap_or_default();
    Served {
        keys,
        files,
        named,
        taken,
    }
}

fn public_key(file: &Path) -> Option<PublicKey> {
    PublicKey::parse_text(&text(file)?).ok().map(|(key, _)| key)
}

fn text(file: &Path) -> Option<String> {
    String::from_utf8(plain_file::read(file, MAX_FILE).ok()?).ok()
}
