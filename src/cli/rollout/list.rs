//! Whether sshd refuses a revoked key wherever it stands, instance by instance: the revocation
//! list's part of a rollout.
//!
//! Refuses to take silence for a list that is in force.

use super::{Output, Rollout, RolloutInstance, named};
use crate::wire::RolloutKrl;

/// Whether there is no more to wait for: the list is in force, or it is said why it is not. So it is
/// where no list is meant.
pub(super) fn has_settled(instance: &RolloutInstance) -> bool {
    let settled = |list: &RolloutKrl| list.in_force || list.why.is_some();
    instance.krl.as_ref().is_none_or(settled)
}

/// What is to be said of the list, after other words about an instance; nothing where none is meant.
pub(super) fn words(instance: &RolloutInstance) -> String {
    match &instance.krl {
        None => String::new(),
        Some(list) => match (list.in_force, list.proved, &list.why) {
            (true, true, _) => "; sshd refuses what the revocation list has".to_owned(),
            (true, false, _) => "; the revocation list is in force".to_owned(),
            (false, _, Some(why)) => format!("; {why}"),
            (false, _, None) => "; the revocation list has not come yet".to_owned(),
        },
    }
}

/// Names the instances of a wait that are not live and said, when they were, that they have no
/// list.
pub(super) fn show_missing(rollout: &Rollout, out: &mut Output) {
    for instance in &rollout.instances {
        let live = instance.instance_state == super::InstanceState::Live;
        let why = instance.krl.as_ref().and_then(|list| list.why.as_ref());
        if let Some(why) = why.filter(|_| !live) {
            out.note(&format!("{}: {why}", named(instance)));
        }
    }
}
