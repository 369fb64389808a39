//! What one turn needs to know, gathered before it begins, and how it may stop.

use super::target::{Place, Target};
use crate::config::{Adopt, Method};
use crate::keys::{KeyList, PublicKey};
use crate::sinks::sshd::StrictModes;
use crate::sinks::{SinkError, strict_modes};
use crate::sources::SourceState;
use crate::sync::{
    Code, Desired, Dialect, Finding, HoldReason, Owned, TargetReport, Trace, Trouble, View,
    WantedKey,
};
use crate::sys::clock;
use crate::sys::dir::Owner;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Most keys that one turn logs of those that somebody put among ours.
const MAX_PUT_LOGGED: usize = 64;

/// One target with the lists in force.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// The local user.
    pub user: String,
    /// The file.
    pub path: PathBuf,
    /// The user's home.
    pub home: PathBuf,
    /// The user's ids.
    pub owner: Owner,
    /// How keys are put there.
    pub method: Method,
    /// Whether a file that cannot be replaced is written over in place.
    pub in_place: bool,
    /// Where the record of such a write is kept.
    pub spare: PathBuf,
    /// Where copies of lines go that a revocation takes out.
    pub removed: PathBuf,
    /// How sshd looks at owners and modes, where it does.
    pub strict_modes: Option<StrictModes>,
    /// Set once the turn has taken so long that it is not to write any more.
    pub overtaken: Arc<AtomicBool>,
    /// Whether foreign lines with the same key move into the block.
    pub adopt: bool,
    /// Each source of the target, in order: its name, and its list unless it is unknown.
    pub lists: Vec<(String, Option<Arc<KeyList>>)>,
    /// What the sshd there understands.
    pub dialect: Dialect,
    /// What the agent knows to be its own in the file.
    pub owned: Owned,
    /// Keys that were taken out of the file before and may stand in other lines of it.
    pub gone: Vec<PublicKey>,
    /// What of ours the turn before left in the file, if there was one.
    pub left: Option<Trace>,
    /// The time of the turn.
    pub now: Timestamp,
    /// The newest revision among the lists.
    pub revision: Option<u64>,
    /// Names temporary files.
    pub random: u64,
}

/// Why a turn ended before its file read as it ought to.
#[derive(Debug)]
pub(super) enum Stop {
    /// By decision.
    Held(HoldReason),
    /// At the file.
    Sink(SinkError),
    /// At the agent's own state: what cannot be remembered is not done.
    State(std::io::Error),
}

impl From<HoldReason> for Stop {
    fn from(why: HoldReason) -> Self {
        Self::Held(why)
    }
}

impl From<SinkError> for Stop {
    fn from(fault: SinkError) -> Self {
        Self::Sink(fault)
    }
}

impl Job {
    /// What a turn of this target needs, as it is now.
    pub(super) fn of(
        target: &Target,
        (path, home, owner): Place,
        states: &[Arc<SourceState>],
        dialect: &Dialect,
        owned: Owned,
        state_dir: &Path,
    ) -> Self {
        let settings = &target.settings;
        let of_target = |name: &String| states.iter().find(|state| state.name == *name);
        let sources: Vec<_> = settings.sources.iter().filter_map(of_target).collect();
        let lists = sources.iter().map(|s| (s.name.clone(), s.list.clone()));
        let revision = sources.iter().filter_map(|s| s.revision).max();
        Self {
            user: settings.user.clone(),
            spare: spare(state_dir, &path),
            removed: state_dir.join("removed"),
            path,
            home,
            owner,
            method: settings.method,
            in_place: settings.in_place,
            strict_modes: None,
            overtaken: Arc::default(),
            revision,
            adopt: settings.adopt == Adopt::SameKey,
            lists: lists.collect(),
            dialect: dialect.clone(),
            owned,
            gone: target.gone(),
            left: target.left(),
            now: clock::now(),
            random: rand::random(),
        }
    }

    /// The sources as the policy sees them.
    pub(super) fn views(&self) -> Vec<View<'_>> {
        self.lists
            .iter()
            .map(|(source, list)| View {
                source,
                list: list.as_deref(),
            })
            .collect()
    }

    /// A report that says what is wanted, and nothing done yet.
    pub(super) fn report(&self, desired: &Desired) -> TargetReport {
        // `sshkeyd authorized-keys` leaves out what has ended, whatever sshd knows.
        let needs_agent = desired.expiry_needs_agent && self.method != Method::Command;
        let needs_agent = needs_agent.then(|| {
            let text = "a key ends by the agent alone: sshd here knows no expiry-time";
            Finding::new(
                Code::ExpiryNeedsAgent,
                self.path.display().to_string(),
                text,
            )
        });
        TargetReport {
            findings: needs_agent.into_iter().collect(),
            owned: self.owned.clone(),
            wanted: desired.keys.iter().map(WantedKey::without_text).collect(),
            rejected: desired.rejected.clone(),
            next_expiry: desired.next_expiry,
            ..TargetReport::default()
        }
    }

    /// The report of a turn that stopped before it looked at the file.
    pub(super) fn stopped(&self, stop: Stop, desired: &Desired) -> TargetReport {
        self.stopped_after(self.report(desired), stop)
    }

    /// The report of a turn that stopped.
    pub(super) fn stopped_after(&self, mut report: TargetReport, stop: Stop) -> TargetReport {
        let about = self.path.display().to_string();
        report.trouble = Some(match stop {
            // Each source says for itself that it is unknown.
            Stop::Held(why @ HoldReason::SourceUnknown { .. }) => Trouble::Held(why),
            Stop::Held(why) => {
                let code = match why {
                    HoldReason::NotOurs => Code::OwnFileTaken,
                    _ => Code::AnotherAgent,
                };
                report
                    .findings
                    .push(Finding::new(code, about, why.to_string()));
                Trouble::Held(why)
            }
            Stop::Sink(fault) => {
                report.findings.push(fault.finding(&self.path, &self.home));
                Trouble::Fault(fault.to_string())
            }
            Stop::State(fault) => {
                report
                    .findings
                    .push(Finding::new(Code::StateFailed, about, fault.to_string()));
                Trouble::Fault(fault.to_string())
            }
        });
        report
    }

    /// What sshd's StrictModes has against the file that a turn left.
    pub(super) fn strict_modes(&self, report: &TargetReport) -> Option<Finding> {
        let strict = self.strict_modes?;
        if self.method == Method::Command || report.settled.is_none() {
            return None;
        }
        let about = self.path.display().to_string();
        // What cannot be looked at now the next turn looks at again.
        let mut refused = strict_modes::look(&self.path, &self.home, self.owner.uid).ok()?;
        if strict.private_groups_pass {
            refused = strict_modes::without_private_groups(refused);
        }
        let words: Vec<_> = refused.iter().map(ToString::to_string).collect();
        let text = (!words.is_empty()).then(|| words.join("; "))?;
        Some(Finding::new(Code::StrictModes, about, text))
    }

    /// One line in the log for each key that came or went.
    pub(super) fn log(&self, report: &TargetReport) {
        if !report.written {
            return;
        }
        let (local_user, path) = (&self.user, self.path.display());
        for fingerprint in &report.added {
            tracing::info!(local_user, %path, %fingerprint, "key added");
        }
        let keys = report.removed.iter().map(PublicKey::fingerprint);
        let (ours, put): (Vec<_>, Vec<_>) = keys.partition(|key| self.owned.keys.contains(key));
        for fingerprint in ours.iter().chain(put.iter().take(MAX_PUT_LOGGED)) {
            tracing::info!(local_user, %path, %fingerprint, "key removed");
        }
        if let Some(more @ 1..) = put.len().checked_sub(MAX_PUT_LOGGED) {
            tracing::info!(local_user, %path, more, "keys removed that were never ours");
        }
    }
}

/// Where the record of a write in place is kept.
fn spare(state_dir: &Path, file: &Path) -> PathBuf {
    let digest = Sha256::digest(file.as_os_str().as_encoded_bytes());
    let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    state_dir.join("in-place").join(name)
}
