//! What the benches share: keys that stand for numbers, medians, the bare durable write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sshkeyd::keys::{ListedKey, Options, PublicKey, RawKey};
use sshkeyd::sys::clock;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An Ed25519 key that stands for a number.
pub(crate) fn key(number: u64) -> PublicKey {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    for part in 0..4 {
        blob.extend(
            (number * 4 + part)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_be_bytes(),
        );
    }
    let raw = RawKey::from_words(b"ssh-ed25519", STANDARD.encode(blob).as_bytes())
        .expect("the blob names its type");
    PublicKey::try_from(raw).expect("32 bytes are an Ed25519 key")
}

/// The same, as a list holds it.
pub(crate) fn listed(number: u64) -> ListedKey {
    ListedKey {
        id: number.to_string(),
        name: format!("person-{number}@host"),
        key: key(number),
        options: Options::default(),
        expires_at: None,
        saved_at: Some(jiff::Timestamp::UNIX_EPOCH),
    }
}

/// A directory of root's below /var/lib, where users' keys may stand; gone when it is dropped.
pub(crate) struct Work(PathBuf);

impl Work {
    pub(crate) fn new() -> std::io::Result<Self> {
        let name = format!("sshkeyd-bench-{}", std::process::id());
        let path = Path::new("/var/lib").join(name);
        std::fs::DirBuilder::new().mode(0o755).create(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The bare durable write: a temporary file, fsync, rename, fsync of the directory.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the floor that the program's own way is measured against"
)]
pub(crate) fn bare_write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("bare-tmp");
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or_else(|| Path::new("/")))?.sync_all()
}

/// How long something took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = clock::monotonic();
    let done = work();
    (clock::monotonic().saturating_sub(began), done)
}

/// Measured times of one thing.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// The time that this share (0 to 1) of all were under, in milliseconds.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        sorted
            .get(at)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// `median / p90 / least` in milliseconds.
    pub(crate) fn row(&self) -> String {
        format!(
            "{:9.3} {:9.3} {:9.3}   n={}",
            self.median(),
            self.at(0.9),
            self.at(0.0),
            self.0.len()
        )
    }
}
