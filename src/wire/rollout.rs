//! How far one key has come: `GET /v1/ssh-keys/{id}/rollout`.

use super::{InstanceState, OrderOutcome};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a key stands on one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RolloutState {
    /// Saved, or deleted; the instance has not reported it yet.
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
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
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
    /// For a key that was deleted with its sessions: what this instance says of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_sessions: Option<RolloutEnd>,
    /// For a key that was revoked: whether sshd here refuses it wherever it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub krl: Option<RolloutKrl>,
}

/// Whether a revocation list is in force on one instance: the tenant's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct RolloutKrl {
    /// The list that revokes the key, or a later one, is in force.
    pub in_force: bool,
    /// sshd itself was seen to refuse what that list, or a later one, revokes.
    #[serde(default)]
    pub proved: bool,
    /// `not enforced here`, and why; `None` while it is in force or on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What became of a deleted key's sessions on one instance: the tenant's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct RolloutEnd {
    /// What became of the order.
    pub outcome: OrderOutcome,
    /// Sessions that ended.
    pub ended: u32,
    /// Sessions that were told to end and are still there.
    #[serde(default)]
    pub left: u32,
    /// When the service heard of it.
    pub at: Timestamp,
}

/// The order that a key's deletion gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct RolloutOrder {
    /// Its id.
    pub id: i64,
    /// When it was given.
    pub asked_at: Timestamp,
    /// Until when it is of use; this answer is there as long.
    pub until: Timestamp,
    /// True while it stands in every list.
    pub open: bool,
}

/// The numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Rollout {
    /// The key's id.
    pub id: i64,
    /// The key's fingerprint.
    pub fingerprint: String,
    /// The revision that carries the key's last change.
    pub revision: u64,
    /// The numbers.
    pub counts: RolloutCounts,
    /// For a key that was deleted with its sessions: the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_sessions: Option<RolloutOrder>,
    /// For a key that was revoked: the number of the revocation list that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub krl_version: Option<u64>,
    /// Each instance.
    pub instances: Vec<RolloutInstance>,
}
