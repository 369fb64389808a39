//! SSH keys of an account.

use super::double_option;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `POST /v1/ssh-keys`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct NewSshKey {
    /// What its owner calls it; by default the comment of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One public key line, without options.
    pub public_key: String,
    /// Options as in authorized_keys, comma-separated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
    /// When it stops to open anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Where it is to be; by default everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<KeyScope>,
}

/// Where a key is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum KeyScope {
    /// On every running and future instance, but for those that it was detached from.
    #[default]
    All,
    /// On those instances that it was attached to.
    Some,
}

/// `PATCH /v1/ssh-keys/{id}`: what is not named stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct EditSshKey {
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Another key under the same id: to agents an add and a delete at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Other options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
    /// Another end; `null`: never.
    #[serde(
        default,
        with = "double_option",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "service", schemars(with = "Option<Timestamp>"))]
    pub expires_at: Option<Option<Timestamp>>,
    /// Another scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<KeyScope>,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct SshKey {
    /// Its id in the account.
    pub id: i64,
    /// What its owner calls it.
    pub name: String,
    /// `type base64`, canonical.
    pub public_key: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// Options as in authorized_keys; empty for none.
    pub options: String,
    /// Where it is.
    #[serde(default)]
    pub scope: KeyScope,
    /// When it was saved.
    pub created_at: Timestamp,
    /// When it stops to open anything.
    pub expires_at: Option<Timestamp>,
    /// When an instance last reported a session by it.
    pub last_used_at: Option<Timestamp>,
}
