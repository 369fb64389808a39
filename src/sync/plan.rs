//! From what a file holds and what it ought to hold to what changes, and why.
//!
//! Bytes outside the block are somebody else's: they stay, in place, but for lines that move into
//! the block by adoption and for what a damaged block left of ours. Planning the outcome again
//! gives an empty plan.

mod ours;
mod own;
mod owned;

use super::drift::Trace;
use crate::keys::{
    AuthorizedKeys, BEGIN, Fingerprint, KeySet, Line, LineKind, PublicKey, Rejected, read_line,
};
use jiff::Timestamp;
use ours::{Ours, ours};
pub use own::{is_own, plan_own};
pub use owned::{Adopted, Owned};
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
    /// A file that is to be ours alone is somebody else's.
    #[error("the file is not the agent's: it does not begin with the agent's mark")]
    NotOurs,
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
    /// Keys that are to stand in no line, foreign ones too.
    pub revoked: BTreeSet<Fingerprint>,
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
    /// When it ends.
    pub ends: Option<Timestamp>,
    /// The comment line above it, without newline.
    pub head: Box<[u8]>,
    /// The line, without newline.
    pub line: Box<[u8]>,
}

/// A wanted key without the text that is written: what a report of the turn keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The key's fingerprint.
    pub fingerprint: Fingerprint,
    /// The key.
    pub key: PublicKey,
    /// Whether sshd takes it from some addresses only.
    pub has_from: bool,
}

impl WantedKey {
    /// The key without the text.
    #[must_use]
    pub fn without_text(&self) -> Wanted {
        Wanted {
            fingerprint: self.fingerprint,
            key: self.key.clone(),
            has_from: self.has_from,
        }
    }
}

/// A line of somebody else's that goes because its key is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedLine {
    /// Its key.
    pub fingerprint: Fingerprint,
    /// Where it stood, counted from 1.
    pub at: usize,
    /// Its bytes, newline included.
    pub text: Vec<u8>,
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
    /// Lines outside the block that go, and are to be kept elsewhere first.
    pub revoked: Vec<RevokedLine>,
    /// What of ours stands there now.
    pub found: Trace,
    /// What of ours stands there once the plan is carried out.
    pub leaves: Trace,
    /// Lines that go, by index: adopted ones, and what a damaged block left.
    pub(super) drop: BTreeSet<usize>,
    /// The lines that the block stands in now.
    pub(super) span: Range<usize>,
    /// The block's text, markers included; empty for none.
    pub(super) block: Vec<u8>,
    /// False when the file already reads so.
    pub(super) changes: bool,
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
        let keys = self.leaves.keys().clone();
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
    if desired.only_add {
        let wanted: KeySet = entries.iter().map(|(key, _, _)| *key).collect();
        let stays = |key: &Fingerprint| !wanted.contains(key) && !desired.revoked.contains(key);
        let kept = ours.entries.iter().filter(|(key, _)| stays(key));
        entries.extend(kept.map(|(key, text)| (*key, text.head, text.line)));
    }
    let after: KeySet = entries.iter().map(|(key, _, _)| *key).collect();
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
    let revoked = revoked_lines(current, &ours, &desired.revoked);
    let block = block_text(&entries);
    drop(entries);
    let mut drop = ours.leftovers.clone();
    drop.extend(adopt.iter().map(|(at, _)| *at));
    drop.extend(revoked.iter().map(|line| line.at - 1));
    let (mut remove, mut gone) = ours.leaving(|key| !after.contains(key));
    for key in revoked.iter().filter_map(|line| key_of(&line.text)) {
        if !remove.contains(&key.fingerprint()) {
            remove.push(key.fingerprint());
            gone.push(key);
        }
    }
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
        revoked,
        found: ours.trace(current),
        leaves: Trace::new(after, &block),
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
        revoked: Vec::new(),
        found: ours.trace(current),
        leaves: Trace::default(),
        drop: ours.leftovers,
        span: ours.span,
        block: Vec::new(),
        changes,
    })
}

/// Lines without options whose key comes into the block now.
fn adoptable(
    current: &AuthorizedKeys,
    ours: &Ours<'_>,
    add: &[Fingerprint],
) -> Vec<(usize, Adopted)> {
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

/// Lines outside the block whose key is revoked.
fn revoked_lines(
    current: &AuthorizedKeys,
    ours: &Ours<'_>,
    revoked: &BTreeSet<Fingerprint>,
) -> Vec<RevokedLine> {
    let lines = current.lines().iter().enumerate();
    let foreign = lines.filter(|(at, _)| !ours.span.contains(at) && !ours.leftovers.contains(at));
    foreign
        .filter_map(|(at, line)| match line.kind {
            LineKind::Entry { fingerprint, .. } if revoked.contains(&fingerprint) => {
                Some(RevokedLine {
                    fingerprint,
                    at: at + 1,
                    text: current.text(line).to_vec(),
                })
            }
            _ => None,
        })
        .collect()
}

/// The key of a line, whole, where it is one that we can read.
fn key_of(line: &[u8]) -> Option<PublicKey> {
    match read_line(line.strip_suffix(b"\n").unwrap_or(line)) {
        Line::Entry(entry) => PublicKey::try_from(entry.key).ok(),
        _ => None,
    }
}

fn block_text(entries: &[(Fingerprint, &[u8], &[u8])]) -> Vec<u8> {
    if entries.is_empty() {
        return Vec::new();
    }
    let first = format!("# {BEGIN} - lines up to END are replaced; put your own keys outside\n");
    let last = format!("# {}\n", crate::keys::END);
    let lines = entries
        .iter()
        .map(|(_, head, line)| head.len() + line.len() + 2);
    // Room for all of it and no more: a long list's text is megabytes.
    let mut text = Vec::with_capacity(first.len() + lines.sum::<usize>() + last.len());
    text.extend_from_slice(first.as_bytes());
    for (_, head, line) in entries {
        for part in [head, line] {
            if !part.is_empty() {
                text.extend_from_slice(part);
                text.push(b'\n');
            }
        }
    }
    text.extend_from_slice(last.as_bytes());
    text
}

#[cfg(test)]
mod tests;
