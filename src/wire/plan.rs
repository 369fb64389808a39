//! What a sync would change: `sshkeyd plan --json`.
//!
//! A diff by fingerprint, never a count: a count hides a key that was swapped for another.

use super::SourceState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The whole answer. It speaks of the lists that are in force; each source says which that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Nothing is written until a reload: this is what the reload would bring.
    pub unmanaged: bool,
    /// What the plan speaks of.
    #[serde(default)]
    pub sources: Vec<PlanSource>,
    /// Each target, in the order of the configuration.
    #[serde(default)]
    pub targets: Vec<TargetPlan>,
}

/// The list of one source that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSource {
    /// Its name in the configuration.
    pub name: String,
    /// How it is.
    pub state: SourceState,
    /// Revision in force, for kinds that number theirs.
    pub revision: Option<u64>,
    /// When the source last gave or confirmed it.
    pub last_success: Option<Timestamp>,
}

/// What changes for one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetPlan {
    /// The local user.
    pub user: String,
    /// The file.
    pub path: String,
    /// How it is kept: `block`, `own-file`, `command`.
    pub method: String,
    /// Whether a sync would write.
    pub changes: bool,
    /// Why nothing would be written, where that is by a decision or a fault.
    pub held: Option<String>,
    /// What else is said of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Every key of ours, before or after.
    #[serde(default)]
    pub keys: Vec<PlannedKey>,
}

/// What becomes of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedKey {
    /// The key.
    pub fingerprint: String,
    /// What becomes of it.
    pub action: PlanAction,
    /// Why, in words: which source lists it and by what name, or why it goes.
    pub why: String,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanAction {
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

impl Plan {
    /// Whether a sync would change anything.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.targets.iter().any(|target| target.changes)
    }
}
