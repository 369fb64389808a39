//! Changes of files, from inotify(7): says that something changed, never what.
//!
//! Watches directories, not files, so that a rename over a file and a file made anew are seen; where
//! a directory is not there yet, the nearest one above it, until it is. Nothing wakes while nothing
//! happens to the named paths. Moves of directories further up are not seen.

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, INotifyWatcher, RecursiveMode, Watcher as _};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Directories that come to be while we arm are armed too, so many levels in one go.
const MAX_ROUNDS: usize = 16;

/// Watched paths. See [`watch`].
pub struct Watch {
    watcher: INotifyWatcher,
    /// As they were named.
    paths: Vec<PathBuf>,
    shared: Arc<Mutex<Shared>>,
    /// Directories with a watch, and which inode the watch is on.
    armed: BTreeMap<PathBuf, (u64, u64)>,
    events: Arc<Notify>,
    /// When the change began that has not been told yet.
    began: Option<Instant>,
    quiet: Duration,
    most: Duration,
}

/// What the event thread reads and writes.
#[derive(Default)]
struct Shared {
    /// The paths as they were named, and where their symlinks lead.
    wanted: BTreeSet<PathBuf>,
    /// What was removed or moved since: a watch on it is dead, and its inode's number may already
    /// be that of its successor.
    gone: BTreeSet<PathBuf>,
}

/// Watches `paths`, files or directories (and what lies in them, one level), there or not. A change
/// is told once nothing more has come for `quiet`, but no later than `most` after it began.
///
/// # Errors
/// inotify cannot be had, or no directory can be watched for one of the paths.
pub fn watch(paths: Vec<PathBuf>, quiet: Duration, most: Duration) -> io::Result<Watch> {
    let events = Arc::new(Notify::new());
    let shared = Arc::new(Mutex::new(Shared::default()));
    let (told, filter) = (Arc::clone(&events), Arc::clone(&shared));
    let on_event = move |event: notify::Result<Event>| {
        let mut shared = filter.lock().unwrap_or_else(PoisonError::into_inner);
        // An error may be an event that was lost.
        let tell = event.map_or(true, |event| {
            let matters = matters(&event, &shared.wanted);
            if matters && takes_away(event.kind) {
                shared.gone.extend(event.paths);
            }
            matters
        });
        if tell {
            told.notify_one();
        }
    };
    let watcher = INotifyWatcher::new(on_event, notify::Config::default()).map_err(io_error)?;
    let mut watch = Watch {
        watcher,
        paths,
        shared,
        armed: BTreeMap::new(),
        events,
        began: None,
        quiet,
        most,
    };
    watch.arm()?;
    Ok(watch)
}

impl Watch {
    /// Waits for a change. Changes that came before the call count; many are one. No change is
    /// lost when the future is dropped.
    pub async fn changed(&mut self) {
        let began = match self.began {
            Some(began) => began,
            None => {
                self.events.notified().await;
                *self.began.insert(Instant::now())
            }
        };
        let latest = began + self.most;
        loop {
            let quiet = (Instant::now() + self.quiet).min(latest);
            if timeout_at(quiet, self.events.notified()).await.is_err() {
                break;
            }
        }
        // Before it is told: what comes to be in a new directory from now on is another event.
        if let Err(error) = self.arm() {
            tracing::debug!(%error, "a path is not watched");
        }
        self.began = None;
    }

    /// Puts the watches where the paths are now.
    fn arm(&mut self) -> io::Result<()> {
        let mut outcome = Ok(());
        for _ in 0..MAX_ROUNDS {
            let wanted: BTreeSet<PathBuf> = self
                .paths
                .iter()
                .flat_map(|path| [Some(path.clone()), std::fs::canonicalize(path).ok()])
                .flatten()
                .collect();
            let mut directories = BTreeSet::new();
            for path in &wanted {
                directories.extend(nearest_directory(path));
                directories.extend(Some(path.clone()).filter(|path| path.is_dir()));
            }
            let gone = {
                let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
                shared.wanted = wanted;
                std::mem::take(&mut shared.gone)
            };
            let (changed, result) = self.arm_directories(&directories, &gone);
            outcome = result;
            if !changed {
                break;
            }
        }
        outcome
    }

    /// Whether anything had to be done, and the first error.
    fn arm_directories(
        &mut self,
        directories: &BTreeSet<PathBuf>,
        gone: &BTreeSet<PathBuf>,
    ) -> (bool, io::Result<()>) {
        let stale: Vec<PathBuf> = self
            .armed
            .iter()
            .filter(|(path, inode)| {
                let same = inode_of(path) == Some(**inode) && !gone.contains(*path);
                !directories.contains(*path) || !same
            })
            .map(|(path, _)| path.clone())
            .collect();
        let mut changed = !stale.is_empty();
        for path in stale {
            self.armed.remove(&path);
            // The kernel has dropped it already where the directory is gone.
            let _ = self.watcher.unwatch(&path);
        }
        let mut outcome = Ok(());
        for path in directories {
            let Some(inode) = inode_of(path).filter(|_| !self.armed.contains_key(path)) else {
                continue;
            };
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.armed.insert(path.clone(), inode);
                    changed = true;
                }
                Err(error) => outcome = outcome.and_then(|()| Err(io_error(error))),
            }
        }
        (changed, outcome)
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

/// Whether an event may have changed what is read under one of the paths: it is about the path, a
/// directory above it, or something in it. Reading changes nothing.
fn matters(event: &Event, wanted: &BTreeSet<PathBuf>) -> bool {
    let read_only = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    };
    let about = |path: &PathBuf| {
        wanted
            .iter()
            .any(|want| want.starts_with(path) || path.parent() == Some(want))
    };
    !read_only && (event.paths.is_empty() || event.paths.iter().any(about))
}

/// Whether the event says that a name has lost what it named.
fn takes_away(kind: EventKind) -> bool {
    use notify::event::ModifyKind;
    matches!(
        kind,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    )
}

/// The nearest directory above the path that is there.
fn nearest_directory(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .skip(1)
        .find(|above| above.is_dir())
        .map(Path::to_owned)
}

fn inode_of(path: &Path) -> Option<(u64, u64)> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.dev(), about.ino()))
}

fn io_error(error: notify::Error) -> io::Error {
    match error.kind {
        notify::ErrorKind::Io(error) => error,
        _ => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests;
