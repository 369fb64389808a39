//! When a host certificate is made anew: at two thirds of its life, spread, and never after its end.
//!
//! The service gives the same certificate again while it is [`young`](Life::is_young); the agent
//! asks for another at [`renewal`](Life::renewal), which always lies past that.

use jiff::{SignedDuration, Timestamp};

/// A certificate is renewed at this part of its life, give or take [`SPREAD`].
const RENEWAL: f64 = 2.0 / 3.0;
/// So that not all of a fleet come back in one hour.
const SPREAD: f64 = 1.0 / 20.0;
/// Up to this part of its life the same is given again.
const YOUNG: f64 = 0.6;
/// An administrator hears this long before the end,
const WARNED: SignedDuration = SignedDuration::from_hours(7 * 24);
/// or at this part of a shorter life.
const WARNED_PART: f64 = 0.25;

/// From when to when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    begin: Timestamp,
    length: SignedDuration,
}

impl Life {
    /// Nonsense has no length, and is over.
    #[must_use]
    pub fn new(begin: Timestamp, end: Timestamp) -> Self {
        Self {
            begin,
            length: end.duration_since(begin).max(SignedDuration::ZERO),
        }
    }

    /// When it ends.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.at(1.0)
    }

    /// When it is to be renewed; `random` in 0..1 says where in the spread.
    #[must_use]
    pub fn renewal(&self, random: f64) -> Timestamp {
        self.at(RENEWAL + SPREAD * (2.0 * random.clamp(0.0, 1.0) - 1.0))
    }

    /// Until when asking for it again brings nothing new.
    #[must_use]
    pub fn young_until(&self) -> Timestamp {
        self.at(YOUNG)
    }

    /// Whether the same may be given again.
    #[must_use]
    pub fn is_young(&self, now: Timestamp) -> bool {
        now < self.young_until()
    }

    /// Whether it should have been renewed long ago.
    #[must_use]
    pub fn ends_soon(&self, now: Timestamp) -> bool {
        let part = self.length.as_secs_f64() * WARNED_PART;
        let warned = SignedDuration::try_from_secs_f64(part).unwrap_or(WARNED);
        let before = warned.min(WARNED);
        now.duration_since(self.end()) >= -before
    }

    fn at(&self, part: f64) -> Timestamp {
        let part = part.clamp(0.0, 1.0);
        let whole = SignedDuration::from_secs(self.length.as_secs());
        let wait = if part >= 1.0 {
            whole
        } else {
            SignedDuration::try_from_secs_f64(whole.as_secs_f64() * part).unwrap_or(whole)
        };
        self.begin
            .checked_add(wait.min(whole))
            .unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_renewal_lies_past_youth_near_two_thirds_and_before_the_end(
            begin in -1_000_000_000i64..10_000_000_000,
            length in 1i64..100_000_000,
            random in 0.0f64..1.0,
        ) {
            let begin = Timestamp::from_second(begin).unwrap();
            let end = begin + SignedDuration::from_secs(length);
            let life = Life::new(begin, end);
            let renewal = life.renewal(random);
            prop_assert!(begin <= renewal && renewal < end);
            prop_assert!(!life.is_young(renewal) && life.is_young(begin));
            let part = renewal.duration_since(begin).as_secs_f64() / length as f64;
            prop_assert!((part - 2.0 / 3.0).abs() <= 0.0501, "{part}");
            // Whoever renews in time is never warned.
            prop_assert!(!life.ends_soon(renewal));
            prop_assert!(life.ends_soon(end) && life.end() == end);
        }
    }

    #[test]
    fn thirty_days_are_renewed_in_the_third_week_and_missed_a_week_before_the_end() {
        let begin: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        let day = |days: i64| begin + SignedDuration::from_hours(24 * days);
        let life = Life::new(begin, day(30));
        assert!(life.is_young(day(17)) && !life.is_young(day(18)));
        assert_eq!(life.renewal(0.5), day(20));
        assert!(life.renewal(0.0) > day(18) && life.renewal(1.0) < day(22));
        assert!(!life.ends_soon(day(22)) && life.ends_soon(day(23)));
        let over = Life::new(day(1), day(0));
        assert_eq!(over.end(), day(1));
        assert!(over.ends_soon(day(1)));
        let ever = Life::new(begin, Timestamp::MAX);
        assert!(ever.is_young(day(30)) && !ever.ends_soon(day(30)));
    }
}
