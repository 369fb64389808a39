//! RFC 9457 problem details: how the service says no.

use serde::{Deserialize, Serialize};

/// `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Problem {
    /// `about:blank`: the code below tells the kinds apart.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The status line's words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs: `private-key`, `token-used`, …
    #[serde(default)]
    pub code: String,
    /// What is wrong and what to do, for people.
    #[serde(default)]
    pub detail: String,
    /// The id of what stands in the way, where it is the account's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// The request this answers, to find it in the service's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}
