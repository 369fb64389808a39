//! The clocks: what time it is, and how much time has passed.
//!
//! The one place that asks; everything else is given the answer. clock_gettime(2).

use nix::time::ClockId;
use std::sync::OnceLock;
use std::time::Duration;

/// The time of day in whole milliseconds, as the machine believes it. May be wrong, may jump.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that asks")]
pub fn now() -> jiff::Timestamp {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// Time since the first call in this process. Never goes back, and counts the time that the
/// machine slept (`CLOCK_BOOTTIME`).
#[must_use]
pub fn monotonic() -> Duration {
    static FIRST: OnceLock<Duration> = OnceLock::new();
    let now = since_boot();
    now.saturating_sub(*FIRST.get_or_init(|| now))
}

fn since_boot() -> Duration {
    let time = ClockId::CLOCK_BOOTTIME
        .now()
        .or_else(|_| ClockId::CLOCK_MONOTONIC.now())
        .expect("CLOCK_MONOTONIC is there on every Linux");
    Duration::from(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_and_never_goes_back() {
        let first = monotonic();
        assert!(monotonic() >= first);
        assert!(now() > jiff::Timestamp::UNIX_EPOCH);
    }
}
