//! What an administrator should hear of a target: what its turn found, its drifts, sshd's word.

use super::Target;
use crate::keys::Fingerprint;
use crate::sync::{Code, Finding};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Most keys that one condition names.
const MAX_NAMED: usize = 16;
/// Most lines that it names of one key: whoever owns the file may say it as often as he likes.
const MAX_LINES: usize = 8;

impl Target {
    /// Whether sshd's word that it refuses a key is still to come, or the file still to be written.
    pub(in crate::agent) fn awaits_refusal(&self, key: &Fingerprint) -> bool {
        let said = &self.proof;
        let asked = said.still_accepted.contains(key) || said.unknown.contains_key(key);
        self.stopped || (self.gone.contains_key(key) && !asked)
    }

    /// What an administrator should hear of this target.
    pub(in crate::agent) fn all_findings(&self) -> Vec<Finding> {
        let mut findings = self.findings.clone();
        let about = self.path.display().to_string();
        findings.extend(self.drifts.finding(&about, Instant::now()));
        let held = self.settled.iter().flat_map(|settled| &settled.still_held);
        let mut still: BTreeMap<Fingerprint, Vec<usize>> =
            held.map(|(key, lines)| (*key, lines.clone())).collect();
        still.retain(|key, _| !self.proof.refused.contains(key));
        for key in &self.proof.still_accepted {
            still.entry(*key).or_default();
        }
        if !still.is_empty() {
            let more = still.len().saturating_sub(MAX_NAMED);
            let keys: Vec<String> = still
                .iter()
                .take(MAX_NAMED)
                .map(|(key, lines)| match lines.is_empty() {
                    true => format!("{key} (in none of its lines)"),
                    false => format!("{key} (line {})", list(lines)),
                })
                .collect();
            let mut text = format!("taken out and still accepted: {}", keys.join(", "));
            if more > 0 {
                text.push_str(&format!(", and {more} more"));
            }
            findings.push(Finding::new(Code::StillAccepted, &about, text));
        }
        if !self.proof.not_accepted.is_empty() {
            let keys = self.proof.not_accepted.iter();
            let keys: Vec<_> = keys.map(Fingerprint::to_string).collect();
            let text = format!("in place, and refused by sshd: {}", keys.join(", "));
            findings.push(Finding::new(Code::NotAccepted, &about, text));
        }
        let whys: BTreeSet<_> = self.proof.unknown.values().copied().collect();
        if whys.contains("wrong-host") {
            let text = "whoever answers at [verify] sshd does not have sshd's host key";
            findings.push(Finding::new(Code::ProofWrongHost, &about, text));
        } else if !whys.is_empty() && !whys.contains("verify-off") {
            let whys: Vec<_> = whys.into_iter().collect();
            let text = format!("sshd's word could not be had: {}", whys.join(", "));
            findings.push(Finding::new(Code::ProofUnknown, &about, text));
        }
        findings
    }
}

fn list(lines: &[usize]) -> String {
    let mut words: Vec<_> = lines.iter().take(MAX_LINES).map(usize::to_string).collect();
    if lines.len() > MAX_LINES {
        words.push(format!("and {} more", lines.len() - MAX_LINES));
    }
    words.join(", ")
}
