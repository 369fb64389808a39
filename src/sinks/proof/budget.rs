//! How many refusals a proof may provoke, and from which address it asks.
//!
//! sshd penalises addresses that fail (PerSourcePenalties of sshd_config(5), OpenSSH 9.8 and
//! later); users often come in through a relay on loopback. So the probe has addresses of its own,
//! and is sparing on them too. Refuses to read a clock: the time is passed in.

use jiff::{SignedDuration, Timestamp};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Refused asks in any minute, over all proofs that share a budget.
pub const REFUSALS_A_MINUTE: usize = 6;

const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// What the proofs of one sshd share: refusals of the last minute, and whose turn it is among the
/// addresses of 127.83.0.0/16.
#[derive(Debug, Clone)]
pub struct RefusalBudget {
    spent: Vec<Timestamp>,
    turn: u16,
}

impl RefusalBudget {
    /// Nothing spent; the first address is a random one, since penalties outlive this process.
    #[must_use]
    pub fn new() -> Self {
        Self {
            spent: Vec::new(),
            turn: rand::random(),
        }
    }

    /// Whether one more refusal is allowed.
    #[must_use]
    pub fn has_room(&self, now: Timestamp) -> bool {
        self.recent(now).count() < REFUSALS_A_MINUTE
    }

    /// When there is room again: `now` where there is.
    #[must_use]
    pub fn room_at(&self, now: Timestamp) -> Timestamp {
        let mut recent: Vec<_> = self.recent(now).collect();
        recent.sort_unstable();
        let Some(over) = recent.len().checked_sub(REFUSALS_A_MINUTE) else {
            return now;
        };
        recent
            .get(over)
            .and_then(|at| at.checked_add(MINUTE).ok())
            .unwrap_or(now)
    }

    pub(super) fn spend(&mut self, now: Timestamp) {
        self.spent = self.recent(now).collect();
        self.spent.push(now);
    }

    /// The address to ask from: one of our own where sshd is in 127/8, else the kernel's choice.
    pub(super) fn next_source(&mut self, sshd: SocketAddr) -> Option<IpAddr> {
        self.turn = self.turn.wrapping_add(1);
        source(sshd, self.turn)
    }

    /// A clock that was set back must not lock the budget: what is far ahead does not count.
    fn recent(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        self.spent
            .iter()
            .copied()
            .filter(move |at| now.duration_since(*at).abs() < MINUTE)
    }
}

impl Default for RefusalBudget {
    fn default() -> Self {
        Self::new()
    }
}

/// The `turn`th address of 127.83.0.0/16.
pub(super) fn source(sshd: SocketAddr, turn: u16) -> Option<IpAddr> {
    let [high, low] = turn.to_be_bytes();
    match sshd.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => Some(Ipv4Addr::new(127, 83, high, low).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn the_seventh_refusal_waits_for_the_minute_to_pass() {
        let mut budget = RefusalBudget::new();
        for second in 0..6 {
            assert!(budget.has_room(at(second)));
            budget.spend(at(second));
        }
        assert!(!budget.has_room(at(6)));
        assert_eq!(budget.room_at(at(6)), at(60));
        assert!(!budget.has_room(at(59)));
        assert!(budget.has_room(at(60)));
        assert_eq!(budget.room_at(at(60)), at(60));
    }

    #[test]
    fn a_clock_set_back_does_not_lock_the_budget() {
        let mut budget = RefusalBudget::new();
        for _ in 0..6 {
            budget.spend(at(100_000));
        }
        assert!(!budget.has_room(at(99_990)));
        assert!(budget.has_room(at(0)));
    }

    #[test]
    fn the_probe_has_addresses_of_its_own_on_loopback_only() {
        let mut budget = RefusalBudget::new();
        let local = "127.0.0.1:22".parse().unwrap();
        let first = budget.next_source(local).unwrap();
        let second = budget.next_source(local).unwrap();
        assert_ne!(first, second);
        assert!(first.to_string().starts_with("127.83."));
        for elsewhere in ["192.0.2.1:22", "[::1]:22"] {
            assert_eq!(budget.next_source(elsewhere.parse().unwrap()), None);
        }
    }
}
