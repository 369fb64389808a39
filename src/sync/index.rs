//! What changes in an index: the plan of the method `command`.
//!
//! An index is ours alone, so there is nothing of others to keep; what it ought to read is known
//! without what it reads. Planning the outcome again gives an empty plan.

use super::drift::Trace;
use super::plan::{Desired, Plan};
use super::report::{Settled, TargetReport};
use crate::keys::{Fingerprint, IndexError, IndexLine, Line, PublicKey, encode_index, read_line};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What an index is to read, and what changes by that.
#[derive(Debug, Clone)]
#[must_use]
pub struct IndexPlan {
    /// Keys that come, go and stay.
    pub plan: Plan,
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// Whether every line that was known stands there as it was: the index before lets nobody in
    /// then whom this one keeps out.
    pub only_adds: bool,
}

/// Plans what makes an index hold `desired`. `on_disk` are the bytes that stand there, where they
/// may be used; `known` is what they say, or what the index before them says.
///
/// # Errors
/// [`IndexError::TooLarge`].
pub fn plan_index(
    on_disk: Option<&[u8]>,
    known: &[IndexLine],
    desired: &Desired,
    uid: u32,
) -> Result<IndexPlan, IndexError> {
    let mut lines: Vec<_> = desired
        .keys
        .iter()
        .map(|key| IndexLine {
            fingerprint: key.fingerprint,
            ends: key.ends,
            line: key.line.to_vec(),
        })
        .collect();
    let wanted: BTreeSet<_> = lines.iter().map(|line| line.fingerprint).collect();
    if desired.only_add {
        let stays = |key: &Fingerprint| !wanted.contains(key) && !desired.revoked.contains(key);
        let kept = known.iter().filter(|line| stays(&line.fingerprint));
        lines.extend(kept.cloned());
    }
    let bytes = encode_index(uid, &lines)?;
    let after: BTreeMap<_, _> = lines.iter().map(|line| (line.fingerprint, line)).collect();
    let stands = |line: &IndexLine| after.get(&line.fingerprint) == Some(&line);
    let only_adds = known.iter().all(stands);
    let mut plan = changes(&lines, known, on_disk != Some(&bytes[..]));
    plan.found = trace(known, on_disk.unwrap_or_default());
    plan.leaves = trace(&lines, &bytes);
    Ok(IndexPlan {
        plan,
        bytes,
        only_adds,
    })
}

/// Plans what takes an index away.
pub fn unplan_index(is_there: bool, known: &[IndexLine]) -> Plan {
    changes(&[], known, is_there)
}

fn changes(lines: &[IndexLine], known: &[IndexLine], changes: bool) -> Plan {
    let before: BTreeMap<Fingerprint, &IndexLine> =
        known.iter().map(|line| (line.fingerprint, line)).collect();
    let after: BTreeSet<_> = lines.iter().map(|line| line.fingerprint).collect();
    let (keep, add) = lines
        .iter()
        .map(|line| line.fingerprint)
        .partition(|key| before.contains_key(key));
    let leaving = || before.iter().filter(|(key, _)| !after.contains(*key));
    Plan {
        add,
        remove: leaving().map(|(key, _)| *key).collect(),
        gone: leaving().filter_map(|(_, line)| key_of(line)).collect(),
        keep,
        adopt: Vec::new(),
        put_back: Vec::new(),
        revoked: Vec::new(),
        found: Trace::default(),
        leaves: Trace::default(),
        drop: BTreeSet::new(),
        span: 0..0,
        block: Vec::new(),
        changes,
    }
}

fn trace(lines: &[IndexLine], bytes: &[u8]) -> Trace {
    Trace::new(lines.iter().map(|line| line.fingerprint).collect(), bytes)
}

fn key_of(line: &IndexLine) -> Option<PublicKey> {
    match read_line(&line.line) {
        Line::Entry(entry) => PublicKey::try_from(entry.key).ok(),
        _ => None,
    }
}

impl TargetReport {
    /// Notes that an index reads as it ought to; without bytes there is none, and ought to be none.
    pub fn settle_index(&mut self, bytes: &[u8], plan: &Plan) {
        self.owned = plan.owned_after(&self.owned);
        let digest: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.settled = Some(Settled {
            managed: plan.managed().collect(),
            foreign: 0,
            foreign_keys: Vec::new(),
            trace: plan.leaves.clone(),
            digest: format!("sha256:{digest}"),
            still_held: BTreeMap::new(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::list;
    use super::super::{Decision, Dialect, View, decide};
    use super::*;
    use crate::keys::decode_index;
    use jiff::Timestamp;

    const UID: u32 = 7;

    fn desired(seeds: &[u8]) -> Desired {
        let list = list(seeds);
        let view = View {
            source: "a",
            list: Some(&list),
        };
        match decide(&[view], Timestamp::UNIX_EPOCH, &Dialect::default()) {
            Decision::Apply(desired) => desired,
            Decision::Hold(why) => panic!("{why}"),
        }
    }

    fn keys(desired: &Desired) -> Vec<Fingerprint> {
        desired.keys.iter().map(|key| key.fingerprint).collect()
    }

    #[test]
    fn a_plan_carried_out_leaves_nothing_to_do() {
        let (old, new) = (desired(&[1, 2]), desired(&[2, 3]));
        let first = plan_index(None, &[], &old, UID).unwrap();
        assert_eq!(first.plan.add, keys(&old));
        let known = decode_index(&first.bytes, UID).unwrap();
        let again = plan_index(Some(&first.bytes), &known, &old, UID).unwrap();
        assert!(again.plan.is_empty());
        assert_eq!(again.plan.managed().collect::<Vec<_>>(), keys(&old));

        let second = plan_index(Some(&first.bytes), &known, &new, UID).unwrap();
        assert_eq!(second.plan.add, keys(&new)[1..]);
        assert_eq!(second.plan.remove, keys(&old)[..1]);
        assert_eq!(second.plan.gone, [old.keys[0].key.clone()]);
        assert_eq!(second.plan.keep, keys(&new)[..1]);
        let none = plan_index(Some(&second.bytes), &known, &desired(&[]), UID).unwrap();
        assert!(!none.plan.is_empty() && none.plan.remove.len() == 2);
        assert_eq!(decode_index(&none.bytes, UID), Ok(vec![]));
    }

    #[test]
    fn while_a_source_is_unknown_nothing_is_taken_out() {
        let known = plan_index(None, &[], &desired(&[1, 2]), UID).unwrap();
        let known = decode_index(&known.bytes, UID).unwrap();
        let mut more = desired(&[2, 3]);
        more.only_add = true;
        let plan = plan_index(None, &known, &more, UID).unwrap();
        assert!(plan.plan.remove.is_empty());
        assert_eq!(decode_index(&plan.bytes, UID).unwrap().len(), 3);
    }

    #[test]
    fn a_line_that_becomes_narrower_is_no_mere_addition() {
        let open = desired(&[1]);
        let known = plan_index(None, &[], &open, UID).unwrap();
        let known = decode_index(&known.bytes, UID).unwrap();
        assert!(
            plan_index(None, &known, &desired(&[1, 2]), UID)
                .unwrap()
                .only_adds
        );
        let mut narrow = desired(&[1, 2]);
        narrow.keys[0].line = [b"restrict ", &open.keys[0].line[..]].concat().into();
        let plan = plan_index(None, &known, &narrow, UID).unwrap();
        assert!(plan.plan.remove.is_empty() && !plan.only_adds);
        assert!(
            !plan_index(None, &known, &desired(&[2]), UID)
                .unwrap()
                .only_adds
        );
    }

    #[test]
    fn damaged_bytes_are_written_anew_and_no_key_comes_or_goes_by_that() {
        let desired = desired(&[1, 2]);
        let good = plan_index(None, &[], &desired, UID).unwrap();
        let known = decode_index(&good.bytes, UID).unwrap();
        let plan = plan_index(Some(b"damaged"), &known, &desired, UID).unwrap();
        assert!(!plan.plan.is_empty());
        assert!(plan.plan.add.is_empty() && plan.plan.remove.is_empty());
        assert!(unplan_index(false, &[]).is_empty());
        assert_eq!(unplan_index(true, &known).gone.len(), 2);
    }
}
