//! What one turn did to one target.

use super::drift::{Drift, Trace};
use super::plan::Wanted;
use super::{Finding, HoldReason, Owned, Plan};
use crate::keys::{AuthorizedKeys, Fingerprint, PublicKey, Rejected};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Most foreign keys that are named.
pub const MAX_FOREIGN: usize = 256;

/// What one turn found and did.
#[derive(Debug, Clone, Default)]
pub struct TargetReport {
    /// What the agent owns in the file now.
    pub owned: Owned,
    /// What the file ought to hold; without the text of the lines.
    pub wanted: Vec<Wanted>,
    /// Keys that came in.
    pub added: Vec<Fingerprint>,
    /// Keys that went.
    pub removed: Vec<PublicKey>,
    /// Keys that this sshd could not be given.
    pub rejected: Vec<Rejected>,
    /// What somebody else changed of ours since the turn before.
    pub drift: Option<Drift>,
    /// True when the file was written.
    pub written: bool,
    /// The file as it was left, once it reads as it ought to.
    pub settled: Option<Settled>,
    /// When the first of the keys ends.
    pub next_expiry: Option<Timestamp>,
    /// Why the file was held, or what went wrong.
    pub trouble: Option<Trouble>,
    /// What an administrator should hear.
    pub findings: Vec<Finding>,
}

/// A file that reads as it ought to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Keys that we keep there.
    pub managed: Vec<Fingerprint>,
    /// How many keys are somebody else's.
    pub foreign: usize,
    /// Which they are, the first [`MAX_FOREIGN`] of them.
    pub foreign_keys: Vec<Fingerprint>,
    /// What of ours stands there.
    pub trace: Trace,
    /// `sha256:HEX` of its bytes.
    pub digest: String,
    /// Keys that were taken out and that somebody else's lines still hold, with the lines' numbers.
    pub still_held: BTreeMap<Fingerprint, Vec<usize>>,
}

/// Why a turn did not end with the file as it ought to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// By decision.
    Held(HoldReason),
    /// By a fault, in words.
    Fault(String),
}

impl TargetReport {
    /// Notes that a plan was carried out.
    pub fn wrote(&mut self, plan: &Plan) {
        self.written = true;
        self.added.extend_from_slice(&plan.add);
        self.removed.extend_from_slice(&plan.gone);
        self.owned = plan.owned_after(&self.owned);
    }

    /// Notes that the file reads as it ought to.
    /// `gone` are keys that were taken out in earlier turns.
    pub fn settle(&mut self, file: &AuthorizedKeys, plan: &Plan, gone: &[PublicKey]) {
        self.owned = plan.owned_after(&self.owned);
        let still_held = self
            .removed
            .iter()
            .chain(gone)
            .map(PublicKey::fingerprint)
            .filter(|key| !self.owned.keys.contains(key))
            .map(|key| (key, file.places_of(key).collect::<Vec<_>>()))
            .filter(|(_, places)| !places.is_empty())
            .collect();
        let digest: String = Sha256::digest(file.bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let foreign = plan.foreign_in(file);
        self.settled = Some(Settled {
            managed: plan.managed().collect(),
            foreign: foreign.len(),
            foreign_keys: foreign.into_iter().take(MAX_FOREIGN).collect(),
            trace: plan.leaves.clone(),
            digest: format!("sha256:{digest}"),
            still_held,
        });
    }
}
