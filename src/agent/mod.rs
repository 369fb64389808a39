//! The daemon on an instance: one loop that wakes for a reason, and the path of a key.
//!
//! `cycle.rs` is the path: what it does not name cannot reach a user's file. Owns turns, what is
//! held and owned, the proof's questions, status, control socket and heartbeats. Refuses to fetch:
//! sources do that by themselves and nudge. Everything that happens ends in the same empty nudge.

mod bulletin;
mod control;
mod cycle;
mod heartbeat;
mod holder;
mod job;
mod ledger;
mod prover;
mod status;
mod target;

pub use control::{Answer, AskError, Request, ask};
pub use holder::Outcome;

use crate::client::ClientError;
use crate::config::{AgentConfig, Faults};
use crate::sources::{self, Nudge, Running};
use crate::sync::{Code, Finding};
use crate::sys::lock::{Lock, LockError};
use crate::sys::signals::Signal;
use crate::sys::{clock, systemd, watch};
use control::Asked;
use holder::Holder;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// A burst of changes to a watched file is one.
const QUIET: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_millis(500);
/// Editors write a configuration in several steps.
const CONFIG_QUIET: Duration = Duration::from_millis(500);
const CONFIG_MOST: Duration = Duration::from_secs(5);
/// Somebody else's rewriting of a file wakes us no more often than this.
const DRIFT_APART: Duration = Duration::from_secs(1);
/// Files that cannot be watched are looked at this often.
const UNWATCHED: Duration = Duration::from_secs(60);
/// How long a sync waits for its sources.
const SYNC_WITHIN: Duration = Duration::from_secs(45);

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The state directory is another agent's.
    #[error("{}: {source}", state_dir.display())]
    Locked {
        /// Which.
        state_dir: PathBuf,
        /// By whom.
        source: LockError,
    },
    /// A source cannot be built as it is configured.
    #[error("source \"{name}\": {source}")]
    Source {
        /// Its name.
        name: String,
        /// What is wrong.
        source: ClientError,
    },
    /// The agent's own state cannot be read.
    #[error("{}: {source}", path.display())]
    State {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Where an agent's configuration comes from, again at every reload.
pub type Load<'a> = &'a (dyn Fn() -> Result<AgentConfig, Faults> + Send + Sync);

/// Runs until it is told to stop. A turn that has begun is finished.
///
/// `file` is watched, and read again by `load` when it changes or a reload is asked for; a file
/// with a fault is refused and the configuration before it stays.
///
/// # Errors
/// [`AgentError`]: it never began, or cannot go on with a new configuration.
pub async fn run(
    mut config: AgentConfig,
    file: Option<PathBuf>,
    load: Load<'_>,
    mut wishes: mpsc::Receiver<Signal>,
) -> Result<(), AgentError> {
    let run = sources::new_run();
    let _ = clock::monotonic();
    let mut refused = None;
    let mut desk = None;
    let mut begun = begin(&config, &run, &mut desk).await?;
    loop {
        let (agent, _) = &mut begun;
        agent.holder.config_refused = refused.take();
        systemd::ready();
        let end = agent.serve(file.clone(), load, &mut wishes).await;
        let new = match end {
            End::Stop => {
                systemd::stopping();
                // Nothing may speak after the last word: it would be taken for a sign of life.
                agent.beats.shutdown().await;
                agent.holder.last_word().await;
                return Ok(());
            }
            End::Reload(new) => *new,
        };
        // The old one's lock and queries go first: the new one wants the same.
        let (agent, lock) = begun;
        desk = Some(agent.into_desk());
        drop(lock);
        begun = match begin(&new, &run, &mut desk).await {
            Ok(begun) => {
                config = new;
                begun
            }
            Err(fault) => {
                tracing::error!(%fault, "configuration refused; the old one stays");
                refused = Some(refusal(fault.to_string()));
                begin(&config, &run, &mut desk).await?
            }
        };
    }
}

async fn begin(
    config: &AgentConfig,
    run: &str,
    desk: &mut Option<Desk>,
) -> Result<(Agent, Lock), AgentError> {
    let lock = lock(config)?;
    Ok((Agent::start(config, run, desk).await?, lock))
}

fn refusal(text: String) -> Finding {
    Finding::new(Code::ConfigRefused, "configuration", text)
}

/// One full cycle over every source and target: asks, writes, asks sshd, reports.
///
/// # Errors
/// [`AgentError`]: it never began; beside a running agent it does not.
pub async fn once(config: &AgentConfig) -> Result<Outcome, AgentError> {
    let _lock = lock(config)?;
    let mut agent = Agent::start(config, &sources::new_run(), &mut None).await?;
    agent.ask_sources().await;
    agent.holder.turn().await;
    agent.holder.prove_all().await;
    Ok(agent.holder.report_once().await)
}

/// Takes out everything that was ever written; for when no agent runs.
///
/// # Errors
/// [`AgentError`]: it never began; a running agent is asked over its control socket instead.
pub async fn unmanage(config: &AgentConfig) -> Result<Outcome, AgentError> {
    let _lock = lock(config)?;
    let mut holder = Holder::load(config)?;
    holder.unmanage().await;
    Ok(holder.outcome())
}

fn lock(config: &AgentConfig) -> Result<Lock, AgentError> {
    Lock::try_take(&config.state_dir).map_err(|source| AgentError::Locked {
        state_dir: config.state_dir.clone(),
        source,
    })
}

struct Agent {
    holder: Holder,
    nudge: Nudge,
    desk: Desk,
    /// Those who wait for a sync, once its sources have answered.
    synced: mpsc::Receiver<oneshot::Sender<Answer>>,
    sources_answered: mpsc::Sender<oneshot::Sender<Answer>>,
    /// Heartbeats; they end with the agent.
    beats: JoinSet<()>,
}

/// Where people ask. It stays open over a reload: nobody's question is lost.
struct Desk {
    socket: PathBuf,
    unprivileged: bool,
    control: Option<control::Control>,
    requests: mpsc::Receiver<Asked>,
}

impl Desk {
    async fn open(config: &AgentConfig, before: Option<Self>) -> Self {
        let (socket, unprivileged) = (&config.control_socket, config.unprivileged);
        if let Some(before) = before {
            let same = before.socket == *socket && before.unprivileged == unprivileged;
            if same && before.control.is_some() {
                return before;
            }
            if let Some(control) = before.control {
                control.close().await;
            }
        }
        let (ask, requests) = mpsc::channel(16);
        let control = match control::start(socket, unprivileged, ask).await {
            Ok(control) => Some(control),
            Err(fault) => {
                // Keys matter more than being asked about them.
                tracing::error!(path = %socket.display(), %fault, "no control socket");
                None
            }
        };
        Self {
            socket: socket.clone(),
            unprivileged,
            control,
            requests,
        }
    }
}

enum End {
    Stop,
    Reload(Box<AgentConfig>),
}

impl Agent {
    /// A desk of the agent before it is taken over, once nothing can fail any more.
    async fn start(
        config: &AgentConfig,
        run: &str,
        desk: &mut Option<Desk>,
    ) -> Result<Self, AgentError> {
        let mut holder = Holder::load(config)?;
        let nudge = Nudge::default();
        for source in &config.sources {
            let running =
                sources::start(source, &config.state_dir, run, nudge.clone()).map_err(|fault| {
                    AgentError::Source {
                        name: source.name.clone(),
                        source: fault,
                    }
                })?;
            holder.sources.push(running);
        }
        let (sources_answered, synced) = mpsc::channel(16);
        let mut beats = JoinSet::new();
        for session in holder.sources.iter().filter_map(|s| s.session.clone()) {
            beats.spawn(heartbeat::beat(session, holder.watch(), config.heartbeat));
        }
        let desk = Desk::open(config, desk.take()).await;
        // What the run before held is in force at once, whoever can be reached now.
        nudge.nudge();
        Ok(Self {
            holder,
            nudge,
            desk,
            synced,
            sources_answered,
            beats,
        })
    }

    /// The loop. Everything that must not be cut off is awaited in the arms' bodies, never in the
    /// select itself.
    async fn serve(
        &mut self,
        file: Option<PathBuf>,
        load: Load<'_>,
        wishes: &mut mpsc::Receiver<Signal>,
    ) -> End {
        let mut drift = watch::watch(self.holder.files(), QUIET, MOST).ok();
        let mut edited =
            file.and_then(|file| watch::watch(vec![file], CONFIG_QUIET, CONFIG_MOST).ok());
        let mut reload = false;
        let watchdog = systemd::watchdog_interval().map(|interval| interval / 2);
        let mut pet = Instant::now();
        loop {
            if watchdog.is_some() && pet <= Instant::now() {
                systemd::watchdog();
                pet = Instant::now() + watchdog.unwrap_or(MOST);
            }
            if std::mem::take(&mut reload) {
                systemd::reloading();
                match load() {
                    Ok(config) => return End::Reload(Box::new(config)),
                    Err(faults) => {
                        tracing::error!(%faults, "configuration refused; the old one stays");
                        self.holder.config_refused = Some(refusal(faults.to_string()));
                        self.holder.publish();
                        systemd::ready();
                    }
                }
            }
            if drift.is_none() {
                // Where inotify cannot be had (a container's share of it may be used up), files
                // are looked at by the clock.
                self.holder.look_soon(UNWATCHED);
            }
            let due = self.holder.due();
            tokio::select! {
                wish = wishes.recv() => match wish {
                    None | Some(Signal::Stop) => return End::Stop,
                    Some(Signal::Reload) => reload = true,
                    Some(Signal::SyncNow) => drop(self.ask()),
                },
                () = self.nudge.nudged() => self.holder.turn().await,
                () = changed(&mut drift) => self.holder.look_soon(DRIFT_APART),
                () = changed(&mut edited) => reload = true,
                Some(asked) = self.desk.requests.recv() => self.request(asked).await,
                Some(answer) = self.synced.recv() => {
                    self.holder.turn().await;
                    self.answer(answer);
                }
                proved = self.holder.prover.done() => self.holder.proved(proved),
                () = wake_at(due) => self.holder.due_now().await,
                () = wake_at(watchdog.map(|_| pet)) => {}
            }
            if self.holder.take_moved() || drift.is_none() {
                drift = watch::watch(self.holder.files(), QUIET, MOST).ok();
            }
            self.holder.ask_sshd();
        }
    }

    /// Ends everything but the desk.
    fn into_desk(self) -> Desk {
        self.desk
    }

    /// Has every source asked now.
    fn ask(&self) -> Vec<oneshot::Receiver<()>> {
        self.holder.sources.iter().map(Running::ask).collect()
    }

    async fn ask_sources(&self) {
        wait_for(self.ask()).await;
    }

    async fn request(&mut self, asked: Asked) {
        let Asked { request, answer } = asked;
        match request {
            Request::Status => {}
            Request::Sync if self.holder.may_sync() => {
                let (heard, answered) = (self.ask(), self.sources_answered.clone());
                tokio::spawn(async move {
                    wait_for(heard).await;
                    // An agent that is gone closes the asker's channel.
                    let _ = answered.send(answer).await;
                });
                return;
            }
            Request::Sync => {
                let text = "a sync was asked for less than a second ago; ask again".to_owned();
                let _ = answer.send(Answer::Refused(text));
                return;
            }
            Request::Unmanage => self.holder.unmanage().await,
        }
        self.answer(answer);
    }

    fn answer(&self, answer: oneshot::Sender<Answer>) {
        let status = Box::new(self.holder.status());
        // The asker may have gone; the answer then has no reader.
        let _ = answer.send(Answer::Status(status));
    }
}

async fn wait_for(heard: Vec<oneshot::Receiver<()>>) {
    let all = async {
        for one in heard {
            // A closed channel means that the source has just been asked by somebody else.
            let _ = one.await;
        }
    };
    let _ = timeout(SYNC_WITHIN, all).await;
}

async fn changed(watched: &mut Option<watch::Watch>) {
    match watched {
        Some(watched) => watched.changed().await,
        None => std::future::pending().await,
    }
}

async fn wake_at(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
