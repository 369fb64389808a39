//! The few headers of an answer that count.
//!
//! Owns `Retry-After`, `Date` and `Content-Type` (RFC 9110, sections 10.2.3, 6.6.1 and 8.3).
//! Refuses to guess: a value that cannot be read is as good as none.

use super::clean;
use jiff::Timestamp;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

/// A `Retry-After` counts up to here (interface.md section 2).
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Seconds, or a date that is measured against the answer's own `Date`, so that a wrong clock of
/// ours does not matter.
pub(super) fn retry_after(
    headers: &HeaderMap,
    date_of_answer: Option<Timestamp>,
) -> Option<Duration> {
    let value = text(headers, &header::RETRY_AFTER)?.trim();
    let wait = if let Ok(seconds) = value.parse::<u64>() {
        Duration::from_secs(seconds)
    } else if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        MAX_RETRY_AFTER
    } else {
        let until = date(headers, &header::RETRY_AFTER)?;
        let wait = until.duration_since(date_of_answer?);
        Duration::try_from(wait).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Over how long to spread when all have to come back (protocol.md section 4); none: the service
/// names no window.
pub(super) fn retry_within(headers: &HeaderMap) -> Duration {
    let name = HeaderName::from_static("x-sshkeyd-retry-within");
    let seconds = text(headers, &name).and_then(|value| value.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(0)).min(MAX_RETRY_AFTER)
}

pub(super) fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    parser.parse_timestamp(text(headers, name)?).ok()
}

pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = text(headers, &header::CONTENT_TYPE)?;
    let value = value.split(';').next().unwrap_or_default().trim();
    Some(clean(value, 64).to_ascii_lowercase())
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(HeaderValue::to_str)?.ok()
}
