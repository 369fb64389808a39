//! When sessions and API keys were last used, and from where.
//!
//! Kept in memory and written at most once a minute, all in one transaction: a request costs no
//! write. What is not written yet is merged into listings; a crash loses a minute of it. Of an
//! agent's session only a new address is kept: when an instance was heard, the board knows.

use super::Service;
use super::api::Asked;
use super::auth::Bearing;
use super::store::SessionKind;
use axum::http::Uri;
use jiff::Timestamp;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How long uses are gathered for one write.
const GATHER: Duration = Duration::from_secs(60);

/// Agents whose address is remembered; past that it is written anew when they speak.
const AGENTS: usize = 100_000;

/// One use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    /// When.
    pub(super) at: Timestamp,
    /// From where.
    pub(super) from: Option<IpAddr>,
}

/// Uses that are not written yet.
#[derive(Default)]
pub(super) struct Uses {
    latest: Mutex<HashMap<Bearing, Use>>,
    agents: Mutex<HashMap<i64, Option<IpAddr>>>,
    waiting: Notify,
}

impl Uses {
    /// A token was used.
    pub(super) fn note(&self, token: Bearing, used: Use) {
        let mut latest = lock(&self.latest);
        let first = latest.is_empty();
        latest.insert(token, used);
        drop(latest);
        if first {
            self.waiting.notify_one();
        }
    }

    /// An agent's session was used.
    pub(super) fn note_agent(&self, session: i64, used: Use) {
        let mut agents = lock(&self.agents);
        if agents.get(&session) == Some(&used.from) {
            return;
        }
        if agents.len() >= AGENTS {
            agents.clear();
        }
        agents.insert(session, used.from);
        drop(agents);
        self.note(Bearing::Session(session, SessionKind::Agent), used);
    }

    /// The latest use: what the store has, or what is not written yet.
    pub(super) fn merged(
        &self,
        token: Bearing,
        at: Option<Timestamp>,
        address: String,
    ) -> (Option<Timestamp>, String) {
        match lock(&self.latest).get(&token) {
            Some(used) if at.is_none_or(|at| at <= used.at) => {
                let from = used.from.map(|from| from.to_string());
                (Some(used.at), from.unwrap_or_default())
            }
            _ => (at, address),
        }
    }
}

fn lock<K, V>(map: &Mutex<HashMap<K, V>>) -> MutexGuard<'_, HashMap<K, V>> {
    // Entries are put in and taken out whole.
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a request asks to be held: that is no activity of a person (protocol.md section 4).
pub(super) fn is_held(uri: &Uri) -> bool {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    uri.path() == "/v1/events"
        || pairs.any(|pair| pair.strip_prefix("wait=").is_some_and(|wait| wait != "0"))
}

impl Service {
    /// A request, as a use of its token.
    pub(super) fn used(&self, asked: &Asked) -> Use {
        Use {
            at: self.now(),
            from: asked.from,
        }
    }

    /// Writes the uses that are not written yet. What cannot be written waits for the next time.
    pub(super) async fn write_uses(&self) {
        let uses = lock(&self.uses.latest).clone();
        if uses.is_empty() {
            return;
        }
        let written = uses.iter().map(|(token, used)| (*token, *used)).collect();
        match self.store.write_uses(written).await {
            Ok(()) => lock(&self.uses.latest).retain(|token, used| uses.get(token) != Some(used)),
            Err(error) => tracing::debug!(%error, "last uses"),
        }
        if !lock(&self.uses.latest).is_empty() {
            self.uses.waiting.notify_one();
        }
    }

    /// Writes uses as they come; never returns.
    pub(super) async fn gather_uses(&self) {
        loop {
            self.uses.waiting.notified().await;
            tokio::time::sleep(GATHER).await;
            self.write_uses().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_is_held_is_no_activity() {
        for (uri, held) in [
            ("/v1/ssh-keys", false),
            ("/v1/ssh-keys/1/rollout", false),
            ("/v1/ssh-keys/1/rollout?wait=0", false),
            ("/v1/ssh-keys/1/rollout?a=b&wait=60", true),
            ("/v1/events", true),
        ] {
            assert_eq!(is_held(&uri.parse().unwrap()), held, "{uri}");
        }
    }

    #[test]
    fn the_later_of_two_uses_counts() {
        let (uses, key) = (Uses::default(), Bearing::ApiKey(1));
        let at = |s| Timestamp::from_second(s).unwrap();
        let kept = (Some(at(10)), "203.0.113.9".to_owned());
        assert_eq!(uses.merged(key, kept.0, kept.1.clone()), kept);
        let from = Some("192.0.2.1".parse().unwrap());
        uses.note(key, Use { at: at(9), from });
        assert_eq!(uses.merged(key, kept.0, kept.1.clone()), kept);
        uses.note(key, Use { at: at(11), from });
        let later = (Some(at(11)), "192.0.2.1".to_owned());
        assert_eq!(uses.merged(key, kept.0, kept.1), later);
    }
}
