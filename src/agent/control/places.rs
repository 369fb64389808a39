//! Whose the connections of the control socket are: sixteen at a time, of which those of others
//! than root and the agent's own user have twelve together and four each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections at a time.
const ALL: usize = 16;
/// The same, of everybody but root and the agent's own user: these always find room.
const OF_OTHERS: usize = 12;
/// The same, of one of the others.
const OF_ONE: usize = 4;

/// Every place.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    masters: usize,
    others: BTreeMap<u32, usize>,
}

/// One place, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    /// Which of the others has it.
    other: Option<u32>,
}

impl Places {
    /// Takes a place; `None` where the caller has as many as he may.
    pub(super) fn take(&self, uid: u32, is_master: bool) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others: usize = taken.others.values().sum();
        if taken.masters + others >= ALL {
            return None;
        }
        if is_master {
            taken.masters += 1;
        } else {
            let of_one = taken.others.get(&uid).copied().unwrap_or_default();
            if others >= OF_OTHERS || of_one >= OF_ONE {
                return None;
            }
            taken.others.insert(uid, of_one + 1);
        }
        Some(Place {
            places: self.clone(),
            other: (!is_master).then_some(uid),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        match self.other {
            None => taken.masters = taken.masters.saturating_sub(1),
            Some(uid) => {
                let left = taken.others.remove(&uid).unwrap_or_default();
                if left > 1 {
                    taken.others.insert(uid, left - 1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_cannot_take_what_root_needs_nor_one_what_others_need() {
        let places = Places::default();
        let mut held: Vec<_> = (0..4).filter_map(|_| places.take(1000, false)).collect();
        assert!(held.len() == 4 && places.take(1000, false).is_none());
        for uid in 1001..1010 {
            held.extend((0..4).filter_map(|_| places.take(uid, false)));
        }
        assert_eq!(held.len(), 12);
        let mut roots: Vec<_> = (0..9).filter_map(|_| places.take(0, true)).collect();
        assert_eq!(roots.len(), 4);
        roots.pop();
        assert!(places.take(0, true).is_some());
        held.clear();
        assert!(places.take(1000, false).is_some());
        assert!(places.0.lock().unwrap().others.is_empty());
    }
}
