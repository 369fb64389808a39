//! Sessions by certificates: whose CAs are whose, and what ends when a revocation list comes into
//! force or a certificate has ended.

use super::{Task, Trusted};
use crate::agent::sessions::book::OrderId;
use crate::keys::Fingerprint;
use crate::sinks::sessions::{Ended, Live, Wanted};
use crate::sys::clock;
use crate::sys::processes::Process;
use crate::trust::Krl;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Most CAs of a source that are remembered beside those of its list: an account has three at a time.
const MAX_CAS: usize = 16;
/// A login that sshd took by the list before may be told of this much later (LoginGraceTime).
const LATE: Duration = Duration::from_secs(120);

/// CAs by the source that has listed them. One that has left the list is remembered: a session by it
/// may still be there, and nobody else's certificates are signed by it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Cas(BTreeMap<String, BTreeSet<Fingerprint>>);

/// What the task knows of certificates.
#[derive(Default)]
pub(super) struct Certificates {
    pub(super) cas: Cas,
    /// Sessions end whenever their certificate goes or ends.
    always: bool,
    /// Lists that came into force a moment ago, with when that was, since the boot.
    krls: Vec<(String, Krl, Duration)>,
    /// Sessions whose certificate has ended, and that were told so.
    over: BTreeSet<Process>,
}

impl Certificates {
    pub(super) fn new(cas: Cas, always: bool) -> Self {
        Self {
            cas,
            always,
            ..Self::default()
        }
    }
}

impl Cas {
    fn learn(&mut self, source: &str, listed: BTreeSet<Fingerprint>) -> bool {
        let known = self.0.entry(source.to_owned()).or_default();
        let before = known.len();
        let all: BTreeSet<_> = known.union(&listed).copied().collect();
        *known = if all.len() > MAX_CAS { listed } else { all };
        known.len() != before
    }

    pub(super) fn of(&self, source: &str) -> BTreeSet<Fingerprint> {
        self.0.get(source).cloned().unwrap_or_default()
    }

    fn all(&self) -> BTreeSet<Fingerprint> {
        self.0.values().flatten().copied().collect()
    }
}

impl Task {
    /// Takes what is in force; ends what it revokes.
    pub(super) async fn trusts(&mut self, trusted: Trusted) {
        let Trusted { source, cas, krl } = trusted;
        if self.certificates.cas.learn(&source, cas) {
            self.save();
        }
        let krl = krl.filter(|_| self.certificates.always);
        let Some(krl) = krl.and_then(|krl| Krl::parse(&krl.bytes).ok()) else {
            return;
        };
        let krls = &mut self.certificates.krls;
        krls.retain(|(of, ..)| *of != source);
        krls.push((source, krl, clock::since_boot()));
        self.catch_up().await;
        self.end_revoked().await;
    }

    /// Ends sessions by certificates that a list revokes which came into force just now.
    pub(super) async fn end_revoked(&mut self) {
        let now = clock::since_boot();
        let known = &mut self.certificates;
        known.krls.retain(|(.., at)| *at + LATE > now);
        let revoked = |live: &&Live| {
            let mut krls = known.krls.iter();
            krls.any(|(source, krl, _)| live.is_revoked(krl, &known.cas.of(source)))
        };
        let revoked: Vec<Live> = match known.krls.is_empty() {
            true => return,
            false => self.map.all().filter(revoked).cloned().collect(),
        };
        self.end_told(&revoked, "sessions of revoked certificates ended")
            .await;
    }

    /// When the next certificate of a session has ended at the latest, where that ends it.
    pub(super) fn next_over(&self) -> Option<Instant> {
        let known = &self.certificates;
        if !known.always {
            return None;
        }
        let (cas, now) = (known.cas.all(), clock::since_boot());
        let open = self.map.all().filter(|l| !known.over.contains(&l.process));
        let first = open.filter_map(|live| live.ends_at(&cas)).min()?;
        Some(Instant::now() + first.saturating_sub(now))
    }

    /// Ends sessions whose certificate has ended, each once.
    pub(super) async fn end_over(&mut self) {
        if !self.certificates.always {
            return;
        }
        let (cas, now) = (self.certificates.cas.all(), clock::since_boot());
        let known = &self.certificates.over;
        let over = |live: &&Live| {
            !known.contains(&live.process) && live.ends_at(&cas).is_some_and(|end| end <= now)
        };
        let over: Vec<Live> = self.map.all().filter(over).cloned().collect();
        let there: BTreeSet<Process> = self.map.all().map(|live| live.process).collect();
        let told = over.iter().map(|live| live.process);
        self.certificates.over.extend(told);
        self.certificates.over.retain(|one| there.contains(one));
        self.end_told(&over, "sessions of certificates that have ended")
            .await;
    }

    /// Ends every session by a certificate of a source that this instance is no more a part of.
    pub(super) async fn left(&mut self, id: OrderId, source: &str) {
        let wanted = Wanted {
            any_certificate: true,
            cas: self.certificates.cas.of(source),
            before: Duration::MAX,
            ..Wanted::default()
        };
        if !wanted.cas.is_empty() {
            self.went(id, wanted).await;
        }
    }

    async fn end_told(&mut self, sessions: &[Live], what: &'static str) {
        if sessions.is_empty() {
            return;
        }
        let Ended { ended, left } = self.end_these(sessions).await;
        tracing::info!(ended, left, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_that_has_left_the_list_is_remembered_and_another_sources_is_not_ours() {
        let key = |n: u8| Fingerprint::from_digest([n; 32]);
        let mut cas = Cas::default();
        assert!(cas.learn("a", [key(1), key(2)].into()));
        assert!(!cas.learn("a", [key(1)].into()));
        assert!(cas.learn("b", [key(9)].into()));
        assert!(cas.learn("a", [key(3)].into()));
        assert_eq!(cas.of("a"), [key(1), key(2), key(3)].into());
        assert!(!cas.learn("a", BTreeSet::new()) && cas.of("a").len() == 3);
        assert_eq!(cas.all().len(), 4);
        let many: BTreeSet<_> = (20..=36).map(key).collect();
        cas.learn("a", many.clone());
        assert_eq!(cas.of("a"), many);
    }
}
