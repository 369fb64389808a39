//! A file that is ours alone: method `own-file`. All of it is written anew, and whatever others
//! add to it goes.
//!
//! Its first line is a mark. A file without it that we do not remember either is somebody else's.

use super::{Desired, HoldReason, Owned, Plan};
use crate::keys::{
    AuthorizedKeys, FileLine, Fingerprint, KeySet, Line, LineKind, PublicKey, read_line,
};
use crate::sync::drift::Trace;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The first line, without newline.
const MARK: &str = "# This file is sshkeyd's: all of it is replaced; put your own keys into ~/.ssh/authorized_keys";
/// How much of it says that the file is ours.
const MARK_BEGINS: &[u8] = b"# This file is sshkeyd's";

/// Whether the file is ours to replace: empty, marked, or remembered.
#[must_use]
pub fn is_own(bytes: &[u8], owned: &Owned) -> bool {
    bytes.is_empty() || bytes.starts_with(MARK_BEGINS) || !owned.keys.is_empty()
}

/// Plans what makes the whole of `current` read as `desired`. With no keys the mark stays alone:
/// the name stays ours, and a reader can see by whom the file was emptied.
///
/// # Errors
/// [`HoldReason::NotOurs`]: somebody else's file stands there.
pub fn plan_own(
    current: &AuthorizedKeys,
    desired: &Desired,
    owned: &Owned,
) -> Result<Plan, HoldReason> {
    if !is_own(current.bytes(), owned) {
        return Err(HoldReason::NotOurs);
    }
    let there = entries_in(current);
    let mut block = MARK.as_bytes().to_vec();
    block.push(b'\n');
    let mut push = |head: &[u8], line: &[u8]| {
        for part in [head, line].into_iter().filter(|part| !part.is_empty()) {
            block.extend_from_slice(part);
            block.push(b'\n');
        }
    };
    let mut after = HashSet::with_capacity(desired.keys.len());
    for key in &desired.keys {
        push(&key.head, &key.line);
        after.insert(key.fingerprint);
    }
    if desired.only_add {
        for (key, (head, line)) in &there {
            if !desired.revoked.contains(key) && after.insert(*key) {
                push(head, line);
            }
        }
    }
    let after: KeySet = after.into_iter().collect();
    let leaving = || there.iter().filter(|(key, _)| !after.contains(key));
    let whole = |line: &[u8]| match read_line(line) {
        Line::Entry(entry) => PublicKey::try_from(entry.key).ok(),
        _ => None,
    };
    Ok(Plan {
        add: desired
            .keys
            .iter()
            .map(|key| key.fingerprint)
            .filter(|key| !there.contains_key(key))
            .collect(),
        remove: leaving().map(|(key, _)| *key).collect(),
        gone: leaving().filter_map(|(_, (_, line))| whole(line)).collect(),
        keep: after
            .iter()
            .filter(|key| there.contains_key(key))
            .copied()
            .collect(),
        adopt: Vec::new(),
        put_back: Vec::new(),
        revoked: Vec::new(),
        found: Trace::new(there.keys().copied().collect(), current.bytes()),
        leaves: Trace::new(after, &block),
        drop: BTreeSet::new(),
        span: 0..current.lines().len(),
        changes: current.bytes() != block,
        block,
    })
}

/// The comment above a key and its line, without newlines.
type Texts<'a> = (&'a [u8], &'a [u8]);

/// Each key of the file; of a key that stands twice, the first.
fn entries_in(current: &AuthorizedKeys) -> BTreeMap<Fingerprint, Texts<'_>> {
    let mut entries = BTreeMap::new();
    let mut head: &[u8] = b"";
    for line in current.lines() {
        let text = current.text(line);
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        match line.kind {
            LineKind::Entry { fingerprint, .. } => {
                let head = std::mem::take(&mut head);
                entries.entry(fingerprint).or_insert((head, text));
            }
            _ if text.starts_with(b"#") && !text.starts_with(MARK_BEGINS) => head = text,
            _ => head = b"",
        }
    }
    entries
}

impl Plan {
    /// Keys of the file that stand outside of what is ours.
    #[must_use]
    pub fn foreign_in(&self, file: &AuthorizedKeys) -> Vec<Fingerprint> {
        let lines = file.lines().iter().enumerate();
        let outside = lines.filter(|(at, _)| !self.span.contains(at));
        let key = |line: &FileLine| match line.kind {
            LineKind::Entry { fingerprint, .. } => Some(fingerprint),
            _ => None,
        };
        outside.filter_map(|(_, line)| key(line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::plan::WantedKey;
    use crate::sync::render;
    use crate::trust::Signer;

    fn key(seed: u8) -> PublicKey {
        Signer::from_seed(&[seed; 32]).public()
    }

    fn desired(seeds: &[u8], only_add: bool) -> Desired {
        let keys = seeds.iter().map(|seed| WantedKey {
            fingerprint: key(*seed).fingerprint(),
            key: key(*seed),
            has_from: false,
            ends: None,
            head: format!("# account key {seed} \"k\"").into_bytes().into(),
            line: format!("{} k", key(*seed)).into_bytes().into(),
        });
        Desired {
            keys: keys.collect(),
            only_add,
            ..Desired::default()
        }
    }

    /// Plans and carries out; the bytes, and the plan of the same again.
    fn done(bytes: &[u8], desired: &Desired) -> (String, Plan) {
        let current = AuthorizedKeys::parse(bytes.to_vec());
        let plan = plan_own(&current, desired, &Owned::default()).unwrap();
        let after = render(&current, &plan).bytes;
        let again = AuthorizedKeys::parse(after.clone());
        let second = plan_own(&again, desired, &Owned::default()).unwrap();
        assert!(second.is_empty(), "{second:?}");
        assert_eq!(second.foreign_in(&again), []);
        (String::from_utf8(after).unwrap(), plan)
    }

    #[test]
    fn the_whole_file_is_replaced_and_what_others_added_goes() {
        let (text, plan) = done(b"", &desired(&[1, 2], false));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines[0], lines.len()), (MARK, 5));
        assert_eq!(lines[2], format!("{} k", key(1)));
        assert_eq!((plan.add.len(), plan.remove.len()), (2, 0));

        let crowded = format!("{text}# mine\nno-pty {} x\njunk", key(3));
        let (text, plan) = done(crowded.as_bytes(), &desired(&[2], false));
        assert_eq!(text.lines().count(), 3);
        assert_eq!(plan.remove.len(), 2);
        assert!(plan.gone.contains(&key(1)) && plan.gone.contains(&key(3)));
        assert_eq!(plan.keep, [key(2).fingerprint()]);
    }

    #[test]
    fn no_keys_leave_the_mark() {
        let (text, _) = done(b"", &desired(&[1], false));
        let (text, _) = done(text.as_bytes(), &desired(&[], false));
        assert_eq!(text, format!("{MARK}\n"));
    }

    #[test]
    fn while_a_source_is_unknown_nothing_goes() {
        let (text, _) = done(b"", &desired(&[1, 2], false));
        let (more, plan) = done(text.as_bytes(), &desired(&[3], true));
        assert_eq!(more.lines().count(), 7);
        assert!(plan.remove.is_empty());
        for line in text.lines() {
            assert!(more.contains(line), "{more}");
        }
    }

    #[test]
    fn somebody_elses_file_is_left() {
        let theirs = AuthorizedKeys::parse(format!("{} me\n", key(1)).into_bytes());
        let held = plan_own(&theirs, &desired(&[2], false), &Owned::default());
        assert_eq!(held, Err(HoldReason::NotOurs));
        let known = Owned {
            keys: [key(1).fingerprint()].into(),
            adopted: Vec::new(),
        };
        assert!(plan_own(&theirs, &desired(&[2], false), &known).is_ok());
    }
}
