//! How far a key has come on an instance, or how far its deletion has, by that instance's last
//! status and its answers to orders. Pure.

use super::board::{self, Sighting};
use super::store::{InstanceRow, KeyRow, OrderRow, ResultRow};
use crate::wire::{
    InstanceState, Rollout, RolloutCounts, RolloutEnd, RolloutInstance, RolloutKrl, RolloutOrder,
    RolloutState, Status, TargetStatus,
};
use std::collections::{HashMap, HashSet};

/// The keys that are proved ([`is_proved`]), each name in the status looked at once: both lists are
/// long, and an instance says what it likes as often as it may.
pub(super) fn proved<'a>(keys: &'a [KeyRow], status: &Status) -> Vec<&'a KeyRow> {
    let mut everywhere: HashMap<&str, bool> = HashMap::new();
    for target in &status.targets {
        let proof = target.proof.as_ref();
        let accepted = proof.into_iter().flat_map(|proof| &proof.accepted);
        let accepted: HashSet<&str> = accepted.map(String::as_str).collect();
        let unknown = proof.into_iter().flat_map(|proof| &proof.unknown);
        let unknown = unknown.map(|unknown| unknown.fingerprint.as_str());
        let managed = target.managed.iter().map(String::as_str);
        for name in accepted.iter().copied().chain(unknown).chain(managed) {
            let here = target.revision.is_some() && accepted.contains(name);
            *everywhere.entry(name).or_insert(true) &= here;
        }
    }
    let oldest = status.targets.iter().filter_map(|t| t.revision).min();
    keys.iter()
        .filter(|key| everywhere.get(key.fingerprint.as_str()) == Some(&true))
        .filter(|key| oldest.is_none_or(|oldest| oldest >= key.revision))
        .collect()
}

/// Whether sshd took the key on a target that has the list with the key's last change.
pub(super) fn is_proved(key: &KeyRow, status: &Status) -> bool {
    let late = |target: &TargetStatus| target.revision.is_some_and(|r| r < key.revision);
    let proved = |target: &TargetStatus| {
        let proof = target.proof.as_ref();
        target.revision.is_some()
            && proof.is_some_and(|proof| proof.accepted.contains(&key.fingerprint))
    };
    let mut holding = status
        .targets
        .iter()
        .filter(|target| holds(&key.fingerprint, target))
        .peekable();
    holding.peek().is_some() && holding.all(proved) && !status.targets.iter().any(late)
}

/// Whether the key stands in the target's file. A long status names a key once only: where sshd's
/// word on it stands, or else among the managed ones.
fn holds(key: &String, target: &TargetStatus) -> bool {
    let asked = target.proof.as_ref().is_some_and(|proof| {
        let unknown = proof.unknown.iter().map(|unknown| &unknown.fingerprint);
        proof.accepted.iter().chain(unknown).any(|k| k == key)
    });
    asked || target.managed.contains(key)
}

/// What is said of a key that stands in the file and that sshd does not take all the same.
const REFUSED_BY_SSHD: &str = "in place, and sshd refuses it; see the instance's conditions";

/// Where the key stands, and why it is no further. Written without a why waits for its proof.
fn standing(key: &KeyRow, status: Option<&Status>) -> (RolloutState, Option<String>) {
    let Some(status) = status else {
        return (RolloutState::Wanted, None);
    };
    if is_proved(key, status) {
        return (RolloutState::Proved, None);
    }
    let mut managed = status
        .targets
        .iter()
        .filter(|target| holds(&key.fingerprint, target))
        .peekable();
    if managed.peek().is_some() {
        let proofs = managed.flat_map(|target| &target.proof);
        let why = proofs
            .flat_map(|proof| &proof.unknown)
            .find(|unknown| unknown.fingerprint == key.fingerprint)
            .map(|unknown| unknown.why.to_string());
        return match why.as_deref() {
            Some("not-accepted") => (RolloutState::Refused, Some(REFUSED_BY_SSHD.to_owned())),
            _ => (RolloutState::Written, why),
        };
    }
    let of_sources = status.sources.iter().flat_map(|source| &source.rejected);
    let of_targets = status.targets.iter().flat_map(|target| &target.rejected);
    for rejected in of_sources.chain(of_targets) {
        if rejected.fingerprint.as_ref() == Some(&key.fingerprint) {
            return (RolloutState::Refused, Some(rejected.why.clone()));
        }
    }
    (RolloutState::Wanted, None)
}

/// What is said of a deleted key that sshd takes all the same.
const STILL_TAKEN: &str = "sshd takes it all the same; see the instance's conditions";

/// Where a deleted key stands: written while it is still there, refused once the list without it
/// is in force.
fn standing_deleted(order: &OrderRow, status: Option<&Status>) -> (RolloutState, Option<String>) {
    let Some(status) = status else {
        return (RolloutState::Wanted, None);
    };
    let key = &order.fingerprint;
    let proofs = || status.targets.iter().flat_map(|target| &target.proof);
    if proofs().any(|proof| proof.still_accepted.contains(key)) {
        return (RolloutState::Written, Some(STILL_TAKEN.to_owned()));
    }
    if status.targets.iter().any(|target| holds(key, target)) {
        return (RolloutState::Written, None);
    }
    let in_force = |target: &TargetStatus| target.revision.is_none_or(|r| r >= order.revision);
    if board::revision(status) < Some(order.revision) || !status.targets.iter().all(in_force) {
        return (RolloutState::Wanted, None);
    }
    let why = match proofs().any(|proof| proof.refused.contains(key)) {
        true => "deleted; sshd refuses it",
        false => "deleted",
    };
    (RolloutState::Refused, Some(why.to_owned()))
}

/// The condition that an instance has where a revocation list is not in force.
const NOT_IN_FORCE: &str = "krl-not-in-force";

/// Whether the revocation list of this number, or a later one, is in force.
fn enforced(version: u64, status: Option<&Status>) -> RolloutKrl {
    let Some(status) = status else {
        return RolloutKrl::default();
    };
    let kept = status.certificates.as_ref();
    if kept.and_then(|kept| kept.krl_version) >= Some(version) {
        return RolloutKrl {
            in_force: true,
            proved: kept.and_then(|kept| kept.proved_krl) >= Some(version),
            why: None,
        };
    }
    let conditions = &status.conditions;
    let condition = conditions.iter().find(|one| one.code == NOT_IN_FORCE);
    let why = match (condition, kept) {
        (Some(condition), _) => Some(condition.text.as_str()),
        (None, None) => Some("its agent keeps no revocation list"),
        (None, Some(_)) => None,
    };
    RolloutKrl {
        why: why.map(|why| format!("not enforced here: {why}")),
        ..RolloutKrl::default()
    }
}

/// What a picture is of.
pub(super) enum Subject {
    /// A key of the account.
    Key(KeyRow),
    /// One that was deleted with its sessions, and what instances say of the order.
    Deleted(OrderRow, Vec<ResultRow>),
}

/// The whole picture of one key: of the instances that are to have it.
pub(super) fn picture(subject: &Subject, instances: Vec<(InstanceRow, Sighting)>) -> Rollout {
    let (id, fingerprint, revision, order) = match subject {
        Subject::Key(key) => (key.id, &key.fingerprint, key.revision, None),
        Subject::Deleted(order, _) => (
            order.key,
            &order.fingerprint,
            order.revision,
            Some(shown(order)),
        ),
    };
    // The list has the number of the revision that revoked the key.
    let krl_version = match subject {
        Subject::Deleted(order, _) if order.revoked => Some(order.revision),
        _ => None,
    };
    let mut counts = RolloutCounts::default();
    let instances = instances
        .into_iter()
        // What was deleted may have been anywhere.
        .filter(|(row, _)| match subject {
            Subject::Key(key) => row.wants(key),
            Subject::Deleted(..) => true,
        })
        .map(|(row, sighting)| {
            let status = sighting.status.as_deref();
            let (state, why) = match subject {
                Subject::Key(key) => standing(key, status),
                Subject::Deleted(order, _) => standing_deleted(order, status),
            };
            let live = sighting.state == InstanceState::Live;
            counts.total += 1;
            let count = match state {
                _ if !live => &mut counts.offline,
                RolloutState::Proved => &mut counts.proved,
                RolloutState::Written => &mut counts.written,
                RolloutState::Wanted => &mut counts.wanted,
                RolloutState::Refused => &mut counts.refused,
            };
            *count += 1;
            counts.live += u64::from(live);
            RolloutInstance {
                instance: row.id,
                label: row.label,
                instance_state: sighting.state,
                state,
                why,
                offline_since: sighting.last_seen.filter(|_| !live),
                proved_after_ms: sighting
                    .proved
                    .get(&id)
                    .copied()
                    .filter(|_| state == RolloutState::Proved),
                end_sessions: answered(subject, row.id),
                krl: krl_version.map(|version| enforced(version, status)),
            }
        })
        .collect();
    Rollout {
        id,
        fingerprint: fingerprint.clone(),
        revision,
        counts,
        end_sessions: order,
        krl_version,
        instances,
    }
}

fn shown(order: &OrderRow) -> RolloutOrder {
    RolloutOrder {
        id: order.id,
        asked_at: order.asked_at,
        until: order.until,
        open: order.open,
    }
}

/// What this instance says of the order.
fn answered(subject: &Subject, instance: i64) -> Option<RolloutEnd> {
    let Subject::Deleted(_, results) = subject else {
        return None;
    };
    let at = results.binary_search_by_key(&instance, |result| result.instance);
    let result = results.get(at.ok()?)?;
    Some(RolloutEnd {
        outcome: result.outcome,
        ended: result.ended,
        left: result.left,
        at: result.at,
    })
}

#[cfg(test)]
mod tests;
