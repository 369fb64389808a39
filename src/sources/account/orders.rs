//! Orders of a list that was judged just now: told once the list itself is in force, and never from a
//! list that was only kept.

use super::AccountTask;
use crate::sources::judge::Judged;
use crate::sources::state::Orders;
use jiff::SignedDuration;
use std::sync::Arc;

/// Most orders of one list.
const MAX_ORDERS: usize = 1024;
/// The service's `Date` has whole seconds: clocks this near to each other agree.
const AGREE: SignedDuration = SignedDuration::from_secs(2);

impl AccountTask {
    /// What a snapshot asks for, and its revision.
    pub(super) fn orders(&self, judged: &Judged) -> (u64, Orders) {
        let ahead = self.clock_ahead.filter(|ahead| ahead.abs() > AGREE);
        let removed = judged.removed.as_ref();
        let orders = Orders {
            list: judged
                .end_sessions
                .iter()
                .take(MAX_ORDERS)
                .cloned()
                .collect(),
            ahead: ahead.unwrap_or_default(),
            removal: removed.is_some_and(|removed| removed.take_keys && removed.end_sessions),
        };
        (judged.revision, orders)
    }

    /// Tells them where the list that they came with is in force by now.
    pub(super) fn tell_orders(&self, revision: u64, orders: Orders) {
        let state = self.publisher.state();
        let signed = self.held.as_ref().and_then(|held| held.signed.as_ref());
        let in_force = signed.is_some_and(|signed| signed.floor.revision == revision);
        if !in_force || *state.orders == orders {
            return;
        }
        let asks = !orders.list.is_empty() || orders.removal;
        let change = |state: &mut crate::sources::SourceState| state.orders = Arc::new(orders);
        if asks {
            self.publisher.publish(change);
        } else {
            self.publisher.note(change);
        }
    }
}
