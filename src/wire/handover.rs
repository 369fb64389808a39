//! From one set of snapshot signers to the next (protocol.md section 2, "Signers").

use serde::{Deserialize, Serialize};

/// The namespace of the signatures over hand-overs.
pub const HANDOVER_NAMESPACE: &str = "signers@sshkeyd";

/// One hand-over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Handover {
    /// Base64 of the JSON of a [`HandoverPayload`].
    pub payload: String,
    /// SSHSIG over these bytes, namespace [`HANDOVER_NAMESPACE`], by a signer of the set before.
    pub signature: String,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct HandoverPayload {
    /// 1.
    pub v: u32,
    /// The signers to believe next, as public key lines.
    pub signers: Vec<String>,
}
