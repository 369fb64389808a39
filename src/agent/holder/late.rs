//! Turns that come back later than they were waited for, and what waits for them.

use super::super::cycle::undo;
use super::super::target::Target;
use super::super::turns::{Done, Ended};
use super::Holder;
use crate::sync::{Code, Dialect, Finding};
use std::time::Duration;

impl Holder {
    /// Takes what a turn did.
    pub(super) fn turn_ended(&mut self, (path, done): Ended) {
        let Some(target) = self.targets.iter_mut().find(|target| target.path == path) else {
            // A reload took the target out meanwhile; what the turn left there is ours all the same.
            if let Some(done) = done {
                let mut entry = self.ledger.entry(&path);
                entry.owned = done.report.owned;
                self.ledger.put(&path, entry);
            }
            return;
        };
        let Some(Done { job, report, carry }) = done else {
            let about = path.display().to_string();
            target.stopped = true;
            // What is past would be due again at once, for ever.
            target.next_expiry = None;
            let text = "the turn broke off; see the log";
            target.findings = vec![Finding::new(Code::WriteFailed, about, text)];
            return;
        };
        job.log(&report);
        if !self.unmanaged {
            self.sessions.keys_went(&job.user, &report);
        }
        target.took_turn(&job, &report, job.revision);
        target.carry_over(carry);
        if self.unmanaged {
            target.release();
        }
        self.ledger.put(&job.path, target.entry(&report));
    }

    /// Takes what a turn did that others were not held up for. What has changed meanwhile is
    /// looked at again at once.
    pub(in crate::agent) fn late_turn_ended(&mut self, ended: Ended) {
        self.turn_ended(ended);
        self.prover.excuse(&mut self.targets);
        self.save_ledger();
        self.look_soon(Duration::ZERO);
        self.publish();
    }

    /// Waits for turns that may still end in time.
    pub(in crate::agent) async fn settle(&mut self) {
        while self.turns.due().is_some() {
            if let Some(ended) = self.turns.next().await {
                self.late_turn_ended(ended);
            }
        }
    }

    /// Takes out what could not be while a turn was under way.
    pub(super) async fn take_out_what_is_left(&mut self) {
        for at in 0..self.targets.len() {
            let path = |holder: &Self| holder.targets.get(at).map(|t| t.path.clone());
            let Some(path) = path(self) else { continue };
            if self.to_take_out.contains(&path) {
                if !self.turns.is_under_way(&path) {
                    self.to_take_out.remove(&path);
                }
                self.turn_of(at, &Dialect::default(), undo).await;
            }
        }
        self.save_ledger();
    }
}

impl Target {
    /// Whether sshd ignores the file for somebody's owner or mode.
    pub(super) fn is_refused_by_strict_modes(&self) -> bool {
        self.findings.iter().any(|f| f.code == Code::StrictModes)
    }
}
