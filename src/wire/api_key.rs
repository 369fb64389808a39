//! API keys of an account.

use super::double_option;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// `POST /v1/api-keys`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct NewApiKey {
    /// What its owner calls it.
    pub name: String,
    /// What it may do, a permission tree; by default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Value>,
    /// Addresses and networks that it may come from; by default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
    /// When it ends; by default never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// `PATCH /v1/api-keys/{id}`: what is not named stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct EditApiKey {
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Another tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Value>,
    /// Other networks; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
    /// Another end; `null`: never.
    #[serde(
        default,
        with = "double_option",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "service", schemars(with = "Option<Timestamp>"))]
    pub expires_at: Option<Option<Timestamp>>,
}

/// One API key, without the key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct ApiKey {
    /// Its id.
    pub id: i64,
    /// What its owner calls it.
    pub name: String,
    /// What it may do.
    pub permissions: Value,
    /// Addresses and networks that it may come from; none: any.
    pub addresses: Vec<String>,
    /// Its last four characters.
    pub tail: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it last asked for something.
    pub last_used_at: Option<Timestamp>,
    /// From where.
    #[serde(default)]
    pub last_used_from: String,
    /// It is the one that asks.
    #[serde(default)]
    pub current: bool,
}

/// What create, reset and reveal answer, and nothing else: the key itself.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct ApiKeySecret {
    /// `skd_api_…`.
    pub key: String,
    /// All else that is known of it.
    #[serde(flatten)]
    pub about: ApiKey,
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeySecret({})", self.about.id)
    }
}
