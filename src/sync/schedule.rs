//! When to ask again: exponential back-off with full jitter, a server's own word within limits; and
//! how long all who were let go together take to come back (protocol.md section 4).

use std::time::Duration;

/// How long waits grow while a source fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    /// No wait is shorter.
    least: Duration,
}

/// A server's `Retry-After` counts up to this; a week of it must not stop a host for a week.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How many may come back in a second.
const RETURNS_A_SECOND: usize = 1_000;

/// Longest window that a service names.
pub const RETRY_WITHIN: Duration = Duration::from_secs(120);

impl Backoff {
    /// Waits begin around `first` and never go above `most`; nonsense is put right.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        let first = first.max(Duration::from_millis(1));
        Self {
            first,
            most: most.max(first),
            least: first / 4,
        }
    }

    /// The same where everybody else may be trying too: from the first on, each wait is anywhere
    /// within `window` at least.
    #[must_use]
    pub fn within(self, window: Duration) -> Self {
        Self {
            first: self.first.max(window),
            most: self.most.max(window),
            ..self
        }
    }

    /// The wait after this many failures in a row (1 for the first). `random` in 0..1 spreads it
    /// over the whole of the window; a server's `Retry-After` is its lower end.
    #[must_use]
    pub fn wait(&self, failures: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1).min(20));
        let window = self.first.saturating_mul(doubled).min(self.most);
        let least = retry_after.unwrap_or_default().min(MOST_RETRY_AFTER);
        // A floor that is added: one that cuts off has a quarter of all come back at one moment.
        let spread = window.saturating_sub(self.least);
        least + self.least + jittered(spread, random)
    }
}

/// Over how long those that a service holds are to spread when all come back: less than what two
/// cores shake hands with, by more than a half. None for so few that it does not matter.
#[must_use]
pub fn retry_within(held: usize) -> Duration {
    let seconds = u64::try_from(held / RETURNS_A_SECOND).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(RETRY_WITHIN)
}

/// A point within a window: `random` in 0..1 says where.
#[must_use]
pub fn jittered(window: Duration, random: f64) -> Duration {
    window.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_stays_in_its_window(
            failures in 0u32..100, retry in 0u64..2_000_000, random in 0.0f64..1.0
        ) {
            let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
            let wait = backoff.wait(failures, Some(Duration::from_secs(retry)), random);
            prop_assert!(wait >= Duration::from_millis(250));
            prop_assert!(wait <= MOST_RETRY_AFTER + Duration::from_secs(60));
            prop_assert!(wait >= Duration::from_secs(retry.min(3600)));
        }
    }

    #[test]
    fn no_two_of_many_waits_meet_and_a_window_holds_from_the_first_on() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for backoff in [backoff, backoff.within(Duration::from_secs(120))] {
            let mut waits: Vec<_> = (0..1000)
                .map(|n| backoff.wait(1, None, f64::from(n) / 1000.0))
                .collect();
            waits.dedup();
            assert_eq!(waits.len(), 1000);
        }
        let window = backoff.within(Duration::from_secs(120));
        assert_eq!(window.wait(1, None, 1.0), Duration::from_secs(120));
        assert_eq!(window.wait(30, None, 1.0), Duration::from_secs(120));
        assert_eq!(backoff.within(Duration::ZERO), backoff);
        let named = [0, 999, 10_000, 1_000_000].map(|held| retry_within(held).as_secs());
        assert_eq!(named, [0, 0, 10, 120]);
    }

    #[test]
    fn waits_double_up_to_the_most() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        let waits: Vec<_> = (1..6)
            .map(|n| backoff.wait(n, None, 1.0).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 8]);
    }
}
