//! How often one may ask: a bucket a token, one an address, a smaller one for those who show none.
//!
//! Generous, for it is against floods, not against use: what a fleet behind one address asks for
//! with tokens of its own counts by the token. Memory is bounded: past that many callers at a time
//! those that come on top share one bucket.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A bucket's size.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Requests at once.
    burst: u32,
    /// Requests a second in the long run.
    rate: u32,
}

/// Of one token.
const TOKEN: Size = Size {
    burst: 500,
    rate: 100,
};

/// Of one address, all requests together: room for all the agents that may hold queries there, to
/// come back at once.
const ADDRESS: Size = Size {
    burst: 2_000,
    rate: 500,
};

/// Of one address, calls that want no token: to enrol, to renew, to log in.
const STRANGER: Size = Size {
    burst: 300,
    rate: 20,
};

/// Callers that are remembered, in each of the three.
const CALLERS: usize = 16_384;

/// How often those that have all their room again are forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// All buckets.
pub(super) struct Rates {
    tokens: Buckets<[u8; 32]>,
    addresses: Buckets<IpAddr>,
    strangers: Buckets<IpAddr>,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            tokens: Buckets::new(TOKEN),
            addresses: Buckets::new(ADDRESS),
            strangers: Buckets::new(STRANGER),
        }
    }
}

/// Too often: seconds until there is room again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooOften(pub(super) u32);

impl Rates {
    /// One request with this token, by its hash.
    pub(super) fn token(&self, token: [u8; 32], now: Duration) -> Result<(), TooOften> {
        self.tokens.take(token, now)
    }

    /// One request from this address.
    pub(super) fn address(&self, address: IpAddr, now: Duration) -> Result<(), TooOften> {
        self.addresses.take(address, now)
    }

    /// One request from this address for what wants no token.
    pub(super) fn stranger(&self, address: IpAddr, now: Duration) -> Result<(), TooOften> {
        self.strangers.take(address, now)
    }
}

/// Buckets of one size. What is kept is when each will be empty of requests (a "theoretical arrival
/// time", ITU-T I.371), as time since the system's start.
struct Buckets<K> {
    size: Size,
    state: Mutex<State<K>>,
}

struct State<K> {
    free_at: HashMap<K, Duration>,
    /// Of all that find no place above.
    shared: Duration,
    swept: Option<Duration>,
}

impl<K: Hash + Eq> Buckets<K> {
    fn new(size: Size) -> Self {
        let state = State {
            free_at: HashMap::new(),
            shared: Duration::ZERO,
            swept: None,
        };
        Self {
            size,
            state: Mutex::new(state),
        }
    }

    fn take(&self, key: K, now: Duration) -> Result<(), TooOften> {
        // Each step leaves the counts whole.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let crowded = state.free_at.len() >= CALLERS && !state.free_at.contains_key(&key);
        if crowded && state.swept.is_none_or(|at| now.saturating_sub(at) >= SWEEP) {
            state.swept = Some(now);
            state.free_at.retain(|_, free_at| *free_at > now);
        }
        let free_at = if crowded && state.free_at.len() >= CALLERS {
            &mut state.shared
        } else {
            state.free_at.entry(key).or_default()
        };
        let each = Duration::from_secs(1) / self.size.rate;
        let next = (*free_at).max(now) + each;
        let over = next.saturating_sub(now + each * self.size.burst);
        if over.is_zero() {
            *free_at = next;
            return Ok(());
        }
        let seconds = over.as_secs() + u64::from(over.subsec_nanos() > 0);
        Err(TooOften(u32::try_from(seconds).unwrap_or(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    fn ms(ms: u64) -> Duration {
        START + Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_is_let_through_and_then_as_much_as_the_rate() {
        let rates = Rates::default();
        for _ in 0..TOKEN.burst {
            assert_eq!(rates.token([1; 32], ms(0)), Ok(()));
        }
        assert_eq!(rates.token([1; 32], ms(0)), Err(TooOften(1)));
        assert_eq!(rates.token([1; 32], ms(9)), Err(TooOften(1)));
        assert_eq!(rates.token([2; 32], ms(0)), Ok(()));
        assert_eq!(rates.token([1; 32], ms(10)), Ok(()));
        assert_eq!(rates.token([1; 32], ms(10)), Err(TooOften(1)));
        // Being refused costs nothing more.
        let later = (0..TOKEN.burst).all(|_| rates.token([1; 32], ms(60_000)).is_ok());
        assert!(later);
    }

    #[test]
    fn all_agents_that_an_address_may_have_come_back_at_once_and_a_flood_does_not() {
        let rates = Rates::default();
        let nat: IpAddr = "203.0.113.9".parse().unwrap();
        // 256 held queries end with a save: each agent asks again, and sends its status twice.
        for _ in 0..3 * 256 {
            assert_eq!(rates.address(nat, ms(0)), Ok(()));
        }
        // All of them enrol at once.
        for _ in 0..256 {
            assert_eq!(rates.stranger(nat, ms(0)), Ok(()));
        }
        let flood = (0..100_000).filter(|_| rates.address(nat, ms(1_000)).is_ok());
        assert!(flood.count() <= 2_000);
        let guesses = (0..100_000).filter(|_| rates.stranger(nat, ms(1_000)).is_ok());
        assert!(guesses.count() <= 64);
    }

    #[test]
    fn memory_is_bounded_and_those_on_top_share_one_bucket() {
        let rates = Rates::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let crowd = u32::try_from(CALLERS).unwrap();
        for n in 0..crowd {
            assert_eq!(rates.stranger(address(n), ms(0)), Ok(()));
        }
        let more = (crowd..2 * crowd).filter(|n| rates.stranger(address(*n), ms(0)).is_ok());
        assert_eq!(more.count(), 300);
        // Who has a bucket keeps it.
        assert_eq!(rates.stranger(address(0), ms(0)), Ok(()));
        let state = rates.strangers.state.lock().unwrap();
        assert_eq!(state.free_at.len(), CALLERS);
        drop(state);
        // Those whose room is all there again make place.
        assert_eq!(rates.stranger(address(crowd), ms(2_000)), Ok(()));
        let state = rates.strangers.state.lock().unwrap();
        assert_eq!(state.free_at.len(), 1);
    }
}
