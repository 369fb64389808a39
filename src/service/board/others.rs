//! What other replicas heard, as they wrote it: an instance speaks to one of them at a time.
//!
//! The newer word stands, by the clocks of those who wrote. Read whenever an account's instances are
//! judged: shown, waited for. Where nobody shares the database nothing is read.

use super::super::Service;
use super::super::store::{Seen, StoreError};
use super::{Board, Entry, pace};
use crate::wire::Status;
use jiff::Timestamp;
use std::sync::Arc;

impl Board {
    /// Takes in what is newer than what is known.
    pub(super) fn take_in(&self, seen: Vec<Seen>) {
        for seen in seen {
            // Before the lock, for which every other instance waits. Written by an older sshkeyd,
            // it may not be readable: the next heartbeat says it anew.
            let status: Option<Status> = seen.status.and_then(|s| serde_json::from_str(&s).ok());
            let device = seen.device.and_then(|d| serde_json::from_str(&d).ok());
            let proved = serde_json::from_str(&seen.proved).unwrap_or_default();
            let mut board = self.lock();
            let entry = board.entry(seen.instance).or_default();
            if entry.said >= seen.at {
                continue;
            }
            entry.said = seen.at;
            entry.next_in = seen.next_in;
            entry.here = false;
            entry.heard = entry.heard.max(seen.at);
            // A run that came to this replica after that is another one.
            entry.stopped = seen.stopped && entry.came <= seen.at;
            if let Some(device) = device {
                entry.device = Some(Arc::new(device));
                entry.device_new = false;
            }
            if let Some(status) = status.map(Arc::new) {
                entry.status = Some(status.clone());
                entry.written = seen.at.map(|at| (at, seen.stopped, status));
            }
            entry.proved = proved;
        }
    }

    /// Whether what was written at that time is newer than what is known.
    fn is_behind(&self, instance: i64, at: Timestamp) -> bool {
        let board = self.lock();
        let said = board.get(&instance).and_then(|entry: &Entry| entry.said);
        said < Some(at)
    }

    /// Whether it may have spoken to another replica since it last spoke here.
    fn may_have_been_elsewhere(&self, instance: i64, now: Timestamp) -> bool {
        let board = self.lock();
        let missing = |entry: &Entry| {
            let due = pace::within_bounds(entry.next_in);
            let silent = entry.said.map(|at| now.duration_since(at).abs());
            // Half an interval late: a heartbeat is missing.
            silent.is_none_or(|silent| silent > due + due / 2)
        };
        board.get(&instance).is_none_or(missing)
    }
}

impl Service {
    /// Takes in what other replicas heard of the account's instances; before they are judged.
    pub(in crate::service) async fn hear_others(&self, account: i64) -> Result<(), StoreError> {
        match self.store.is_shared() {
            true => self.hear_all(account).await,
            false => Ok(()),
        }
    }

    /// The same where it does not matter who else uses the database.
    pub(in crate::service) async fn hear_all(&self, account: i64) -> Result<(), StoreError> {
        let board = self.board.clone();
        let is_behind = move |instance, at| board.is_behind(instance, at);
        self.board
            .take_in(self.store.seen_of(account, is_behind).await?);
        Ok(())
    }

    /// The same of one instance that speaks now: what it proved elsewhere is no news of this
    /// moment. A whole account may come from another replica at once, so nothing else is read.
    pub(in crate::service) async fn hear_other(
        &self,
        instance: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if !self.store.is_shared() || !self.board.may_have_been_elsewhere(instance, now) {
            return Ok(());
        }
        let board = self.board.clone();
        let is_behind = move |id, at| board.is_behind(id, at);
        self.board
            .take_in(self.store.seen_one(instance, is_behind).await?);
        Ok(())
    }
}
