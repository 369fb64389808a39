//! Instances as the account's owner sees them.

use super::{Device, Status};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `POST /v1/instances`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct NewInstance {
    /// What the owner calls it.
    pub label: String,
}

/// `PATCH /v1/instances/{id}`: what is not named stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct EditInstance {
    /// Another label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// The answer: 201.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct NewInstanceAnswer {
    /// The instance's id.
    pub id: i64,
    /// Its label.
    pub label: String,
    /// `skd_enr_….SHA256:…`: one use, one day; only here.
    pub enroll_token: String,
    /// The line that starts an agent with that token.
    pub install: String,
}

/// How lately an instance has been heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// A held query, or a heartbeat within two intervals.
    Live,
    /// A heartbeat within ten intervals.
    Stale,
    /// Longer ago than that, or it said that it stops.
    Offline,
    /// No agent has enrolled yet.
    Never,
    /// It is being removed, and has not yet answered.
    Removing,
}

/// A copy of an instance (protocol.md section 1): two machines with one identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct CloneSeen {
    /// When it was last refused.
    pub at: Timestamp,
    /// From which address, where that is known.
    pub from: Option<String>,
}

/// `PUT` and `DELETE /v1/instances/{id}/ssh-keys/{key}`: how it is from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Attachment {
    /// The instance's id.
    pub instance: i64,
    /// The key's id.
    pub key: i64,
    /// Whether the key is on the instance, whatever its scope.
    pub attached: bool,
    /// The key is saved and on no instance: its scope is `some`, and this was its last.
    #[serde(default)]
    pub nowhere: bool,
}

/// One instance of a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Instance {
    /// The instance's id.
    pub id: i64,
    /// Its label.
    pub label: String,
    /// How lately it was heard.
    pub state: InstanceState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last heard; for an offline one, since when it is.
    pub last_seen: Option<Timestamp>,
    /// What its host calls itself.
    #[serde(default)]
    pub hostname: String,
    /// The machine, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// A copy of this instance spoke for it and was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone: Option<CloneSeen>,
    /// Keys that are there whatever their scope, by id.
    #[serde(default)]
    pub attached: Vec<i64>,
    /// Keys that are not there whatever their scope, by id.
    #[serde(default)]
    pub detached: Vec<i64>,
    /// The revision that its last status names.
    pub revision: Option<u64>,
    /// Its last status: the tenant's words.
    pub status: Option<Status>,
}
