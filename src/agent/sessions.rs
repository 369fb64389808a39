//! Live sessions while the agent runs: told in status and heartbeats, ended when a fresh list asks.
//!
//! Here is when: the file and the revocation list first, then sshd's word that it refuses the key (or
//! its time is over), then the end. The task beside the loop (`task.rs`) knows which sessions there are, and ends them.

mod book;
mod certificates;
mod task;

pub(super) use certificates::Trusted;

use super::device::device;
use super::target::Target;
use crate::config::{AgentConfig, EndOnRevoke};
use crate::keys::Fingerprint;
use crate::sinks::sessions::Wanted;
use crate::sources::SourceState;
use crate::sync::{Finding, TargetReport};
use crate::sys::clock;
use crate::wire::{self, EndSessions, HeartbeatRequest, OrderResult};
use book::OrderId;
use certificates::Told;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use task::{Command, Task, View};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// sshd's word is waited for this long.
const PROOF_WITHIN: Duration = Duration::from_secs(10);
/// Most that wait for it.
const MAX_WAITING: usize = 4096;
/// Commands on their way to the task.
const COMMANDS: usize = 64;
/// What has begun to end is finished before the agent goes.
const CLOSE_WITHIN: Duration = Duration::from_secs(8);

/// Live sessions, as the agent's loop sees them.
pub(super) struct Sessions {
    end_on_revoke: EndOnRevoke,
    running: Option<Running>,
    waiting: Vec<Waiting>,
    /// Orders that were handed on in this run.
    seen: BTreeSet<OrderId>,
    /// Keys of the last lists, per source that ends sessions with its instance.
    removal: bool,
    /// What the task was last told of certificates, by source.
    told: Vec<Told>,
    /// Sources that this instance is no more a part of, as the task was told.
    left: BTreeSet<String>,
}

struct Running {
    view: watch::Receiver<Arc<View>>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Waiting {
    command: Command,
    key: Option<Fingerprint>,
    since: Instant,
}

impl Sessions {
    /// Nothing is known of any session, and none ends.
    pub(super) fn off() -> Self {
        Self {
            end_on_revoke: EndOnRevoke::Never,
            running: None,
            waiting: Vec::new(),
            seen: BTreeSet::new(),
            removal: false,
            told: Vec::new(),
            left: BTreeSet::new(),
        }
    }

    /// Begins to read sshd's log; where nothing is to be done, orders are still answered.
    pub(super) async fn start(config: &AgentConfig) -> Self {
        let (tell, view) = watch::channel(Arc::default());
        let (commands, asked) = mpsc::channel(COMMANDS);
        let task = Task::load(config, tell, asked).await;
        Self {
            end_on_revoke: config.sessions.end_on_revoke,
            running: Some(Running {
                view,
                commands,
                task: tokio::spawn(task.run()),
            }),
            ..Self::off()
        }
    }

    /// Ends the task; what has begun to end is finished first.
    pub(super) async fn close(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        // A task that is gone has closed the channel.
        let _ = running.commands.send(Command::Stop).await;
        if timeout(CLOSE_WITHIN, &mut running.task).await.is_err() {
            tracing::warn!("sessions were still ending when the agent went");
        }
    }

    /// Waits until there is something new to tell. Safe to cancel.
    pub(super) async fn changed(&mut self) {
        follow(self.running.as_mut().map(|running| &mut running.view)).await;
    }

    /// What is told now: sessions, and what an administrator should hear.
    pub(super) fn told(&self) -> (Vec<wire::Session>, Vec<Finding>) {
        let view = self
            .running
            .as_ref()
            .map(|running| running.view.borrow().clone());
        let view = view.unwrap_or_default();
        (view.sessions.clone(), view.findings.clone())
    }

    /// Takes orders of lists that are in the files by now.
    pub(super) fn asked(&mut self, states: &[Arc<SourceState>]) {
        let (now, since_boot) = (clock::now(), clock::since_boot());
        self.removal = states.iter().any(|state| state.orders.removal);
        for state in states {
            for order in &state.orders.list {
                let id = (state.name.clone(), order.id);
                let theirs = now.checked_add(state.orders.ahead).unwrap_or(now);
                if order.until <= theirs || self.waiting.len() >= MAX_WAITING {
                    continue;
                }
                if self.running.is_none() || !self.seen.insert(id.clone()) {
                    continue;
                }
                let listed = |key: &Fingerprint| states.iter().any(|state| has(state, key));
                let Some((wanted, key)) = wanted(order, listed, (theirs, since_boot)) else {
                    tracing::warn!(order = order.id, "an order that names nothing");
                    continue;
                };
                let refused = self.end_on_revoke == EndOnRevoke::Never;
                self.wait(
                    key,
                    Command::Order {
                        id,
                        wanted,
                        refused,
                    },
                );
            }
        }
        self.removed(states);
    }

    /// A turn took keys out of a user's file.
    pub(super) fn keys_went(&mut self, user: &str, report: &TargetReport) {
        let always = self.end_on_revoke == EndOnRevoke::Always;
        let removal = self.removal && self.end_on_revoke != EndOnRevoke::Never;
        if self.running.is_none() || !(always || removal) {
            return;
        }
        let mut going = Vec::new();
        for key in &report.removed {
            let key = key.fingerprint();
            let stays = report.wanted.iter().any(|wanted| wanted.fingerprint == key);
            if stays || self.waiting.len() >= MAX_WAITING {
                continue;
            }
            let wanted = Wanted {
                key: Some(key),
                user: Some(user.to_owned()),
                before: clock::since_boot(),
                ..Wanted::default()
            };
            let id = book::own_id();
            going.push((id.clone(), wanted.clone()));
            self.wait(Some(key), Command::Went { id, wanted });
        }
        if let Some(running) = self.running.as_ref().filter(|_| !going.is_empty()) {
            // A task that has no room for it ends them all the same, unless it is cut off.
            let _ = running.commands.try_send(Command::Going(going));
        }
    }

    fn wait(&mut self, key: Option<Fingerprint>, command: Command) {
        self.waiting.push(Waiting {
            command,
            key,
            since: Instant::now(),
        });
    }

    /// Hands on what need not wait any more. `krl_is_coming`: a list has a revocation list that sshd
    /// does not enforce yet, and soon will. A session that ended before would come right back.
    pub(super) fn let_go(&mut self, targets: &[Target], can_prove: bool, krl_is_coming: bool) {
        let Some(running) = &self.running else { return };
        let now = Instant::now();
        let awaits = |key: &Fingerprint| can_prove && targets.iter().any(|t| t.awaits_refusal(key));
        self.waiting.retain(|waiting| {
            let in_time = now < waiting.since + PROOF_WITHIN;
            let waits = in_time && (krl_is_coming || waiting.key.as_ref().is_some_and(awaits));
            // A full queue is tried again with the next look.
            waits || running.commands.try_send(waiting.command.clone()).is_err()
        });
    }

    /// When something need not wait any more, whatever sshd says.
    pub(super) fn due(&self) -> Option<Instant> {
        let first = self.waiting.iter().map(|waiting| waiting.since).min()?;
        let again = Instant::now() + Duration::from_millis(100);
        Some((first + PROOF_WITHIN).max(again))
    }

    /// What the heartbeats of a source carry.
    pub(super) fn feed(&self, source: &str, host_keys: &[PathBuf]) -> Feed {
        let running = self.running.as_ref();
        Feed {
            source: source.to_owned(),
            host_keys: host_keys.to_vec(),
            view: running.map(|running| running.view.clone()),
            commands: running.map(|running| running.commands.clone()),
            told: Vec::new(),
        }
    }
}

/// Waits for news; for ever where nothing more comes.
async fn follow(view: Option<&mut watch::Receiver<Arc<View>>>) {
    let news = match view {
        Some(view) => view.changed().await.is_ok(),
        None => false,
    };
    if !news {
        std::future::pending::<()>().await;
    }
}

fn has(state: &SourceState, key: &Fingerprint) -> bool {
    let list = state.list.as_ref();
    list.is_some_and(|list| list.accepted.iter().any(|k| k.key.fingerprint() == *key))
}

/// Whose sessions an order means, and the key that sshd is to refuse first.
fn wanted(
    order: &EndSessions,
    listed: impl Fn(&Fingerprint) -> bool,
    (theirs, since_boot): (Timestamp, Duration),
) -> Option<(Wanted, Option<Fingerprint>)> {
    let key: Option<Fingerprint> = match &order.fingerprint {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    if key.is_none() && order.serial.is_none() && order.key_id.is_none() {
        return None;
    }
    // A key that was saved again opens what its owner wants open: only older sessions end. How long
    // ago that was asked needs no clock of day of ours.
    let again = key.as_ref().is_some_and(listed);
    let ago = theirs
        .duration_since(order.asked_at)
        .max(SignedDuration::ZERO);
    let asked_at = since_boot.saturating_sub(Duration::try_from(ago).unwrap_or_default());
    let wanted = Wanted {
        key,
        serial: order.serial,
        key_id: order.key_id.clone(),
        before: if again { asked_at } else { Duration::MAX },
        ..Wanted::default()
    };
    Some((wanted, key.filter(|_| !again)))
}

/// What heartbeats of one source carry beside the status.
pub(super) struct Feed {
    source: String,
    host_keys: Vec<PathBuf>,
    view: Option<watch::Receiver<Arc<View>>>,
    commands: Option<mpsc::Sender<Command>>,
    told: Vec<OrderResult>,
}

impl Feed {
    /// Adds the machine and the results of orders.
    pub(super) fn add_to(&mut self, body: &mut HeartbeatRequest) {
        body.device = Some(device(&self.host_keys));
        body.orders = self.results();
        self.told.clone_from(&body.orders);
    }

    /// The service has heard these.
    pub(super) async fn heard(&self, results: &[OrderResult]) {
        let Some(commands) = self.commands.as_ref().filter(|_| !results.is_empty()) else {
            return;
        };
        let ids = results
            .iter()
            .map(|result| (self.source.clone(), result.id));
        // A task that is gone has told the rest to the disk.
        let _ = commands.send(Command::Heard(ids.collect())).await;
    }

    /// Waits for a result that was not told yet. Safe to cancel.
    pub(super) async fn changed(&mut self) {
        loop {
            let results = self.results();
            if results.iter().any(|result| !self.told.contains(result)) {
                return;
            }
            follow(self.view.as_mut()).await;
        }
    }

    fn results(&mut self) -> Vec<OrderResult> {
        let view = self
            .view
            .as_mut()
            .map(|view| view.borrow_and_update().clone());
        let view = view.unwrap_or_default();
        let ours = view
            .results
            .iter()
            .filter(|((source, _), _)| *source == self.source);
        ours.map(|(_, result)| result.clone())
            .take(MAX_TOLD)
            .collect()
    }
}

/// Most results of one heartbeat.
const MAX_TOLD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "SHA256:uNiVztksCsDhcc0u9e8BrQwN2sVAZMVwJDMXVI+iNUE";

    fn order(asked_at: &str) -> EndSessions {
        EndSessions {
            id: 1,
            fingerprint: Some(KEY.to_owned()),
            serial: None,
            key_id: None,
            asked_at: asked_at.parse().unwrap(),
            until: Timestamp::MAX,
        }
    }

    #[test]
    fn only_a_key_that_was_saved_again_has_sessions_that_stay() {
        let now: Timestamp = "2026-11-22T19:01:00Z".parse().unwrap();
        let up = Duration::from_secs(1000);
        let before = |order: &EndSessions, again| {
            let (wanted, awaited) = wanted(order, |_| again, (now, up)).unwrap();
            assert_eq!(awaited.is_none(), again);
            wanted.before
        };
        let asked = order("2026-11-22T19:00:00Z");
        assert_eq!(before(&asked, false), Duration::MAX);
        assert_eq!(before(&asked, true), Duration::from_secs(940));
        // Asked before the boot: whatever is here came after.
        assert_eq!(before(&order("2026-11-20T19:00:00Z"), true), Duration::ZERO);
        // Asked in the future, by a clock that is off.
        assert_eq!(before(&order("2027-11-20T19:00:00Z"), true), up);
    }

    #[test]
    fn an_order_that_names_nothing_means_nobody() {
        let now = Timestamp::UNIX_EPOCH;
        let mut none = order("2026-11-22T19:00:00Z");
        none.fingerprint = None;
        assert!(wanted(&none, |_| false, (now, Duration::ZERO)).is_none());
        none.serial = Some(7);
        assert!(wanted(&none, |_| false, (now, Duration::ZERO)).is_some());
        none.fingerprint = Some("SHA256:x".to_owned());
        assert!(wanted(&none, |_| false, (now, Duration::ZERO)).is_none());
    }
}
