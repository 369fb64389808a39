//! Everything that is held: sources' states, targets, what sshd said, conditions, status.

mod asked;
mod keeping;
mod late;
mod proving;
mod words;

use super::AgentError;
use super::bulletin::Bulletin;
use super::cycle::{Hands, turn};
use super::host_certificates::HostCertificates;
use super::job::Job;
use super::ledger::Ledger;
use super::lookups::Lookups;
use super::prover::Prover;
use super::sessions::Sessions;
use super::sshd_keeper::Keeper;
use super::target::Target;
use super::turns::{Turns, carry_out};
use super::user_certificates::UserCertificates;
use crate::config::AgentConfig;
use crate::sinks::LINGER;
use crate::sinks::sshd;
use crate::sources::{Running, SourceState};
use crate::sync::{Code, Dialect, Finding, TargetReport};
use crate::sys::clock;
use crate::wire::Status;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Everything is proved again this often, changed or not.
const PROVE_ALL: Duration = Duration::from_secs(24 * 3600);
/// Targets that failed are tried again this often, whether or not anything else happens.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// Files that sshd ignores for an owner or a mode are looked at again this often.
const LOOK_AT_MODES: Duration = Duration::from_secs(60);
/// Somebody else's rewriting of a file wakes us no more often than this.
const LOOKS_APART: Duration = Duration::from_millis(500);
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
    /// How sshd looks at owners and modes, as it said when the dialect was last looked up.
    strict_modes: Option<sshd::StrictModes>,
    modes_asked_at: Instant,
    pub(super) turns: Turns,
    pub(super) lookups: Lookups,
    /// Files that are still to be unmanaged.
    to_take_out: BTreeSet<PathBuf>,
    moved: bool,
    pub(super) prover: Prover,
    pub(super) keeper: Keeper,
    pub(super) user_certificates: UserCertificates,
    pub(super) host: HostCertificates,
    pub(super) sessions: Sessions,
    turned: bool,
    look_at: Option<Instant>,
    looked_at: Instant,
    prove_all_at: Instant,
    synced_at: Option<Instant>,
}

impl Holder {
    pub(super) async fn load(
        config: &AgentConfig,
        mut lookups: Lookups,
    ) -> Result<Self, AgentError> {
        let ledger = Ledger::load(&config.state_dir).map_err(|source| AgentError::State {
            path: config.state_dir.join("targets.json"),
            source,
        })?;
        let mut targets = Vec::new();
        for settings in &config.targets {
            targets.push(Target::begin(settings, &ledger, &mut lookups).await);
        }
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
            strict_modes: None,
            modes_asked_at: Instant::now(),
            turns: Turns::default(),
            lookups,
            to_take_out: BTreeSet::new(),
            moved: false,
            prover: Prover::new(config),
            keeper: Keeper::new(config),
            user_certificates: UserCertificates::new(config),
            host: HostCertificates::default(),
            sessions: Sessions::off(),
            turned: false,
            look_at: None,
            looked_at: Instant::now(),
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
        let known = known.filter(|path| path.is_absolute()).cloned();
        known.chain(self.user_certificates.files()).collect()
    }

    /// Whether a file has moved since this was last asked: a user came, or his home moved.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// One turn for each target: from the lists in force to what the files read.
    pub(super) async fn turn(&mut self) {
        self.look_at = None;
        self.looked_at = Instant::now();
        self.turned = true;
        self.turns.mark();
        if self.unmanaged {
            self.take_out_what_is_left().await;
        } else {
            if self.targets.iter().any(Target::is_refused_by_strict_modes)
                && self.modes_asked_at.elapsed() >= LOOK_AT_MODES
            {
                // sshd may have been told otherwise. No sooner: whoever owns a file decides how often
                // it has a turn, and each look starts programs and connects to sshd.
                self.dialect = None;
            }
            let (orders, dialect) = (self.states(), self.dialect().await);
            for at in 0..self.targets.len() {
                self.turn_of(at, &dialect, turn).await;
            }
            self.prover.excuse(&mut self.targets);
            self.save_ledger();
            self.certificates_turn(&orders).await;
            self.sessions.asked(&orders);
            if self.targets.iter().any(Target::has_carry) {
                self.look_soon(LINGER);
            }
            let again = |target: &Target| {
                target.is_to_be_tried_again() && !self.turns.is_under_way(&target.path)
            };
            if self.targets.iter().any(again) || self.lookups.are_under_way() {
                self.look_soon(TRY_AGAIN);
            }
            if self.targets.iter().any(Target::is_refused_by_strict_modes) {
                // chmod of a home is nothing that is watched.
                self.look_soon(LOOK_AT_MODES);
            }
        }
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
        let (home, owner) = match target.find(&mut self.lookups).await {
            Ok((home, owner, moved)) => {
                if moved {
                    target.remember(&self.ledger.entry(&target.path));
                }
                self.moved |= moved;
                (home, owner)
            }
            Err(finding) => {
                target.stopped = true;
                target.findings = vec![finding];
                // Nobody looks at this file until the user is back, so nothing is due in it.
                target.next_expiry = None;
                return;
            }
        };
        if let Some(first) = before.iter().find(|first| first.path == target.path) {
            return target.yields_to(&first.settings.user);
        }
        if self.turns.is_under_way(&target.path) {
            target.stopped = true;
            target.next_expiry = None;
            target.findings = self.turns.finding(&target.path).into_iter().collect();
            return;
        }
        let owned = self.ledger.entry(&target.path).owned;
        let place = (target.path.clone(), home, owner);
        let state_dir = &self.config.state_dir;
        let job = Job::of(target, place, &states, dialect, owned, state_dir);
        let job = Job {
            strict_modes: self.strict_modes,
            ..job
        };
        if target.rests(&job) {
            return;
        }
        // A turn begun is finished: the thread goes on whatever becomes of this future.
        let (ledger, carry) = (self.ledger.clone(), std::mem::take(&mut target.carry));
        let work = move |overtaken| carry_out(Job { overtaken, ..job }, &ledger, carry, cycle);
        let path = target.path.clone();
        match self.turns.begin(&path, work).await {
            Some(ended) => self.turn_ended(ended),
            // What is past would be due again at once, until the turn is over.
            None => self.targets.iter_mut().for_each(|target| {
                if target.path == path {
                    target.next_expiry = None;
                }
            }),
        }
    }

    fn save_ledger(&mut self) {
        self.state_failed = self.ledger.save().err().map(|fault| {
            let about = self.config.state_dir.display().to_string();
            Finding::new(Code::StateFailed, about, fault.to_string())
        });
    }

    /// Asks sshd what is to be asked. False when there was nothing to begin.
    pub(super) fn ask_sshd(&mut self) -> bool {
        !self.unmanaged && !self.keep_sshd() && self.begin_proof()
    }

    /// Asks about everything and waits for the answers; for `agent --once`.
    pub(super) async fn prove_all(&mut self) {
        self.keep_sshd_now().await;
        while self.ask_sshd() {
            let proved = self.prover.done().await;
            self.proved(proved);
        }
        self.publish();
    }

    /// When something is due that nobody will wake us for.
    pub(super) fn due(&self) -> Option<Instant> {
        let now = clock::now();
        // Nothing is taken out by the clock once all is: what is past would be due for ever.
        let kept = self.targets.iter().filter(|_| !self.unmanaged);
        let expiry = kept.filter_map(|t| t.next_expiry).min();
        let expiry = expiry.map(|end| {
            let wait = Duration::try_from(end.duration_since(now)).unwrap_or_default();
            // The clock of day may be set meanwhile: look again at least once a minute.
            Instant::now() + wait.min(Duration::from_secs(60)) + Duration::from_millis(10)
        });
        let drifts = self.targets.iter().filter_map(Target::drift_due).min();
        let fixed = [
            drifts,
            Some(self.prove_all_at),
            self.look_at,
            self.prover.due(),
            self.turns.due(),
            self.keeper.due(),
            // Nothing is tried again once all is taken out.
            self.user_certificates.due().filter(|_| !self.unmanaged),
            self.sessions.due(),
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
            self.prover.ask_certificates();
        }
        self.prover.ask_again(now, &mut self.targets);
        self.keeper.due_now(now);
        self.turn().await;
    }

    /// Has the files looked at after this while, if not sooner.
    pub(super) fn look_soon(&mut self, wait: Duration) {
        let at = Instant::now() + wait;
        self.look_at = Some(self.look_at.map_or(at, |before| before.min(at)));
    }

    /// Has the files looked at as soon as may be: one of them, or what leads to it, was changed.
    pub(super) fn file_changed(&mut self) {
        self.look_soon(LOOKS_APART.saturating_sub(self.looked_at.elapsed()));
    }

    /// Has what rests put right by the next turn.
    pub(super) fn wake(&mut self) {
        self.targets.iter_mut().for_each(Target::wake);
    }

    /// Whether a person's sync is due again.
    pub(super) fn may_sync(&mut self) -> bool {
        let now = Instant::now();
        if self.synced_at.is_some_and(|at| now < at + SYNC_APART) {
            return false;
        }
        self.synced_at = Some(now);
        self.keeper.again();
        true
    }

    /// Settles conditions and tells whoever follows the status.
    pub(super) fn publish(&mut self) {
        let status = self.user_certificates.status();
        let krl_is_coming = self.tell_in_force(status.as_ref());
        let more = [&self.config_refused, &self.state_failed];
        let more = more.into_iter().flatten();
        let can_prove = self.config.verify.is_some();
        self.sessions
            .let_go(&self.targets, can_prove, krl_is_coming);
        let (sessions, findings) = self.sessions.told();
        self.bulletin.sessions = sessions;
        let mut certificates = self.user_certificates.findings();
        self.bulletin.certificates = self.told_of_certificates(status, &mut certificates);
        let more = more.chain(&self.keeper.findings).chain(&findings);
        let mut more: Vec<_> = more.chain(&certificates).cloned().collect();
        self.host.tell(&mut more, &mut self.bulletin.certificates);
        let (states, unmanaged) = (self.states(), self.unmanaged);
        self.bulletin
            .publish(&states, &self.targets, &self.ledger, more, unmanaged);
    }

    fn states(&self) -> Vec<Arc<SourceState>> {
        let state = |source: &Running| Arc::clone(&source.state.borrow());
        self.sources.iter().map(state).collect()
    }
}
