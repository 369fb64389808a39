//! Live SSH sessions of an instance, the device that they are on, and orders to end them
//! (interface.md section 3, protocol.md section 3).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One live SSH session, as sshd's own log binds it to a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Session {
    /// Another one for every other session of this boot: process and its start time.
    pub id: String,
    /// The local user.
    pub user: String,
    /// Where it comes from, `ADDRESS:PORT`.
    pub from: String,
    /// Since when.
    pub since: Timestamp,
    /// The key that opened it; `None` where the log could not tell.
    pub fingerprint: Option<String>,
    /// The certificate that it was opened with, if it was one.
    pub certificate: Option<SessionCertificate>,
    /// The process of sshd that ends it: the connection's monitor.
    pub pid: u32,
    /// `pty`, `exec`, `sftp` or `forward`, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// True where nobody but a log file that others could write says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproved: bool,
}

/// What sshd's log says of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct SessionCertificate {
    /// Its key ID.
    pub key_id: String,
    /// Its serial.
    pub serial: u64,
    /// Fingerprint of the CA that signed it.
    pub ca: String,
}

/// The machine, in its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Device {
    /// What the host calls itself.
    pub hostname: String,
    /// `PRETTY_NAME` of os-release(5).
    pub os: String,
    /// `uname -r`.
    pub kernel: String,
    /// The agent's version.
    pub agent_version: String,
    /// Fingerprints of sshd's host keys.
    pub host_keys: Vec<String>,
    /// When it was started.
    pub boot_time: Option<Timestamp>,
}

/// An order of a snapshot: end the sessions of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct EndSessions {
    /// Done once per id and instance.
    pub id: i64,
    /// Whose sessions: this key's,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// or those of the certificate with this serial,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
    /// or with this key ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// When it was asked for, by the service's clock.
    pub asked_at: Timestamp,
    /// After this it is of no use any more.
    pub until: Timestamp,
}

/// What became of an order on one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OrderOutcome {
    /// All of its sessions that were there ended.
    Ended,
    /// There was none.
    None,
    /// Sessions here cannot be told apart by key.
    NotMapped,
    /// The instance's own configuration says never.
    RefusedHere,
}

/// The result of one order, in a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct OrderResult {
    /// The order's id.
    pub id: i64,
    /// What became of it.
    pub outcome: OrderOutcome,
    /// Sessions that ended.
    pub ended: u32,
    /// Sessions that were told to end and are still there.
    #[serde(default)]
    pub left: u32,
}
