//! Where a list is kept, and who makes the next one: one of all that want it, while the others wait.
//!
//! Not a lock that is held while the list is made: those that wait for one are let in one after the
//! other, each by waking the next, and there may be ten thousand.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A place for one list.
pub(super) struct Place<T> {
    state: Mutex<State<T>>,
    made: Notify,
}

struct State<T> {
    list: Option<Arc<T>>,
    is_made: bool,
}

/// What one gets who wants a list.
pub(super) enum Turn<'a, T> {
    /// It is there.
    Kept(Arc<T>),
    /// Make it, of the one that was there before.
    Make(Making<'a, T>, Option<Arc<T>>),
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        let (list, is_made) = (None, false);
        Self {
            state: State { list, is_made }.into(),
            made: Notify::new(),
        }
    }
}

impl<T> Place<T> {
    /// The list that is there, if it will do; else the task of making it, once nobody else does.
    pub(super) async fn turn(&self, will_do: impl Fn(&T) -> bool) -> Turn<'_, T> {
        loop {
            let mut made = pin!(self.made.notified());
            // Before the look: what is made in between is heard of.
            made.as_mut().enable();
            if let Some(turn) = self.look(&will_do) {
                return turn;
            }
            made.await;
        }
    }

    fn look(&self, will_do: impl Fn(&T) -> bool) -> Option<Turn<'_, T>> {
        let mut state = self.lock();
        if let Some(list) = state.list.as_ref().filter(|list| will_do(list)) {
            return Some(Turn::Kept(list.clone()));
        }
        if state.is_made {
            return None;
        }
        state.is_made = true;
        Some(Turn::Make(Making(self), state.list.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing under this lock can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of making a list; given up by drop, to the next that wants it.
pub(super) struct Making<'a, T>(&'a Place<T>);

impl<T> Making<'_, T> {
    /// This is it.
    pub(super) fn keep(self, list: T) -> Arc<T> {
        let list = Arc::new(list);
        self.0.lock().list = Some(list.clone());
        list
    }
}

impl<T> Drop for Making<'_, T> {
    fn drop(&mut self) {
        self.0.lock().is_made = false;
        self.0.made.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Semaphore;
    use tokio::task::JoinSet;

    /// Wants a one; makes it, where nobody does, once it may.
    async fn want(place: Arc<Place<u64>>, may: Arc<Semaphore>, gives_up: bool) -> Option<u64> {
        match place.turn(|kept| *kept > 0).await {
            Turn::Kept(kept) => Some(*kept),
            Turn::Make(making, before) => {
                may.acquire().await.unwrap().forget();
                let next = before.map_or(0, |before| *before) + 1;
                (!gives_up).then(|| *making.keep(next))
            }
        }
    }

    #[tokio::test]
    async fn one_makes_it_for_all_and_whoever_gives_up_leaves_it_to_the_next() {
        let (place, may) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let mut all = JoinSet::new();
        let cut_off = all.spawn(want(Arc::clone(&place), may.clone(), false));
        for n in 0..1_000 {
            all.spawn(want(place.clone(), may.clone(), n == 0));
        }
        tokio::task::yield_now().await;
        assert!(place.lock().is_made);
        cut_off.abort();
        may.add_permits(2);
        let mut made = Vec::new();
        while let Some(done) = all.join_next().await {
            made.extend(done.ok());
        }
        assert_eq!(made.iter().filter(|made| made.is_none()).count(), 1);
        assert_eq!(made.iter().flatten().sum::<u64>(), 999, "it was made once");
        assert_eq!(want(place, may, false).await, Some(1));
    }
}
