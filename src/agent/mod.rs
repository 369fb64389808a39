//! The daemon on an instance: one loop that wakes for a reason, and the path of a key.
//!
//! `cycle.rs` is the path: what it does not name cannot reach a user's file. Owns turns, what is
//! held and owned, the proof's questions, status, control socket and heartbeats. Refuses to fetch:
//! sources do that by themselves and nudge. Everything that happens ends in the same empty nudge.

mod bulletin;
mod control;
mod cycle;
mod desk;
mod device;
mod drift;
mod heartbeat;
mod holder;
mod host_certificates;
mod index;
mod job;
mod ledger;
mod lookups;
mod own_file;
mod preview;
mod prover;
mod removed;
mod seal;
mod sessions;
mod sshd_keeper;
mod status;
mod target;
mod turns;
mod user_certificates;
mod waits;

pub use control::{Answer, AskError, Request, ask};
pub use holder::Outcome;
pub use sshd_keeper::sshd_lines;

use crate::client::ClientError;
use crate::config::{AgentConfig, Faults};
use crate::sources::{self, Nudge, Running};
use crate::sync::{Code, Finding};
use crate::sys::lock::{Lock, LockError};
use crate::sys::signals::Signal;
use crate::sys::watch::{self, Watch};
use crate::sys::{clock, private_file, systemd};
use desk::Desk;
use holder::Holder;
use lookups::Lookups;
use sessions::Sessions;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use waits::{changed, wait_for, wake_at};

/// A burst of changes to a watched file is one.
const QUIET: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_millis(500);
/// Editors write a configuration in several steps.
const CONFIG_QUIET: Duration = Duration::from_millis(500);
const CONFIG_MOST: Duration = Duration::from_secs(5);
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
    /// Something of ours is left, in words.
    #[error("{0}")]
    NotSealed(String),
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
                agent.holder.settle().await;
                agent.holder.sessions.close().await;
                agent.holder.last_word().await;
                return Ok(());
            }
            End::Reload(new) => *new,
        };
        // The old one's lock and queries go first: the new one wants the same.
        let (mut agent, lock) = begun;
        agent.holder.sessions.close().await;
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
    let lookups = desk.as_mut().map(|desk| std::mem::take(&mut desk.lookups));
    let lookups = lookups.unwrap_or_default();
    Ok((Agent::start(config, run, desk, lookups).await?, lock))
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
    let run = sources::new_run();
    let mut agent = Agent::start(config, &run, &mut None, Lookups::patient()).await?;
    agent.holder.sessions.close().await;
    agent.ask_sources().await;
    agent.holder.turn().await;
    agent.holder.settle().await;
    agent.holder.host_certificates_once().await;
    agent.holder.prove_all().await;
    Ok(agent.holder.report_once().await)
}

/// Takes out everything that was ever written; for when no agent runs.
///
/// # Errors
/// [`AgentError`]: it never began; a running agent is asked over its control socket instead.
pub async fn unmanage(config: &AgentConfig) -> Result<Outcome, AgentError> {
    let _lock = lock(config)?;
    let mut holder = Holder::load(config, Lookups::patient()).await?;
    holder.unmanage().await;
    Ok(holder.outcome())
}

/// [`unmanage`], and drops all that is kept of this machine; for when no agent runs.
///
/// # Errors
/// [`AgentError`]; `NotSealed` where a file could not be put back, or the state not be dropped.
pub async fn seal(config: &AgentConfig) -> Result<Outcome, AgentError> {
    let lock = lock(config)?;
    let mut holder = Holder::load(config, Lookups::patient()).await?;
    holder.seal().await.map_err(AgentError::NotSealed)?;
    lock.remove(&config.state_dir)
        .map_err(|source| AgentError::State {
            path: config.state_dir.clone(),
            source,
        })?;
    Ok(holder.outcome())
}

fn lock(config: &AgentConfig) -> Result<Lock, AgentError> {
    let lock = Lock::try_take(&config.state_dir).map_err(|source| AgentError::Locked {
        state_dir: config.state_dir.clone(),
        source,
    })?;
    // The directory is ours alone from here on: what lies about in it is a dead run's.
    if let Err(fault) = private_file::sweep(&config.state_dir) {
        tracing::debug!(%fault, "leftovers in the state directory");
    }
    Ok(lock)
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
        lookups: Lookups,
    ) -> Result<Self, AgentError> {
        let nudge = Nudge::default();
        let mut sources = Vec::new();
        for source in &config.sources {
            let run = (run, user_certificates::are_kept(config));
            let running = sources::start(source, &config.state_dir, run, nudge.clone());
            sources.push(running.map_err(|fault| AgentError::Source {
                name: source.name.clone(),
                source: fault,
            })?);
        }
        let mut holder = Holder::load(config, lookups).await?;
        holder.sources = sources;
        let (sources_answered, synced) = mpsc::channel(16);
        let mut beats = JoinSet::new();
        holder.sessions = Sessions::start(config).await;
        for (source, running) in config.sources.iter().zip(&holder.sources) {
            if let Some(session) = running.session.clone() {
                let feed = holder.sessions.feed(&source.name, &config.sshd.host_keys);
                let beat = heartbeat::beat(session, holder.watch(), feed, config.heartbeat);
                beats.spawn(beat);
            }
        }
        let mut desk = Desk::open(config, desk.take()).await;
        holder.turns = std::mem::take(&mut desk.turns);
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
        self.holder.start_host_certificates();
        let mut drift = self.watch().await;
        let mut edited = match file {
            Some(file) => watch::watch(vec![file], CONFIG_QUIET, CONFIG_MOST)
                .await
                .ok(),
            None => None,
        };
        let mut reload = false;
        // Those who asked for a sync, until every turn has ended or is known to be stuck.
        let mut waiting = Vec::new();
        let watchdog = systemd::watchdog_interval().map(|interval| interval / 2);
        let mut pet = Instant::now();
        loop {
            if watchdog.is_some() && pet <= Instant::now() {
                if self.holder.sources.iter().all(Running::is_alive) {
                    systemd::watchdog();
                } else {
                    tracing::error!("a source has ended; the watchdog is left to end the rest");
                }
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
            if drift.as_ref().is_none_or(Watch::is_stuck) {
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
                () = changed(&mut drift) => self.holder.file_changed(),
                () = changed(&mut edited) => reload = true,
                Some(asked) = self.desk.requests.recv() => self.request(asked).await,
                Some(answer) = self.synced.recv() => {
                    self.holder.wake();
                    self.holder.turn().await;
                    waiting.push(answer);
                }
                ended = self.holder.turns.ended() => self.holder.late_turn_ended(ended),
                proved = self.holder.prover.done() => self.holder.proved(proved),
                () = self.holder.sessions.changed() => self.holder.publish(),
                () = self.holder.host.changed() => self.holder.host_changed(),
                () = self.holder.lookups.answered() => self.holder.look_soon(Duration::ZERO),
                kept = self.holder.keeper.done() => self.holder.kept(kept),
                done = self.holder.user_certificates.late() => self.holder.certificates_put(done),
                () = wake_at(due) => self.holder.due_now().await,
                () = wake_at(watchdog.map(|_| pet)) => {}
            }
            if self.holder.take_moved() || drift.is_none() {
                drift = self.watch().await;
            }
            if self.holder.turns.due().is_none() {
                waiting.drain(..).for_each(|answer| self.answer(answer));
            }
            self.holder.ask_sshd();
        }
    }

    async fn watch(&self) -> Option<Watch> {
        watch::watch(self.holder.files(), QUIET, MOST).await.ok()
    }

    /// Ends everything but the desk and turns under way, which write nothing any more: what they
    /// know is the old configuration.
    fn into_desk(mut self) -> Desk {
        self.desk.lookups = std::mem::take(&mut self.holder.lookups);
        self.desk.turns = std::mem::take(&mut self.holder.turns);
        self.desk.turns.overtake();
        self.desk
    }

    /// Has every source asked now.
    fn ask(&self) -> Vec<oneshot::Receiver<()>> {
        self.holder.sources.iter().map(Running::ask).collect()
    }

    async fn ask_sources(&self) {
        wait_for(self.ask()).await;
    }

    fn answer(&self, answer: oneshot::Sender<Answer>) {
        let status = Box::new(self.holder.status());
        // The asker may have gone; the answer then has no reader.
        let _ = answer.send(Answer::Status(status));
    }
}
