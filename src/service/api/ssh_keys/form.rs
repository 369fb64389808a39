//! What a key's name, options and end may be.

use super::super::super::words::{self, NAME};
use super::super::ApiError;
use crate::keys::{EXPIRY_TIME, Options, PublicKey};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

/// The name that was given, else the comment, else the fingerprint's end.
pub(in crate::service::api) fn name(
    given: Option<&str>,
    comment: &str,
    key: &PublicKey,
) -> Result<String, ApiError> {
    let given = given.map_or("", str::trim);
    if !words::is_plain(given) {
        return Err(super::bad_name());
    }
    if !given.is_empty() {
        return Ok(given.to_owned());
    }
    let comment: String = words::said(comment).chars().take(NAME).collect();
    if !comment.trim().is_empty() {
        return Ok(comment.trim().to_owned());
    }
    let fingerprint = key.fingerprint().to_string();
    let end = fingerprint.len().saturating_sub(8);
    Ok(format!("…{}", fingerprint.get(end..).unwrap_or_default()))
}

/// Options as they will be written, or why not. A list with options that nobody checked could lock
/// its owner out, or open more than he meant.
pub(super) fn checked_options(text: Option<&str>, expires: bool) -> Result<String, ApiError> {
    let options = Options::parse(text.unwrap_or_default())
        .map_err(|error| ApiError::bad(error.code(), format!("options: {error}")))?;
    if expires && options.has(EXPIRY_TIME) {
        return Err(ApiError::bad(
            "option-twice",
            format!("options: {EXPIRY_TIME} beside expires_at; give expires_at alone"),
        ));
    }
    Ok(options.to_string())
}

/// Whole seconds, as sshd's `expiry-time` has them; down, so that no key outlives its word.
pub(super) fn expiry(at: Timestamp, now: Timestamp) -> Result<Timestamp, ApiError> {
    let down = TimestampRound::new()
        .smallest(Unit::Second)
        .mode(RoundMode::Floor);
    at.round(down)
        .ok()
        .filter(|at| *at > now)
        .ok_or_else(|| ApiError::bad("expired", "expires_at: that time is over"))
}
