//! Carrying out: once for each order, known on the disk before the first signal.

use super::super::book::{Book, OrderId};
use super::{Command, Task};
use crate::sinks::sessions::{Ended, Live, Wanted, end, forget_ended, unbound};
use crate::sync::{Code, Finding};
use crate::sys::clock;
use crate::sys::processes::ticks;
use crate::wire::{OrderOutcome, OrderResult};
use std::time::Duration;
use tokio::time::Instant;

/// A login in several parts may end this long after its key was taken out (sshd's LoginGraceTime).
const LATE: Duration = Duration::from_secs(120);
/// What could not be kept is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);
/// Most orders whose late logins are waited for.
const MAX_LATE: usize = 1024;

impl Task {
    /// Does what the loop tells.
    pub(super) async fn obey(&mut self, command: Command) {
        match command {
            Command::Order {
                id,
                wanted,
                refused,
            } => self.order(id, wanted, refused).await,
            Command::Going(all) => {
                if let Some(Err(fault)) = self.book.as_mut().map(|book| book.keep_own(all)) {
                    tracing::warn!(%fault, "what is to end could not be kept");
                }
            }
            Command::Went { id, wanted } => self.went(id, wanted).await,
            Command::Trusts(trusted) => self.trusts(trusted).await,
            Command::Left { id, source } => self.left(id, &source).await,
            Command::Heard(ids) => {
                if let Some(Err(fault)) = self.book.as_mut().map(|book| book.heard(&ids)) {
                    tracing::debug!(%fault, "orders could not be kept");
                }
            }
            Command::Stop => {}
        }
    }

    /// Ends sessions with no order of anybody's.
    pub(super) async fn went(&mut self, id: OrderId, wanted: Wanted) {
        self.catch_up().await;
        let ended = self.end(&wanted).await;
        if ended != Ended::default() {
            tracing::info!(
                ended = ended.ended,
                left = ended.left,
                "sessions of a key ended"
            );
        }
        self.is_late(wanted);
        if let Some(Err(fault)) = self.book.as_mut().map(|book| book.forget_own(&id)) {
            tracing::debug!(%fault, "what has ended is still kept");
        }
    }

    async fn order(&mut self, id: OrderId, mut wanted: Wanted, refused: bool) {
        // A serial, or an ID, is of a CA of the account that the order comes from.
        wanted.cas = self.certificates.cas.of(&id.0);
        let lives_on = wanted.before == Duration::MAX;
        self.catch_up().await;
        let now = clock::since_boot();
        wanted.before = wanted.before.min(now);
        let Some(book) = self.book.as_mut().filter(|book| !book.has(&id)) else {
            return;
        };
        if let Err(fault) = book.begin(id.clone(), wanted.clone()) {
            let about = self
                .path
                .with_file_name("orders.json")
                .display()
                .to_string();
            self.fault = Some(Finding::new(Code::StateFailed, about, fault.to_string()));
            if lives_on {
                wanted.before = Duration::MAX;
            }
            let again = Command::Order {
                id,
                wanted,
                refused,
            };
            self.again.push((Instant::now() + AGAIN, again));
            return;
        }
        self.fault = None;
        let result = self.carry_out(&id, &wanted, refused).await;
        if lives_on && !refused {
            self.is_late(wanted);
        }
        self.result(&id, result);
    }

    async fn carry_out(&mut self, id: &OrderId, wanted: &Wanted, refused: bool) -> OrderResult {
        let result = |outcome, ended: Ended| OrderResult {
            id: id.1,
            outcome,
            ended: ended.ended,
            left: ended.left,
        };
        let none = Ended::default();
        if refused {
            return result(OrderOutcome::RefusedHere, none);
        }
        if self.log.trouble().is_some() && self.map.all().next().is_none() {
            return result(OrderOutcome::NotMapped, none);
        }
        let ended = self.end(wanted).await;
        if ended != none {
            return result(OrderOutcome::Ended, ended);
        }
        // "There was none" is only true where it is known of every session whose it is.
        let contested = self.map.all().any(|live| wanted.may_mean(live));
        let unknown = contested || !unbound(self.map.all()).is_empty();
        let mapped = !unknown && self.log.trouble().is_none();
        let outcome = if mapped {
            OrderOutcome::None
        } else {
            OrderOutcome::NotMapped
        };
        result(outcome, none)
    }

    fn result(&mut self, id: &OrderId, result: OrderResult) {
        let (order, outcome) = (result.id, result.outcome);
        tracing::info!(
            order,
            ?outcome,
            ended = result.ended,
            left = result.left,
            "order done"
        );
        if let Some(Err(fault)) = self.book.as_mut().map(|book| book.end(id, result)) {
            tracing::warn!(%fault, order, "the result of an order could not be kept");
        }
    }

    /// What a run before had begun is finished: just those sessions, and none that came since.
    pub(super) async fn finish_what_was_begun(&mut self) {
        let open = self.book.as_ref().map(Book::unfinished).unwrap_or_default();
        for (id, wanted) in open {
            let ended = match wanted {
                Some(wanted) => self.end(&wanted).await,
                None => Ended::default(),
            };
            let result = OrderResult {
                id: id.1,
                outcome: OrderOutcome::Ended,
                ended: ended.ended,
                left: ended.left,
            };
            self.result(&id, result);
        }
    }

    pub(super) async fn catch_up(&mut self) {
        let reports = self.log.catch_up().await;
        if self.take(reports).await {
            self.changed();
        }
    }

    async fn end(&mut self, wanted: &Wanted) -> Ended {
        let all = self.map.all().filter(|live| wanted.means(live));
        let all: Vec<Live> = all.cloned().collect();
        self.end_these(&all).await
    }

    pub(super) async fn end_these(&mut self, all: &[Live]) -> Ended {
        let ended = end(all).await;
        for live in all {
            let (user, from) = (&live.login.user, live.login.from);
            tracing::info!(local_user = user, %from, pid = live.process.pid, "session ended");
        }
        if forget_ended(&mut self.map) {
            self.changed();
        }
        self.left = (ended.left > 0).then(|| {
            let still = |live: &&Live| self.map.all().any(|left| left.process == live.process);
            let pids: Vec<_> = all
                .iter()
                .filter(still)
                .map(|l| l.process.pid.to_string())
                .collect();
            let text = format!("told to end and still there: process {}", pids.join(", "));
            Finding::new(Code::SessionsLeft, "sessions", text)
        });
        ended
    }

    fn is_late(&mut self, wanted: Wanted) {
        let now = clock::since_boot();
        self.late.retain(|(_, at)| *at + LATE > now);
        if self.late.len() < MAX_LATE {
            self.late.push((wanted, now));
        }
    }

    /// Sessions whose connection stood when their key's order was carried out, and whose login came
    /// to its end since.
    pub(super) async fn end_late(&mut self) {
        let now = clock::since_boot();
        self.late.retain(|(_, at)| *at + LATE > now);
        let late = |live: &&Live| {
            self.late.iter().any(|(wanted, at)| {
                let any = Wanted {
                    before: Duration::MAX,
                    ..wanted.clone()
                };
                ticks(live.process.start) < *at && any.means(live)
            })
        };
        let late: Vec<Live> = self.map.logged_in().filter(late).cloned().collect();
        if !late.is_empty() {
            let ended = end(&late).await;
            tracing::info!(
                ended = ended.ended,
                left = ended.left,
                "late sessions ended"
            );
            forget_ended(&mut self.map);
        }
    }
}
