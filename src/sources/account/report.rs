//! What an account source says of itself: an answer in force, or what is wrong and since when.

use super::super::enrolment::Trouble;
use super::super::fault::code_of;
use super::super::state::SourceState;
use super::super::trust::Trust;
use super::{AccountTask, CLOCKS_APART, FIRST_WAIT, MOST_WAIT, STALE, Step};
use crate::client::ClientError;
use crate::sync::{Backoff, Code, Finding};
use crate::sys::clock;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

impl AccountTask {
    /// A good answer is in force. One without news wakes nobody.
    pub(super) fn settled(&mut self, news: bool) {
        self.failures = 0;
        self.failing = false;
        let now = clock::now();
        let findings = self.findings(now);
        let before = self.publisher.state();
        let news = news || !before.live || before.findings != findings;
        let change = |state: &mut SourceState| {
            state.live = true;
            state.last_success = Some(now);
            state.last_error = None;
            state.findings = findings;
        };
        if news {
            self.publisher.publish(change);
        } else {
            self.publisher.note(change);
        }
    }

    pub(super) fn findings(&self, now: Timestamp) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(self.enroller.clone_finding().cloned());
        let signed = self.held.as_ref().and_then(|held| held.signed.as_ref());
        if let Some(signed) = signed {
            let silent = clock::monotonic().saturating_sub(self.fresh_at) > STALE;
            if signed.removed {
                findings.push(self.removed());
            } else if silent || signed.expires_at < now {
                let text = format!("the newest list was good until {}", signed.expires_at);
                findings.push(Finding::new(Code::ListStale, &self.name, text));
            }
        }
        let part = signed.and_then(|signed| signed.trust.as_ref());
        if let Some(part) = part.filter(|_| self.certificates) {
            findings.extend(part.findings(&self.name, self.krl.as_ref(), self.krl_why()));
        }
        let apart = self.clock_ahead.map(|ahead| ahead.abs());
        if let Some(apart) = apart.filter(|apart| *apart > CLOCKS_APART) {
            let text = format!("the service's clock and ours differ by {apart:#}");
            findings.push(Finding::new(Code::ClockWrong, &self.name, text));
        }
        findings
    }

    fn removed(&self) -> Finding {
        let text = "the owner removed this instance from the account";
        Finding::new(Code::Removed, &self.name, text)
    }

    /// What the files hold stays, whatever it is.
    pub(super) fn removed_without_a_list(&mut self) -> Step {
        let removed = self.removed();
        // Certificates of the account stop; what was revoked, and is not known any more, stays so.
        let trust = Trust {
            named_krl: Some(0),
            ..Trust::default()
        };
        self.publisher.publish(|state| {
            state.trust = Some(Arc::new(trust));
            state.live = true;
            state.last_error = None;
            state.findings = vec![removed];
        });
        Step::Over
    }

    pub(super) fn heard(&mut self, date: Option<Timestamp>) {
        self.clock_ahead = date.map(|date| date.duration_since(clock::now()));
    }

    /// The service gave no answer that can be used: the next replica at once. Only when none of
    /// them did is it a condition, and is there a wait.
    pub(super) fn failed(&mut self, fault: &ClientError) -> Step {
        let url = self.url();
        self.failing = true;
        self.failed_now += 1;
        self.next_replica();
        if self.failed_now < self.urls.len() {
            tracing::debug!(source = self.name, url, %fault, "the next replica is asked");
            return Step::Again;
        }
        let finding = Finding::new(code_of(fault), &self.name, fault.to_string());
        self.fault(finding, fault.to_string());
        self.wait_for_another(fault.retry_after())
    }

    /// What was asked ended in a fault. Where it had gone well until then all others are told the same
    /// now: not even the next replica is asked at once.
    pub(super) fn lost(&mut self, fault: &ClientError) -> Step {
        let window = self.window.get();
        let first = !self.failing && !window.is_zero();
        match self.failed(fault) {
            Step::Again if first => {
                Step::Wait(self.backoff().wait(1, fault.retry_after(), rand::random()))
            }
            step => step,
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(FIRST_WAIT, MOST_WAIT).within(self.window.get())
    }

    pub(super) fn troubled(&mut self, trouble: Trouble) -> Step {
        match trouble {
            Trouble::Service(fault) => self.failed(&fault),
            Trouble::Person(finding) => {
                let text = finding.text.clone();
                self.fault(finding, text);
                // It may be this replica alone that wants one.
                self.next_replica();
                self.wait_for_another(None)
            }
        }
    }

    /// After an attempt, or a round of them, that brought nothing.
    pub(super) fn wait_for_another(&mut self, retry_after: Option<Duration>) -> Step {
        self.failing = true;
        self.failed_now = 0;
        self.failures += 1;
        let wait = self.backoff();
        Step::Wait(wait.wait(self.failures, retry_after, rand::random()))
    }

    pub(super) fn fault(&mut self, finding: Finding, text: String) {
        let mut findings = self.findings(clock::now());
        findings.insert(0, finding);
        self.publisher.publish(|state| {
            state.live = false;
            state.last_error = Some(text);
            state.findings = findings;
        });
    }

    /// An answer came at once, though its query was to be held, and said nothing new: a cache, or a
    /// service that stops. However long that goes on, it is not asked at the speed of the network.
    pub(super) fn brought_nothing(&mut self) -> Step {
        self.idle += 1;
        let wait = self.backoff();
        Step::Wait(wait.wait(self.idle, None, rand::random()))
    }

    pub(super) fn next_replica(&mut self) {
        self.at = (self.at + 1) % self.urls.len().max(1);
    }

    pub(super) fn url(&self) -> String {
        self.urls.get(self.at).cloned().unwrap_or_default()
    }
}
