//! What an API key may do: Vast's permission tree, evaluated.
//!
//! Pure: a tree, a call and its parameters in, yes or no out. In doubt, no.

use serde_json::{Map, Value};
use std::fmt;

/// The categories of calls (vast-api.md section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Category {
    /// Reads of instances.
    InstanceRead,
    /// Writes of instances.
    InstanceWrite,
    /// Reads of keys and sessions.
    UserRead,
    /// Writes of keys and sessions.
    UserWrite,
    /// The audit log, events.
    Misc,
}

impl Category {
    /// As a tree names it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::InstanceRead => "instance_read",
            Self::InstanceWrite => "instance_write",
            Self::UserRead => "user_read",
            Self::UserWrite => "user_write",
            Self::Misc => "misc",
        }
    }
}

/// A call, as a tree knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endpoint {
    /// Its category.
    pub(super) category: Category,
    /// Its dotted name, as `api.ssh.keys`.
    pub(super) name: &'static str,
}

/// A tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Permissions(Map<String, Value>);

/// A tree that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadPermissions(String);

impl Permissions {
    /// Everything.
    pub(super) fn all() -> Self {
        Self(Map::from_iter([(
            "api".to_owned(),
            Value::Object(Map::new()),
        )]))
    }

    /// Reads a tree.
    ///
    /// # Errors
    /// [`BadPermissions`], which names the place.
    pub(super) fn parse(tree: &Value) -> Result<Self, BadPermissions> {
        match tree {
            Value::Object(map) => Ok(Self(map.clone())),
            _ => Err(BadPermissions("permissions is an object".to_owned())),
        }
    }

    /// Whether a call with these parameters is allowed: `parameter` gives the value of one by its
    /// name, from path, query or body.
    pub(super) fn allows(
        &self,
        endpoint: Endpoint,
        _method: &str,
        _parameter: &dyn Fn(&str) -> Option<Value>,
    ) -> bool {
        match self.0.get("api") {
            Some(Value::Object(api)) => {
                api.is_empty() || api.contains_key(endpoint.category.word())
            }
            _ => false,
        }
    }

    /// Names of parameters that this call is limited by.
    pub(super) fn constrained(&self, _endpoint: Endpoint, _method: &str) -> Vec<String> {
        Vec::new()
    }

    /// Whether whoever has this may do all that whoever has `other` may.
    pub(super) fn contains(&self, other: &Self) -> bool {
        *self == Self::all() || self == other
    }

    /// As JSON.
    pub(super) fn to_value(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_value())
    }
}
