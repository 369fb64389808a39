//! The control socket: `sshkeyd status`, `plan`, `doctor`, `sync` and the like ask the running
//! agent.
//!
//! One request a connection, one JSON object each way, a line each. Who asks is known by the kernel
//! (`SO_PEERCRED`, unix(7)): root and the agent's own user may all, any other user gets status, plan
//! and doctor of his own target and nothing of others. Every user may connect, so nobody may keep
//! the others out: [`Places`] says how many connections are whose.

mod client;
mod places;

pub use client::{AskError, ask};

use crate::sys::socket::{Listening, listen};
use crate::sys::users::{current_uid, lookup_uid};
use crate::wire::{Doctor, Plan, Status};
use places::Places;
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

/// Longest request, in bytes, its newline included.
const MAX_REQUEST: u64 = 4096;
/// To the end of a request, and for each answer to be taken.
const WITHIN: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// The state.
    Status,
    /// What a sync would change.
    Plan,
    /// Why a login would work or not.
    Doctor {
        /// Of whom; of every target that the caller may see where none is named.
        #[serde(default)]
        user: Option<String>,
    },
    /// Ask every source, apply, then the state.
    Sync,
    /// Take out everything that was ever written, and write nothing until a reload.
    Unmanage,
    /// The same, and drop all that is kept of this machine.
    SealImage,
}

impl Request {
    /// Whether any user may ask this about himself.
    fn is_of_own(&self) -> bool {
        matches!(self, Self::Status | Self::Plan | Self::Doctor { .. })
    }

    /// Whether it is answered from what is in memory.
    fn is_cheap(&self) -> bool {
        matches!(self, Self::Status)
    }
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done; this is the state.
    Status(Box<Status>),
    /// What a sync would change.
    Plan(Box<Plan>),
    /// Why a login would work or not.
    Doctor(Box<Doctor>),
    /// Not done, in words.
    Refused(String),
    /// The caller may not.
    Denied(String),
}

/// A request on its way to the agent's loop.
pub(super) struct Asked {
    pub(super) request: Request,
    /// Whose targets may be shown; everybody's where none is named.
    pub(super) only: Option<String>,
    pub(super) answer: oneshot::Sender<Answer>,
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
    let door = Door {
        requests,
        // What others ask for may start programs and read files: one at a time.
        looking: Arc::new(Semaphore::new(1)),
    };
    let task = tokio::spawn(accept(listening, door));
    Ok(Control { task })
}

/// The way to the agent's loop.
#[derive(Clone)]
struct Door {
    requests: mpsc::Sender<Asked>,
    looking: Arc<Semaphore>,
}

async fn accept(listening: Listening, door: Door) {
    let places = Places::default();
    loop {
        match listening.listener.accept().await {
            Ok((stream, _)) => {
                let Ok(peer) = stream.peer_cred() else {
                    continue;
                };
                let place = places.take(peer.uid(), is_master(peer.uid()));
                let door = door.clone();
                tokio::spawn(async move {
                    let served = match &place {
                        Some(_) => serve(stream, peer.uid(), door).await,
                        None => turn_away(stream).await,
                    };
                    if let Err(fault) = served {
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

/// Root, or whoever the agent runs as.
fn is_master(uid: u32) -> bool {
    uid == 0 || uid == current_uid()
}

/// A few bytes into an empty buffer: this never waits for a reader.
async fn turn_away(mut stream: UnixStream) -> io::Result<()> {
    let text = "too many connections at once; ask again".to_owned();
    answer(&mut stream, &Answer::Refused(text)).await
}

async fn serve(mut stream: UnixStream, uid: u32, door: Door) -> io::Result<()> {
    let mut line = String::new();
    // A timeout ends the connection without a word: whoever says nothing gets nothing.
    let mut reader = BufReader::new((&mut stream).take(MAX_REQUEST));
    timeout(WITHIN, reader.read_line(&mut line)).await??;
    let said = match serde_json::from_str(&line) {
        _ if !line.ends_with('\n') && line.len() as u64 == MAX_REQUEST => {
            Answer::Refused(format!("a request is at most {MAX_REQUEST} bytes"))
        }
        Err(fault) => Answer::Refused(format!("not a request: {fault}")),
        Ok(request) => permitted(uid, request, &door).await,
    };
    answer(&mut stream, &said).await
}

async fn answer(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let answer = serde_json::to_vec(answer)?;
    timeout(WITHIN, stream.write_all(&answer)).await??;
    stream.shutdown().await
}

async fn permitted(uid: u32, mut request: Request, door: &Door) -> Answer {
    let stopping = || Answer::Refused("the agent is stopping".to_owned());
    let denied = |text: &str| Answer::Denied(text.to_owned());
    let mut only = None;
    let mut looking = None;
    if !is_master(uid) {
        if !request.is_of_own() {
            return denied("only root and the agent's own user may");
        }
        let Some(user) = name_of(uid).await else {
            return denied("there is no local user of this number");
        };
        if let Request::Doctor { user: asked } = &mut request {
            if asked.as_ref().is_some_and(|asked| *asked != user) {
                return denied("only root may ask about another user");
            }
            *asked = Some(user.clone());
        }
        only = Some(user);
        if !request.is_cheap() {
            looking = door.looking.acquire().await.ok();
        }
    }
    let (answer, heard) = oneshot::channel();
    let asked = Asked {
        request,
        only: only.clone(),
        answer,
    };
    if door.requests.send(asked).await.is_err() {
        return stopping();
    }
    let answer = heard.await;
    drop(looking);
    match answer {
        Ok(Answer::Status(status)) => match only {
            Some(user) => Answer::Status(Box::new(own_part(*status, &user))),
            None => Answer::Status(status),
        },
        Ok(answer) => answer,
        Err(_) => stopping(),
    }
}

/// A directory of users may be over the network: nobody waits for another's lookup.
async fn name_of(uid: u32) -> Option<String> {
    let looked = tokio::task::spawn_blocking(move || lookup_uid(uid)).await;
    let user = looked.ok()?.ok()??;
    Some(user.name)
}

/// What a user may see: his own target and what is about it.
fn own_part(mut status: Status, user: &str) -> Status {
    status.targets.retain(|target| target.user == user);
    let about: Vec<_> = status.targets.iter().map(|t| t.path.clone()).collect();
    status
        .conditions
        .retain(|condition| about.contains(&condition.about));
    status.sessions.retain(|session| session.user == user);
    status.sources.clear();
    status.instance = None;
    status
}
