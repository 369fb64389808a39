//! Durations as people write them: `30s`, `5m`, `12h`, `7d`; a whole number and one unit.

use std::time::Duration;

/// What is wrong with text that should be a duration; reads after the key's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No unit, or another one, or more than one number.
    #[error("not a duration")]
    Form,
    /// A number beyond all use.
    #[error("too long a duration")]
    TooLong,
}

/// Reads `30s`, `5m`, `12h` or `7d`.
///
/// # Errors
/// [`DurationError`] for anything else: a bare number, blanks, fractions, other units.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let unit = match text.bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3600,
        Some(b'd') => 86_400,
        _ => return Err(DurationError::Form),
    };
    let number = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if !digits || number.len() + 1 != text.len() {
        return Err(DurationError::Form);
    }
    let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
    let seconds = number.checked_mul(unit).ok_or(DurationError::TooLong)?;
    Ok(Duration::from_secs(seconds))
}

/// The duration in the largest unit that divides it, as [`parse_duration`] reads it.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    match units
        .iter()
        .find(|(n, _)| seconds > 0 && seconds.is_multiple_of(*n))
    {
        Some((n, unit)) => format!("{}{unit}", seconds / n),
        None => format!("{seconds}s"),
    }
}

/// What the text was meant to be, where that is plain: `30` → `30s`, `5 min` → `5m`.
pub(super) fn meant(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let letters = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text.strip_suffix(letters).filter(|n| !n.is_empty())?;
    let unit = match letters.trim() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_units_are_read_and_shown() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("12h", 43_200), ("7d", 604_800)] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse_duration(text), Ok(duration));
            assert_eq!(show_duration(duration), text);
        }
        assert_eq!(show_duration(Duration::ZERO), "0s");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "", "30", "s", "5 m", "1.5h", "-1s", "5ms", "1h30m", "5M", "٣s", "+5s",
        ] {
            assert_eq!(parse_duration(text), Err(DurationError::Form), "{text}");
        }
        for text in ["99999999999999999999s", "999999999999999999d"] {
            assert_eq!(parse_duration(text), Err(DurationError::TooLong), "{text}");
        }
    }

    #[test]
    fn what_was_meant_is_guessed_only_where_it_is_plain() {
        assert_eq!(meant("30").as_deref(), Some("30s"));
        assert_eq!(meant("5 min").as_deref(), Some("5m"));
        assert_eq!(meant("1h30m"), None);
        assert_eq!(meant("soon"), None);
    }
}
