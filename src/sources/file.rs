//! A file, or a directory of `*.pub`, as a source: watched, and read again now and then all the
//! same. Unsigned, so an empty or a much shorter list is held (`sync::admit`).

use super::last_good::LastGood;
use super::state::{Publisher, SourceState};
use crate::config::{FileSource, Source};
use crate::keys::KeyList;
use crate::sync::{Admission, Agreement, Code, Finding, HoldReason, admit};
use crate::sys::{clock, watch};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Most files that are read from a directory.
const MAX_FILES: usize = 1000;
/// A burst of changes is one: quiet for this long, or going on for that long.
const QUIET: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_millis(500);

pub(super) struct FileTask {
    name: String,
    path: PathBuf,
    max_size: u64,
    allow_empty: bool,
    poll: Duration,
    last_good: PathBuf,
    held: Option<Arc<KeyList>>,
    agreement: Option<Agreement>,
    publisher: Publisher,
}

impl FileTask {
    /// The last good list is in force before this returns.
    pub(super) fn new(
        source: &Source,
        settings: &FileSource,
        last_good: PathBuf,
        publisher: Publisher,
    ) -> Self {
        let mut task = Self {
            name: source.name.clone(),
            path: settings.path.clone(),
            max_size: source.max_size,
            allow_empty: source.danger_allow_empty,
            poll: source.poll_interval,
            last_good,
            held: None,
            agreement: None,
            publisher,
        };
        match LastGood::load_or_set_aside(&task.last_good) {
            Ok(Some(record)) => {
                let list = Arc::new(record.list());
                task.held = Some(Arc::clone(&list));
                task.publisher.note(|state| {
                    state.list = Some(list);
                    state.last_success = Some(record.received_at);
                });
            }
            Ok(None) => {}
            Err(fault) => task.failed(Code::StateFailed, fault.to_string()),
        }
        task
    }

    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<oneshot::Sender<()>>) {
        // Without a watch the poll interval still holds.
        let mut watched = watch::watch(vec![self.path.clone()], QUIET, MOST).ok();
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
            Ok(offered) => self.take(offered).await,
            Err(fault) => {
                let code = match fault.kind() {
                    io::ErrorKind::NotFound => Code::SourceNotFound,
                    io::ErrorKind::FileTooLarge => Code::SourceTooLarge,
                    _ => Code::SourceOffline,
                };
                self.failed(code, format!("{}: {fault}", self.path.display()));
            }
        }
    }

    async fn take(&mut self, offered: KeyList) {
        let held = self.held.as_deref();
        match admit(held, &offered, false, self.allow_empty, &mut self.agreement) {
            Admission::Take => {}
            Admission::Hold(why) => {
                let code = match why {
                    HoldReason::EmptyList { .. } => Code::HoldEmptyList,
                    _ => Code::HoldShrunkList,
                };
                return self.failed(code, why.to_string());
            }
        }
        let news = held != Some(&offered);
        if news {
            let record = LastGood::new(&offered, clock::now(), None);
            let path = self.last_good.clone();
            if let Err(fault) = super::blocking(move || record.store(&path)).await {
                let text = format!("the list could not be kept: {fault}");
                return self.failed(Code::StateFailed, text);
            }
            let keys = offered.accepted.len();
            tracing::info!(source = self.name, keys, "new list");
            self.held = Some(Arc::new(offered));
        }
        let list = self.held.clone();
        let news = news || !self.publisher.state().live;
        let change = |state: &mut SourceState| {
            state.list = list;
            state.live = true;
            state.last_success = Some(clock::now());
            state.last_error = None;
            state.findings.clear();
        };
        if news {
            self.publisher.publish(change);
        } else {
            self.publisher.note(change);
        }
    }

    fn failed(&self, code: Code, text: String) {
        let finding = Finding::new(code, &self.name, &text);
        if self.publisher.state().findings == [finding.clone()] {
            return;
        }
        self.publisher.publish(|state| {
            state.live = false;
            state.last_error = Some(text);
            state.findings = vec![finding];
        });
    }
}

/// Reads a file, or every `*.pub` of a directory in the order of their names.
fn read_keys(path: &Path, max_size: u64) -> io::Result<KeyList> {
    if !path.is_dir() {
        let text = read_text(path, max_size)?;
        return Ok(KeyList::from_authorized_keys(
            &text,
            &path.display().to_string(),
        ));
    }
    let mut files = std::fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|end| end == "pub"));
    files.sort();
    if files.len() > MAX_FILES {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let mut list = KeyList::default();
    let mut left = max_size;
    for file in files {
        let text = read_text(&file, left)?;
        left -= text.len() as u64;
        let keys = KeyList::from_authorized_keys(&text, &file.display().to_string());
        list.accepted.extend(keys.accepted);
        list.rejected.extend(keys.rejected);
    }
    Ok(list.without_duplicates())
}

/// Opening a pipe would wait for its writer, so what is no plain file is not opened.
fn read_text(path: &Path, max_size: u64) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    let mut text = Vec::new();
    File::open(path)?
        .take(max_size + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > max_size {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(text)
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
