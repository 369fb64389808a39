//! Probes: certificates that the service makes for this alone, checked before sshd is asked about
//! them, and what sshd says of them for one user.

use crate::client::{Api, ClientError};
use crate::config::SshdPaths;
use crate::keys::{Fingerprint, PublicKey};
use crate::sinks::proof::{Asked, Outcome, Question, RefusalBudget, prove};
use crate::sinks::sshd;
use crate::sys::clock;
use crate::trust::Certificate;
use crate::wire::Probe;
use jiff::{SignedDuration, Timestamp};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long the service may take over them.
const WITHIN: Duration = Duration::from_secs(15);
/// Most probes of an answer that are looked at: two a CA.
const MAX_PROBES: usize = 64;
/// They are good for minutes: those that end this soon are not used again.
const LEFT: SignedDuration = SignedDuration::from_secs(60);

/// What sshd is asked to prove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::agent) struct InForce {
    /// Whose CAs they are.
    pub(in crate::agent) account: i64,
    /// CAs that sshd is to trust, the one that signs first.
    pub(in crate::agent) cas: Vec<PublicKey>,
    /// The number of the account's revocation list that sshd is to go by.
    pub(in crate::agent) krl: Option<u64>,
}

/// The probes of one CA, as sshd is asked about them.
#[derive(Debug, Clone)]
struct Pair {
    ca: Fingerprint,
    live: Asked,
    /// Revoked by the list in force; `None` where the service's is another one.
    dead: Option<Asked>,
}

/// Probes that were checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Checked {
    of: InForce,
    pairs: Arc<[Pair]>,
    /// When the first of them ends.
    until: Option<Timestamp>,
}

/// Why no probe can be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoProbe {
    /// The service knows of none: an older one.
    NotOffered,
    /// It does not answer.
    Offline,
    /// What it gives is none of a CA of ours: another list is on its way, or its clock is another.
    NotOurs,
}

impl NoProbe {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::NotOffered => "no-probes",
            Self::Offline => "no-service",
            Self::NotOurs => "other-probes",
        }
    }
}

/// What sshd said for one user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// CAs whose certificates it takes.
    pub(super) accepted: Vec<Fingerprint>,
    /// CAs whose certificates it refuses, and nothing explains it.
    pub(super) not_accepted: Vec<Fingerprint>,
    /// It refuses what the list in force revokes.
    pub(super) refuses: bool,
    /// It takes what that list revokes, of these CAs.
    pub(super) still_accepted: Vec<Fingerprint>,
    /// Why nothing can be said of the rest.
    pub(super) unknown: Option<&'static str>,
    /// Asking again may well bring an answer.
    pub(super) is_passing: bool,
    /// When.
    pub(super) at: Timestamp,
}

/// Who is asked, and how.
pub(super) struct Ask {
    pub(super) user: String,
    /// sshd took a key of his before.
    pub(super) can_log_in: bool,
    /// The revoked one of each CA is asked about, not of the first alone: a refusal is dear.
    pub(super) of_all: bool,
    pub(super) in_force: InForce,
    pub(super) kept: Checked,
    pub(super) api: Option<Api>,
    pub(super) address: SocketAddr,
    pub(super) paths: SshdPaths,
}

/// What came of it.
pub(super) struct Heard {
    pub(super) user: String,
    pub(super) in_force: InForce,
    pub(super) checked: Checked,
    pub(super) word: Result<Word, NoProbe>,
    pub(super) banner: Option<String>,
}

impl Ask {
    /// Gets probes where those of before do not do, and asks sshd.
    pub(super) async fn ask(self, budget: &mut RefusalBudget) -> Heard {
        let now = clock::now();
        let checked = match self.kept.serves(&self.in_force, now) {
            true => Ok(self.kept.clone()),
            false => fetch(self.api.as_ref(), &self.in_force).await,
        };
        let heard = |checked, word, banner| Heard {
            user: self.user.clone(),
            in_force: self.in_force.clone(),
            checked,
            word,
            banner,
        };
        let checked = match checked {
            Ok(checked) => checked,
            Err(why) => return heard(Checked::default(), Err(why), None),
        };
        let (here, gone) = checked.questions(self.of_all);
        let sshd = sshd::in_force(self.address, &self.paths, &self.user).await;
        let question = Question {
            user: &self.user,
            expect_accepted: &here,
            expect_refused: &gone,
            witnesses: &[],
            can_log_in: self.can_log_in,
        };
        let outcome = prove(&sshd, &question, budget, now).await;
        let word = checked.word(&outcome, &gone, now);
        heard(checked, Ok(word), outcome.banner)
    }
}

async fn fetch(api: Option<&Api>, in_force: &InForce) -> Result<Checked, NoProbe> {
    let api = api.ok_or(NoProbe::Offline)?;
    let got = timeout(WITHIN, api.probes()).await;
    let got = match got {
        Ok(Ok(got)) => got,
        Ok(Err(ClientError::NotFound(_))) => return Err(NoProbe::NotOffered),
        Ok(Err(fault)) => {
            tracing::debug!(%fault, "probes");
            return Err(NoProbe::Offline);
        }
        Err(_) => return Err(NoProbe::Offline),
    };
    Checked::of(&got.probes, in_force, clock::now()).ok_or(NoProbe::NotOurs)
}

impl Checked {
    /// Those that are what they say they are, in their time; `None` where a CA has none.
    fn of(probes: &[Probe], in_force: &InForce, now: Timestamp) -> Option<Self> {
        let mut pairs = Vec::new();
        let mut until: Option<Timestamp> = None;
        for ca in &in_force.cas {
            let of_ca = |revoked_by: Option<u64>| {
                let probes = probes.iter().take(MAX_PROBES);
                let mut probes = probes.filter(|probe| probe.revoked_by == revoked_by);
                probes.find_map(|probe| {
                    let ca = std::slice::from_ref(ca);
                    let (line, account) = (&probe.certificate, in_force.account);
                    Certificate::parse_probe(line, ca, account, revoked_by, now).ok()
                })
            };
            let live = of_ca(None)?;
            let dead = in_force.krl.and_then(|version| of_ca(Some(version)));
            // Else sshd might refuse it for another reason than the list.
            let dead = dead.filter(|dead| dead.is_twin_of(&live));
            let ends = [Some(&live), dead.as_ref()].into_iter().flatten();
            until = ends.map(Certificate::valid_before).chain(until).min();
            pairs.push(Pair {
                ca: ca.fingerprint(),
                live: Asked::certificate(&live, now)?,
                dead: dead.and_then(|dead| Asked::certificate(&dead, now)),
            });
        }
        Some(Self {
            of: in_force.clone(),
            pairs: pairs.into(),
            until,
        })
    }

    fn serves(&self, in_force: &InForce, now: Timestamp) -> bool {
        let whole = self.pairs.iter().all(|pair| pair.dead.is_some()) || in_force.krl.is_none();
        let in_time = self
            .until
            .is_some_and(|until| now.saturating_add(LEFT).is_ok_and(|at| at < until));
        self.of == *in_force && whole && in_time
    }

    fn questions(&self, of_all: bool) -> (Vec<Asked>, Vec<Asked>) {
        let here = self.pairs.iter().map(|pair| pair.live.clone()).collect();
        let gone = self.pairs.iter().filter_map(|pair| pair.dead.clone());
        let most = if of_all { usize::MAX } else { 1 };
        (here, gone.take(most).collect())
    }

    fn word(&self, outcome: &Outcome, gone: &[Asked], at: Timestamp) -> Word {
        let live = |keys: &[Fingerprint]| -> Vec<Fingerprint> {
            let named = |pair: &&Pair| keys.contains(&pair.live.fingerprint());
            self.pairs.iter().filter(named).map(|p| p.ca).collect()
        };
        let dead = |pair: &&Pair| {
            let dead = pair.dead.as_ref().map(Asked::fingerprint);
            dead.is_some_and(|dead| outcome.still_accepted.contains(&dead))
        };
        let still_accepted = self.pairs.iter().filter(dead).map(|pair| pair.ca).collect();
        let accepted = live(&outcome.accepted);
        // A CA of which sshd takes nothing says nothing of what the list revokes.
        let refused = |asked: &Asked| {
            let is = |pair: &&Pair| {
                pair.dead.as_ref().map(Asked::fingerprint) == Some(asked.fingerprint())
            };
            let of = self.pairs.iter().find(is);
            outcome.refused.contains(&asked.fingerprint())
                && of.is_some_and(|pair| accepted.contains(&pair.ca))
        };
        let first = outcome.unknown.first().map(|(_, why)| *why);
        // The service has another list than the one in force: one of them is on its way.
        let lacks = self.of.krl.is_some() && gone.is_empty();
        let refuses = !gone.is_empty() && gone.iter().all(refused);
        Word {
            not_accepted: live(&outcome.not_accepted),
            accepted,
            refuses,
            still_accepted,
            unknown: first
                .map(crate::sinks::proof::Unknown::code)
                .or_else(|| lacks.then_some(NoProbe::NotOurs.code())),
            is_passing: lacks || outcome.unknown.iter().any(|(_, why)| why.is_passing()),
            at,
        }
    }
}

#[cfg(test)]
mod tests;
