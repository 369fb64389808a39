//! Changes of files, from inotify(7): says that something changed, never what.
//!
//! Watches directories, not files, so that a rename over a file and a file made anew are seen; where
//! a directory is not there yet, the nearest one above it, until it is; and mounts. Nothing wakes
//! while nothing happens to the named paths, but for mounts elsewhere, which are looked at once and
//! not told. Moves of directories further up are not seen. A file system that does not answer holds
//! up a thread, and nobody who waits here.

mod mounts;

use mounts::Mounts;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, INotifyWatcher, RecursiveMode, Watcher as _};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// Directories that come to be while we arm are armed too, so many levels in one go.
const MAX_ROUNDS: usize = 16;

/// A file system that has not answered by then is looked at when it does.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Watched paths. See [`watch`].
pub struct Watch {
    /// As they were named.
    paths: Vec<PathBuf>,
    shared: Arc<Mutex<Shared>>,
    armed: Arc<Mutex<Armed>>,
    /// Where each path led when it was last looked at.
    found: BTreeMap<PathBuf, Found>,
    /// The same, when a change was last told.
    told: BTreeMap<PathBuf, Found>,
    /// Looks at paths that have not come back.
    looking: BTreeMap<PathBuf, Look>,
    /// The watches are being put in place, and inotify has not come back.
    arming: Option<JoinHandle<(bool, io::Result<()>)>>,
    events: Arc<Notify>,
    mounts: Option<Mounts>,
    /// When something was mounted or unmounted, and the paths have not been looked at since.
    remounted: Option<Instant>,
    /// When the change began that has not been told yet.
    began: Option<Instant>,
    quiet: Duration,
    most: Duration,
}

/// A look at a path, on a thread of its own.
struct Look {
    work: JoinHandle<Found>,
    /// It was waited for in vain.
    is_late: bool,
}

/// The directories with a watch, and which inode the watch is on.
struct Armed {
    watcher: INotifyWatcher,
    directories: BTreeMap<PathBuf, Inode>,
}

/// Device and inode.
type Inode = (u64, u64);

/// What a path leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Found {
    /// The path, and where its symlinks lead.
    wanted: Vec<PathBuf>,
    /// The directories to watch for it.
    directories: BTreeMap<PathBuf, Inode>,
    /// What stands there itself.
    itself: Option<Inode>,
}

impl Found {
    fn look(path: &Path) -> Self {
        let mut wanted = vec![path.to_owned()];
        wanted.extend(std::fs::canonicalize(path).ok().filter(|real| real != path));
        let mut directories = BTreeMap::new();
        for path in &wanted {
            let itself = Some(path.clone()).filter(|path| path.is_dir());
            for directory in nearest_directory(path).into_iter().chain(itself) {
                let inode = inode_of(&directory);
                directories.extend(inode.map(|inode| (directory, inode)));
            }
        }
        Self {
            wanted,
            directories,
            itself: inode_of(path),
        }
    }
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
/// is told once nothing more has come for `quiet`, but no later than `most` after it began. What is
/// mounted over a path, or unmounted, is a change of it.
///
/// A path whose file system does not answer is left out until it does.
///
/// # Errors
/// inotify cannot be had, or no directory can be watched for one of the paths.
pub async fn watch(paths: Vec<PathBuf>, quiet: Duration, most: Duration) -> io::Result<Watch> {
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
        paths,
        shared,
        armed: Arc::new(Mutex::new(Armed {
            watcher,
            directories: BTreeMap::new(),
        })),
        found: BTreeMap::new(),
        told: BTreeMap::new(),
        looking: BTreeMap::new(),
        arming: None,
        events,
        // Where there is no /proc, files are found again by their events and by the clock.
        mounts: Mounts::open().ok(),
        remounted: None,
        began: None,
        quiet,
        most,
    };
    watch.arm().await?;
    watch.told = watch.found.clone();
    Ok(watch)
}

impl Watch {
    /// Waits for a change. Changes that came before the call count; many are one. No change is
    /// lost when the future is dropped.
    pub async fn changed(&mut self) {
        let began = loop {
            if let Some(began) = self.began {
                break began;
            }
            let Some(remounted) = self.remounted else {
                tokio::select! {
                    () = self.events.notified() => self.began = Some(Instant::now()),
                    () = Mounts::changed(self.mounts.as_ref()) => {
                        self.remounted = Some(Instant::now());
                    }
                }
                continue;
            };
            // They come in bursts, and are somebody else's most of the time.
            sleep_until(remounted + self.quiet).await;
            let armed = self.arm().await;
            self.remounted = None;
            if armed.is_err() || self.found != self.told {
                self.began = Some(Instant::now());
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
        if let Err(error) = self.arm().await {
            tracing::debug!(%error, "a path is not watched");
        }
        self.told = self.found.clone();
        self.began = None;
    }

    /// Whether some path is not watched because its file system does not answer.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        !self.looking.is_empty() || self.arming.is_some()
    }

    /// Puts the watches where the paths are now.
    async fn arm(&mut self) -> io::Result<()> {
        let mut outcome = Ok(());
        for _ in 0..MAX_ROUNDS {
            self.look().await;
            let all = || self.found.values();
            let wanted = all().flat_map(|found| found.wanted.clone()).collect();
            let directories = all().flat_map(|found| found.directories.clone()).collect();
            let gone = {
                let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
                shared.wanted = wanted;
                std::mem::take(&mut shared.gone)
            };
            let Some((changed, result)) = self.arm_directories(directories, gone).await else {
                return Err(io::ErrorKind::TimedOut.into());
            };
            outcome = result;
            if !changed {
                break;
            }
        }
        outcome
    }

    /// Looks at every path, beside the loop: stat(2) waits for as long as a file system does.
    async fn look(&mut self) {
        let latest = Instant::now() + ANSWER_WITHIN;
        for path in self.paths.clone() {
            let look = self.looking.entry(path.clone()).or_insert_with(|| {
                let path = path.clone();
                Look {
                    work: told_when_late(&self.events, move || Found::look(&path)),
                    is_late: false,
                }
            });
            let until = if look.is_late { Instant::now() } else { latest };
            match timeout_at(until, &mut look.work).await {
                Ok(found) => {
                    self.looking.remove(&path);
                    self.found.insert(path, found.unwrap_or_default());
                }
                Err(_) => look.is_late = true,
            }
        }
    }

    /// Whether anything had to be done, and the first error; `None` where inotify itself waits for
    /// a file system.
    async fn arm_directories(
        &mut self,
        directories: BTreeMap<PathBuf, Inode>,
        gone: BTreeSet<PathBuf>,
    ) -> Option<(bool, io::Result<()>)> {
        if let Some(before) = &mut self.arming {
            timeout(Duration::ZERO, before).await.ok()?.ok();
        }
        let armed = Arc::clone(&self.armed);
        let work = told_when_late(&self.events, move || {
            let mut armed = armed.lock().unwrap_or_else(PoisonError::into_inner);
            armed.arm(&directories, &gone)
        });
        let done = timeout(ANSWER_WITHIN, self.arming.insert(work))
            .await
            .ok()?;
        self.arming = None;
        done.ok()
    }
}

/// Does work that waits for a file system. What comes later than it is waited for is an event.
fn told_when_late<T: Send + 'static>(
    events: &Arc<Notify>,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let (events, began) = (Arc::clone(events), Instant::now());
    spawn_blocking(move || {
        let done = work();
        if began.elapsed() >= ANSWER_WITHIN {
            events.notify_one();
        }
        done
    })
}

impl Armed {
    fn arm(
        &mut self,
        directories: &BTreeMap<PathBuf, Inode>,
        gone: &BTreeSet<PathBuf>,
    ) -> (bool, io::Result<()>) {
        let stale: Vec<PathBuf> = self
            .directories
            .iter()
            .filter(|(path, inode)| directories.get(*path) != Some(inode) || gone.contains(*path))
            .map(|(path, _)| path.clone())
            .collect();
        let mut changed = !stale.is_empty();
        for path in stale {
            self.directories.remove(&path);
            // The kernel has dropped it already where the directory is gone.
            let _ = self.watcher.unwatch(&path);
        }
        let mut outcome = Ok(());
        for (path, inode) in directories {
            if self.directories.contains_key(path) {
                continue;
            }
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.directories.insert(path.clone(), *inode);
                    changed = true;
                }
                // It went between the look and now: its going is an event of its own.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
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
