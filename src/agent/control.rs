//! The control socket: `sshkeyd status`, `sync` and `unmanage` ask the running agent.
//!
//! One JSON object each way, a line each. Who asks is known by the kernel (`SO_PEERCRED`,
//! unix(7)): root and the agent's own user may all, any other user gets the status of his own
//! target and nothing of others.

use crate::sys::socket::{Listening, listen};
use crate::sys::users::{current_uid, lookup_uid};
use crate::wire::Status;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest request, in bytes.
const MAX_REQUEST: u64 = 4096;
/// Longest answer that a client reads, in bytes.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
/// To the end of a request, and for each answer to be taken.
const WITHIN: Duration = Duration::from_secs(5);
/// To the answer of a request that waits for sources.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// Connections at a time.
const CONNECTIONS: usize = 16;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// The state.
    Status,
    /// Ask every source, apply, then the state.
    Sync,
    /// Take out everything that was ever written, and write nothing until a reload.
    Unmanage,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done; this is the state.
    Status(Box<Status>),
    /// Not done, in words.
    Refused(String),
    /// The caller may not.
    Denied(String),
}

/// Why the agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no agent answers at {path}: {source}")]
    NoAgent {
        /// Where.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The answer is none.
    #[error("the agent gave no answer: {0}")]
    Broken(#[source] io::Error),
}

/// A request on its way to the agent's loop.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// Asks the agent that listens at `path`.
///
/// # Errors
/// [`AskError`].
pub async fn ask(path: &Path, request: Request) -> Result<Answer, AskError> {
    let mut stream = UnixStream::connect(path)
        .await
        .map_err(|source| AskError::NoAgent {
            path: path.display().to_string(),
            source,
        })?;
    let exchange = async {
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = Vec::new();
        (&mut stream)
            .take(MAX_ANSWER)
            .read_to_end(&mut answer)
            .await?;
        Ok(serde_json::from_slice(&answer)?)
    };
    match timeout(ANSWER_WITHIN, exchange).await {
        Ok(answer) => answer.map_err(AskError::Broken),
        Err(_) => Err(AskError::Broken(io::ErrorKind::TimedOut.into())),
    }
}

/// The listening socket, for as long as it is held.
pub(super) struct Control {
    task: JoinHandle<()>,
}

impl Control {
    /// Lets go of the socket; it is free for another when this returns.
    pub(super) async fn close(mut self) {
        self.task.abort();
        // It was cancelled: that is what was asked for.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins to listen. Requests come to the agent's loop one by one.
pub(super) async fn start(
    path: &Path,
    unprivileged: bool,
    requests: mpsc::Sender<Asked>,
) -> io::Result<Control> {
    let mode = if unprivileged { 0o600 } else { 0o666 };
    let listening = listen(path, mode).await?;
    let task = tokio::spawn(accept(listening, requests));
    Ok(Control { task })
}

async fn accept(listening: Listening, requests: mpsc::Sender<Asked>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listening.listener.accept().await {
            Ok((stream, _)) => {
                let requests = requests.clone();
                tokio::spawn(async move {
                    if let Err(fault) = serve(stream, requests).await {
                        tracing::debug!(%fault, "control request");
                    }
                    drop(place);
                });
            }
            // Out of descriptors: some will come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve(mut stream: UnixStream, requests: mpsc::Sender<Asked>) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(MAX_REQUEST));
    timeout(WITHIN, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Err(fault) => Answer::Refused(format!("not a request: {fault}")),
        Ok(request) => permitted(uid, request, &requests).await,
    };
    let answer = serde_json::to_vec(&answer)?;
    timeout(WITHIN, write.write_all(&answer)).await??;
    write.shutdown().await
}

async fn permitted(uid: u32, request: Request, requests: &mpsc::Sender<Asked>) -> Answer {
    let may_all = uid == 0 || uid == current_uid();
    if !may_all && request != Request::Status {
        return Answer::Denied("only root and the agent's own user may".to_owned());
    }
    let (answer, heard) = oneshot::channel();
    let asked = Asked { request, answer };
    let stopping = || Answer::Refused("the agent is stopping".to_owned());
    if requests.send(asked).await.is_err() {
        return stopping();
    }
    match heard.await {
        Ok(Answer::Status(status)) if !may_all => {
            let user = lookup_uid(uid).ok().flatten();
            Answer::Status(Box::new(own_part(*status, user.map(|user| user.name))))
        }
        Ok(answer) => answer,
        Err(_) => stopping(),
    }
}

/// What a user may see: his own target and what is about it.
fn own_part(mut status: Status, user: Option<String>) -> Status {
    status
        .targets
        .retain(|target| Some(&target.user) == user.as_ref());
    let about: Vec<_> = status.targets.iter().map(|t| t.path.clone()).collect();
    status
        .conditions
        .retain(|condition| about.contains(&condition.about));
    status.sources.clear();
    status.instance = None;
    status
}
