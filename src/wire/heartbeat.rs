//! What an instance says of itself, and when it is to speak next.

use super::{Device, OrderResult, Status};
use serde::{Deserialize, Serialize};

/// `POST /v1/agent/heartbeat`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct HeartbeatRequest {
    /// The agent's run id.
    pub run: String,
    /// The same object that `sshkeyd status --json` prints.
    pub status: Status,
    /// True in the last heartbeat of a clean stop: the instance is `offline` at once.
    #[serde(default)]
    pub stopping: bool,
    /// The machine; where it is left out, it is as it was said last in this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// What became of orders; each is said until a heartbeat that carried it was answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<OrderResult>,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct HeartbeatAnswer {
    /// Seconds until the next one is due.
    pub next_in: u64,
    /// The account's revision now.
    pub revision: u64,
}
