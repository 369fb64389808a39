//! What of the holder is about the proof: who is asked next, what came of it, and what of
//! certificates it is told to go by.

use super::super::prover::{InForce, Proved};
use super::super::sessions::Trusted;
use super::Holder;
use crate::sources::{Session, SourceState, Trust};
use crate::sync::Finding;
use crate::wire::CertificatesStatus;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl Holder {
    /// Begins to ask sshd about what is to be asked. False when there was nothing to begin.
    pub(super) fn begin_proof(&mut self) -> bool {
        let api = self.with_ca().and_then(|(_, _, session)| session);
        let api = api.map(|session| session.api);
        self.prover.begin(&mut self.targets, api.as_ref())
    }

    /// Takes what came of a proof.
    pub(in crate::agent) fn proved(&mut self, proved: Option<Proved>) {
        let version = self.prover.take(proved, &mut self.targets);
        let known = self.dialect.as_ref().map(|dialect| dialect.sshd);
        if version.is_some() && known.is_some_and(|known| known != version) {
            // sshd was upgraded, or was not there before: lines may have to read otherwise.
            self.dialect = None;
            self.keeper.again();
            self.look_soon(Duration::ZERO);
        }
        self.publish();
    }

    /// The source whose CAs are trusted here, what it says, and its session with its service: of
    /// several accounts the first.
    fn with_ca(&self) -> Option<(Arc<SourceState>, Arc<Trust>, Option<Session>)> {
        self.sources.iter().find_map(|source| {
            let state = Arc::clone(&source.state.borrow());
            let trust = state.trust.clone()?;
            let session = source.session.as_ref();
            let session = session.and_then(|session| session.borrow().clone());
            (!trust.user_ca.is_empty()).then_some((state, trust, session))
        })
    }

    /// Tells the prover and the sessions what of certificates is in force by now; `status` is what
    /// files and `sshd -T` say. Whether a revocation list is on its way that sessions wait for.
    pub(super) fn tell_in_force(&mut self, status: Option<&CertificatesStatus>) -> bool {
        let (in_force, users) = self.to_prove(status);
        self.prover.certificates_are(&in_force, users);
        let may_revoke = !self.unmanaged && self.user_certificates.may_revoke();
        let mut is_coming = false;
        for state in self.states() {
            let Some(trust) = &state.trust else { continue };
            let in_force = self.user_certificates.krl_in_force(&state.name);
            is_coming |= may_revoke && trust.named_krl.is_some() && trust.named_krl != in_force;
            let cas = trust.user_ca.iter().map(|ca| ca.fingerprint());
            let krl = trust.krl.clone();
            self.sessions.trusts(Trusted {
                source: state.name.clone(),
                cas: cas.collect(),
                krl: krl.filter(|krl| Some(krl.version) == in_force),
            });
        }
        is_coming
    }

    /// What sshd is to be asked to prove, and the users of whom.
    fn to_prove(&self, status: Option<&CertificatesStatus>) -> (InForce, BTreeSet<String>) {
        let Some(status) = status.filter(|_| !self.unmanaged) else {
            return Default::default();
        };
        let Some((state, trust, session)) = self.with_ca() else {
            let keys_alone = InForce {
                krl: status.krl_version,
                ..InForce::default()
            };
            return (keys_alone, BTreeSet::new());
        };
        let cas = trust.user_ca.iter();
        let cas = cas.filter(|ca| status.user_ca.contains(&ca.fingerprint().to_string()));
        let in_force = InForce {
            account: session.map_or(0, |session| session.account),
            cas: cas.cloned().collect(),
            krl: self.user_certificates.krl_in_force(&state.name),
        };
        let of_it = self.targets.iter().filter(|target| {
            target.settled.is_some() && target.settings.sources.contains(&state.name)
        });
        let users = of_it.map(|target| target.settings.user.clone());
        (in_force, users.collect())
    }

    /// What is told of certificates: what files and `sshd -T` say, and what sshd itself said.
    pub(super) fn told_of_certificates(
        &self,
        status: Option<CertificatesStatus>,
        findings: &mut Vec<Finding>,
    ) -> Option<CertificatesStatus> {
        let mut status = status?;
        self.prover.tell_certificates(&mut status);
        if !self.unmanaged {
            findings.extend(self.prover.certificate_findings());
        }
        Some(status)
    }
}
