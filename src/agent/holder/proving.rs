//! What of the holder is about the proof: who is asked next, and what came of it.

use super::super::prover::Proved;
use super::Holder;
use crate::client::Api;
use std::time::Duration;

impl Holder {
    /// Begins to ask sshd about what is to be asked. False when there was nothing to begin.
    pub(super) fn begin_proof(&mut self) -> bool {
        let api = self.probes_of();
        self.prover.begin(&mut self.targets, api.as_ref())
    }

    /// The service that has probes: of the source whose CAs are in force.
    fn probes_of(&self) -> Option<Api> {
        let mut sources = self.sources.iter();
        let session = sources.find_map(|source| source.session.as_ref()?.borrow().clone());
        session.map(|session| session.api)
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
}
