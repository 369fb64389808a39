//! Turns under way, each on a thread of its own: a file system that does not answer holds up its
//! own target and nobody else.
//!
//! The loop waits for a turn a moment only, then goes on to the next target. One that has not come
//! back after [`STUCK`] is `target-stuck`: no second one is begun for that file, and the first
//! writes nothing any more once it wakes, for what it knew is old.
//!
//! It is no reason to be restarted by the watchdog, for ever and for nothing: a restart would hang
//! at the same file. What the watchdog waits for is the loop itself (which waits for the state
//! directory, and for nothing else) and source tasks that have ended.

use super::cycle::Hands;
use super::job::Job;
use super::ledger::Ledger;
use super::removed;
use crate::sinks::Carry;
use crate::sync::{Code, Finding, Owned, RevokedLine, TargetReport};
use crate::sys::clock;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// How long the loop waits for a turn before it looks after everything else.
const PATIENCE: Duration = Duration::from_millis(250);
/// A turn that takes longer than this is stuck.
pub(super) const STUCK: Duration = Duration::from_secs(5);

/// What a turn did, when it is over.
#[derive(Debug)]
pub(super) struct Done {
    /// What it was to do.
    pub(super) job: Job,
    /// What it did.
    pub(super) report: TargetReport,
    /// What it leaves to the next one.
    pub(super) carry: Carry,
}

/// A turn that is over: its file, and what it did, unless it broke off.
pub(super) type Ended = (PathBuf, Option<Done>);

/// Turns that have not ended yet, at most one a file.
#[derive(Debug, Default)]
pub(super) struct Turns {
    under_way: Vec<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    path: PathBuf,
    began: Instant,
    since: Timestamp,
    overtaken: Arc<AtomicBool>,
    work: JoinHandle<Done>,
}

/// One turn from its beginning to its end, on whatever thread this is.
pub(super) fn carry_out(
    job: Job,
    ledger: &Ledger,
    mut carry: Carry,
    cycle: fn(&Job, Hands<'_>) -> TargetReport,
) -> Done {
    let mut remember = |owned: &Owned| {
        if job.overtaken.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        let mut entry = ledger.entry(&job.path);
        entry.owned = owned.clone();
        ledger.put(&job.path, entry);
        ledger.save()
    };
    let mut set_aside = |lines: &[RevokedLine]| {
        if job.overtaken.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        removed::keep(&job.removed, &job.path, lines, job.now)
    };
    let hands = Hands {
        remember: &mut remember,
        set_aside: &mut set_aside,
        carry: &mut carry,
    };
    let mut report = cycle(&job, hands);
    report.findings.extend(job.strict_modes(&report));
    Done { job, report, carry }
}

impl UnderWay {
    fn is_stuck(&self) -> bool {
        self.overtaken.load(Ordering::Relaxed)
    }
}

impl Turns {
    /// Begins a turn, and waits for it a moment. `None` when it is still under way then: it will
    /// come out of [`ended`](Self::ended).
    pub(super) async fn begin(
        &mut self,
        path: &Path,
        work: impl FnOnce(Arc<AtomicBool>) -> Done + Send + 'static,
    ) -> Option<Ended> {
        let overtaken = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&overtaken);
        let mut work = tokio::task::spawn_blocking(move || work(flag));
        if let Ok(done) = timeout(PATIENCE, &mut work).await {
            return Some((path.to_owned(), done.ok()));
        }
        self.under_way.push(UnderWay {
            path: path.to_owned(),
            began: Instant::now(),
            since: clock::now(),
            overtaken,
            work,
        });
        None
    }

    /// Whether a turn at this file has not ended yet.
    pub(super) fn is_under_way(&self, path: &Path) -> bool {
        self.under_way.iter().any(|turn| turn.path == path)
    }

    /// What is to be said of a file whose turn does not come back.
    pub(super) fn finding(&self, path: &Path) -> Option<Finding> {
        let stuck = |turn: &&UnderWay| turn.path == path && turn.is_stuck();
        let turn = self.under_way.iter().find(stuck)?;
        let text = format!(
            "a turn that began at {:.0} has not come back; nothing is written there until it does",
            turn.since
        );
        Some(Finding::new(
            Code::TargetStuck,
            path.display().to_string(),
            text,
        ))
    }

    /// Marks what is stuck by now.
    pub(super) fn mark(&self) {
        let old = |turn: &&UnderWay| turn.began.elapsed() >= STUCK;
        for turn in self.under_way.iter().filter(old) {
            turn.overtaken.store(true, Ordering::Relaxed);
        }
    }

    /// Marks all of them: what they know holds no more.
    pub(super) fn overtake(&self) {
        let all = self.under_way.iter();
        all.for_each(|turn| turn.overtaken.store(true, Ordering::Relaxed));
    }

    /// When the next of them is stuck.
    pub(super) fn due(&self) -> Option<Instant> {
        let young = self.under_way.iter().filter(|turn| !turn.is_stuck());
        young.map(|turn| turn.began + STUCK).min()
    }

    /// Waits for the end of a turn; for ever where none is under way. Safe to cancel.
    pub(super) async fn ended(&mut self) -> Ended {
        std::future::poll_fn(|context| {
            for (at, turn) in self.under_way.iter_mut().enumerate() {
                if let Poll::Ready(done) = Future::poll(Pin::new(&mut turn.work), context) {
                    let turn = self.under_way.swap_remove(at);
                    return Poll::Ready((turn.path, done.ok()));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The same, while there is one that may end in time; `None` when none is left that is not
    /// stuck.
    pub(super) async fn next(&mut self) -> Option<Ended> {
        let due = self.due()?;
        let ended = timeout_at(due, self.ended()).await.ok();
        self.mark();
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Method;
    use crate::sync::Dialect;
    use crate::sys::dir::Owner;
    use std::sync::mpsc;

    fn done() -> Done {
        Done {
            job: Job {
                user: "root".to_owned(),
                path: "/a".into(),
                home: "/".into(),
                owner: Owner::ROOT,
                method: Method::Block,
                in_place: false,
                spare: "/nowhere".into(),
                removed: "/nowhere".into(),
                strict_modes: None,
                overtaken: Arc::default(),
                adopt: false,
                revision: None,
                lists: Vec::new(),
                dialect: Dialect::default(),
                owned: Owned::default(),
                gone: Vec::new(),
                left: None,
                now: Timestamp::UNIX_EPOCH,
                random: 0,
            },
            report: TargetReport::default(),
            carry: Carry::default(),
        }
    }

    #[tokio::test]
    async fn a_turn_that_hangs_is_marked_and_comes_out_when_it_wakes() {
        let (wake, sleep) = mpsc::channel::<()>();
        let mut turns = Turns::default();
        let quick = turns.begin(Path::new("/b"), |_| done()).await;
        assert!(quick.is_some_and(|(path, done)| path == Path::new("/b") && done.is_some()));
        let (told, seen) = mpsc::channel();
        let hangs = move |overtaken: Arc<AtomicBool>| {
            let _ = sleep.recv();
            told.send(overtaken.load(Ordering::Relaxed)).unwrap();
            done()
        };
        let path = Path::new("/a");
        assert!(turns.begin(path, hangs).await.is_none());
        assert!(turns.is_under_way(path) && turns.finding(path).is_none());
        assert!(turns.due().is_some());
        turns.overtake();
        assert!(turns.due().is_none() && turns.next().await.is_none());
        assert_eq!(turns.finding(path).unwrap().code, Code::TargetStuck);
        wake.send(()).unwrap();
        assert_eq!(turns.ended().await.0, path);
        assert!(seen.recv().unwrap() && !turns.is_under_way(path));
    }
}
