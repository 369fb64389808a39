//! How a command ended, as scripts see it (interface.md section 1, "Exit codes").
//!
//! Owns the six codes and which error means which. Refuses a seventh.

use crate::client::ClientError;
use std::fmt;
use std::process::ExitCode;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// Done.
    Done = 0,
    /// Not done; the message says why.
    NotDone = 1,
    /// The command line is at fault.
    Usage = 64,
    /// The service, a source or the agent cannot be reached, or cannot answer.
    Unavailable = 69,
    /// Not permitted.
    NotPermitted = 77,
    /// A configuration file is at fault.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that knows its exit code. What it says is whole: what is wrong, and what to do.
#[derive(Debug)]
pub(super) struct Failed {
    exit: Exit,
    text: String,
}

impl Failed {
    /// An error of this code, in these words.
    pub(super) fn new(exit: Exit, text: impl fmt::Display) -> Self {
        let text = text.to_string();
        Self { exit, text }
    }

    /// Its code.
    pub(super) fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failed {}

/// The code of an error on its way to a person: its own, that of the client's error inside it, or
/// 1.
pub(super) fn exit_of(error: &anyhow::Error) -> Exit {
    if let Some(failed) = error.downcast_ref::<Failed>() {
        return failed.exit();
    }
    error.downcast_ref().map_or(Exit::NotDone, exit_of_client)
}

/// The code of a call that gave no answer.
pub(super) fn exit_of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::Offline { .. }
        | ClientError::Timeout
        | ClientError::Busy { .. }
        | ClientError::Fault(_) => Exit::Unavailable,
        ClientError::Unauthorized(_) | ClientError::Forbidden(_) => Exit::NotPermitted,
        ClientError::Setup { .. } => Exit::Usage,
        _ => Exit::NotDone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_code_under_context() {
        let failed = anyhow::Error::from(Failed::new(Exit::Config, "x")).context("outer");
        assert_eq!(exit_of(&failed), Exit::Config);
        let offline = anyhow::Error::from(ClientError::Timeout).context("outer");
        assert_eq!(exit_of(&offline), Exit::Unavailable);
        assert_eq!(exit_of(&anyhow::anyhow!("else")), Exit::NotDone);
    }
}
