//! What one turn needs to know, gathered before it begins, and how it may stop.

use crate::keys::{KeyList, PublicKey};
use crate::sinks::SinkError;
use crate::sync::{
    Code, Desired, Dialect, Finding, HoldReason, Owned, TargetReport, Trouble, View,
};
use crate::sys::dir::Owner;
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;

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
    /// The time of the turn.
    pub now: Timestamp,
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
        let needs_agent = desired.expiry_needs_agent.then(|| {
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
            wanted: desired.keys.clone(),
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
                report
                    .findings
                    .push(Finding::new(Code::AnotherAgent, about, why.to_string()));
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

    /// One line in the log for each key that came or went.
    pub(super) fn log(&self, report: &TargetReport) {
        if !report.written {
            return;
        }
        let (local_user, path) = (&self.user, self.path.display());
        for fingerprint in &report.added {
            tracing::info!(local_user, %path, %fingerprint, "key added");
        }
        for key in &report.removed {
            let fingerprint = key.fingerprint();
            tracing::info!(local_user, %path, %fingerprint, "key removed");
        }
    }
}
