//! The sshd that is in force here: what `sshd -T` says, and the host keys it names.

use super::proof::{DEFAULT_MAX_AUTH_TRIES, EffectiveConfig, Sshd, sshd_version};
use crate::config::SshdPaths;
use crate::keys::{PublicKey, SshdVersion};
use crate::sys::command::{Limits, run};
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// `sshd -T` prints some 5 KiB and takes some 10 ms.
const LIMITS: Limits = Limits {
    output: 256 * 1024,
    time: Duration::from_secs(5),
};
/// Longest public key file.
const MAX_KEY_FILE: u64 = 16 * 1024;

/// Looks up what a proof for this user has to know. What `sshd -T` cannot say has sshd's default;
/// host keys are those that it names and those of the configuration.
pub async fn in_force(address: SocketAddr, paths: &SshdPaths, user: &str) -> Sshd {
    let test = format!("user={user},host=localhost,addr=127.0.0.1");
    let config = paths.config.display().to_string();
    let args = ["-T", "-f", &config, "-C", &test];
    let effective = match run(&paths.program, &args, LIMITS).await {
        Ok(output) if output.status.success() => Some(EffectiveConfig::parse(
            &String::from_utf8_lossy(&output.stdout),
        )),
        Ok(_) | Err(_) => None,
    };
    let named = effective.as_ref().map(EffectiveConfig::host_key_files);
    let host_keys = named
        .iter()
        .flatten()
        .chain(&paths.host_keys)
        .filter_map(|file| public_key(file))
        .collect();
    Sshd {
        address,
        host_keys,
        max_auth_tries: effective
            .as_ref()
            .map_or(DEFAULT_MAX_AUTH_TRIES, |config| config.max_auth_tries),
        several_methods: effective.is_some_and(|config| config.several_methods),
    }
}

/// sshd's version as `sshd -V` prints it (OpenSSH 9.2 and later; older ones print it with their
/// usage). `None` where the program does not say.
pub async fn version(paths: &SshdPaths) -> Option<SshdVersion> {
    let output = run(&paths.program, &["-V"], LIMITS).await.ok()?;
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    said.lines().find_map(version_in)
}

/// The version that a banner, or `sshd -V`, names.
#[must_use]
pub fn version_in(text: &str) -> Option<SshdVersion> {
    sshd_version(text).map(|(major, minor)| SshdVersion(major, minor))
}

fn public_key(file: &Path) -> Option<PublicKey> {
    let mut text = String::new();
    File::open(file)
        .ok()?
        .take(MAX_KEY_FILE)
        .read_to_string(&mut text)
        .ok()?;
    PublicKey::parse_text(&text).ok().map(|(key, _)| key)
}
