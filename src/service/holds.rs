//! How many queries may be held, and by whom (protocol.md section 4).
//!
//! An agent holds one query: a second ends the first. Anyone else holds 16, an address 256, the
//! process `max-held`. What an address is, `proxies` says.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

const PER_CALLER: usize = 16;
const PER_ADDRESS: usize = 256;

/// Who holds a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// An instance's agent.
    Agent(i64),
    /// A person's session.
    Session(i64),
    /// An API key.
    ApiKey(i64),
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// This holder's.
    Holder,
    /// This address's.
    Address,
    /// The process's.
    Process,
}

/// The counts.
pub(super) struct Holds {
    max: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    /// As many as may come back when all are let go: falls slowly, and not while they are.
    lately: usize,
    numbers: u64,
    addresses: HashMap<IpAddr, usize>,
    callers: HashMap<Holder, usize>,
    agents: HashMap<i64, (u64, oneshot::Sender<()>)>,
}

impl Holds {
    /// With this limit for the process.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            counts: Mutex::default(),
        })
    }

    /// Takes a place, given back by drop.
    pub(super) fn take(
        self: &Arc<Self>,
        holder: Holder,
        address: Option<IpAddr>,
    ) -> Result<Hold, Full> {
        let mut counts = self.lock();
        // The place of the query that this one ends is given back in a moment.
        let replaces = matches!(holder, Holder::Agent(i) if counts.agents.contains_key(&i));
        let room = |count: usize, limit: usize| count < limit + usize::from(replaces);
        if !room(counts.all, self.max) {
            return Err(Full::Process);
        }
        let of = |map: &HashMap<IpAddr, usize>| address.and_then(|a| map.get(&a).copied());
        if !room(of(&counts.addresses).unwrap_or(0), PER_ADDRESS) {
            return Err(Full::Address);
        }
        let (end, ended) = oneshot::channel();
        counts.numbers += 1;
        let number = counts.numbers;
        let mut never = None;
        match holder {
            Holder::Agent(instance) => {
                if let Some((_, first)) = counts.agents.insert(instance, (number, end)) {
                    // It may have ended by itself meanwhile.
                    let _ = first.send(());
                }
            }
            Holder::Session(_) | Holder::ApiKey(_) => {
                let count = counts.callers.entry(holder).or_default();
                if *count >= PER_CALLER {
                    return Err(Full::Holder);
                }
                *count += 1;
                never = Some(end);
            }
        }
        counts.all += 1;
        counts.lately = counts.all.max(counts.lately - counts.lately.div_ceil(16));
        if let Some(address) = address {
            *counts.addresses.entry(address).or_default() += 1;
        }
        Ok(Hold {
            holds: self.clone(),
            holder,
            address,
            number,
            ended,
            _never: never,
        })
    }

    /// How many come back when all of these are let go; those that already were count.
    pub(super) fn lately(&self) -> usize {
        self.lock().lately
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counts are changed in steps that cannot panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken.
pub(super) struct Hold {
    holds: Arc<Holds>,
    holder: Holder,
    address: Option<IpAddr>,
    number: u64,
    ended: oneshot::Receiver<()>,
    _never: Option<oneshot::Sender<()>>,
}

impl Hold {
    /// Returns when a second query of the same agent ends this one.
    pub(super) async fn superseded(&mut self) {
        // An error would be a sender that is gone: nobody is left to be answered either.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut counts = self.holds.lock();
        counts.all = counts.all.saturating_sub(1);
        if let Some(address) = self.address {
            give_back(&mut counts.addresses, address);
        }
        match self.holder {
            Holder::Session(_) | Holder::ApiKey(_) => {
                give_back(&mut counts.callers, self.holder);
            }
            Holder::Agent(instance) => {
                let ours = |(number, _): &(u64, oneshot::Sender<()>)| *number == self.number;
                if counts.agents.get(&instance).is_some_and(ours) {
                    counts.agents.remove(&instance);
                }
            }
        }
    }
}

fn give_back<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_query_of_an_agent_ends_the_first_even_when_all_places_are_taken() {
        let holds = Holds::new(1);
        let mut first = holds.take(Holder::Agent(1), None).unwrap();
        assert_eq!(
            holds.take(Holder::Agent(2), None).err(),
            Some(Full::Process)
        );
        let second = holds.take(Holder::Agent(1), None).unwrap();
        first.superseded().await;
        drop(first);
        drop(second);
        assert!(holds.take(Holder::Agent(2), None).is_ok());
        let counts = holds.lock();
        assert!(counts.agents.is_empty() && counts.addresses.is_empty() && counts.all == 0);
    }

    #[test]
    fn an_address_and_an_owner_have_limits_of_their_own() {
        let holds = Holds::new(10_000);
        let far: IpAddr = "203.0.113.9".parse().unwrap();
        let all: Vec<_> = (0..256)
            .map(|i| holds.take(Holder::Agent(i), Some(far)).unwrap())
            .collect();
        assert_eq!(
            holds.take(Holder::Agent(999), Some(far)).err(),
            Some(Full::Address)
        );
        assert!(holds.take(Holder::Agent(999), None).is_ok());
        drop(all);
        let mine: Vec<_> = (0..16)
            .map(|_| holds.take(Holder::ApiKey(1), Some(far)).unwrap())
            .collect();
        assert_eq!(
            holds.take(Holder::ApiKey(1), Some(far)).err(),
            Some(Full::Holder)
        );
        drop(mine);
        assert!(holds.take(Holder::ApiKey(1), Some(far)).is_ok());
    }
}
