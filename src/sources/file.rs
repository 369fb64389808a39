//! A file, or a directory of `*.pub`, as a source: watched, and read again now and then all the
//! same. Unsigned, so an empty or a much shorter list is held (`sync::admit`).

use super::state::Publisher;
use super::unsigned::Keeper;
use crate::config::{FileSource, Source};
use crate::keys::KeyList;
use crate::sync::Code;
use crate::sys::{plain_file, watch};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Most files that are read from a directory.
const MAX_FILES: usize = 1000;
/// A burst of changes is one: quiet for this long, or going on for that long.
const QUIET: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_millis(500);

pub(super) struct FileTask {
    path: PathBuf,
    max_size: u64,
    poll: Duration,
    keeper: Keeper,
}

impl FileTask {
    /// The last good list is in force before this returns.
    pub(super) fn new(
        source: &Source,
        settings: &FileSource,
        last_good: PathBuf,
        publisher: Publisher,
    ) -> Self {
        Self {
            path: settings.path.clone(),
            max_size: source.max_size,
            poll: source.poll_interval,
            keeper: Keeper::new(source, last_good, publisher),
        }
    }

    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<oneshot::Sender<()>>) {
        // Without a watch the poll interval still holds.
        let mut watched = watch::watch(vec![self.path.clone()], QUIET, MOST)
            .await
            .ok();
        self.read().await;
        loop {
            let changed = async {
                match &mut watched {
                    Some(watched) => watched.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => self.read().await,
                () = tokio::time::sleep(self.poll) => self.read().await,
                ask = asks.recv() => {
                    let Some(ask) = ask else { return };
                    self.read().await;
                    let _ = ask.send(());
                }
            }
        }
    }

    async fn read(&mut self) {
        let (path, max_size) = (self.path.clone(), self.max_size);
        match super::blocking(move || read_keys(&path, max_size)).await {
            Ok(offered) => {
                self.keeper.take(offered).await;
            }
            Err(fault) => {
                let code = match fault.kind() {
                    io::ErrorKind::NotFound => Code::SourceNotFound,
                    io::ErrorKind::FileTooLarge => Code::SourceTooLarge,
                    io::ErrorKind::InvalidInput => Code::SourceMalformed,
                    _ => Code::SourceOffline,
                };
                let text = format!("{}: {fault}", self.path.display());
                self.keeper.failed(code, text);
            }
        }
    }
}

/// Reads a file, or every `*.pub` of a directory in the order of their names.
fn read_keys(path: &Path, max_size: u64) -> io::Result<KeyList> {
    if !path.is_dir() {
        let text = plain_file::read(path, max_size)?;
        return Ok(KeyList::from_authorized_keys(
            &text,
            &path.display().to_string(),
        ));
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_none_or(|end| end != "pub") {
            continue;
        }
        if files.len() >= MAX_FILES {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        files.push(file);
    }
    files.sort();
    let mut list = KeyList::default();
    let mut left = max_size;
    for file in files {
        let text = plain_file::read(&file, left).map_err(|fault| {
            let name = file.file_name().unwrap_or_default().display().to_string();
            io::Error::new(fault.kind(), format!("{name}: {fault}"))
        })?;
        left -= text.len() as u64;
        let keys = KeyList::from_authorized_keys(&text, &file.display().to_string());
        list.append(keys);
    }
    Ok(list.without_duplicates())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets files up by path")]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

    #[test]
    fn a_directory_is_its_pub_files_and_a_limit_covers_them_all() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.pub"), format!("{KEY} a\n")).unwrap();
        std::fs::write(dir.path().join("b.pub"), format!("{KEY} b\n")).unwrap();
        std::fs::write(dir.path().join("notes"), "x").unwrap();
        let list = read_keys(dir.path(), 1000).unwrap();
        assert_eq!((list.accepted.len(), list.rejected.len()), (1, 1));
        let fault = read_keys(dir.path(), 100).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::FileTooLarge);
        let fault = read_keys(&dir.path().join("none"), 100).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::NotFound);
    }
}
