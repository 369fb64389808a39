//! How an agent comes to a session key: enrolment by token, renewal by signature (protocol.md 1).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `POST /v1/agent/enroll`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct EnrollRequest {
    /// The token without the pinned fingerprint: `skd_enr_…`.
    pub token: String,
    /// The public half of the agent's identity key, as an authorized_keys line without comment.
    pub public_key: String,
    /// The agent's run id: random, made at every start.
    pub run: String,
    /// What the host calls itself; shown to people, trusted for nothing.
    #[serde(default)]
    pub hostname: String,
}

/// The answer to an enrolment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct EnrollAnswer {
    /// Which instance of the account this agent is.
    pub instance: i64,
    /// The account whose keys this instance holds.
    pub account: i64,
    /// `skd_ses_…`: bearer token for `/v1/agent/*`.
    pub session_key: String,
    /// The account's revision now: the agent's floor begins here.
    pub revision: u64,
    /// The snapshot signers, as public key lines; one of them has the token's fingerprint.
    pub signers: Vec<String>,
}

/// `GET /v1/agent/nonce`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct NonceAnswer {
    /// Opaque; good for 60 seconds, once per instance.
    pub nonce: String,
    /// The service's clock.
    pub at: Timestamp,
}

/// `POST /v1/agent/renew`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct RenewRequest {
    /// Which instance asks.
    pub instance: i64,
    /// The service URL that the agent was configured with; signed, so that one service cannot
    /// spend what another was given.
    pub url: String,
    /// The time that the nonce's answer named.
    pub at: Timestamp,
    /// From [`NonceAnswer`].
    pub nonce: String,
    /// The agent's run id.
    pub run: String,
    /// SSHSIG, namespace `agent@sshkeyd`, over [`renewal_message`].
    pub signature: String,
}

/// The answer to a renewal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct RenewAnswer {
    /// The new session key; the old one lives until this one is first used.
    pub session_key: String,
}

/// The bytes that a renewal signs: instance, service URL, time and nonce, one a line.
#[must_use]
pub fn renewal_message(instance: i64, url: &str, at: Timestamp, nonce: &str) -> Vec<u8> {
    format!("{instance}\n{url}\n{at}\n{nonce}\n").into_bytes()
}
