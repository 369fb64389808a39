//! How far one key has come: `GET /v1/ssh-keys/{id}/rollout`.

use super::InstanceState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a key stands on one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutState {
    /// Saved; the instance has not reported it yet.
    Wanted,
    /// In the file; sshd has not been asked, or could not say.
    Written,
    /// sshd was asked and takes it.
    Proved,
    /// The instance does not hold it and says why.
    Refused,
}

/// One instance of a rollout.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RolloutInstance {
    /// The instance's id.
    pub instance: i64,
    /// Its label.
    pub label: String,
    /// How lately it was heard.
    pub instance_state: InstanceState,
    /// Where the key stands.
    pub state: RolloutState,
    /// For `written`: why there is no proof. For `refused`: what the instance says.
    pub why: Option<String>,
    /// When the instance was last heard, where it is offline.
    pub offline_since: Option<Timestamp>,
    /// Save to proof, in milliseconds, by the service's clock.
    pub proved_after_ms: Option<u64>,
}

/// The numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutCounts {
    /// Instances that should hold the key.
    pub total: u64,
    /// Of these, live ones.
    pub live: u64,
    /// Live and proved.
    pub proved: u64,
    /// Live and written, with no proof.
    pub written: u64,
    /// Live and still waiting.
    pub wanted: u64,
    /// Live and refused.
    pub refused: u64,
    /// Not live.
    pub offline: u64,
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rollout {
    /// The key's id.
    pub id: i64,
    /// The key's fingerprint.
    pub fingerprint: String,
    /// The revision that carries the key's last change.
    pub revision: u64,
    /// The numbers.
    pub counts: RolloutCounts,
    /// Each instance.
    pub instances: Vec<RolloutInstance>,
}
