//! Over how long an agent spreads its return, as the service last named it.
//!
//! A service that has just started holds few and names little: a window shrinks only by an answer
//! that was held for its whole time, when all are back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The window, shared by the query and the heartbeats, which are let go together.
#[derive(Debug, Clone, Default)]
pub struct Window(Arc<AtomicU64>);

impl Window {
    /// What is known.
    #[must_use]
    pub fn get(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    /// Takes a service's word; a shorter window only where it is `settled`.
    pub(super) fn named(&self, window: Duration, settled: bool) {
        if settled || window > self.get() {
            self.0.store(window.as_secs(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_has_just_started_does_not_shorten_the_window() {
        let window = Window::default();
        let shared = window.clone();
        window.named(Duration::from_secs(120), false);
        window.named(Duration::from_secs(1), false);
        assert_eq!(shared.get().as_secs(), 120);
        window.named(Duration::ZERO, true);
        assert!(shared.get().is_zero());
    }
}
