//! A list that is asked for by the clock: when, how often, and when sooner or later than that.
//!
//! Owns the schedule of `vast` and `http` sources: an interval with jitter, so that a fleet that was
//! started together does not ask together; back-off after what may pass; a server's `Retry-After`,
//! an hour at the most, which also a person's sync respects. What is asked is the [`Remote`]'s.

use super::fault::Fault;
use super::http::HttpList;
use super::state::Publisher;
use super::unsigned::Keeper;
use super::vast::Vast;
use crate::config::Source;
use crate::keys::KeyList;
use crate::sync::{Backoff, jittered};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// The first wait after a failure that may pass.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Who is asked.
pub(super) enum Remote {
    /// Vast.ai's API.
    Vast(Vast),
    /// Any address.
    Http(HttpList),
}

/// What came.
pub(super) enum Polled {
    /// The list of before, which was taken, still holds.
    Unchanged,
    /// A whole list.
    List(KeyList),
}

impl Remote {
    async fn fetch(&mut self) -> Result<Polled, Fault> {
        match self {
            Self::Vast(vast) => vast.fetch().await,
            Self::Http(http) => http.fetch().await,
        }
    }

    /// The answer was not taken: the next one must be whole again, so that it can be judged.
    fn not_taken(&mut self) {
        match self {
            Self::Vast(_) => {}
            Self::Http(http) => http.forget(),
        }
    }
}

pub(super) struct PollTask {
    remote: Remote,
    keeper: Keeper,
    schedule: Schedule,
    /// Nothing is asked before this.
    not_before: Option<Instant>,
}

/// How long from one attempt to the next.
#[derive(Debug)]
struct Schedule {
    interval: Duration,
    failures: u32,
    /// Whether the first interval is still to come.
    first: bool,
}

impl PollTask {
    /// The last good list is in force before this returns.
    pub(super) fn new(
        source: &Source,
        remote: Remote,
        last_good: PathBuf,
        publisher: Publisher,
    ) -> Self {
        Self {
            remote,
            keeper: Keeper::new(source, last_good, publisher),
            schedule: Schedule::new(source.poll_interval),
            not_before: None,
        }
    }

    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<oneshot::Sender<()>>) {
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        let mut first_wait = {
            // Who asks while the very first answer is on its way has nothing newer to hear of.
            let mut polled = pin!(self.poll());
            loop {
                tokio::select! {
                    wait = &mut polled => break Some(wait),
                    Some(ask) = asks.recv() => waiting.push(ask),
                }
            }
        };
        loop {
            let wait = match first_wait.take() {
                Some(wait) => wait,
                None => self.poll().await,
            };
            for done in waiting.drain(..) {
                let _ = done.send(());
            }
            let due = Instant::now() + wait;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(due) => break,
                    ask = asks.recv() => {
                        let Some(ask) = ask else { return };
                        if self.not_before.is_some_and(|not| Instant::now() < not) {
                            // Its answer is what is known: the server wants no question yet.
                            let _ = ask.send(());
                            continue;
                        }
                        waiting.push(ask);
                        break;
                    }
                }
            }
        }
    }

    /// One attempt; how long until the next.
    async fn poll(&mut self) -> Duration {
        self.not_before = None;
        let fault = match self.remote.fetch().await {
            Ok(Polled::Unchanged) => {
                self.keeper.unchanged();
                None
            }
            Ok(Polled::List(list)) => {
                if !self.keeper.take(list).await {
                    self.remote.not_taken();
                }
                None
            }
            Err(fault) => {
                self.remote.not_taken();
                self.keeper.failed(fault.code(), fault.text());
                tracing::debug!(source = self.keeper.name(), fault = fault.text(), "no list");
                Some(fault)
            }
        };
        let retry_after = fault.as_ref().and_then(Fault::retry_after);
        self.not_before = retry_after.map(|wait| Instant::now() + wait);
        self.schedule.after(fault.as_ref(), rand::random())
    }
}

impl Schedule {
    fn new(interval: Duration) -> Self {
        Self {
            interval,
            failures: 0,
            first: true,
        }
    }

    /// The wait after an attempt; `random` in 0..1 spreads it.
    fn after(&mut self, fault: Option<&Fault>, random: f64) -> Duration {
        let Some(fault) = fault else {
            self.failures = 0;
            return self.regular(random);
        };
        self.failures += 1;
        if !fault.may_pass() {
            return self.regular(random);
        }
        let first = FIRST_WAIT.min(self.interval);
        Backoff::new(first, self.interval).wait(self.failures, fault.retry_after(), random)
    }

    /// An interval is the most between two attempts. The first is anywhere in it: what started
    /// together asks apart from then on.
    fn regular(&mut self, random: f64) -> Duration {
        let spread = if std::mem::take(&mut self.first) {
            self.interval.mul_f64(0.8)
        } else {
            self.interval.mul_f64(0.1)
        };
        self.interval - jittered(spread, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientError;
    use crate::sync::Code;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_interval_is_the_most_and_what_began_together_goes_apart() {
        let first = |random| Schedule::new(MINUTE).after(None, random);
        assert_eq!((first(0.0), first(1.0)), (MINUTE, MINUTE / 5));
        let mut later = Schedule::new(MINUTE);
        later.after(None, 0.5);
        assert_eq!(later.after(None, 0.0), MINUTE);
        assert_eq!(later.after(None, 1.0), Duration::from_secs(54));
    }

    #[test]
    fn what_may_pass_is_tried_again_soon_and_never_later_than_its_turn() {
        let offline = Fault::Client(ClientError::Timeout);
        let mut schedule = Schedule::new(MINUTE);
        let waits: Vec<_> = (0..9)
            .map(|_| schedule.after(Some(&offline), 1.0).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        schedule.after(None, 0.0);
        assert_eq!(schedule.after(Some(&offline), 1.0).as_secs(), 1);
        let here = Fault::here(Code::NoCredential, "x");
        assert_eq!(schedule.after(Some(&here), 0.0), MINUTE);
    }
}
