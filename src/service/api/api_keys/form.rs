//! The form of what an API key is made of: a name, a tree, networks, an end.

use super::super::super::limits::{self, NETWORKS};
use super::super::super::permissions::Permissions;
use super::super::super::words::{self, NAME};
use super::super::ApiError;
use jiff::Timestamp;
use serde_json::Value;

/// A name, without the blanks around it.
pub(super) fn checked_name(name: &str) -> Result<String, ApiError> {
    let name = name.trim();
    if name.is_empty() || !words::is_plain(name) {
        return Err(ApiError::bad(
            "bad-name",
            format!("a name has 1 to {NAME} characters, and no control characters"),
        ));
    }
    Ok(name.to_owned())
}

/// A tree.
pub(super) fn checked_rights(tree: &Value) -> Result<Permissions, ApiError> {
    Permissions::parse(tree).map_err(|error| ApiError::bad("bad-permissions", error.to_string()))
}

/// In their one form, sorted, each once.
pub(super) fn checked_addresses(addresses: &[String]) -> Result<Vec<String>, ApiError> {
    let bad = |text: String| ApiError::bad("bad-address", text);
    if addresses.len() > NETWORKS {
        return Err(bad(format!("addresses: at most {NETWORKS}")));
    }
    let read = |(n, text): (usize, &String)| {
        limits::network(text).ok_or_else(|| {
            bad(format!(
                "addresses[{n}]: neither an IP address nor a network like 203.0.113.0/24"
            ))
        })
    };
    let mut networks: Vec<_> = addresses
        .iter()
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()?;
    networks.sort_unstable();
    networks.dedup();
    Ok(networks.iter().map(limits::written).collect())
}

/// A time that is not over.
pub(super) fn checked_end(at: Timestamp, now: Timestamp) -> Result<Timestamp, ApiError> {
    let at = in_millis(at);
    if at <= now {
        return Err(ApiError::bad("expired", "expires_at: that time is over"));
    }
    Ok(at)
}

/// As the database keeps a time.
pub(super) fn in_millis(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}
