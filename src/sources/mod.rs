//! Where keys come from.
//!
//! Each source is a task that keeps one [`SourceState`] up to date: it asks, judges the answer,
//! brings it to the disk as the last good list, and nudges. Signed lists go through `judge.rs`, all
//! others through `unsigned.rs`. Owns identity, enrolment and last-good lists. Refuses to touch a target: whoever reads a state decides what becomes of it. A failed
//! source keeps what it had; it is never empty by accident.

mod account;
mod believed;
mod content;
mod enrolment;
mod fault;
mod file;
mod handover;
mod http;
mod identity;
mod json;
mod judge;
mod last_good;
mod poll;
mod state;
mod trust;
mod unsigned;
mod vast;

pub use account::{Session, Window};
pub use believed::{Believed, believed};
pub use identity::new_run;
pub use judge::key_list;
pub use state::{Nudge, Orders, SourceState};
pub use trust::{HeldKrl, Trust};

use crate::client::ClientError;
use crate::config::{Source, SourceKind};
use poll::{PollTask, Remote};
use state::Publisher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How the agent names itself to whom it asks.
const USER_AGENT: &str = concat!("sshkeyd/", env!("CARGO_PKG_VERSION"));
/// Work at the disk at a time; far more than there are sources.
const MOST_AT_THE_DISK: u32 = 1024;
/// Places for it: [`stop`] waits until it has them all.
static AT_THE_DISK: Semaphore = Semaphore::const_new(MOST_AT_THE_DISK as usize);

/// A running source. Dropping it ends the task.
#[derive(Debug)]
pub struct Running {
    /// What it holds now.
    pub state: watch::Receiver<Arc<SourceState>>,
    /// Its session with the account key service, while it has one.
    pub session: Option<watch::Receiver<Option<Session>>>,
    ask: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// Whether its task has not broken off: a source that can no longer hear of a deletion is a
    /// reason for systemd to start the agent again.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.task.is_finished()
    }

    /// Has the source asked anew, now. The receiver hears when the answer is in force, or the
    /// attempt has failed; it is closed when the source is gone.
    #[must_use]
    pub fn ask(&self) -> oneshot::Receiver<()> {
        let (done, heard) = oneshot::channel();
        // A full queue means that others have just asked: this one ends with the channel.
        let _ = self.ask.try_send(done);
        heard
    }
}

/// Ends sources. When this returns, nothing of theirs writes to the disk any more.
pub async fn stop(sources: Vec<Running>) {
    for mut source in sources {
        source.task.abort();
        // It was cancelled: that is what was asked for.
        let _ = (&mut source.task).await;
    }
    // What waited for the disk on a thread of its own is not cancelled with its task.
    drop(AT_THE_DISK.acquire_many(MOST_AT_THE_DISK).await);
}

/// Starts a source. Its last good list is in force before this returns. Where `certificates` is
/// not set, nothing is fetched of what a signed list says of them, and nothing said.
///
/// # Errors
/// [`ClientError::Setup`] where an account source cannot be built as it is configured.
pub fn start(
    source: &Source,
    state_dir: &Path,
    (run, certificates): (&str, bool),
    nudge: Nudge,
) -> Result<Running, ClientError> {
    let (ask, asks) = mpsc::channel(16);
    let path = last_good_path(state_dir, &source.name);
    let running = |state, task| Running {
        state,
        session: None,
        ask: ask.clone(),
        task,
    };
    let polled = |remote: Remote, nudge, asks| {
        let (publisher, state) = Publisher::begin(source, nudge);
        let task = PollTask::new(source, remote, path.clone(), publisher);
        running(state, tokio::spawn(task.run(asks)))
    };
    match &source.kind {
        SourceKind::Vast(settings) => {
            let remote = Remote::Vast(vast::Vast::new(settings, source.max_size));
            Ok(polled(remote, nudge, asks))
        }
        SourceKind::Http(settings) => {
            let remote = Remote::Http(http::HttpList::new(settings, source.max_size));
            Ok(polled(remote, nudge, asks))
        }
        SourceKind::File(settings) => {
            let (publisher, state) = Publisher::begin(source, nudge);
            let task = file::FileTask::new(source, settings, path.clone(), publisher);
            Ok(running(state, tokio::spawn(task.run(asks))))
        }
        SourceKind::Account(settings) => {
            let (publisher, state) = Publisher::begin(source, nudge);
            let (tell, session) = watch::channel(None);
            let run = (run, certificates);
            let task =
                account::AccountTask::try_new(source, settings, state_dir, run, publisher, tell)?;
            Ok(Running {
                state,
                session: Some(session),
                ask,
                task: tokio::spawn(task.run(asks)),
            })
        }
    }
}

fn last_good_path(state_dir: &Path, name: &str) -> PathBuf {
    state_dir.join("sources").join(format!("{name}.json"))
}

/// Runs what waits for the disk beside the loop that waits for everything else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let place = AT_THE_DISK.acquire().await.map_err(std::io::Error::other)?;
    let work = move || {
        let done = work();
        drop(place);
        done
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}
