//! `--expires 30d|never`: when something stops to be good.
//!
//! Refuses a time beyond all calendars.

use super::exit::{Exit, Failed};
use jiff::Timestamp;
use std::time::Duration;

/// When something ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expires {
    /// It does not.
    Never,
    /// So long after now.
    After(Duration),
}

/// For clap.
pub(super) fn expires(text: &str) -> Result<Expires, String> {
    match text {
        "never" => Ok(Expires::Never),
        text => super::duration(text)
            .map(Expires::After)
            .map_err(|error| format!("{error}, or never")),
    }
}

impl Expires {
    /// The time itself; none for never.
    ///
    /// # Errors
    /// 64: no calendar has it.
    pub(super) fn at(self, now: Timestamp) -> Result<Option<Timestamp>, Failed> {
        let Self::After(after) = self else {
            return Ok(None);
        };
        let at = jiff::SignedDuration::try_from(after)
            .ok()
            .and_then(|after| now.checked_add(after).ok());
        at.map(Some).ok_or_else(|| {
            let text = "--expires: beyond all calendars; give a shorter time";
            Failed::new(Exit::Usage, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_counts_from_now_and_stays_in_the_calendar() {
        let now: Timestamp = "2026-11-22T19:00:00Z".parse().unwrap();
        let at = expires("30d").unwrap().at(now).unwrap().unwrap();
        assert_eq!(at.to_string(), "2026-12-22T19:00:00Z");
        assert_eq!(expires("never").unwrap().at(now).unwrap(), None);
        assert!(
            Expires::After(Duration::from_secs(u64::MAX))
                .at(now)
                .is_err()
        );
        assert!(expires("soon").unwrap_err().contains("never"));
    }
}
