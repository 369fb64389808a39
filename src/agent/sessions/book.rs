//! Orders that were carried out, on the disk: `state-dir/orders.json`.
//!
//! An id is there before the first signal, so that no order is carried out twice. What it was that
//! had begun is kept with it: a run that was cut off finishes just that, and nothing that came since.

use crate::sinks::sessions::Wanted;
use crate::sys::private_file;
use crate::sys::processes::boot_id;
use crate::wire::OrderResult;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Most orders that are remembered.
const MAX_KEPT: usize = 4096;

/// Most that are nobody's order.
const MAX_OWN: usize = 1024;

/// Which source, and which of its orders.
pub(super) type OrderId = (String, i64);

/// For a key that went with no order of anybody's: of no source.
pub(super) fn own_id() -> OrderId {
    (String::new(), rand::random())
}

fn is_own(id: &OrderId) -> bool {
    id.0.is_empty()
}

/// One order.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    id: OrderId,
    /// The boot in which it was begun.
    boot: String,
    wanted: Wanted,
    /// What came of it, once that is known.
    result: Option<OrderResult>,
    /// The service has heard it.
    heard: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl Book {
    pub(super) fn load(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("orders.json");
        let entries = match private_file::read(&path)? {
            None => Vec::new(),
            Some(bytes) => match serde_json::from_slice(&bytes) {
                Ok(entries) => entries,
                Err(fault) => {
                    tracing::error!(%fault, "the record of orders is damaged; set aside");
                    private_file::set_aside(&path, "damaged")?;
                    Vec::new()
                }
            },
        };
        Ok(Self { path, entries })
    }

    /// Whether it was begun before.
    pub(super) fn has(&self, id: &OrderId) -> bool {
        self.entries.iter().any(|entry| entry.id == *id)
    }

    /// Begins one: on the disk when this returns.
    pub(super) fn begin(&mut self, id: OrderId, wanted: Wanted) -> io::Result<()> {
        let excess = (self.entries.len() + 1).saturating_sub(MAX_KEPT);
        self.entries.drain(..excess);
        self.entries.push(Entry {
            id,
            boot: boot_id(),
            wanted,
            result: None,
            heard: false,
        });
        let saved = self.save();
        if saved.is_err() {
            self.entries.pop();
        }
        saved
    }

    /// Keeps what is to be ended with no order of anybody's, until it has: on the disk when this
    /// returns. What is more than can be kept is known to this run alone.
    pub(super) fn keep_own(&mut self, going: Vec<(OrderId, Wanted)>) -> io::Result<()> {
        let kept = self.entries.iter().filter(|entry| is_own(&entry.id));
        let room = MAX_OWN.saturating_sub(kept.count());
        let boot = boot_id();
        let new = going.into_iter().take(room).map(|(id, wanted)| Entry {
            id,
            boot: boot.clone(),
            wanted,
            result: None,
            heard: false,
        });
        self.entries.extend(new);
        self.save()
    }

    /// Lets go of one of these.
    pub(super) fn forget_own(&mut self, id: &OrderId) -> io::Result<()> {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.id != *id);
        if self.entries.len() == before {
            return Ok(());
        }
        self.save()
    }

    /// Says what came of one.
    pub(super) fn end(&mut self, id: &OrderId, result: OrderResult) -> io::Result<()> {
        if is_own(id) {
            return self.forget_own(id);
        }
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == *id) {
            entry.result = Some(result);
        }
        self.save()
    }

    /// Orders that a run before had begun and not finished; those of another boot have nobody left.
    pub(super) fn unfinished(&self) -> Vec<(OrderId, Option<Wanted>)> {
        let boot = boot_id();
        let open = self.entries.iter().filter(|entry| entry.result.is_none());
        open.map(|entry| {
            let wanted = Some(&entry.wanted).filter(|_| entry.boot == boot);
            (entry.id.clone(), wanted.cloned())
        })
        .collect()
    }

    /// Results that the service has not heard yet.
    pub(super) fn results(&self) -> Vec<(OrderId, OrderResult)> {
        let unheard = self.entries.iter().filter(|entry| !entry.heard);
        unheard
            .filter_map(|entry| Some((entry.id.clone(), entry.result.clone()?)))
            .collect()
    }

    /// The service has heard these.
    pub(super) fn heard(&mut self, ids: &[OrderId]) -> io::Result<()> {
        let mut new = false;
        for entry in &mut self.entries {
            if entry.result.is_some() && !entry.heard && ids.contains(&entry.id) {
                entry.heard = true;
                new = true;
            }
        }
        if new { self.save() } else { Ok(()) }
    }

    fn save(&self) -> io::Result<()> {
        private_file::replace(&self.path, &serde_json::to_vec(&self.entries)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::OrderOutcome;
    use std::time::Duration;

    fn wanted() -> Wanted {
        Wanted {
            serial: Some(7),
            before: Duration::from_secs(5),
            ..Wanted::default()
        }
    }

    #[test]
    fn an_order_is_known_from_before_its_first_signal_and_told_until_it_is_heard() {
        let dir = tempfile::tempdir().unwrap();
        let load = || Book::load(dir.path()).unwrap();
        let id = |n| ("account".to_owned(), n);
        let wanted = wanted();
        let mut book = load();
        assert!(!book.has(&id(1)));
        book.begin(id(1), wanted.clone()).unwrap();
        let mut book = load();
        assert!(book.has(&id(1)) && !book.has(&id(2)) && book.results().is_empty());
        assert_eq!(book.unfinished(), [(id(1), Some(wanted))]);
        let result = OrderResult {
            id: 1,
            outcome: OrderOutcome::Ended,
            ended: 2,
            left: 0,
        };
        book.end(&id(1), result.clone()).unwrap();
        let mut book = load();
        assert_eq!(book.results(), [(id(1), result)]);
        assert_eq!(book.unfinished(), []);
        book.heard(&[id(1), id(9)]).unwrap();
        assert!(load().results().is_empty() && load().has(&id(1)));
    }

    #[test]
    fn what_nobody_ordered_is_kept_until_it_is_done_and_crowds_no_order_out() {
        let dir = tempfile::tempdir().unwrap();
        let load = || Book::load(dir.path()).unwrap();
        let wanted = wanted();
        let order = ("account".to_owned(), 1);
        let mut book = load();
        book.begin(order.clone(), wanted.clone()).unwrap();
        let all: Vec<_> = (0..=MAX_OWN).map(|_| (own_id(), wanted.clone())).collect();
        for _ in 0..2 {
            book.keep_own(all.clone()).unwrap();
            assert_eq!(load().unfinished().len(), 1 + MAX_OWN);
        }
        let (id, _) = all.first().unwrap();
        book.forget_own(id).unwrap();
        let left = load();
        assert!(!left.has(id) && left.has(&order));
        assert_eq!(left.unfinished().len(), MAX_OWN);
    }

    #[test]
    fn what_cannot_be_kept_is_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        private_file::replace(&dir.path().join("file"), b"").unwrap();
        let mut book = Book {
            path: dir.path().join("file/orders.json"),
            entries: Vec::new(),
        };
        assert!(book.begin(("a".to_owned(), 1), wanted()).is_err());
        assert!(!book.has(&("a".to_owned(), 1)));
    }
}
