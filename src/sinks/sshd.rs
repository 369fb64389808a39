//! The sshd that is in force here: what `sshd -T` says, and the host keys it names.

mod settings;

pub use settings::Settings;

use super::proof::{DEFAULT_MAX_AUTH_TRIES, EffectiveConfig, Sshd, sshd_version};
use super::sshd_config;
use crate::config::SshdPaths;
use crate::keys::{PublicKey, SshdVersion};
use crate::sys::command::{Limits, run};
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// `sshd -V` prints a line; `sshd -T` takes some 10 ms.
const LIMITS: Limits = Limits {
    output: 16 * 1024,
    time: Duration::from_secs(5),
};
/// What system this is: os-release(5).
const OS_RELEASE: &str = "/etc/os-release";
/// Longest public key file.
const MAX_KEY_FILE: u64 = 16 * 1024;

/// Looks up what a proof for this user has to know. What `sshd -T` cannot say has sshd's default;
/// host keys are those that it names and those of the configuration.
pub async fn in_force(address: SocketAddr, paths: &SshdPaths, user: &str) -> Sshd {
    let (_, settings) = sshd_config::effective(Some(address), paths, user).await;
    let effective = settings.ok().map(|said| EffectiveConfig::of(&said));
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
        several_methods: effective
            .as_ref()
            .is_some_and(|config| config.several_methods),
        algorithms: effective
            .map(|config| config.algorithms)
            .unwrap_or_default(),
    }
}

/// How sshd looks at owners and modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrictModes {
    /// A group that is its owner's alone may write: so Debian's and Ubuntu's sshd has it.
    pub private_groups_pass: bool,
}

/// Whether `sshd -T` says that it looks at owners and modes, and how; `None` where it does not, or
/// cannot be asked.
pub async fn strict_modes(address: Option<SocketAddr>, paths: &SshdPaths) -> Option<StrictModes> {
    let asked = sshd_config::effective(address, paths, "root");
    let (_, settings) = timeout(LIMITS.time, asked).await.ok()?;
    if settings.ok()?.one("strictmodes") != "yes" {
        return None;
    }
    let private_groups_pass = is_debian(&text(Path::new(OS_RELEASE)).unwrap_or_default());
    Some(StrictModes {
        private_groups_pass,
    })
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

/// Whether os-release(5) names Debian, or a system that is made of it. sshd itself says so in its
/// banner only, which `DebianBanner no` cuts.
fn is_debian(os_release: &str) -> bool {
    let values = os_release.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        ["ID", "ID_LIKE"].contains(&name).then_some(value)
    });
    let mut words = values.flat_map(|value| value.trim_matches(['"', '\'']).split(' '));
    words.any(|word| ["debian", "ubuntu"].contains(&word))
}

fn public_key(file: &Path) -> Option<PublicKey> {
    PublicKey::parse_text(&text(file)?).ok().map(|(key, _)| key)
}

fn text(file: &Path) -> Option<String> {
    let mut text = String::new();
    let mut file = File::open(file).ok()?.take(MAX_KEY_FILE);
    file.read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_what_is_made_of_it_is_known() {
        assert!(is_debian("PRETTY_NAME=\"x\"\nID=debian\n"));
        assert!(is_debian("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=\"rhel\"\nID_LIKE=\"fedora\"\nNAME=debian\n"));
    }
}
