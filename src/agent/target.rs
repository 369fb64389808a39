//! One target while the agent runs: what it holds, what sshd said of it, what is still to be asked.

mod findings;
mod gone;
mod place;

pub(super) use place::Place;

use super::drift::Drifts;
use super::job::Job;
use super::ledger::Entry;
use crate::config;
use crate::keys::{Fingerprint, KeyList, PublicKey};
use crate::sinks::Carry;
use crate::sinks::proof::{Asked, Outcome};
use crate::sync::{Code, Finding, Settled, TargetReport, Trace, Wanted};
use crate::sys::clock;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::Instant;

/// Most keys of one user that sshd is asked about; a longer list is asked about in part.
const MAX_ASKED: usize = 256;
/// Why sshd has no word on the others.
const TOO_MANY: &str = "too-many-keys";
/// Most refused keys that status goes on naming.
const MAX_REFUSED: usize = 64;

/// One target.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) settings: config::Target,
    /// The file, once its user is known.
    pub(super) path: PathBuf,
    /// Whose it is, once its user is known.
    uid: Option<u32>,
    pub(super) settled: Option<Settled>,
    pub(super) revision: Option<u64>,
    pub(super) applied_at: Option<Timestamp>,
    pub(super) rejected: Vec<crate::keys::Rejected>,
    pub(super) next_expiry: Option<Timestamp>,
    pub(super) findings: Vec<Finding>,
    /// What the turn before left to the next.
    pub(super) carry: Carry,
    /// The last turn ended before the file read as it ought to.
    pub(super) stopped: bool,
    /// What of ours the last turn left in the file.
    left: Option<Trace>,
    drifts: Drifts,
    /// The lists that the last turn went by.
    lists: Vec<Option<Arc<KeyList>>>,
    wanted: BTreeMap<Fingerprint, Asked>,
    /// Keys that were taken out: sshd is to refuse them.
    gone: BTreeMap<Fingerprint, PublicKey>,
    /// The keys of `proof.refused`: somebody's line may bring one back.
    refused: BTreeMap<Fingerprint, PublicKey>,
    pub(super) proof: Proof,
}

/// What sshd said, in its latest words.
#[derive(Debug, Default)]
pub(super) struct Proof {
    pub(super) accepted: BTreeSet<Fingerprint>,
    pub(super) refused: Vec<Fingerprint>,
    pub(super) still_accepted: BTreeSet<Fingerprint>,
    pub(super) not_accepted: BTreeSet<Fingerprint>,
    pub(super) unknown: BTreeMap<Fingerprint, &'static str>,
    pub(super) at: Option<Timestamp>,
    /// Keys that have not been asked about since they last changed.
    unasked: BTreeSet<Fingerprint>,
    /// sshd took a key of this user before.
    can_log_in: bool,
}

/// What sshd is to be asked about one user.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) user: String,
    pub(super) accepted: Vec<Asked>,
    pub(super) refused: Vec<Asked>,
    pub(super) can_log_in: bool,
}

impl Target {
    pub(super) fn new(settings: config::Target) -> Self {
        Self {
            path: settings.path.to_string().into(),
            settings,
            uid: None,
            settled: None,
            revision: None,
            applied_at: None,
            rejected: Vec::new(),
            next_expiry: None,
            findings: Vec::new(),
            carry: Carry::default(),
            stopped: false,
            left: None,
            drifts: Drifts::default(),
            lists: Vec::new(),
            wanted: BTreeMap::new(),
            gone: BTreeMap::new(),
            refused: BTreeMap::new(),
            proof: Proof::default(),
        }
    }

    /// Nothing is ours to answer for any more: lines that were put back are accepted by intent.
    pub(super) fn release(&mut self) {
        self.gone.clear();
        self.refused.clear();
        self.left = None;
        self.proof = Proof::default();
        if let Some(settled) = &mut self.settled {
            settled.still_held.clear();
        }
    }

    /// Keeps what a turn left to the next.
    pub(super) fn carry_over(&mut self, carry: Carry) {
        self.carry = carry;
        self.carry.let_go(clock::monotonic());
    }

    /// Whether the next turn has something to look at that only we know of.
    pub(super) fn has_carry(&self) -> bool {
        !self.carry.is_empty()
    }

    /// Another target keeps the same file. Two that each put the other's keys out would never come
    /// to rest.
    pub(super) fn yields_to(&mut self, user: &str) {
        let about = self.path.display().to_string();
        let text = format!("the target of user {user} keeps this file already");
        self.stopped = true;
        self.next_expiry = None;
        self.settled = None;
        self.findings = vec![Finding::new(Code::AnotherAgent, about, text)];
    }

    /// Whether trying again may help: a turn that stopped for something that others may mend.
    pub(super) fn is_to_be_tried_again(&self) -> bool {
        self.stopped && !self.findings.is_empty()
    }

    /// What of ours the last turn left in the file.
    pub(super) fn left(&self) -> Option<Trace> {
        self.left.clone()
    }

    /// Whether a turn would only put back what somebody fights over, before its time. What a source
    /// says anew, and the end of a key, never wait.
    pub(super) fn rests(&self, job: &Job) -> bool {
        let same = |(new, old): (&Option<Arc<KeyList>>, &Option<Arc<KeyList>>)| match (new, old) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            (None, None) => true,
            _ => false,
        };
        let lists = job.lists.iter().map(|(_, list)| list);
        let ended = self.next_expiry.is_some_and(|end| end <= job.now);
        job.lists.len() == self.lists.len()
            && lists.zip(&self.lists).all(same)
            && !ended
            && self.drifts.rests(Instant::now())
    }

    /// Ends a rest.
    pub(super) fn wake(&mut self) {
        self.drifts.wake();
    }

    /// When something of its drifts is due.
    pub(super) fn drift_due(&self) -> Option<Instant> {
        self.drifts.due(Instant::now())
    }

    /// What the ledger is to remember of this target.
    pub(super) fn entry(&self, report: &TargetReport) -> Entry {
        Entry::new(report.owned.clone(), self.gone.values())
    }

    /// Takes what a turn did.
    pub(super) fn took_turn(&mut self, job: &Job, report: &TargetReport, revision: Option<u64>) {
        self.findings = report.findings.clone();
        self.stopped = report.trouble.is_some();
        self.rejected = report.rejected.clone();
        self.next_expiry = report.next_expiry;
        self.took_out(&job.owned, &report.removed);
        let Some(settled) = &report.settled else {
            // What a turn wrote before it stopped is nobody else's doing.
            self.left = self.left.take().filter(|_| !report.written);
            // What could not be written is still new: it waits for no rest.
            self.lists.clear();
            return;
        };
        self.lists = job.lists.iter().map(|(_, list)| list.clone()).collect();
        self.left = Some(settled.trace.clone());
        if let Some(drift) = &report.drift {
            self.drifts.found(drift, Instant::now(), job.now);
        }
        if report.written || self.applied_at.is_none() {
            self.applied_at = Some(job.now);
        }
        self.revision = revision;
        let other = |before: &Settled| before.digest != settled.digest;
        let changed = self.settled.as_ref().is_some_and(other);
        let before = self.settled.replace(settled.clone());
        let held_before = |key| {
            before
                .as_ref()
                .is_some_and(|b| b.still_held.contains_key(key))
        };
        for key in settled.still_held.keys().filter(|key| !held_before(key)) {
            // sshd refused it, and a line with it came since: that word is worth nothing now.
            if let Some(back) = self.refused.remove(key) {
                self.proof.refused.retain(|refused| refused != key);
                self.gone.insert(*key, back);
            }
        }
        if changed {
            // What sshd said against expectation may have been cured by whoever edited the file.
            let proof = &mut self.proof;
            proof.unasked.extend(&proof.still_accepted);
            proof.unasked.extend(&proof.not_accepted);
        }
        self.wants(&report.wanted);
    }

    /// What sshd ought to take from here on.
    fn wants(&mut self, all: &[Wanted]) {
        let before = std::mem::take(&mut self.wanted);
        for key in all.iter().take(MAX_ASKED) {
            let asked = Asked {
                has_from: key.has_from,
                ..Asked::plain(key.key.clone())
            };
            if before
                .get(&key.fingerprint)
                .is_none_or(|old| old.has_from != asked.has_from)
            {
                self.proof.unasked.insert(key.fingerprint);
            }
            self.wanted.insert(key.fingerprint, asked);
        }
        for key in all {
            self.gone.remove(&key.fingerprint);
            self.refused.remove(&key.fingerprint);
            self.proof.refused.retain(|old| *old != key.fingerprint);
        }
        for key in self
            .gone
            .keys()
            .filter(|key| !self.proof.refused.contains(key))
        {
            let known = &self.proof;
            if !known.still_accepted.contains(key) && !known.unknown.contains_key(key) {
                self.proof.unasked.insert(*key);
            }
        }
        let (wanted, gone) = (&self.wanted, &self.gone);
        let proof = &mut self.proof;
        proof.accepted.retain(|key| wanted.contains_key(key));
        proof.not_accepted.retain(|key| wanted.contains_key(key));
        proof.still_accepted.retain(|key| gone.contains_key(key));
        let known = |key: &Fingerprint| wanted.contains_key(key) || gone.contains_key(key);
        proof.unknown.retain(|key, _| known(key));
        proof.unasked.retain(known);
        let beyond = all.iter().skip(MAX_ASKED).map(|key| key.fingerprint);
        proof.unknown.extend(beyond.map(|key| (key, TOO_MANY)));
    }

    /// Has everything asked about anew: once a day, and after a sync that somebody asked for.
    pub(super) fn ask_all(&mut self) {
        self.proof.unasked.extend(self.wanted.keys());
        self.proof.unasked.extend(self.gone.keys());
    }

    /// Has what could not be found out asked about anew.
    pub(super) fn ask_unknown(&mut self) {
        let (wanted, gone) = (&self.wanted, &self.gone);
        let asked = |key: &&Fingerprint| wanted.contains_key(*key) || gone.contains_key(*key);
        let unknown = self.proof.unknown.keys().filter(asked);
        self.proof.unasked.extend(unknown);
    }

    /// Whether sshd took a key of this user before.
    pub(super) fn can_log_in(&self) -> bool {
        self.proof.can_log_in
    }

    /// What is to be asked now, if anything. What is handed out counts as asked.
    pub(super) fn asking(&mut self) -> Option<Asking> {
        let unasked = std::mem::take(&mut self.proof.unasked);
        if unasked.is_empty() || self.settled.is_none() {
            self.proof.unasked = unasked;
            return None;
        }
        let wanted = self.wanted.iter().filter(|(key, _)| unasked.contains(key));
        let gone = self.gone.iter().filter(|(key, _)| unasked.contains(key));
        Some(Asking {
            user: self.settings.user.clone(),
            accepted: wanted.map(|(_, asked)| asked.clone()).collect(),
            refused: gone.map(|(_, key)| Asked::plain(key.clone())).collect(),
            can_log_in: self.proof.can_log_in,
        })
    }

    /// Says of everything that is to be asked that no answer can be had.
    pub(super) fn cannot_ask(&mut self, why: &'static str) {
        for key in std::mem::take(&mut self.proof.unasked) {
            if self.wanted.contains_key(&key) {
                self.proof.unknown.insert(key, why);
            }
        }
    }

    /// Takes sshd's answers. A key whose expectation changed meanwhile is asked about again anyway,
    /// so an old answer is dropped.
    pub(super) fn heard(&mut self, outcome: &Outcome, now: Timestamp) {
        let (wanted, gone, refused) = (&self.wanted, &mut self.gone, &mut self.refused);
        let proof = &mut self.proof;
        proof.at = Some(now);
        proof.can_log_in |= outcome.can_log_in();
        let all = [
            &outcome.accepted,
            &outcome.refused,
            &outcome.still_accepted,
            &outcome.not_accepted,
        ];
        for key in all.into_iter().flatten() {
            proof.accepted.remove(key);
            proof.not_accepted.remove(key);
            proof.still_accepted.remove(key);
            proof.unknown.remove(key);
        }
        let expected = |key: &&Fingerprint| wanted.contains_key(*key);
        proof
            .accepted
            .extend(outcome.accepted.iter().filter(expected));
        proof
            .not_accepted
            .extend(outcome.not_accepted.iter().filter(expected));
        for key in &outcome.refused {
            // sshd's own word: it is not asked again until a line with the key comes back.
            if let Some(public) = gone.remove(key) {
                proof.refused.push(*key);
                refused.insert(*key, public);
            }
        }
        let excess = proof.refused.len().saturating_sub(MAX_REFUSED);
        for key in proof.refused.drain(..excess) {
            refused.remove(&key);
        }
        let gone = &self.gone;
        let left = outcome
            .still_accepted
            .iter()
            .filter(|key| gone.contains_key(key));
        proof.still_accepted.extend(left);
        for (key, why) in &outcome.unknown {
            if wanted.contains_key(key) || gone.contains_key(key) {
                proof.accepted.remove(key);
                proof.unknown.insert(*key, why.code());
            }
        }
    }
}

#[cfg(test)]
mod tests;
