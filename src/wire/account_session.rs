//! Session keys of an account: who and what is logged in to it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One session key, without the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct AccountSession {
    /// Its id.
    pub id: i64,
    /// `browser`, `cli` or `agent`.
    pub kind: String,
    /// What is logged in.
    pub device: SessionDevice,
    /// An agent's instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<i64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last asked for something.
    pub last_seen: Option<Timestamp>,
    /// When it ends; `None`: with its instance.
    pub expires_at: Option<Timestamp>,
    /// It is the one that asks.
    pub current: bool,
}

/// A device: name and system in its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct SessionDevice {
    /// What it calls itself.
    pub name: String,
    /// Its operating system.
    pub os: String,
    /// Where it was last seen from; empty: unknown.
    pub address: String,
}
