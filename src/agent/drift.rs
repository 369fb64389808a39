//! What others do to our part of a file, over time: said, put back, and not fought over.
//!
//! Once or twice is put back at once. Whoever does it again and again has a program that does not
//! know of us: each round is left to him a little longer, and that is said. A new list never waits.

use crate::sync::{Code, Drift, Finding};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// A drift is told for this long after the last one.
const TOLD: Duration = Duration::from_secs(600);
/// As many within this while are a fight.
const MANY: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// How long a fight rests, at first and at most.
const FIRST_REST: Duration = Duration::from_secs(1);
const MOST_REST: Duration = Duration::from_secs(60);
/// Most keys named each way.
const NAMED: usize = 8;

/// The drifts of one file.
#[derive(Debug, Default)]
pub(super) struct Drifts {
    recent: VecDeque<Instant>,
    last: Option<(Instant, String)>,
    rounds: u32,
    rest_until: Option<Instant>,
}

impl Drifts {
    /// Takes what a turn found and put back.
    pub(super) fn found(&mut self, drift: &Drift, now: Instant, at: Timestamp) {
        let what = drift.in_words(NAMED);
        self.last = Some((now, format!("at {at:.0} somebody {what}; it was put back")));
        // After a long quiet the next one is the first again.
        if self.rest_until.is_some_and(|until| now > until + MOST_REST) {
            self.rounds = 0;
            self.rest_until = None;
        }
        self.recent.push_back(now);
        self.recent
            .retain(|then| now.duration_since(*then) <= WINDOW);
        if self.recent.len() > MANY {
            self.recent.pop_front();
        }
        if self.rounds > 0 || self.recent.len() >= MANY {
            let rest = FIRST_REST * 2_u32.saturating_pow(self.rounds.min(16));
            self.rest_until = Some(now + rest.min(MOST_REST));
            self.rounds += 1;
        }
    }

    /// Whether the other side's round stands for now.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.rest_until.is_some_and(|until| now < until)
    }

    /// Somebody asked for it to be put back now.
    pub(super) fn wake(&mut self) {
        if let Some(until) = &mut self.rest_until {
            *until = (*until).min(Instant::now());
        }
    }

    /// When the rest is over, or the drift is no longer to be told.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let told = self.last.as_ref().map(|(at, _)| *at + TOLD);
        let ends = [self.rest_until, told];
        ends.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// What is to be told by now.
    pub(super) fn finding(&self, about: &str, now: Instant) -> Option<Finding> {
        let (at, text) = self.last.as_ref()?;
        if now >= *at + TOLD {
            return None;
        }
        let fight = self
            .rest_until
            .is_some_and(|until| now <= until + MOST_REST);
        if !fight {
            return Some(Finding::new(Code::Drift, about, text));
        }
        let rounds = self.rounds;
        let text = format!(
            "again and again somebody rewrites what the agent keeps here, who could not be told; \
             after {rounds} rounds each is left standing up to a minute; last, {text}"
        );
        Some(Finding::new(Code::DriftFight, about, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn a_fight_rests_longer_each_round_and_is_forgotten_when_it_ends() {
        let (mut drifts, start) = (Drifts::default(), Instant::now());
        let drift = Drift::default();
        let mut now = 0;
        let code = |drifts: &Drifts, now| drifts.finding("f", at(start, now)).map(|f| f.code);
        for _ in 0..4 {
            drifts.found(&drift, at(start, now), Timestamp::UNIX_EPOCH);
            assert!(!drifts.rests(at(start, now)));
            assert_eq!(code(&drifts, now), Some(Code::Drift));
            now += 2;
        }
        let mut rests = Vec::new();
        for _ in 0..8 {
            drifts.found(&drift, at(start, now), Timestamp::UNIX_EPOCH);
            assert_eq!(code(&drifts, now), Some(Code::DriftFight));
            let rest = drifts.due(at(start, now)).unwrap() - at(start, now);
            assert!(drifts.rests(at(start, now)));
            rests.push(rest.as_secs());
            now += rest.as_secs();
            assert!(!drifts.rests(at(start, now)));
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(code(&drifts, now + 61), Some(Code::Drift));
        assert_eq!(code(&drifts, now + 600), None);
        drifts.found(&drift, at(start, now + 700), Timestamp::UNIX_EPOCH);
        assert!(!drifts.rests(at(start, now + 700)));
    }
}
