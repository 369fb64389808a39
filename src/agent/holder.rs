//! Everything that is held: sources' states, targets, what sshd said, conditions, status.

use super::AgentError;
use super::bulletin::Bulletin;
use super::cycle::{Hands, turn, undo};
use super::heartbeat;
use super::job::Job;
use super::ledger::{Entry, Ledger};
use super::prover::{Proved, Prover};
use super::target::Target;
use crate::config::{Adopt, AgentConfig};
use crate::sinks::LINGER;
use crate::sinks::proof::read_banner;
use crate::sinks::sshd;
use crate::sources::{Running, SourceState};
use crate::sync::{Code, Dialect, Finding, TargetReport};
use crate::sys::clock;
use crate::wire::Status;
use jiff::tz::TimeZone;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Everything is proved again this often, changed or not.
const PROVE_ALL: Duration = Duration::from_secs(24 * 3600);
/// Targets that failed are tried again this often, whether or not anything else happens.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// A banner that does not come at once is not waited for: keys come first.
const BANNER_WITHIN: Duration = Duration::from_secs(1);
/// Syncs that people ask for.
const SYNC_APART: Duration = Duration::from_secs(1);

/// How one pass over everything ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Everything, as `sshkeyd status` shows it.
    pub status: Status,
    /// Whether every source answered.
    pub sources_answered: bool,
    /// Whether every target reads as it ought to.
    pub targets_settled: bool,
}

pub(super) struct Holder {
    config: AgentConfig,
    pub(super) sources: Vec<Running>,
    targets: Vec<Target>,
    ledger: Ledger,
    bulletin: Bulletin,
    pub(super) config_refused: Option<Finding>,
    state_failed: Option<Finding>,
    unmanaged: bool,
    dialect: Option<Dialect>,
    moved: bool,
    pub(super) prover: Prover,
    look_at: Option<Instant>,
    prove_all_at: Instant,
    synced_at: Option<Instant>,
}

impl Holder {
    pub(super) fn load(config: &AgentConfig) -> Result<Self, AgentError> {
        let ledger = Ledger::load(&config.state_dir).map_err(|source| AgentError::State {
            path: config.state_dir.join("targets.json"),
            source,
        })?;
        let begin = |settings: &crate::config::Target| {
            let mut target = Target::new(settings.clone(), &Entry::default());
            // The file's name needs the user, and its record the file's name.
            if target.find().is_ok() {
                target = Target::new(settings.clone(), &ledger.entry(&target.path));
                let _ = target.find();
            }
            target
        };
        let targets: Vec<_> = config.targets.iter().map(begin).collect();
        let bulletin = Bulletin::new(&targets);
        Ok(Self {
            config: config.clone(),
            sources: Vec::new(),
            targets,
            ledger,
            bulletin,
            config_refused: None,
            state_failed: None,
            unmanaged: false,
            dialect: None,
            moved: false,
            prover: Prover::new(config),
            look_at: None,
            prove_all_at: Instant::now() + PROVE_ALL,
            synced_at: None,
        })
    }

    /// Follows the status.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Status>> {
        self.bulletin.follow()
    }

    /// The status now, sources' latest words included.
    pub(super) fn status(&self) -> Status {
        let states = self.states();
        self.bulletin.status(&states, &self.targets, self.unmanaged)
    }

    /// Files that are worth watching.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        // A target whose user is not there yet has no file yet.
        let known = self.targets.iter().map(|target| &target.path);
        known.filter(|path| path.is_absolute()).cloned().collect()
    }

    /// Whether a file has moved since this was last asked: a user came, or his home moved.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// One turn for each target: from the lists in force to what the files read.
    pub(super) async fn turn(&mut self) {
        self.look_at = None;
        if !self.unmanaged {
            let dialect = self.dialect().await;
            for at in 0..self.targets.len() {
                self.turn_of(at, &dialect, turn).await;
            }
            self.prover.excuse(&mut self.targets);
            self.save_ledger();
            if self.targets.iter().any(Target::has_carry) {
                self.look_soon(LINGER);
            }
            if self.targets.iter().any(Target::is_to_be_tried_again) {
                self.look_soon(TRY_AGAIN);
            }
        }
        self.publish();
    }

    /// Takes out everything that was ever written; nothing more is written until a reload.
    pub(super) async fn unmanage(&mut self) {
        self.unmanaged = true;
        for at in 0..self.targets.len() {
            self.turn_of(at, &Dialect::default(), undo).await;
        }
        self.save_ledger();
        self.publish();
    }

    async fn turn_of(
        &mut self,
        at: usize,
        dialect: &Dialect,
        cycle: fn(&Job, Hands<'_>) -> TargetReport,
    ) {
        let states = self.states();
        let Some((before, [target, ..])) = self.targets.split_at_mut_checked(at) else {
            return;
        };
        let was = target.path.clone();
        let (home, owner) = match target.find() {
            Ok(found) => found,
            Err(finding) => {
                target.stopped = true;
                target.findings = vec![finding];
                // Nobody looks at this file until the user is back, so nothing is due in it.
                target.next_expiry = None;
                return;
            }
        };
        self.moved |= target.path != was;
        if let Some(first) = before.iter().find(|first| first.path == target.path) {
            return target.yields_to(&first.settings.user);
        }
        let of_target = |name: &String| states.iter().find(|state| state.name == *name);
        let sources: Vec<_> = target
            .settings
            .sources
            .iter()
            .filter_map(of_target)
            .collect();
        let lists = sources.iter().map(|s| (s.name.clone(), s.list.clone()));
        let revision = sources.iter().filter_map(|s| s.revision).max();
        let job = Job {
            user: target.settings.user.clone(),
            path: target.path.clone(),
            home,
            owner,
            adopt: target.settings.adopt == Adopt::SameKey,
            lists: lists.collect(),
            dialect: dialect.clone(),
            owned: self.ledger.entry(&target.path).owned,
            gone: target.gone(),
            now: clock::now(),
            random: rand::random(),
        };
        // A turn begun is finished: the thread goes on whatever becomes of this future.
        let ledger = self.ledger.clone();
        let mut carry = std::mem::take(&mut target.carry);
        let work = tokio::task::spawn_blocking(move || {
            let mut ledger = ledger;
            let path = job.path.clone();
            let mut remember = |owned: &crate::sync::Owned| {
                let mut entry = ledger.entry(&path);
                entry.owned = owned.clone();
                ledger.put(&path, entry);
                ledger.save()
            };
            let hands = Hands {
                remember: &mut remember,
                carry: &mut carry,
            };
            let report = cycle(&job, hands);
            (job, report, ledger, carry)
        });
        let Ok((job, report, ledger, carry)) = work.await else {
            let text = "the turn broke off; see the log";
            target.stopped = true;
            // What is past would be due again at once, for ever.
            target.next_expiry = None;
            target.findings = vec![Finding::new(
                Code::WriteFailed,
                was.display().to_string(),
                text,
            )];
            return;
        };
        // It knows what is on the disk by now.
        self.ledger = ledger;
        job.log(&report);
        target.took_turn(&job, &report, revision);
        target.carry_over(carry);
        if self.unmanaged {
            target.release();
        }
        self.ledger.put(&job.path, target.entry(&report));
    }

    fn save_ledger(&mut self) {
        self.state_failed = self.ledger.save().err().map(|fault| {
            let about = self.config.state_dir.display().to_string();
            Finding::new(Code::StateFailed, about, fault.to_string())
        });
    }

    /// What the sshd there understands: by its banner, else by `sshd -V`. Looked up once, and again
    /// when a proof saw another banner.
    async fn dialect(&mut self) -> Dialect {
        if let Some(dialect) = &self.dialect {
            return dialect.clone();
        }
        let banner = match self.config.verify {
            Some(address) => timeout(BANNER_WITHIN, read_banner(address))
                .await
                .ok()
                .flatten(),
            None => None,
        };
        let version = match banner.as_deref().and_then(sshd::version_in) {
            Some(version) => Some(version),
            None => sshd::version(&self.config.sshd).await,
        };
        let dialect = Dialect {
            sshd: version,
            zone: TimeZone::system(),
        };
        self.dialect = Some(dialect.clone());
        dialect
    }

    /// Asks sshd what is to be asked. False when there was nothing to begin.
    pub(super) fn ask_sshd(&mut self) -> bool {
        !self.unmanaged && self.prover.begin(&mut self.targets)
    }

    /// Takes what came of a proof.
    pub(super) fn proved(&mut self, proved: Option<Proved>) {
        let version = self.prover.take(proved, &mut self.targets);
        let known = self.dialect.as_ref().map(|dialect| dialect.sshd);
        if version.is_some() && known.is_some_and(|known| known != version) {
            // sshd was upgraded, or was not there before: lines may have to read otherwise.
            self.dialect = None;
            self.look_soon(Duration::ZERO);
        }
        self.publish();
    }

    /// Asks about everything and waits for the answers; for `agent --once`.
    pub(super) async fn prove_all(&mut self) {
        while self.ask_sshd() {
            let proved = self.prover.done().await;
            self.proved(proved);
        }
        self.publish();
    }

    /// When something is due that nobody will wake us for.
    pub(super) fn due(&self) -> Option<Instant> {
        let now = clock::now();
        let expiry = self.targets.iter().filter_map(|t| t.next_expiry).min();
        let expiry = expiry.map(|end| {
            let wait = Duration::try_from(end.duration_since(now)).unwrap_or_default();
            // The clock of day may be set meanwhile: look again at least once a minute.
            Instant::now() + wait.min(Duration::from_secs(60)) + Duration::from_millis(10)
        });
        let fixed = [
            Some(self.prove_all_at),
            self.look_at,
            self.prover.due(),
            expiry,
        ];
        fixed.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) async fn due_now(&mut self) {
        let now = Instant::now();
        if self.prove_all_at <= now {
            self.prove_all_at = now + PROVE_ALL;
            self.targets.iter_mut().for_each(Target::ask_all);
        }
        self.prover.ask_again(now, &mut self.targets);
        self.turn().await;
    }

    /// Has the files looked at after this while, if not sooner.
    pub(super) fn look_soon(&mut self, wait: Duration) {
        let at = Instant::now() + wait;
        self.look_at = Some(self.look_at.map_or(at, |before| before.min(at)));
    }

    /// Whether a person's sync is due again.
    pub(super) fn may_sync(&mut self) -> bool {
        let now = Instant::now();
        if self.synced_at.is_some_and(|at| now < at + SYNC_APART) {
            return false;
        }
        self.synced_at = Some(now);
        true
    }

    /// Settles conditions and tells whoever follows the status.
    pub(super) fn publish(&mut self) {
        let more = [&self.config_refused, &self.state_failed];
        let more: Vec<_> = more.into_iter().flatten().cloned().collect();
        let (states, unmanaged) = (self.states(), self.unmanaged);
        self.bulletin
            .publish(&states, &self.targets, &self.ledger, more, unmanaged);
    }

    /// What `agent --once` says: one heartbeat, then how it went.
    pub(super) async fn report_once(&mut self) -> Outcome {
        let status = self.status();
        for source in &self.sources {
            let session = source.session.as_ref().and_then(|s| s.borrow().clone());
            if let Some(session) = session
                && let Err(fault) = heartbeat::once(&session, &status).await
            {
                tracing::warn!(%fault, "heartbeat");
            }
        }
        self.outcome()
    }

    pub(super) fn outcome(&self) -> Outcome {
        let status = self.status();
        Outcome {
            sources_answered: self.states().iter().all(|state| state.live),
            targets_settled: self
                .targets
                .iter()
                .all(|target| target.settled.is_some() && !target.stopped),
            status,
        }
    }

    /// The last heartbeat of a clean stop.
    pub(super) async fn last_word(&mut self) {
        let status = self.status();
        for source in std::mem::take(&mut self.sources) {
            let session = source.session.as_ref().and_then(|s| s.borrow().clone());
            // Its query goes before the word, not after.
            drop(source);
            heartbeat::last_word(session, &status).await;
        }
    }

    fn states(&self) -> Vec<Arc<SourceState>> {
        let state = |source: &Running| Arc::clone(&source.state.borrow());
        self.sources.iter().map(state).collect()
    }
}
