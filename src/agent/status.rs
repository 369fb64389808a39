//! The status object: what the agent is, in wire's words.

use super::target::Target;
use crate::keys::{Fingerprint, Rejected};
use crate::sources::SourceState;
use crate::sync::{Conditions, Weight};
use crate::wire::{
    Condition, Proof, RejectedKey, Severity, SourceState as WireState, SourceStatus, State, Status,
    TargetStatus, UnknownProof,
};
use std::sync::Arc;

/// Everything, as it is now.
pub(super) fn status(
    sources: &[Arc<SourceState>],
    targets: &[Target],
    conditions: &Conditions,
    unmanaged: bool,
) -> Status {
    let state = match conditions.heaviest() {
        _ if unmanaged => State::Unmanaged,
        Some(Weight::Error) => State::Failing,
        Some(Weight::Warning) => State::Degraded,
        Some(Weight::Notice) | None => State::Ok,
    };
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: sources.iter().find_map(|source| source.instance),
        state,
        sources: sources.iter().map(|state| source(state)).collect(),
        targets: targets.iter().map(target).collect(),
        certificates: None,
        sessions: Vec::new(),
        conditions: conditions
            .standing()
            .iter()
            .map(|standing| Condition {
                code: standing.finding.code.as_str().to_owned(),
                severity: match standing.finding.code.weight() {
                    Weight::Notice => Severity::Notice,
                    Weight::Warning => Severity::Warning,
                    Weight::Error => Severity::Error,
                },
                since: standing.since,
                about: standing.finding.about.clone(),
                text: standing.finding.text.clone(),
                todo: standing.finding.code.todo().to_owned(),
            })
            .collect(),
    }
}

fn source(source: &SourceState) -> SourceStatus {
    let list = source.list.as_deref();
    SourceStatus {
        name: source.name.clone(),
        kind: source.kind,
        state: source_state(source),
        revision: source.revision,
        keys: list.map_or(0, |list| list.accepted.len()),
        rejected: list.map_or(Vec::new(), |list| rejected(&list.rejected)),
        last_success: source.last_success,
        last_error: source.last_error.clone(),
    }
}

/// How a source is, in wire's words.
pub(super) fn source_state(source: &SourceState) -> WireState {
    match (&source.list, source.live) {
        (None, _) => WireState::Unknown,
        (Some(_), true) => WireState::Live,
        (Some(_), false) => WireState::Held,
    }
}

fn target(target: &Target) -> TargetStatus {
    let settled = target.settled.as_ref();
    let proof = &target.proof;
    TargetStatus {
        user: target.settings.user.clone(),
        path: target.path.display().to_string(),
        method: target.settings.method.as_str().to_owned(),
        managed: settled.map_or(Vec::new(), |settled| words(&settled.managed)),
        foreign: settled.map_or(0, |settled| settled.foreign),
        foreign_keys: settled.map_or(Vec::new(), |settled| words(&settled.foreign_keys)),
        revision: target.revision,
        applied_at: target.applied_at,
        digest: settled.map(|settled| settled.digest.clone()),
        rejected: rejected(&target.rejected),
        proof: settled.map(|_| Proof {
            accepted: words(&proof.accepted),
            refused: words(&proof.refused),
            still_accepted: words(&proof.still_accepted),
            unknown: proof
                .unknown
                .iter()
                .map(|(key, why)| (key, *why))
                .chain(proof.not_accepted.iter().map(|key| (key, "not-accepted")))
                .map(|(key, why)| UnknownProof {
                    fingerprint: key.to_string(),
                    why: why.into(),
                })
                .collect(),
            at: proof.at,
        }),
    }
}

fn words<'a>(keys: impl IntoIterator<Item = &'a Fingerprint>) -> Vec<String> {
    keys.into_iter().map(Fingerprint::to_string).collect()
}

fn rejected(keys: &[Rejected]) -> Vec<RejectedKey> {
    keys.iter()
        .map(|key| RejectedKey {
            at: key.at.clone(),
            why: key.why.clone(),
            fingerprint: key.fingerprint.map(|key| key.to_string()),
        })
        .collect()
}
