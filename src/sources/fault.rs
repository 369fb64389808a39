//! Why an attempt gave no list, and which condition stands for it.
//!
//! Owns the one table from what the client met to what an administrator reads. Every row keeps the
//! last good list.

use crate::client::ClientError;
use crate::sync::Code;
use std::time::Duration;

/// Why an attempt gave no list.
#[derive(Debug)]
pub(super) enum Fault {
    /// The other side, or the way to it.
    Client(ClientError),
    /// Something here or in the answer, which asking again at once will not change.
    Here {
        /// The condition.
        code: Code,
        /// In words; never with a secret in it.
        text: String,
    },
}

impl Fault {
    pub(super) fn here(code: Code, text: impl Into<String>) -> Self {
        let text = text.into();
        Self::Here { code, text }
    }

    pub(super) fn code(&self) -> Code {
        match self {
            Self::Client(fault) => code_of(fault),
            Self::Here { code, .. } => *code,
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Client(fault) => fault.to_string(),
            Self::Here { text, .. } => text.clone(),
        }
    }

    /// Whether it may be over in a moment, so that the next attempt need not wait for its turn.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Client(fault) => {
                fault.retry_after().is_some()
                    || matches!(
                        fault,
                        ClientError::Offline { .. } | ClientError::Timeout | ClientError::Fault(_)
                    )
            }
            Self::Here { .. } => false,
        }
    }

    /// How long the other side asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Client(fault) => fault.retry_after(),
            Self::Here { .. } => None,
        }
    }
}

impl From<ClientError> for Fault {
    fn from(fault: ClientError) -> Self {
        Self::Client(fault)
    }
}

/// The condition that a failed call raises.
pub(super) fn code_of(fault: &ClientError) -> Code {
    match fault {
        ClientError::Unauthorized(_) | ClientError::Forbidden(_) => Code::SourceUnauthorized,
        ClientError::NotFound(_) => Code::SourceNotFound,
        ClientError::Busy { .. } => Code::SourceBusy,
        ClientError::TooLarge { .. } => Code::SourceTooLarge,
        ClientError::Malformed { .. } | ClientError::Refused(_) => Code::SourceMalformed,
        _ => Code::SourceOffline,
    }
}
