//! Certificates: what sshd is to be asked of them, user by user, and what may be said by now.
//!
//! sshd that takes the probe of a CA trusts it for that user; sshd that refuses the one that just the
//! list in force revokes goes by that list. Asked when trust changes, when sshd was told to read its
//! configuration anew, and once a day. Nothing is asked where no CA is trusted.

use super::probes::{Ask, Checked, Heard, InForce, NoProbe, Word};
use super::{ASK_AGAIN, Prover};
use crate::agent::target::Target;
use crate::keys::Fingerprint;
use crate::sync::{Code, Finding};
use crate::wire::CertificatesStatus;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Most users that are asked about, as of keys: the rest is not said to be proved.
const MAX_USERS: usize = 32;
/// What a condition is about.
const ABOUT: &str = "certificates";

/// What is known of certificates.
#[derive(Default)]
pub(super) struct Certificates {
    in_force: InForce,
    /// Users whose word is still to be had.
    queue: BTreeSet<String>,
    /// Users that are asked about at all.
    users: BTreeSet<String>,
    words: BTreeMap<String, Word>,
    /// Probes of before, good for a few minutes.
    checked: Checked,
    no_probe: Option<NoProbe>,
    again_at: Option<Instant>,
    again: usize,
}

impl Certificates {
    /// Takes what is in force; asks anew where that, or who is asked about, has changed.
    fn take_in_force(&mut self, in_force: &InForce, users: BTreeSet<String>) {
        if self.in_force == *in_force {
            let new = users.difference(&self.users).take(MAX_USERS).cloned();
            self.queue.extend(new);
            self.queue.retain(|user| users.contains(user));
            self.words.retain(|user, _| users.contains(user));
            self.users = users;
            return;
        }
        if self.in_force.cas != in_force.cas {
            self.words.clear();
        }
        if self.in_force.krl != in_force.krl {
            // That a CA is trusted is as true as before; what is revoked by another list is not.
            for word in self.words.values_mut() {
                word.refuses = false;
                word.still_accepted.clear();
            }
        }
        self.words.retain(|user, _| users.contains(user));
        self.in_force = in_force.clone();
        self.no_probe = None;
        self.users = users;
        self.ask_all();
    }

    fn ask_all(&mut self) {
        self.queue = self.users.iter().take(MAX_USERS).cloned().collect();
        self.again_at = None;
        self.again = 0;
    }

    /// What could not be found out is asked again.
    fn ask_again(&mut self, now: Instant) {
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            let unknown = |user: &&String| self.words.get(*user).is_none_or(|word| word.is_passing);
            let users = self.users.iter().take(MAX_USERS);
            self.queue = users.filter(unknown).cloned().collect();
        }
    }

    fn take(&mut self, heard: Heard) {
        if heard.in_force != self.in_force {
            // Something has changed meanwhile, and is asked about by itself.
            return;
        }
        let passing = match heard.word {
            Ok(word) => {
                self.checked = heard.checked;
                self.no_probe = None;
                let passing = word.is_passing;
                tracing::info!(
                    local_user = heard.user,
                    accepted = word.accepted.len(),
                    revoked_refused = word.refuses,
                    "asked sshd about certificates"
                );
                self.words.insert(heard.user, word);
                passing
            }
            Err(why) => {
                self.no_probe = Some(why);
                // It is the same for everybody.
                self.queue.clear();
                why != NoProbe::NotOffered
            }
        };
        if passing {
            let wait = ASK_AGAIN.get(self.again).or(ASK_AGAIN.last());
            self.again_at = wait.map(|wait| Instant::now() + *wait);
            self.again += 1;
        } else if self.again_at.is_none() {
            self.again = 0;
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut whys = BTreeSet::new();
        for (user, word) in &self.words {
            if !word.not_accepted.is_empty() {
                let cas = list(&word.not_accepted);
                let text = format!("sshd refuses certificates of {cas} for user {user}");
                findings.push(Finding::new(Code::CertificateNotAccepted, user, text));
            }
            if !word.still_accepted.is_empty() {
                let (cas, number) = (list(&word.still_accepted), self.in_force.krl.unwrap_or(0));
                let text = format!(
                    "sshd takes a certificate of {cas} for user {user} that revocation list \
                     number {number} revokes"
                );
                findings.push(Finding::new(Code::CertificateStillAccepted, user, text));
            }
            whys.extend(word.unknown);
        }
        if !whys.is_empty() {
            let whys: Vec<_> = whys.into_iter().collect();
            let text = format!(
                "sshd's word on certificates could not be had: {}",
                whys.join(", ")
            );
            findings.push(Finding::new(Code::ProofUnknown, ABOUT, text));
        }
        findings
    }

    /// Says what is proved for every user, and no more.
    fn tell(&self, status: &mut CertificatesStatus, off: Option<&'static str>) {
        let known = self.in_force.cas.iter().map(|ca| ca.fingerprint());
        let all = self.users.iter().map(|user| self.words.get(user));
        let words: Option<Vec<&Word>> = all.collect();
        let words = words.filter(|words| !words.is_empty());
        let by_all = |is: &dyn Fn(&Word) -> bool| {
            let words = words.as_ref();
            words.is_some_and(|words| words.iter().all(|word| is(word)))
        };
        status.proved_ca = known
            .filter(|ca| by_all(&|word| word.accepted.contains(ca)))
            .map(|ca| ca.to_string())
            .collect();
        status.proved_krl = self.in_force.krl.filter(|_| by_all(&|word| word.refuses));
        let proved = !status.proved_ca.is_empty() || status.proved_krl.is_some();
        let at = self.words.values().map(|word| word.at).max();
        status.proved_at = at.filter(|_| proved);
        status.unproved = self.unproved(off).map(str::to_owned);
    }

    fn unproved(&self, off: Option<&'static str>) -> Option<&'static str> {
        if self.in_force.cas.is_empty() {
            return self.in_force.krl.map(|_| "no-user-ca");
        }
        if off.is_some() {
            return off;
        }
        if self.users.is_empty() {
            return Some("no-target");
        }
        let said = self.words.values().find_map(|word| {
            let against = [
                (&word.still_accepted, "still-accepted"),
                (&word.not_accepted, "not-accepted"),
            ];
            let mut against = against.into_iter();
            let against = against.find_map(|(cas, why)| (!cas.is_empty()).then_some(why));
            against.or(word.unknown)
        });
        let many = self.users.len() > MAX_USERS;
        let no_probe = self.no_probe.map(NoProbe::code);
        said.or(no_probe)
            .or_else(|| many.then_some("too-many-users"))
    }
}

fn list(cas: &[Fingerprint]) -> String {
    let cas: Vec<_> = cas.iter().map(Fingerprint::to_string).collect();
    format!("CA {}", cas.join(", "))
}

impl Prover {
    /// Takes what of certificates is in force by now, as files and `sshd -T` say.
    /// `users`: whom such certificates are to let in.
    pub(in crate::agent) fn certificates_are(
        &mut self,
        in_force: &InForce,
        users: BTreeSet<String>,
    ) {
        self.certificates.take_in_force(in_force, users);
    }

    /// Has those asked about anew of whom sshd said something against expectation: somebody may have
    /// mended it.
    pub(in crate::agent) fn ask_what_is_against(&mut self) {
        let known = &mut self.certificates;
        let against =
            |word: &Word| !word.not_accepted.is_empty() || !word.still_accepted.is_empty();
        let all = known.words.iter().filter(|(_, word)| against(word));
        known.queue.extend(all.map(|(user, _)| user.clone()));
    }

    /// Has everything about certificates asked anew: once a day, and after sshd was told to read its
    /// configuration anew.
    pub(in crate::agent) fn ask_certificates(&mut self) {
        self.certificates.ask_all();
    }

    /// What sshd itself has said of certificates.
    pub(in crate::agent) fn tell_certificates(&self, status: &mut CertificatesStatus) {
        self.certificates.tell(status, self.off());
    }

    /// What an administrator should hear of certificates.
    pub(in crate::agent) fn certificate_findings(&self) -> Vec<Finding> {
        self.certificates.findings()
    }

    fn off(&self) -> Option<&'static str> {
        match self.sshd {
            None => Some("verify-off"),
            Some(_) => None,
        }
    }

    /// The next user to ask about, if there is one. `api` is the service that has the probes.
    pub(super) fn next_ask(
        &mut self,
        targets: &[Target],
        api: Option<&crate::client::Api>,
    ) -> Option<Ask> {
        let address = self.sshd?;
        let known = &mut self.certificates;
        if known.in_force.cas.is_empty() {
            known.queue.clear();
        }
        let user = known.queue.pop_first()?;
        let mut of_user = targets.iter().filter(|t| t.settings.user == user);
        Some(Ask {
            can_log_in: of_user.any(Target::can_log_in),
            of_all: known.users.first() == Some(&user),
            user,
            in_force: known.in_force.clone(),
            kept: known.checked.clone(),
            api: api.cloned(),
            address,
            paths: self.paths.clone(),
        })
    }

    pub(super) fn heard_of_certificates(&mut self, heard: Heard) {
        self.certificates.take(heard);
    }

    /// When something about certificates is to be asked again.
    pub(super) fn certificates_due(&self) -> Option<Instant> {
        self.certificates.again_at
    }

    pub(super) fn ask_certificates_again(&mut self, now: Instant) {
        self.certificates.ask_again(now);
    }
}

#[cfg(test)]
mod tests;
