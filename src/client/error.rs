//! What went wrong with a call, by what the caller does next.
//!
//! Owns the variants and their words. Refuses to carry a token, a header, or more than 512 bytes
//! of anything that the other side said.

use super::text::{MAX_REMOTE_TEXT, clean};
use crate::wire::Problem;
use std::fmt;
use std::time::Duration;

/// Why a call gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The call cannot be made as it is set up: address, CA file, token, proxy. Nothing was sent;
    /// asking again changes nothing.
    #[error("{what}")]
    Setup {
        /// What is wrong and what to do.
        what: String,
    },
    /// No connection, or it broke before the answer was whole. Keep what there is; back off.
    #[error("{why}")]
    Offline {
        /// Where, and what the network said.
        why: String,
    },
    /// The answer was not there, or not whole, in its time. As [`ClientError::Offline`].
    #[error("no whole answer within the time for it")]
    Timeout,
    /// 401: the token is not (or no longer) good. Renew, or ask for another.
    #[error("not signed in: {}", said(.0))]
    Unauthorized(Box<Problem>),
    /// 403: the token is good and may not do this.
    #[error("not permitted: {}", said(.0))]
    Forbidden(Box<Problem>),
    /// 404: no such thing. Never the same as an empty list.
    #[error("not found: {}", said(.0))]
    NotFound(Box<Problem>),
    /// 409: it stands against what is there: `token-used`, `clone`, another key.
    #[error("conflict: {}", said(.0))]
    Conflict(Box<Problem>),
    /// Any other 4xx: the request itself is at fault.
    #[error("refused: {}", said(.0))]
    Refused(Box<Problem>),
    /// 429 or 503: come back after `retry_after`, or back off where none is named.
    #[error("busy: {}", said(.problem))]
    Busy {
        /// What the service asks for, an hour at the most.
        retry_after: Option<Duration>,
        /// Its words.
        problem: Box<Problem>,
    },
    /// Any other 5xx: the service's own trouble. Keep what there is; back off.
    #[error("the service has a fault: {}", said(.0))]
    Fault(Box<Problem>),
    /// The body is over its limit. Keep what there is; somebody has to look.
    #[error("the answer is over its limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Not what was asked for: a wrong type, broken JSON, a redirect. Never treat it as empty.
    #[error("{what}")]
    Malformed {
        /// What was met instead.
        what: String,
    },
}

impl ClientError {
    pub(super) fn setup(what: impl Into<String>) -> Self {
        Self::Setup { what: what.into() }
    }

    pub(super) fn malformed(what: impl AsRef<str>) -> Self {
        Self::Malformed {
            what: clean(what.as_ref(), MAX_REMOTE_TEXT),
        }
    }

    /// The reaction that a status stands for. Only for statuses that are no success.
    pub(super) fn of_status(problem: Box<Problem>, retry_after: Option<Duration>) -> Self {
        match problem.status {
            401 => Self::Unauthorized(problem),
            403 => Self::Forbidden(problem),
            404 => Self::NotFound(problem),
            409 => Self::Conflict(problem),
            429 | 503 => Self::Busy {
                retry_after,
                problem,
            },
            500.. => Self::Fault(problem),
            _ => Self::Refused(problem),
        }
    }

    /// What the service said, where it said something.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Unauthorized(problem)
            | Self::Forbidden(problem)
            | Self::NotFound(problem)
            | Self::Conflict(problem)
            | Self::Refused(problem)
            | Self::Busy { problem, .. }
            | Self::Fault(problem) => Some(problem),
            _ => None,
        }
    }

    /// How long the service asks to be left alone, an hour at the most.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A problem's words for a person: its detail, else its title, and the id to look for in the log.
fn said(problem: &Problem) -> impl fmt::Display + '_ {
    struct Said<'a>(&'a Problem);
    impl fmt::Display for Said<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let Problem { title, detail, .. } = self.0;
            f.write_str(if detail.is_empty() { title } else { detail })?;
            match &self.0.request_id {
                Some(id) if self.0.status >= 500 => write!(f, " (request {id})"),
                _ => Ok(()),
            }
        }
    }
    Said(problem)
}
