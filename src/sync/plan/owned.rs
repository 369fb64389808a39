//! What the agent knows to be its own in a file, and lines that it took over there.

use super::Plan;
use crate::keys::{Fingerprint, KeySet};
use serde::{Deserialize, Serialize};

/// What the agent knows to be its own in one file; kept in its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// Keys that it keeps there.
    #[serde(default)]
    pub keys: KeySet,
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

impl Owned {
    /// What is owned before and after a plan, together: safe to remember before it is carried out.
    #[must_use]
    pub fn joined(&self, plan: &Plan) -> Self {
        Self {
            keys: self.keys.iter().chain(&plan.add).copied().collect(),
            adopted: self.adopted_with(&plan.adopt),
        }
    }

    /// Adopted lines, those of a plan among those before, in the order in which they stood.
    ///
    /// A line that leaves the file no longer stands above those that left it earlier.
    pub(super) fn adopted_with(&self, new: &[Adopted]) -> Vec<Adopted> {
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
