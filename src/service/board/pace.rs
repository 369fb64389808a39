//! How often instances are to speak: what keeps one replica's heartbeats under a stated rate.
//!
//! Thirty seconds up to 15,000 instances that are there at this replica, five minutes from 150,000
//! on, in between as many seconds as keep it at 500 heartbeats a second. News comes in between,
//! whatever the interval.

use super::Board;
use crate::wire::InstanceState;
use jiff::{SignedDuration, Timestamp};
use std::sync::PoisonError;

/// Seconds between heartbeats, at the least and at the most.
pub(in crate::service) const HEARTBEAT: u32 = 30;
const LONGEST: u32 = 300;

/// Heartbeats a second that one replica asks for.
const RATE: usize = 500;

/// How often instances are counted.
const COUNT: SignedDuration = SignedDuration::from_secs(10);

/// The interval, and when it was last reckoned.
#[derive(Debug, Default)]
pub(super) struct Pace {
    at: Option<Timestamp>,
    interval: u32,
}

/// Seconds, for so many instances.
fn interval(instances: usize) -> u32 {
    let seconds = u32::try_from(instances.div_ceil(RATE)).unwrap_or(LONGEST);
    seconds.clamp(HEARTBEAT, LONGEST)
}

/// What an interval of any origin is taken for.
pub(super) fn within_bounds(seconds: u32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(seconds.clamp(HEARTBEAT, LONGEST)))
}

impl Board {
    /// Seconds until an instance that speaks now is to speak again.
    pub(in crate::service) fn next_in(&self, now: Timestamp) -> u32 {
        // Each change under this lock leaves it whole.
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = |at: Timestamp| now.duration_since(at).abs() >= COUNT;
        if pace.at.is_none_or(waited) {
            let board = self.lock();
            let there = board.values().filter(|entry| {
                entry.held > 0 || entry.here && entry.state(now) == InstanceState::Live
            });
            pace.interval = interval(there.count());
            pace.at = Some(now);
        }
        pace.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_with_the_instances_within_its_bounds() {
        for (instances, seconds) in [
            (0, 30),
            (15_000, 30),
            (15_001, 31),
            (50_000, 100),
            (150_000, 300),
            (1_000_000, 300),
            (usize::MAX, 300),
        ] {
            assert_eq!(interval(instances), seconds, "{instances}");
        }
    }

    #[test]
    fn what_other_replicas_serve_is_not_counted() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let board = Board::new(Vec::new(), true);
        {
            let mut entries = board.lock();
            for id in 0..40_000 {
                let entry = entries.entry(id).or_default();
                entry.heard = Some(at(100));
                entry.here = id % 2 == 0;
            }
        }
        assert_eq!(board.next_in(at(100)), 40);
        // Counted again only after a while, and then most of them are gone.
        assert_eq!(board.next_in(at(109)), 40);
        assert_eq!(board.next_in(at(200)), 30);
    }
}
