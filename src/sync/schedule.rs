//! When to ask again: exponential back-off with full jitter, a server's own word within limits.

use std::time::Duration;

/// How long waits grow while a source fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    most: Duration,
}

/// A server's `Retry-After` counts up to this; a week of it must not stop a host for a week.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(3600);

impl Backoff {
    /// Waits begin around `first` and never go above `most`; nonsense is put right.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        let first = first.max(Duration::from_millis(1));
        Self {
            first,
            most: most.max(first),
        }
    }

    /// The wait after this many failures in a row (1 for the first). `random` in 0..1 spreads it
    /// over the whole of the window; a server's `Retry-After` is its lower end.
    #[must_use]
    pub fn wait(&self, failures: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1).min(20));
        let window = self.first.saturating_mul(doubled).min(self.most);
        let least = retry_after.unwrap_or_default().min(MOST_RETRY_AFTER);
        least + jittered(window, random).max(self.first / 4)
    }
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
    fn waits_double_up_to_the_most() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        let waits: Vec<_> = (1..6)
            .map(|n| backoff.wait(n, None, 1.0).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 8]);
    }
}
