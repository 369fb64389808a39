//! The status object: what `sshkeyd status --json` prints and a heartbeat carries (interface.md 3).

use super::{CertificatesStatus, Session};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How an agent is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No condition above notice.
    Ok,
    /// Something needs a look; keys are held as they were.
    Degraded,
    /// Something that was asked for is not done.
    Failing,
    /// `unmanage` was called; nothing is written until a reload.
    Unmanaged,
}

/// Weight of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Notice,
    /// The state is `degraded`.
    Warning,
    /// The state is `failing`.
    Error,
}

/// What kind of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// The account key service.
    Account,
    /// Vast.ai's own API.
    Vast,
    /// Any address with a list.
    Http,
    /// A file or a directory of them.
    File,
}

/// How a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// It answered, and its answer was taken.
    Live,
    /// It answered before and does not now, or its answer is held: last good list in force.
    Held,
    /// It has never answered since this state directory began.
    Unknown,
}

/// The whole object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// Which instance of the account this is, once enrolled.
    pub instance: Option<i64>,
    /// One word for all of it.
    pub state: State,
    /// Each source, in the order of the configuration.
    #[serde(default)]
    pub sources: Vec<SourceStatus>,
    /// Each target, in the order of the configuration.
    #[serde(default)]
    pub targets: Vec<TargetStatus>,
    /// Certificates that sshd trusts and shows; `None`: the agent keeps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificatesStatus>,
    /// Live SSH sessions, as far as they can be told.
    #[serde(default)]
    pub sessions: Vec<Session>,
    /// What is wrong, since when, and what to do.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct SourceStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind.
    pub kind: SourceKind,
    /// How it is.
    pub state: SourceState,
    /// Revision in force, for kinds that number theirs.
    pub revision: Option<u64>,
    /// How many keys are in force from it.
    pub keys: usize,
    /// Keys that were left out, each with its place and why.
    #[serde(default)]
    pub rejected: Vec<RejectedKey>,
    /// When it last answered well.
    pub last_success: Option<Timestamp>,
    /// What went wrong last, `None` while all is well.
    pub last_error: Option<String>,
}

/// A key that was left out of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct RejectedKey {
    /// Where it stands: `key 7`, or `FILE:LINE`.
    pub at: String,
    /// Why it was left out.
    pub why: String,
    /// Its fingerprint, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct TargetStatus {
    /// The local user.
    pub user: String,
    /// The file.
    pub path: String,
    /// How it is kept: `block`.
    pub method: String,
    /// Fingerprints that we keep there.
    #[serde(default)]
    pub managed: Vec<String>,
    /// How many entries are somebody else's.
    pub foreign: usize,
    /// Which keys those are, the first 256 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_keys: Vec<String>,
    /// The highest revision whose keys are in the file.
    pub revision: Option<u64>,
    /// When the file last got what it was to hold.
    pub applied_at: Option<Timestamp>,
    /// `sha256:HEX` of the file as we left or found it.
    pub digest: Option<String>,
    /// Keys of the sources that the sshd here could not be given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<RejectedKey>,
    /// What sshd said of the changed keys.
    pub proof: Option<Proof>,
}

/// What the local sshd said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Proof {
    /// Fingerprints that sshd takes and is to take.
    #[serde(default)]
    pub accepted: Vec<String>,
    /// Fingerprints that sshd refuses and is to refuse.
    #[serde(default)]
    pub refused: Vec<String>,
    /// Fingerprints that were removed and that sshd takes all the same.
    #[serde(default)]
    pub still_accepted: Vec<String>,
    /// Fingerprints of which nothing can be said.
    #[serde(default)]
    pub unknown: Vec<UnknownProof>,
    /// When sshd was asked.
    pub at: Option<Timestamp>,
}

/// A key of which sshd gave no clear word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct UnknownProof {
    /// The key.
    pub fingerprint: String,
    /// Why nothing can be said: `no-sshd`, `from-option`, `not-accepted`, …
    pub why: Cow<'static, str>,
}

/// A named trouble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Condition {
    /// One of a fixed list.
    pub code: String,
    /// Its weight.
    pub severity: Severity,
    /// Since when it stands.
    pub since: Timestamp,
    /// What it is about: a source's name, a file.
    pub about: String,
    /// What is wrong.
    pub text: String,
    /// What to do.
    #[serde(rename = "do")]
    pub todo: String,
}
