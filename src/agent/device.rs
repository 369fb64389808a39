//! The machine in its own words: os-release(5), proc(5), sshd's public host keys.

use crate::keys::{PublicKey, printable};
use crate::sys::os::pretty_name;
use crate::sys::users::hostname;
use crate::wire::Device;
use jiff::Timestamp;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Longest file that is read here.
const MAX_FILE: u64 = 64 * 1024;
/// Most host keys that are told.
const MAX_KEYS: usize = 16;

/// What the service is told of it.
pub(super) fn device(host_keys: &[PathBuf]) -> Device {
    let fingerprint = |file: &PathBuf| {
        let (key, _) = PublicKey::parse_text(&text(file)?).ok()?;
        Some(key.fingerprint().to_string())
    };
    let stat = text(Path::new("/proc/stat")).unwrap_or_default();
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "));
    let boot = boot.and_then(|seconds| seconds.trim().parse().ok());
    let kernel = text(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default();
    Device {
        hostname: printable(&hostname()),
        os: printable(&pretty_name()),
        kernel: printable(kernel.trim()),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        host_keys: host_keys
            .iter()
            .filter_map(fingerprint)
            .take(MAX_KEYS)
            .collect(),
        boot_time: boot.and_then(|seconds| Timestamp::from_second(seconds).ok()),
    }
}

fn text(path: &Path) -> Option<String> {
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_FILE).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (good, none) = (dir.path().join("a.pub"), dir.path().join("b.pub"));
        let key = crate::trust::Signer::from_seed(&[1; 32]).public();
        let line = format!("{key} root@host\n");
        crate::sys::private_file::replace(&good, line.as_bytes()).unwrap();
        let device = device(&[good, none]);
        assert_eq!(device.host_keys, [key.fingerprint().to_string()]);
        assert!(!device.kernel.is_empty() && !device.kernel.ends_with('\n'));
        assert!(
            device
                .boot_time
                .is_some_and(|at| at < crate::sys::clock::now())
        );
    }
}
