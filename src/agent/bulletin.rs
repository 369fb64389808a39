//! What stands and what is told: findings become conditions, conditions and states the status.

use super::ledger::Ledger;
use super::status::status;
use super::target::Target;
use crate::sources::SourceState;
use crate::sync::{Code, Conditions, Finding, Standing};
use crate::sys::clock;
use crate::wire::{CertificatesStatus, Session, SourceStatus, Status};
use std::sync::Arc;
use tokio::sync::watch;

/// Everything that is told, in its latest words.
pub(super) struct Bulletin {
    conditions: Conditions,
    /// Live sessions, as they are told.
    pub(super) sessions: Vec<Session>,
    /// Certificates that sshd trusts and shows, as they are told.
    pub(super) certificates: Option<CertificatesStatus>,
    told: watch::Sender<Arc<Status>>,
}

impl Bulletin {
    pub(super) fn new(targets: &[Target]) -> Self {
        let first = status(&[], targets, &Conditions::default(), false);
        Self {
            conditions: Conditions::default(),
            sessions: Vec::new(),
            certificates: None,
            told: watch::channel(Arc::new(first)).0,
        }
    }

    /// Follows the status.
    pub(super) fn follow(&self) -> watch::Receiver<Arc<Status>> {
        self.told.subscribe()
    }

    /// The status now.
    pub(super) fn status(
        &self,
        states: &[Arc<SourceState>],
        targets: &[Target],
        unmanaged: bool,
    ) -> Status {
        let mut status = status(states, targets, &self.conditions, unmanaged);
        status.sessions.clone_from(&self.sessions);
        status.certificates.clone_from(&self.certificates);
        status
    }

    /// Settles conditions, logs each once when it comes and once when it goes, and tells whoever
    /// follows when there is news.
    pub(super) fn publish(
        &mut self,
        states: &[Arc<SourceState>],
        targets: &[Target],
        ledger: &Ledger,
        more: impl IntoIterator<Item = Finding>,
        unmanaged: bool,
    ) {
        let mut findings: Vec<_> = states.iter().flat_map(|s| s.findings.clone()).collect();
        findings.extend(more);
        for target in targets {
            findings.extend(target.all_findings());
            findings.extend(unknown_sources(target, states));
        }
        findings.extend(left_behind(targets, ledger));
        let news = self.conditions.settle(findings, clock::now());
        for new in news.come {
            let (code, about) = (new.code.as_str(), &new.about);
            tracing::warn!(code, about, text = new.text, "condition");
        }
        for Standing { finding, since } in news.gone {
            let (code, about) = (finding.code.as_str(), &finding.about);
            tracing::info!(code, about, %since, "condition gone");
        }
        let status = self.status(states, targets, unmanaged);
        self.told.send_if_modified(|held| {
            let news = !is_same(held, &status);
            *held = Arc::new(status);
            news
        });
    }
}

/// A source that has only just been asked is not in trouble yet.
fn unknown_sources<'a>(
    target: &'a Target,
    states: &'a [Arc<SourceState>],
) -> impl Iterator<Item = Finding> + 'a {
    let unknown = |name: &&String| {
        let state = states.iter().find(|state| state.name == **name);
        state.is_some_and(|state| state.list.is_none() && state.last_error.is_some())
    };
    let about = target.path.display().to_string();
    let sources = target.settings.sources.iter().filter(unknown);
    sources.map(move |source| {
        let text = format!("{source} has never answered; only additions are made");
        Finding::new(Code::SourceUnknown, &about, text)
    })
}

/// Files that hold keys of ours and that no target names.
fn left_behind(targets: &[Target], ledger: &Ledger) -> Vec<Finding> {
    let kept = |file: &str| targets.iter().any(|t| t.path.display().to_string() == file);
    let text = "no target names this file any more; its keys are as they were";
    let left = ledger.files().into_iter().filter(|file| !kept(file));
    left.map(|file| Finding::new(Code::LeftBehind, file, text))
        .collect()
}

/// A status that changed in its times alone is no news. Compared as it stands: a copy of a long one
/// is megabytes.
fn is_same(one: &Status, other: &Status) -> bool {
    let Status {
        version,
        instance,
        state,
        sources,
        targets,
        certificates,
        sessions,
        conditions,
    } = one;
    let same = |(one, other): (&SourceStatus, &SourceStatus)| {
        let one = SourceStatus {
            last_success: other.last_success,
            ..one.clone()
        };
        one == *other
    };
    (version, instance, state) == (&other.version, &other.instance, &other.state)
        && sources.len() == other.sources.len()
        && sources.iter().zip(&other.sources).all(same)
        && *targets == other.targets
        && *certificates == other.certificates
        && *sessions == other.sessions
        && *conditions == other.conditions
}
