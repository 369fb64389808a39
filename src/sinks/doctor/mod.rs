//! Why a login with an account key works here, or does not: every cause of "Permission denied
//! (publickey)" that can be seen from the machine itself, in the words of a fix.
//!
//! `gather` looks, `judge` says what it means and looks at nothing, so that each cause has a
//! test. Changes nothing: what we did not create we do not mend, we say how.

mod allowed;
mod asking;
mod certificates;
mod facts;
mod file;
mod gather;
mod judge;
mod keys;
pub(in crate::sinks) mod patterns;

pub use super::sshd::Settings;
pub use facts::{
    Account, CaFile, Facts, FileFacts, FileState, KeyFacts, Listener, Principals, Revoked, Shell,
    SshdFacts, Stat,
};
pub use judge::judge;

use crate::config::{Method, PathTemplate, SshdPaths, Target};
use crate::sync::Code;
use crate::wire::{Condition, DoctorReport, Level, Proof, Status};
use jiff::Timestamp;
use std::net::SocketAddr;

/// Who is examined, and what is known of him from the configuration and from a running agent.
#[derive(Debug, Clone)]
pub struct Patient {
    /// The local user.
    pub user: String,
    /// Where his keys are put; none where he is no target.
    pub target: Option<(PathTemplate, Method)>,
    /// What the running agent says; none where none runs.
    pub agent: Option<AgentWord>,
}

/// What a running agent says of a target.
#[derive(Debug, Clone, Default)]
pub struct AgentWord {
    /// Fingerprints that it keeps in the file.
    pub managed: Vec<String>,
    /// What sshd said when the agent last asked.
    pub proof: Option<Proof>,
    /// What stands.
    pub conditions: Vec<Condition>,
}

impl AgentWord {
    /// Whether a look at the file would not come back: its file system does not answer.
    fn is_stuck(&self) -> bool {
        let stuck = Code::TargetStuck.as_str();
        self.conditions
            .iter()
            .any(|standing| standing.code == stuck)
    }
}

/// Those who are to be examined: one user, or every target's. With the status of a running agent of
/// these targets, and whether only what is about a target's own file may be told.
#[must_use]
pub fn patients(
    user: Option<&str>,
    targets: &[&Target],
    status: Option<(&Status, bool)>,
) -> Vec<Patient> {
    let mut patients = Vec::new();
    for (at, target) in targets.iter().enumerate() {
        if user.is_none_or(|user| user == target.user) {
            patients.push(Patient {
                user: target.user.clone(),
                target: Some((target.path.clone(), target.method)),
                agent: status.map(|(status, of_own)| word_of(status, at, of_own)),
            });
        }
    }
    if let Some(user) = user.filter(|_| patients.is_empty()) {
        patients.push(Patient {
            user: user.to_owned(),
            target: None,
            agent: status.map(|_| AgentWord::default()),
        });
    }
    patients
}

/// What a status says of its target of this number.
fn word_of(status: &Status, at: usize, of_own: bool) -> AgentWord {
    let Some(known) = status.targets.get(at) else {
        return AgentWord::default();
    };
    let is_about = |condition: &&Condition| {
        let about = &condition.about;
        let is_of_a_target = |t: &crate::wire::TargetStatus| t.path == *about || t.user == *about;
        let general = !of_own && !status.targets.iter().any(is_of_a_target);
        is_of_a_target(known) || general
    };
    AgentWord {
        managed: known.managed.clone(),
        proof: known.proof.clone(),
        conditions: status.conditions.iter().filter(is_about).cloned().collect(),
    }
}

/// Examines one user. Where no agent runs, sshd itself is asked about the keys that are there.
/// `lines` are those that the targets need in sshd's configuration.
pub async fn examine(
    paths: &SshdPaths,
    verify: Option<SocketAddr>,
    lines: &str,
    patient: &Patient,
    now: Timestamp,
) -> DoctorReport {
    let facts = gather::gather(paths, verify, lines, patient, now).await;
    report(&facts)
}

/// What the facts come to, problems first.
#[must_use]
pub fn report(facts: &Facts) -> DoctorReport {
    let mut findings = judge(facts);
    findings.sort_by_key(|finding| finding.level);
    findings.dedup();
    DoctorReport {
        user: facts.user.clone(),
        healthy: findings.iter().all(|f| f.level != Level::Problem),
        findings,
    }
}

#[cfg(test)]
mod tests;
