//! Who waits for which account, and the bell that wakes them.
//!
//! A bell carries no keys: a revision number. Whoever wakes reads the list itself. Bells are made for the first that waits and dropped with the last.

use super::store::{Commit, Kinds, Store, Sweep};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How soon a change by another process on the same database is noticed.
const SWEEP: Duration = Duration::from_secs(1);

/// How often orders are looked at when nobody answers.
const SETTLE: Duration = Duration::from_secs(60);

struct Bells {
    keys: watch::Sender<u64>,
    reports: watch::Sender<u64>,
    access: watch::Sender<u64>,
    news: watch::Sender<News>,
}

/// How often each kind of thing has changed since the bell was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct News([u64; 6]);

impl News {
    const KINDS: [Kinds; 6] = [
        Kinds::SSH_KEYS,
        Kinds::API_KEYS,
        Kinds::SESSIONS,
        Kinds::INSTANCES,
        Kinds::AUDIT,
        Kinds::ACCOUNT,
    ];

    fn add(&mut self, kinds: Kinds) {
        for (count, kind) in self.0.iter_mut().zip(Self::KINDS) {
            *count += u64::from(kinds.has(kind));
        }
    }

    /// What has changed since `before`.
    pub(super) fn since(self, before: Self) -> impl Iterator<Item = Kinds> {
        let pairs = self.0.into_iter().zip(before.0).zip(Self::KINDS);
        pairs
            .filter(|((now, then), _)| now != then)
            .map(|(_, kind)| kind)
    }
}

/// All bells.
#[derive(Default)]
pub(super) struct Hub {
    accounts: Mutex<HashMap<i64, Bells>>,
    first: Notify,
    answers: Notify,
}

impl Hub {
    /// Waits for an account from here on. Read the account after this, not before.
    pub(super) fn watch(self: &Arc<Self>, account: i64) -> Watching {
        let mut accounts = self.lock();
        let bells = match accounts.entry(account) {
            Entry::Occupied(bells) => bells.into_mut(),
            Entry::Vacant(place) => {
                self.first.notify_one();
                place.insert(Bells {
                    keys: watch::Sender::default(),
                    reports: watch::Sender::default(),
                    access: watch::Sender::default(),
                    news: watch::Sender::default(),
                })
            }
        };
        Watching {
            keys: bells.keys.subscribe(),
            reports: bells.reports.subscribe(),
            access: bells.access.subscribe(),
            news: bells.news.subscribe(),
            hub: self.clone(),
            account,
        }
    }

    /// Wakes those who wait for what was committed.
    pub(super) fn committed(&self, commit: Commit) {
        let accounts = self.lock();
        let Some(bells) = accounts.get(&commit.account) else {
            return;
        };
        // Access first: whoever wakes for the keys sees that he may have none to see.
        if commit.access {
            bells.access.send_modify(|count| *count += 1);
        }
        bells.keys.send_if_modified(|revision| {
            let before = *revision;
            *revision = before.max(commit.revision.unwrap_or(0));
            *revision != before
        });
        // Where another replica heard them.
        if commit.kinds.has(Kinds::INSTANCES) {
            bells.reports.send_modify(|count| *count += 1);
        }
        bells.news.send_modify(|news| news.add(commit.kinds));
    }

    /// Wakes those who wait for what the account's instances say.
    pub(super) fn reported(&self, account: i64) {
        if let Some(bells) = self.lock().get(&account) {
            bells.reports.send_modify(|count| *count += 1);
            bells.news.send_modify(|news| news.add(Kinds::INSTANCES));
        }
    }

    /// Has orders settled soon: an instance has answered one.
    pub(super) fn answered(&self) {
        self.answers.notify_one();
    }

    /// Returns a second after an order was answered, so that a fleet that answers all at once is
    /// looked at once, and else after a minute: an instance may also fall silent.
    pub(super) async fn answers(&self) {
        let answered = self.answers.notified();
        if tokio::time::timeout(SETTLE, answered).await.is_ok() {
            tokio::time::sleep(SWEEP).await;
        }
    }

    /// Notices, once a second and only while somebody waits, what other processes wrote: other
    /// replicas too, of which no notice came.
    pub(super) async fn sweep(&self, store: &Store) {
        let mut sweep = Sweep::default();
        // What was before this look is nobody's news; where it fails the next one is the first.
        let _ = store.others(&mut sweep, Vec::new).await;
        loop {
            while self.lock().is_empty() {
                self.first.notified().await;
            }
            tokio::time::sleep(SWEEP).await;
            let watched = || self.lock().keys().copied().collect();
            let Ok(changed) = store.others(&mut sweep, watched).await else {
                continue;
            };
            changed
                .into_iter()
                .for_each(|commit| self.committed(commit));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Bells>> {
        // Nothing under this lock can be left half done.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that waits.
pub(super) struct Watching {
    /// Rings when the account's list changes: the highest revision that was rung; 0 when none was
    /// since the bell was made.
    pub(super) keys: watch::Receiver<u64>,
    /// Rings when one of its instances is heard.
    pub(super) reports: watch::Receiver<u64>,
    /// Rings when a token of the account may be no good any more.
    pub(super) access: watch::Receiver<u64>,
    /// Rings when anything of the account has changed.
    pub(super) news: watch::Receiver<News>,
    hub: Arc<Hub>,
    account: i64,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut accounts = self.hub.lock();
        if accounts
            .get(&self.account)
            .is_some_and(|bells| bells.keys.receiver_count() <= 1)
        {
            accounts.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_is_dropped_with_the_last_that_waits() {
        let hub = Arc::new(Hub::default());
        let first = hub.watch(1);
        let second = hub.watch(1);
        drop(first);
        let rung = Commit::revision(1, 5);
        hub.committed(rung);
        assert_eq!(*second.keys.borrow(), 5);
        assert!(second.keys.has_changed().unwrap());
        drop(second);
        assert!(hub.lock().is_empty());
        hub.committed(rung);
    }

    #[test]
    fn a_revision_that_was_rung_wakes_nobody_again() {
        let hub = Arc::new(Hub::default());
        let mut one = hub.watch(1);
        for revision in [5, 5, 4] {
            hub.committed(Commit::revision(1, revision));
        }
        assert_eq!(*one.keys.borrow_and_update(), 5);
        hub.committed(Commit::of(1, Kinds::INSTANCES));
        assert!(!one.keys.has_changed().unwrap());
        hub.reported(1);
        assert!(one.reports.has_changed().unwrap());
    }
}
