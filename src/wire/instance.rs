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

/// `POST /v1/instances/{id}/host-keys`: the owner's word on a host key. 204.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct ApproveHostKey {
    /// `SHA256:…` of the key.
    pub fingerprint: String,
}

/// What an account's owner has said of a host key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub enum HostKeyState {
    /// It gets certificates.
    Approved,
    /// It is new or another one than before, and waits for his word.
    Waiting,
    /// It gets none.
    Refused,
}

/// A host key of an instance, by its agent's words, and the owner's word on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct HostKey {
    /// `ssh-ed25519` …
    #[serde(rename = "type")]
    pub key_type: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// `type base64`.
    pub public_key: String,
    /// What its owner said.
    pub state: HostKeyState,
    /// Since when.
    pub since: Timestamp,
    /// Another instance of the account that has this very key: whoever runs that one can be this
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also_on: Option<i64>,
    /// The serial of the certificate that it was last given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
    /// When that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_before: Option<Timestamp>,
}

/// `GET /v1/host-keys/revoked`: a host key that people's machines are to refuse under these names,
/// as a `@revoked` line of known_hosts (sshd(8)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct RevokedHostKey {
    /// Which instance had it.
    pub instance: i64,
    /// `type base64`.
    pub public_key: String,
    /// Names of its certificates.
    pub names: Vec<String>,
    /// When the last of them ends: after that nothing has to be refused.
    pub until: Timestamp,
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
    /// Its host keys, and the owner's word on each; only where one instance is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<HostKey>,
    /// The revision that its last status names.
    pub revision: Option<u64>,
    /// Its last status: the tenant's words.
    pub status: Option<Status>,
}
