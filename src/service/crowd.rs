//! How many connections, or downloads, one address may have: without this one caller takes every
//! place, without a single request.

use super::Service;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of one address: twice what it may hold queries on.
pub(super) const PER_ADDRESS: usize = 512;

/// The counts.
pub(super) struct Crowd {
    most: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

impl Default for Crowd {
    fn default() -> Self {
        Self::of(PER_ADDRESS)
    }
}

impl Crowd {
    /// At most so many places an address.
    pub(super) fn of(most: usize) -> Self {
        Self {
            most,
            counts: Mutex::default(),
        }
    }

    /// A place for one more; none when that address has as many as it may.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut counts = self.lock();
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place {
            crowd: self.clone(),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Counts are changed in steps that cannot panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There is no place left.
pub(super) struct Crowded;

impl Service {
    /// A place for a connection of this peer. A proxy of ours brings many callers, and so may have as
    /// many as there are; those that nobody can tell apart, too.
    pub(super) fn admit(&self, crowd: &Arc<Crowd>, peer: IpAddr) -> Result<Option<Place>, Crowded> {
        if self.proxies.has(peer) {
            return Ok(None);
        }
        match self.counted(peer) {
            None => Ok(None),
            Some(address) => crowd.take(address).map(Some).ok_or(Crowded),
        }
    }
}

/// A place that is taken, given back by drop.
pub(super) struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_every_place() {
        let crowd = Arc::new(Crowd::default());
        let (one, other) = (
            "203.0.113.9".parse().unwrap(),
            "203.0.113.8".parse().unwrap(),
        );
        let mut places: Vec<_> = (0..PER_ADDRESS).map(|_| crowd.take(one).unwrap()).collect();
        assert!(crowd.take(one).is_none());
        assert!(crowd.take(other).is_some());
        places.pop();
        assert!(crowd.take(one).is_some());
        drop(places);
        assert!(crowd.lock().is_empty());
    }
}
