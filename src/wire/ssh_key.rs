//! SSH keys of an account.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `POST /v1/ssh-keys`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// When it was saved.
    pub created_at: Timestamp,
    /// When it stops to open anything.
    pub expires_at: Option<Timestamp>,
    /// When an instance last reported a session by it.
    pub last_used_at: Option<Timestamp>,
}
