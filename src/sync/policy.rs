//! What is believed of a source's answer, and what a target ought to hold.
//!
//! Two verdicts. [`admit`]: may this answer take the place of the list that is held? [`decide`]:
//! what do all the lists of a target come to? An accident must never look like a decision: an
//! unsigned "no keys" is held, an unsigned list that lost most of its keys is asked for twice more,
//! and a source that never answered is unknown, not empty (interface.md, "What holds the file").

use super::plan::{Desired, HoldReason, WantedKey};
use super::render::{Dialect, head, line};
use crate::keys::{Fingerprint, KeyList, Rejected};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};

/// An unsigned list of more than this many keys that loses more than half of them is held.
const SHRINK_ABOVE: usize = 3;
/// How many further answers must agree before a shrunk list is believed.
const SHRINK_AGREEING: u8 = 2;
/// Answers closer together than this are one: a file that is read twice in a row agrees with itself.
const AGREEING_APART: SignedDuration = SignedDuration::from_millis(500);

/// Whether an answer takes the place of what is held.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// It does.
    Take,
    /// What is held stays.
    Hold(HoldReason),
}

/// A suspicious answer that waits for others like it. It is kept with the list that is held, so that
/// one who asks by the clock and ends in between comes to believe it too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    keys: BTreeSet<Fingerprint>,
    times: u8,
    at: Timestamp,
}

/// Judges an answer. `signed`: the source states what it holds with a number and a signature, so
/// an empty list is a decision. `allow_empty`: the administrator said that empty is fine. `now` tells
/// another answer from the same one read again.
pub fn admit(
    held: Option<&KeyList>,
    offered: &KeyList,
    signed: bool,
    allow_empty: bool,
    agreement: &mut Option<Agreement>,
    now: Timestamp,
) -> Admission {
    if signed {
        return Admission::Take;
    }
    if offered.accepted.is_empty() {
        // Whatever was agreed on before, this answer does not agree.
        *agreement = None;
        if allow_empty {
            return Admission::Take;
        }
        return Admission::Hold(HoldReason::EmptyList {
            held: held.map_or(0, |held| held.accepted.len()),
        });
    }
    let Some(held) = held.filter(|held| held.accepted.len() > SHRINK_ABOVE) else {
        *agreement = None;
        return Admission::Take;
    };
    let offered_keys = fingerprints(offered);
    let held_keys = fingerprints(held);
    let lost = held_keys.difference(&offered_keys).count();
    if lost * 2 <= held_keys.len() {
        *agreement = None;
        return Admission::Take;
    }
    let hold = Admission::Hold(HoldReason::ShrunkList {
        lost,
        held: held_keys.len(),
    });
    let times = match agreement {
        Some(seen) if seen.keys == offered_keys => {
            // A clock that was set back must not stop the count.
            if now.duration_since(seen.at).abs() < AGREEING_APART {
                return hold;
            }
            seen.times + 1
        }
        _ => 0,
    };
    if times >= SHRINK_AGREEING {
        *agreement = None;
        return Admission::Take;
    }
    *agreement = Some(Agreement {
        keys: offered_keys,
        times,
        at: now,
    });
    hold
}

/// One source as a target sees it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Its name in the configuration.
    pub source: &'a str,
    /// Its list in force; `None` while it has never answered.
    pub list: Option<&'a KeyList>,
}

/// What a target ought to hold.
#[derive(Debug, Clone)]
#[must_use]
pub enum Decision {
    /// These keys.
    Apply(Desired),
    /// The file stays as it is.
    Hold(HoldReason),
}

/// The union of a target's sources, in the order named; of two entries with one blob the first
/// stands. A key whose time is over is not wanted. While a source is unknown, keys are only added.
pub fn decide(views: &[View<'_>], now: Timestamp, dialect: &Dialect) -> Decision {
    let unknown: Vec<&str> = views
        .iter()
        .filter(|view| view.list.is_none())
        .map(|view| view.source)
        .collect();
    if unknown.len() == views.len() {
        return Decision::Hold(HoldReason::SourceUnknown {
            sources: unknown.into_iter().map(str::to_owned).collect(),
        });
    }
    let known = || views.iter().filter_map(|view| view.list);
    let mut desired = Desired {
        only_add: !unknown.is_empty(),
        revoked: known()
            .flat_map(|list| list.revoked.iter().copied())
            .collect(),
        ..Desired::default()
    };
    let mut seen = HashSet::with_capacity(known().map(|list| list.accepted.len()).sum());
    let lists = views
        .iter()
        .filter_map(|view| view.list.map(|list| (view.source, list)));
    for (source, list) in lists {
        desired.keys.reserve_exact(list.accepted.len());
        for key in &list.accepted {
            let fingerprint = key.key.fingerprint();
            if key.expires_at.is_some_and(|end| end <= now) || !seen.insert(fingerprint) {
                continue;
            }
            if desired.revoked.contains(&fingerprint) {
                desired.rejected.push(Rejected {
                    at: format!("{source} {}", key.id),
                    why: "it is revoked".to_owned(),
                    fingerprint: Some(fingerprint),
                });
                continue;
            }
            if let Some(end) = key.expires_at {
                desired.expiry_needs_agent |= !dialect.knows_expiry();
                let sooner = desired.next_expiry.is_none_or(|next| end < next);
                desired.next_expiry = if sooner {
                    Some(end)
                } else {
                    desired.next_expiry
                };
            }
            match line(key, dialect) {
                Ok(line) => desired.keys.push(WantedKey {
                    fingerprint,
                    key: key.key.clone(),
                    has_from: key.options.has("from"),
                    ends: key.expires_at,
                    // Copied to their size: cut to it, each would leave a hole behind.
                    head: Box::from(&head(source, key)[..]),
                    line: Box::from(&line[..]),
                }),
                Err(why) => desired.rejected.push(Rejected {
                    at: format!("{source} {}", key.id),
                    why,
                    fingerprint: Some(fingerprint),
                }),
            }
        }
    }
    desired.keys.shrink_to_fit();
    Decision::Apply(desired)
}

fn fingerprints(list: &KeyList) -> BTreeSet<Fingerprint> {
    list.accepted.iter().map(|k| k.key.fingerprint()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{key, list};
    use super::*;
    use crate::keys::SshdVersion;

    fn now() -> Timestamp {
        "2026-11-22T19:00:00Z".parse().unwrap()
    }

    fn applied(views: &[View<'_>]) -> Desired {
        match decide(views, now(), &Dialect::default()) {
            Decision::Apply(desired) => desired,
            Decision::Hold(why) => panic!("held: {why}"),
        }
    }

    #[test]
    fn an_unsigned_empty_list_is_held_and_a_signed_one_obeyed() {
        let (held, empty) = (list(&[1, 2]), list(&[]));
        let admit =
            |held, offered, signed, allow| admit(held, offered, signed, allow, &mut None, now());
        let unsigned = admit(Some(&held), &empty, false, false);
        assert_eq!(unsigned, Admission::Hold(HoldReason::EmptyList { held: 2 }));
        assert_eq!(admit(Some(&held), &empty, true, false), Admission::Take);
        assert_eq!(admit(Some(&held), &empty, false, true), Admission::Take);
        let first = admit(None, &empty, false, false);
        assert_eq!(first, Admission::Hold(HoldReason::EmptyList { held: 0 }));
    }

    #[test]
    fn a_list_that_lost_most_of_its_keys_wants_two_more_that_agree() {
        let (held, few, other) = (list(&[1, 2, 3, 4, 5]), list(&[1, 2]), list(&[1, 3]));
        let (mut seen, mut clock) = (None, now());
        let mut ask = |offered, later: i64| {
            clock += SignedDuration::from_millis(later);
            admit(Some(&held), offered, false, false, &mut seen, clock)
        };
        let hold = Admission::Hold(HoldReason::ShrunkList { lost: 3, held: 5 });
        assert_eq!(ask(&few, 1000), hold);
        assert_eq!(ask(&other, 1000), hold);
        assert_eq!(ask(&few, 1000), hold);
        assert_eq!(ask(&few, 1000), hold);
        // The same answer, read again.
        assert_eq!(ask(&few, 100), hold);
        assert_eq!(ask(&few, 400), Admission::Take);
        // Neither does a clock that is set back stop it, nor is nothing an answer that agrees.
        assert_eq!(ask(&few, 1000), hold);
        assert_eq!(ask(&few, -86_400_000), hold);
        let empty = list(&[]);
        assert_eq!(
            ask(&empty, 1000),
            Admission::Hold(HoldReason::EmptyList { held: 5 })
        );
        assert_eq!(ask(&few, 1000), hold);
        assert_eq!(ask(&few, 1000), hold);
        assert_eq!(ask(&few, 1000), Admission::Take);
    }

    #[test]
    fn half_of_a_list_may_go_and_a_short_list_may_shrink() {
        let mut seen = None;
        let mut ask = |held: &[u8], offered: &[u8]| {
            let (held, offered) = (list(held), list(offered));
            admit(Some(&held), &offered, false, false, &mut seen, now())
        };
        assert_eq!(ask(&[1, 2, 3, 4], &[1, 2]), Admission::Take);
        assert_eq!(ask(&[1, 2, 3], &[1]), Admission::Take);
    }

    #[test]
    fn a_source_that_never_answered_is_unknown_and_not_empty() {
        let known = list(&[1]);
        let (a, b) = (
            View {
                source: "a",
                list: None,
            },
            View {
                source: "b",
                list: Some(&known),
            },
        );
        assert!(matches!(
            decide(&[a], now(), &Dialect::default()),
            Decision::Hold(HoldReason::SourceUnknown { .. })
        ));
        assert!(applied(&[a, b]).only_add);
        assert!(!applied(&[b]).only_add);
    }

    #[test]
    fn a_blob_stands_once_and_the_first_source_names_it() {
        let (one, two) = (list(&[1, 2]), list(&[2, 3]));
        let desired = applied(&[
            View {
                source: "a",
                list: Some(&one),
            },
            View {
                source: "b",
                list: Some(&two),
            },
        ]);
        let heads: Vec<_> = desired
            .keys
            .iter()
            .map(|k| String::from_utf8_lossy(&k.head).into_owned())
            .collect();
        assert_eq!(heads.len(), 3);
        assert!(heads[1].starts_with("# a ") && heads[2].starts_with("# b "));
    }

    #[test]
    fn a_key_whose_time_is_over_is_not_wanted_and_the_next_end_is_known() {
        let mut keys = list(&[]);
        for (seed, end) in [(1, "2026-11-22T18:59:59Z"), (2, "2026-11-23T00:00:00Z")] {
            let mut key = key(seed);
            key.expires_at = Some(end.parse().unwrap());
            keys.push(Ok(key));
        }
        let desired = applied(&[View {
            source: "a",
            list: Some(&keys),
        }]);
        assert_eq!(desired.keys.len(), 1);
        assert_eq!(
            desired.next_expiry,
            Some("2026-11-23T00:00:00Z".parse().unwrap())
        );
        let view = View {
            source: "a",
            list: Some(&keys),
        };
        for (sshd, needs_agent) in [(SshdVersion(7, 6), true), (SshdVersion(7, 7), false)] {
            let dialect = Dialect {
                sshd: Some(sshd),
                ..Dialect::default()
            };
            let Decision::Apply(desired) = decide(&[view], now(), &dialect) else {
                panic!("held")
            };
            assert_eq!(desired.expiry_needs_agent, needs_agent);
        }
    }
}
