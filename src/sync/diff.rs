//! A plan in words: what becomes of each key of one target, and why.
//!
//! By fingerprint, never by count: a count hides a key that was swapped for another.

use super::plan::{Desired, Owned, Plan};
use super::policy::View;
use crate::keys::{AuthorizedKeys, Fingerprint, LineKind};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It comes in.
    Add,
    /// Somebody took its line out; it comes back.
    PutBack,
    /// Somebody's line with the same key moves to where ours are.
    Adopt,
    /// It stays, and its line reads otherwise afterwards.
    Rewrite,
    /// It stays as it is.
    Keep,
    /// It goes.
    Remove,
}

/// One key, what becomes of it, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Fingerprint,
    /// What becomes of it.
    pub action: Action,
    /// Why, in words.
    pub why: String,
}

/// What `plan`, made of these, does to each key that is ours before or after it.
#[must_use]
pub fn diff(
    file: &AuthorizedKeys,
    desired: &Desired,
    owned: &Owned,
    plan: &Plan,
    views: &[View<'_>],
    now: Timestamp,
) -> Vec<Change> {
    let texts = lines_of(file);
    let adopted: BTreeSet<_> = plan.adopt.iter().map(|line| line.fingerprint).collect();
    let added: BTreeSet<_> = plan.add.iter().collect();
    let wanted: BTreeSet<_> = desired.keys.iter().map(|key| key.fingerprint).collect();
    let mut changes = Vec::new();
    for entry in &desired.keys {
        let key = entry.fingerprint;
        let said = String::from_utf8_lossy(&entry.head);
        let listed = said.trim_start_matches("# ");
        let (action, why) = if adopted.contains(&key) {
            let why = format!("{listed}; the same key stands in a line of somebody's");
            (Action::Adopt, why)
        } else if added.contains(&key) && owned.keys.contains(&key) {
            let why = format!("{listed}; its line was taken out by somebody");
            (Action::PutBack, why)
        } else if added.contains(&key) {
            (Action::Add, listed.to_owned())
        } else if texts
            .get(&key)
            .is_some_and(|stand| !stand.contains(&(&entry.head[..], &entry.line[..])))
        {
            let why = format!("{listed}; its line reads otherwise now");
            (Action::Rewrite, why)
        } else {
            (Action::Keep, listed.to_owned())
        };
        changes.push(Change { key, action, why });
    }
    for key in plan.keep.iter().filter(|key| !wanted.contains(key)) {
        let why = "no source that has answered lists it, and one has never answered";
        let (key, why) = (*key, why.to_owned());
        changes.push(Change {
            key,
            action: Action::Keep,
            why,
        });
    }
    changes.extend(plan.remove.iter().map(|key| Change {
        key: *key,
        action: Action::Remove,
        why: match plan.revoked.iter().find(|line| line.fingerprint == *key) {
            Some(line) => format!("it is revoked: line {}, which is not ours, goes", line.at),
            None => why_gone(*key, desired, views, now),
        },
    }));
    changes
}

/// Why a key of ours is not wanted any more.
fn why_gone(key: Fingerprint, desired: &Desired, views: &[View<'_>], now: Timestamp) -> String {
    if desired.revoked.contains(&key) {
        return "it is revoked: it goes from every line, whoever wrote it".to_owned();
    }
    let rejected = |all: &[crate::keys::Rejected]| {
        let mut all = all.iter();
        let it = all.find(|rejected| rejected.fingerprint == Some(key));
        it.map(|rejected| format!("left out: {}: {}", rejected.at, rejected.why))
    };
    let lists = || views.iter().filter_map(|v| v.list.map(|l| (v.source, l)));
    let expired = lists().find_map(|(source, list)| {
        let mut keys = list.accepted.iter();
        let listed = keys.find(|listed| listed.key.fingerprint() == key)?;
        let end = listed.expires_at.filter(|end| *end <= now)?;
        let (id, name) = (&listed.id, &listed.name);
        Some(format!("{source} key {id} \"{name}\" expired at {end}"))
    });
    expired
        .or_else(|| rejected(&desired.rejected))
        .or_else(|| lists().find_map(|(_, list)| rejected(&list.rejected)))
        .unwrap_or_else(|| "no source lists it any more".to_owned())
}

/// The line above a key's, and its own.
type Texts<'a> = (&'a [u8], &'a [u8]);

/// Each key's lines as they stand, each after the line above it; without newlines. Somebody's line
/// may have the same key as ours.
fn lines_of(file: &AuthorizedKeys) -> BTreeMap<Fingerprint, Vec<Texts<'_>>> {
    let mut above: &[u8] = b"";
    let mut lines: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in file.lines() {
        let text = file.text(line);
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        if let LineKind::Entry { fingerprint, .. } = line.kind {
            lines.entry(fingerprint).or_default().push((above, text));
        }
        above = text;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::testing::{key, list};
    use super::super::{Decision, Dialect, decide, plan, render};
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T19:00:00Z".parse().unwrap()
    }

    fn desired(list: &crate::keys::KeyList) -> Desired {
        let view = View {
            source: "account",
            list: Some(list),
        };
        match decide(&[view], now(), &Dialect::default()) {
            Decision::Apply(desired) => desired,
            Decision::Hold(why) => panic!("{why}"),
        }
    }

    /// What becomes of each key when `after` takes the place of `before`, which was written.
    fn changed(
        before: &[u8],
        after: &crate::keys::KeyList,
        spoil: fn(String) -> String,
    ) -> Vec<Change> {
        let first = desired(&list(before));
        let empty = AuthorizedKeys::parse(Vec::new());
        let made = plan(&empty, &first, &Owned::default(), true).unwrap();
        let owned = made.owned_after(&Owned::default());
        let text = String::from_utf8(render(&empty, &made).bytes).unwrap();
        let file = AuthorizedKeys::parse(spoil(text).into_bytes());
        let next = desired(after);
        let made = plan(&file, &next, &owned, true).unwrap();
        let views = [View {
            source: "account",
            list: Some(after),
        }];
        diff(&file, &next, &owned, &made, &views, now())
    }

    fn of(changes: &[Change], seed: u8) -> (Action, String) {
        let print = key(seed).key.fingerprint();
        let change = changes.iter().find(|c| c.key == print).unwrap();
        (change.action, change.why.clone())
    }

    #[test]
    fn a_swapped_key_is_seen_though_the_count_is_the_same() {
        let changes = changed(&[1, 2], &list(&[1, 3]), |text| text);
        assert_eq!(changes.len(), 3);
        assert_eq!(of(&changes, 1).0, Action::Keep);
        assert_eq!(of(&changes, 2).0, Action::Remove);
        assert!(of(&changes, 2).1.contains("no source lists it"));
        let (action, why) = of(&changes, 3);
        assert!(
            action == Action::Add && why.starts_with("account key "),
            "{why}"
        );
    }

    #[test]
    fn an_expired_key_goes_with_its_end_and_a_foreign_one_moves() {
        let mut after = list(&[2]);
        let mut gone = key(1);
        gone.expires_at = Some("2026-11-22T18:00:00Z".parse().unwrap());
        after.push(Ok(gone));
        let changes = changed(&[1], &after, |text| format!("{} mine\n{text}", key(2).key));
        let (action, why) = of(&changes, 1);
        assert!(
            action == Action::Remove && why.contains("expired at 2026-11-22T18"),
            "{why}"
        );
        assert_eq!(of(&changes, 2).0, Action::Adopt);
    }

    #[test]
    fn what_somebody_took_out_or_changed_is_put_right() {
        let without = |text: String| {
            let print = key(1).key.to_string();
            let kept = text.lines().filter(|line| !line.contains(&print));
            kept.map(|line| format!("{line}\n")).collect()
        };
        let changes = changed(&[1, 2], &list(&[1, 2]), without);
        assert_eq!(of(&changes, 1).0, Action::PutBack);
        assert_eq!(of(&changes, 2).0, Action::Keep);
        // A line of somebody's with the same key is no change of ours.
        let changes = changed(&[1], &list(&[1]), |text| {
            format!("{text}from=\"192.0.2.1\" {} mine\n", key(1).key)
        });
        assert_eq!(of(&changes, 1).0, Action::Keep);
        let changes = changed(&[1], &list(&[1]), |text| {
            text.replace("ssh-ed25519", "no-pty ssh-ed25519")
        });
        assert_eq!(of(&changes, 1).0, Action::Rewrite);
    }
}
