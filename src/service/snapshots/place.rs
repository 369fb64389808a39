//! Where a list is kept, and who makes the next one: one of all that want it, while the others wait.
//!
//! Not a lock that is held while the list is made: those that wait for one are let in one after the
//! other, each by waking the next, and there may be ten thousand.

use super::Signed;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A place for one list.
#[derive(Default)]
pub(super) struct Place {
    state: Mutex<State>,
    made: Notify,
}

#[derive(Default)]
struct State {
    list: Option<Arc<Signed>>,
    is_made: bool,
}

/// What one gets who wants a list.
pub(super) enum Turn<'a> {
    /// It is there.
    Kept(Arc<Signed>),
    /// Make it, of the one that was there before.
    Make(Making<'a>, Option<Arc<Signed>>),
}

impl Place {
    /// The list that is there, if it will do; else the task of making it, once nobody else does.
    pub(super) async fn turn(&self, will_do: impl Fn(&Signed) -> bool) -> Turn<'_> {
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

    fn look(&self, will_do: impl Fn(&Signed) -> bool) -> Option<Turn<'_>> {
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

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of making a list; given up by drop, to the next that wants it.
pub(super) struct Making<'a>(&'a Place);

impl Making<'_> {
    /// This is it.
    pub(super) fn keep(self, list: Signed) -> Arc<Signed> {
        let list = Arc::new(list);
        self.0.lock().list = Some(list.clone());
        list
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.lock().is_made = false;
        self.0.made.notify_waiters();
    }
}
