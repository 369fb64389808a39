//! A certificate that could not be had: what one start leaves for the next.
//!
//! So that many starts at once find out together that the service is away, and none of them asks
//! again within seconds while there is a certificate that is good.

use crate::cli::exit::{Exit, Failed};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long nobody asks again who has no need to.
const PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// The longest text that is left, in bytes.
const MAX_TEXT: usize = 1024;

/// What was tried, when, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Missed {
    pub(super) at: Timestamp,
    about: String,
    exit: u8,
    text: String,
}

impl Missed {
    /// This failure, now.
    pub(super) fn of(failed: &Failed, about: String, at: Timestamp) -> Self {
        let mut text = failed.to_string();
        let cut = text.floor_char_boundary(MAX_TEXT);
        text.truncate(cut);
        Self {
            at,
            about,
            exit: failed.exit() as u8,
            text,
        }
    }

    /// What was left, where it is about the same thing.
    pub(super) fn read(word: &str, about: &str) -> Option<Self> {
        let missed: Self = serde_json::from_str(word).ok()?;
        (missed.about == about).then_some(missed)
    }

    /// As it is left.
    pub(super) fn to_word(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether it is too early to try again.
    pub(super) fn is_recent(&self, now: Timestamp) -> bool {
        let since = now.duration_since(self.at);
        !since.is_negative() && since < PAUSE
    }

    /// The same failure, for another start.
    pub(super) fn into_failed(self) -> Failed {
        let all = [
            Exit::Usage,
            Exit::Unavailable,
            Exit::NotPermitted,
            Exit::Config,
        ];
        let exit = all.into_iter().find(|exit| *exit as u8 == self.exit);
        Failed::new(exit.unwrap_or(Exit::NotDone), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::*;

    #[test]
    fn a_failure_is_told_again_as_it_was_and_forgotten_after_half_a_minute() {
        let failed = Failed::new(Exit::Unavailable, "x".repeat(1023) + "äb");
        let word = Missed::of(&failed, "a".to_owned(), at(0)).to_word();
        assert_eq!(Missed::read(&word, "b"), None);
        assert_eq!(Missed::read("", "a"), None);
        let missed = Missed::read(&word, "a").unwrap();
        assert!(missed.is_recent(at(0)) && missed.is_recent(at(29)));
        assert!(!missed.is_recent(at(30)) && !missed.is_recent(at(-1)));
        let again = missed.into_failed();
        assert_eq!(again.exit(), Exit::Unavailable);
        assert_eq!(again.to_string(), "x".repeat(1023));
    }
}
