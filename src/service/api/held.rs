//! What held queries have in common: the wait, the limits, the ETag, the end at a stop.

use super::super::Service;
use super::super::holds::{Full, Hold, Holder};
use super::super::listen::Conn;
use super::ApiError;
use axum::http::HeaderMap;
use axum::http::header::IF_NONE_MATCH;
use serde::Deserialize;
use std::time::Duration;

/// `?wait=SECONDS`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Wait {
    #[serde(default)]
    wait: u64,
}

impl Wait {
    /// How long, at most `limit`.
    pub(super) fn limited(self, limit: Duration) -> Duration {
        Duration::from_secs(self.wait).min(limit)
    }
}

/// Takes a place for a query that is to be held.
pub(super) fn take(
    service: &Service,
    holder: Holder,
    conn: Option<&Conn>,
) -> Result<Hold, ApiError> {
    let address = conn.and_then(|conn| conn.counted);
    service.holds.take(holder, address).map_err(|full| {
        let detail = match full {
            Full::Holder => "16 queries of this account are held; end one",
            Full::Address => "256 queries of this address are held",
            Full::Process => "the service holds as many queries as it may",
        };
        ApiError::too_many("too-many-held", detail, 30)
    })
}

/// Whether `If-None-Match` names this tag (RFC 9110, section 13.1.2: the weak comparison).
pub(in crate::service) fn has(headers: &HeaderMap, etag: &str) -> bool {
    named(headers).any(|value| names(value, etag))
}

fn named(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(IF_NONE_MATCH).iter();
    values.filter_map(|value| value.to_str().ok())
}

fn names(value: &str, etag: &str) -> bool {
    let mut tags = value.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// What `If-None-Match` says: all that is kept of a held query's headers.
pub(super) struct Known(Box<[Box<str>]>);

impl Known {
    /// Of these headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self(named(headers).map(Box::from).collect())
    }

    /// Whether it names this tag.
    pub(super) fn has(&self, etag: &str) -> bool {
        self.0.iter().any(|value| names(value, etag))
    }
}

/// Returns when the service stops; never where there is no connection to end.
pub(super) async fn stopping(conn: &mut Option<Conn>) {
    match conn {
        Some(conn) => conn.stopping().await,
        None => std::future::pending().await,
    }
}
