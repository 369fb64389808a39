//! What is said at an end: of `agent --once`, and of a clean stop.

use super::super::heartbeat;
use super::{Holder, Outcome};
use crate::sources::{self, Running};

impl Holder {
    /// What `agent --once` says: one heartbeat, then how it went.
    pub(in crate::agent) async fn report_once(&mut self) -> Outcome {
        let status = self.status();
        for source in &self.sources {
            let session = source.session.as_ref().and_then(|s| s.borrow().clone());
            if let Some(session) = session
                && let Err(fault) = heartbeat::once(&session, &status).await
            {
                tracing::warn!(%fault, "heartbeat");
            }
        }
        self.outcome()
    }

    pub(in crate::agent) fn outcome(&self) -> Outcome {
        let status = self.status();
        Outcome {
            sources_answered: self.states().iter().all(|state| state.live),
            targets_settled: self
                .targets
                .iter()
                .all(|target| target.settled.is_some() && !target.stopped),
            status,
        }
    }

    /// Ends the sources, and says so: the last heartbeat of a clean stop.
    pub(in crate::agent) async fn last_word(&mut self) {
        // What was begun with sshd is finished.
        self.keeper.finish().await;
        let status = self.status();
        let sources = std::mem::take(&mut self.sources);
        let session = |s: &Running| s.session.as_ref().and_then(|s| s.borrow().clone());
        let sessions: Vec<_> = sources.iter().map(session).collect();
        // Their queries go before the word, not after.
        sources::stop(sources).await;
        for session in sessions {
            heartbeat::last_word(session, &status).await;
        }
    }
}
