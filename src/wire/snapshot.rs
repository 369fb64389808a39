//! The signed snapshot: one numbered state of an account's keys (interface.md, "The snapshot").

use super::{EndSessions, KrlRef};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The SSHSIG namespace of a snapshot's signature.
pub const NAMESPACE: &str = "snapshot@sshkeyd";

/// What travels: the payload's bytes as they were signed, and the signatures over just these bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct SignedSnapshot {
    /// Base64 (standard, padded) of the JSON of a [`Payload`].
    pub payload: String,
    /// `-----BEGIN SSH SIGNATURE-----…`, one a signer.
    pub signatures: Vec<String>,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Payload {
    /// Format version: 1.
    pub v: u32,
    /// Whose keys these are.
    pub account: i64,
    /// The one instance this list is for; `None` for all that have no list of their own.
    pub instance: Option<i64>,
    /// Instances that have a list of their own and must refuse this one.
    #[serde(default)]
    pub except: Vec<i64>,
    /// Per account, never given out twice, never lower.
    pub revision: u64,
    /// When it was signed; signing again keeps the revision.
    pub issued_at: Timestamp,
    /// After this the agent warns that it has had no fresh word; no key is ever removed by it.
    pub expires_at: Timestamp,
    /// The keys.
    pub keys: Vec<SnapshotKey>,
    /// Keys that are to stand in no line of any managed file, whoever put them there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<Revoked>,
    /// Orders: sessions that are to end (protocol.md section 3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub end_sessions: Vec<EndSessions>,
    /// CAs whose user certificates sshd is to trust, as public key lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_ca: Vec<String>,
    /// The revocation list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub krl: Option<KrlRef>,
    /// Local user to the principals that may log in as him; `*`: every user of a target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub principals: BTreeMap<String, Vec<String>>,
    /// The signers to pin from here on, as public key lines.
    pub signers: Vec<String>,
    /// Set in the last snapshot that a removed instance gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Removed>,
}

/// One key of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct SnapshotKey {
    /// The key's id in the account.
    pub id: i64,
    /// What its owner calls it.
    pub name: String,
    /// `type base64`, canonical, without comment.
    pub public_key: String,
    /// Options as in authorized_keys, comma-separated; empty for none.
    #[serde(default)]
    pub options: String,
    /// When it stops to open anything.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// When it was saved.
    pub saved_at: Timestamp,
}

/// A key that its owner revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Revoked {
    /// `SHA256:…` of the key's blob.
    pub fingerprint: String,
    /// When.
    pub at: Timestamp,
}

/// The last word to an instance that was removed from its account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Removed {
    /// Whether the managed keys go with it.
    pub take_keys: bool,
    /// Whether sessions opened by these keys end.
    #[serde(default)]
    pub end_sessions: bool,
}
