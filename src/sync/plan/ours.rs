//! What is ours in a file as it stands: a whole block, or what a damaged one left.

use super::{HoldReason, Owned, key_of};
use crate::keys::{AuthorizedKeys, Block, Fingerprint, LineKind, PublicKey};
use crate::sync::drift::Trace;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What is ours in a file as it stands.
pub(super) struct Ours<'a> {
    /// The lines of the whole block; empty, at the end of the file, when there is none.
    pub(super) span: Range<usize>,
    /// The block's keys with their texts.
    pub(super) entries: BTreeMap<Fingerprint, EntryText<'a>>,
    /// Lines outside a whole block that are ours all the same: a damaged block's.
    pub(super) leftovers: BTreeSet<usize>,
}

pub(super) struct EntryText<'a> {
    pub(super) head: &'a [u8],
    pub(super) line: &'a [u8],
}

impl Ours<'_> {
    /// Keys of the block that leave it, and the same whole.
    pub(super) fn leaving(
        &self,
        leaves: impl Fn(&Fingerprint) -> bool,
    ) -> (Vec<Fingerprint>, Vec<PublicKey>) {
        let leaving = || self.entries.iter().filter(|(key, _)| leaves(key));
        let whole = |text: &EntryText<'_>| key_of(text.line);
        (
            leaving().map(|(key, _)| *key).collect(),
            leaving().filter_map(|(_, text)| whole(text)).collect(),
        )
    }

    /// What stands there, to be compared with what was left there.
    pub(super) fn trace(&self, current: &AuthorizedKeys) -> Trace {
        Trace::new(self.entries.keys().copied().collect(), self.text(current))
    }

    pub(super) fn text<'b>(&self, current: &'b AuthorizedKeys) -> &'b [u8] {
        current.text_of(self.span.clone())
    }
}

pub(super) fn ours<'a>(current: &'a AuthorizedKeys, owned: &Owned) -> Result<Ours<'a>, HoldReason> {
    let end = current.lines().len();
    let mut ours = Ours {
        span: end..end,
        entries: BTreeMap::new(),
        leftovers: BTreeSet::new(),
    };
    match current.block() {
        Block::None => {}
        Block::Another { id } => return Err(HoldReason::AnotherAgent { id }),
        Block::Whole(span) => {
            ours.span = span.clone();
            let mut head: &[u8] = b"";
            for line in current.lines().get(span).unwrap_or_default() {
                let text = trimmed(current.text(line));
                match line.kind {
                    LineKind::Entry { fingerprint, .. } => {
                        let head = std::mem::take(&mut head);
                        let line = text;
                        ours.entries.insert(fingerprint, EntryText { head, line });
                    }
                    LineKind::Other => head = text,
                    LineKind::Begin { .. } | LineKind::End => head = b"",
                }
            }
        }
        Block::Damaged => {
            // Only what the state knows to be ours goes: the markers, a key that we keep here, and
            // the comment that stands right above such a key in our own form.
            let mut above = None;
            for (at, line) in current.lines().iter().enumerate() {
                let text = trimmed(current.text(line));
                match line.kind {
                    LineKind::Begin { .. } | LineKind::End => {
                        ours.leftovers.insert(at);
                    }
                    LineKind::Entry { fingerprint, .. } if owned.keys.contains(&fingerprint) => {
                        ours.leftovers.insert(at);
                        ours.leftovers.extend(above);
                        let (head, line): (&[u8], _) = (b"", text);
                        ours.entries.insert(fingerprint, EntryText { head, line });
                    }
                    _ => {}
                }
                let is_head = text.starts_with(b"# ") && contains(text, b" key ");
                above = (is_head && line.kind == LineKind::Other).then_some(at);
            }
        }
    }
    Ok(ours)
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
