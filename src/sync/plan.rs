//! From what a file holds and what it ought to hold to what changes, and why.
//!
//! Bytes outside the block are somebody else's: they stay, in place, but for lines that move into
//! the block by adoption and for what a damaged block left of ours. Planning the outcome again
//! gives an empty plan.

mod ours;

use crate::keys::{AuthorizedKeys, BEGIN, Fingerprint, LineKind, PublicKey, Rejected};
use jiff::Timestamp;
use ours::{Ours, ours};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::Range;

/// Why a file stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HoldReason {
    /// None of the target's sources has ever answered.
    #[error("no source has answered yet: {}", sources.join(", "))]
    SourceUnknown {
        /// Their names.
        sources: Vec<String>,
    },
    /// An unsigned source says "no keys".
    #[error("the source says that there are no keys, unsigned; {held} are held")]
    EmptyList {
        /// How many keys it held before.
        held: usize,
    },
    /// An unsigned source lost most of its keys at once.
    #[error("the source lost {lost} of {held} keys at once, unsigned")]
    ShrunkList {
        /// How many are gone.
        lost: usize,
        /// How many it held.
        held: usize,
    },
    /// The file has a block of another agent.
    #[error("the file has the block of another agent, id={id}")]
    AnotherAgent {
        /// Its name.
        id: String,
    },
}

/// What a target ought to hold.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The keys, in order, no blob twice.
    pub keys: Vec<WantedKey>,
    /// True while a source is unknown: nothing is taken out.
    pub only_add: bool,
    /// Keys that this sshd could not be given.
    pub rejected: Vec<Rejected>,
    /// When the first of the keys ends.
    pub next_expiry: Option<Timestamp>,
    /// True when a key has an end that this sshd cannot be told.
    pub expiry_needs_agent: bool,
}

/// One key as it is to stand in the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedKey {
    /// The key's fingerprint.
    pub fingerprint: Fingerprint,
    /// The key.
    pub key: PublicKey,
    /// Whether sshd takes it from some addresses only.
    pub has_from: bool,
    /// The comment line above it, without newline.
    pub head: Vec<u8>,
    /// The line, without newline.
    pub line: Vec<u8>,
}

/// What the agent knows to be its own in one file; kept in its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// Keys that it keeps there.
    #[serde(default)]
    pub keys: BTreeSet<Fingerprint>,
    /// Lines that were somebody's and moved into the block.
    #[serde(default)]
    pub adopted: Vec<Adopted>,
}

/// A line that moved into the block, as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Its key.
    pub fingerprint: Fingerprint,
    /// Its text, newline included.
    pub line: String,
    /// How many lines that are not ours stood above it.
    pub above: usize,
}

/// What changes in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    /// Keys that come into the block.
    pub add: Vec<Fingerprint>,
    /// Keys that leave it.
    pub remove: Vec<Fingerprint>,
    /// The same, whole, as far as their lines can be read: to ask sshd about.
    pub gone: Vec<PublicKey>,
    /// Keys that stay in it.
    pub keep: Vec<Fingerprint>,
    /// Lines that move into the block.
    pub adopt: Vec<Adopted>,
    /// Lines that come back out of it, by [`unplan`].
    pub put_back: Vec<Adopted>,
    /// Lines that go, by index: adopted ones, and what a damaged block left.
    pub(super) drop: BTreeSet<usize>,
    /// The lines that the block stands in now.
    pub(super) span: Range<usize>,
    /// The block's text, markers included; empty for none.
    pub(super) block: Vec<u8>,
    /// False when the file already reads so.
    pub(super) changes: bool,
}

impl Owned {
    /// What is owned before and after a plan, together: safe to remember before it is carried out.
    #[must_use]
    pub fn joined(&self, plan: &Plan) -> Self {
        let mut joined = self.clone();
        joined.keys.extend(&plan.add);
        joined.adopted = self.adopted_with(&plan.adopt);
        joined
    }

    /// Adopted lines, those of a plan among those before, in the order in which they stood.
    ///
    /// A line that leaves the file no longer stands above those that left it earlier.
    fn adopted_with(&self, new: &[Adopted]) -> Vec<Adopted> {
        // Where each new line stood among all that were not ours until now.
        let stood: Vec<usize> = (0..).zip(new).map(|(nth, line)| line.above + nth).collect();
        let again = |line: &&Adopted| {
            // Remembered by a turn that was cut off before its write: it is adopted now.
            !new.iter()
                .any(|new| (new.fingerprint, &new.line) == (line.fingerprint, &line.line))
        };
        let mut all: Vec<(usize, bool, Adopted)> = stood
            .iter()
            .zip(new)
            .map(|(at, line)| (*at, true, line.clone()))
            .collect();
        all.extend(self.adopted.iter().filter(again).map(|line| {
            let left = stood.iter().filter(|at| **at < line.above).count();
            let above = line.above - left;
            (
                line.above,
                false,
                Adopted {
                    above,
                    ..line.clone()
                },
            )
        }));
        // Of a place, first what left it earlier: it stood right above what stands there.
        all.sort_by_key(|(at, new, _)| (*at, *new));
        all.into_iter().map(|(_, _, line)| line).collect()
    }
}

impl Plan {
    /// Whether the file already reads as it ought to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.changes
    }

    /// What the agent owns once this plan is carried out.
    #[must_use]
    pub fn owned_after(&self, before: &Owned) -> Owned {
        let keys: BTreeSet<_> = self.add.iter().chain(&self.keep).copied().collect();
        let mut adopted = before.adopted_with(&self.adopt);
        adopted.retain(|line| keys.contains(&line.fingerprint));
        Owned { keys, adopted }
    }

    /// Fingerprints of the block once this plan is carried out.
    pub fn managed(&self) -> impl Iterator<Item = Fingerprint> + '_ {
        self.keep.iter().chain(&self.add).copied()
    }
}

/// Plans what makes `current` hold `desired`.
///
/// # Errors
/// [`HoldReason::AnotherAgent`]: the block there is not ours to touch.
pub fn plan(
    current: &AuthorizedKeys,
    desired: &Desired,
    owned: &Owned,
    adopt: bool,
) -> Result<Plan, HoldReason> {
    let ours = ours(current, owned)?;
    let mut entries: Vec<(Fingerprint, &[u8], &[u8])> = desired
        .keys
        .iter()
        .map(|k| (k.fingerprint, &k.head[..], &k.line[..]))
        .collect();
    let wanted: BTreeSet<_> = entries.iter().map(|(key, _, _)| *key).collect();
    if desired.only_add {
        let kept = ours.entries.iter().filter(|(key, _)| !wanted.contains(key));
        entries.extend(kept.map(|(key, text)| (*key, &text.head[..], &text.line[..])));
    }
    let after: BTreeSet<_> = entries.iter().map(|(key, _, _)| *key).collect();
    let add: Vec<_> = entries
        .iter()
        .map(|(key, _, _)| *key)
        .filter(|key| !ours.entries.contains_key(key))
        .collect();
    let adopt = if adopt {
        adoptable(current, &ours, &add)
    } else {
        Vec::new()
    };
    let mut drop = ours.leftovers.clone();
    drop.extend(adopt.iter().map(|(at, _)| *at));
    let block = block_text(&entries);
    let (remove, gone) = ours.leaving(|key| !after.contains(key));
    let changes = !drop.is_empty() || ours.text(current) != block;
    Ok(Plan {
        remove,
        gone,
        keep: after
            .iter()
            .filter(|key| ours.entries.contains_key(key))
            .copied()
            .collect(),
        add,
        adopt: adopt.into_iter().map(|(_, line)| line).collect(),
        put_back: Vec::new(),
        drop,
        span: ours.span,
        block,
        changes,
    })
}

/// Plans what takes out everything that the agent ever wrote, and puts adopted lines back.
///
/// # Errors
/// [`HoldReason::AnotherAgent`]: the block there is not ours to touch.
pub fn unplan(current: &AuthorizedKeys, owned: &Owned) -> Result<Plan, HoldReason> {
    let ours = ours(current, owned)?;
    let changes = !ours.leftovers.is_empty() || !ours.span.is_empty() || !owned.adopted.is_empty();
    let (remove, gone) = ours.leaving(|_| true);
    let mut put_back = owned.adopted.clone();
    put_back.sort_by_key(|line| line.above);
    Ok(Plan {
        add: Vec::new(),
        remove,
        gone,
        keep: Vec::new(),
        adopt: Vec::new(),
        put_back,
        drop: ours.leftovers,
        span: ours.span,
        block: Vec::new(),
        changes,
    })
}

/// Lines without options whose key comes into the block now.
fn adoptable(current: &AuthorizedKeys, ours: &Ours, add: &[Fingerprint]) -> Vec<(usize, Adopted)> {
    let add: BTreeSet<_> = add.iter().collect();
    let mut above = 0;
    let mut adopted = Vec::new();
    for (at, line) in current.lines().iter().enumerate() {
        if ours.span.contains(&at) || ours.leftovers.contains(&at) {
            continue;
        }
        match line.kind {
            LineKind::Entry {
                fingerprint,
                plain: true,
            } if add.contains(&fingerprint) => {
                // A line that is no UTF-8 could not be put back as it was: it stays.
                if let Ok(text) = String::from_utf8(current.text(line).to_vec()) {
                    adopted.push((
                        at,
                        Adopted {
                            fingerprint,
                            line: text,
                            above,
                        },
                    ));
                }
            }
            _ => above += 1,
        }
    }
    adopted
}

fn block_text(entries: &[(Fingerprint, &[u8], &[u8])]) -> Vec<u8> {
    if entries.is_empty() {
        return Vec::new();
    }
    let mut text = format!("# {BEGIN} - lines up to END are replaced; put your own keys outside\n")
        .into_bytes();
    for (_, head, line) in entries {
        for part in [head, line] {
            if !part.is_empty() {
                text.extend_from_slice(part);
                text.push(b'\n');
            }
        }
    }
    text.extend_from_slice(format!("# {}\n", crate::keys::END).as_bytes());
    text
}

#[cfg(test)]
mod tests;
