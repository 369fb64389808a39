//! Refused attempts, for the audit log: all of them, but for a flood.
//!
//! Whoever holds a narrow key can be refused as often as he likes; each account's log takes one
//! refusal a second on the average, sixty at once, and says how many it did not list.

use super::Service;
use super::api::ApiError;
use super::auth::Caller;
use super::store::{Act, Actor};
use super::words;
use axum::http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Refusals that may be listed at once.
const BURST: i64 = 60;

/// Milliseconds until there is room for one more.
const EACH: i64 = 1_000;

/// Accounts that are remembered; past that those that have room again are forgotten.
const ACCOUNTS: usize = 4_096;

/// How many refusals each account's log has room for.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<i64, Room>>);

struct Room {
    /// When all of it will be free, milliseconds.
    free_at: i64,
    left_out: u64,
}

impl Refusals {
    /// Room for one: how many were left out since the last one that had it.
    pub(super) fn take(&self, account: i64, now: Timestamp) -> Option<u64> {
        let now = now.as_millisecond();
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.len() >= ACCOUNTS {
            rooms.retain(|_, room| room.free_at > now || room.left_out > 0);
        }
        let room = rooms.entry(account).or_insert(Room {
            free_at: now,
            left_out: 0,
        });
        if room.free_at - now > (BURST - 1) * EACH {
            room.left_out += 1;
            return None;
        }
        room.free_at = room.free_at.max(now) + EACH;
        Some(std::mem::take(&mut room.left_out))
    }
}

impl Refusals {
    /// One that was left out for another reason.
    pub(super) fn leave_out(&self, account: i64) {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get_mut(&account) {
            room.left_out += 1;
        }
    }
}

impl Service {
    /// Notes that a caller was refused.
    pub(super) async fn refused(
        &self,
        caller: &Caller,
        method: &Method,
        path: &str,
        error: &ApiError,
    ) {
        let call = words::said(&format!("{method} {path}"));
        let detail = json!({"call": call, "why": error.code()});
        self.note_refusal(caller.actor.clone(), "request", detail)
            .await;
    }

    /// Notes a refused attempt of any kind. A log that cannot be written is told of in the
    /// service's own; the refusal stands all the same.
    pub(super) async fn note_refusal(&self, actor: Actor, action: &'static str, mut detail: Value) {
        let now = self.now();
        let Some(left_out) = self.refusals.take(actor.account, now) else {
            return;
        };
        not_listed(&mut detail, left_out);
        let noted = self.store.note(actor, Act::refused(action, detail), now);
        if let Err(error) = noted.await {
            tracing::debug!(%error, "audit log");
        }
    }
}

/// Says how many refusals before this one are not in the log.
pub(super) fn not_listed(detail: &mut Value, left_out: u64) {
    if let Some(fields) = detail.as_object_mut().filter(|_| left_out > 0) {
        fields.insert("not_listed".to_owned(), json!(left_out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_listed() {
        let refusals = Refusals::default();
        let at = |ms: i64| Timestamp::from_millisecond(1_000_000 + ms).unwrap();
        for _ in 0..60 {
            assert_eq!(refusals.take(1, at(0)), Some(0));
        }
        assert_eq!(refusals.take(1, at(0)), None);
        assert_eq!(refusals.take(1, at(999)), None);
        assert_eq!(refusals.take(2, at(999)), Some(0));
        assert_eq!(refusals.take(1, at(1_000)), Some(2));
        assert_eq!(refusals.take(1, at(1_001)), None);
    }
}
