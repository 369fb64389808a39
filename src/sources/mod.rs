//! Where keys come from.
//!
//! Each source is a task that keeps one [`SourceState`] up to date: it asks, judges the answer,
//! brings it to the disk as the last good list, and nudges. Owns identity, enrolment and last-good
//! lists. Refuses to touch a target: whoever reads a state decides what becomes of it. A failed
//! source keeps what it had; it is never empty by accident.

mod account;
mod enrolment;
mod file;
mod identity;
mod judge;
mod last_good;
mod state;

pub use account::Session;
pub use identity::new_run;
pub use judge::key_list;
pub use state::{Nudge, SourceState};

use crate::client::ClientError;
use crate::config::{Source, SourceKind};
use state::Publisher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

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

/// Starts a source. Its last good list is in force before this returns.
///
/// # Errors
/// [`ClientError::Setup`] where an account source cannot be built as it is configured.
pub fn start(
    source: &Source,
    state_dir: &Path,
    run: &str,
    nudge: Nudge,
) -> Result<Running, ClientError> {
    let (ask, asks) = mpsc::channel(16);
    let path = last_good_path(state_dir, &source.name);
    match &source.kind {
        SourceKind::File(settings) => {
            let (publisher, state) = Publisher::begin(source, nudge);
            let task = file::FileTask::new(source, settings, path, publisher);
            Ok(Running {
                state,
                session: None,
                ask,
                task: tokio::spawn(task.run(asks)),
            })
        }
        SourceKind::Account(settings) => {
            let (publisher, state) = Publisher::begin(source, nudge);
            let (tell, session) = watch::channel(None);
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
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}
