//! The audit log, and the stream that says what is new.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One act: who did what from where with which key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct AuditItem {
    /// Its id; later acts have higher ones.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// `ssh-key.add`: what was acted on, and what was done.
    pub action: String,
    /// `done` or `refused`.
    pub outcome: String,
    /// With which key.
    pub by: AuditBy,
    /// From where; empty: unknown.
    pub address: String,
    /// The id of what was acted on.
    pub about: Option<i64>,
    /// Names, fingerprints, reasons.
    pub detail: Value,
    /// The request, to find it in the service's log.
    #[serde(default)]
    pub request_id: String,
}

/// With which key someone acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct AuditBy {
    /// `session`, `api-key`, `agent`, `server`, `nobody`.
    pub kind: String,
    /// Which of them.
    pub id: Option<i64>,
    /// What it is called.
    #[serde(default)]
    pub name: String,
}

/// What `GET /v1/events` sends as data: something of this kind has changed, read it anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Event {
    /// `ssh-keys`, `api-keys`, `sessions`, `instances`, `audit`, `account`.
    pub kind: String,
}
