//! Asks sshd, one user at a time, beside everything else; and again where nothing could be found
//! out. Keys come first, then certificates.

mod certificates;
mod probes;

pub(super) use probes::InForce;

use super::target::Target;
use crate::client::Api;
use crate::config::{AgentConfig, SshdPaths};
use crate::keys::SshdVersion;
use crate::sinks::proof::{self, Question, RefusalBudget, prove};
use crate::sinks::sshd;
use crate::sys::clock;
use certificates::Certificates;
use probes::Heard;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What could not be found out is asked again, sooner at first.
const ASK_AGAIN: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(60),
    Duration::from_secs(600),
];

/// Who asks.
pub(super) struct Prover {
    sshd: Option<SocketAddr>,
    paths: SshdPaths,
    /// Kept for as long as the agent runs; with the proof while one is under way.
    budget: Option<RefusalBudget>,
    proving: Option<JoinHandle<Proved>>,
    again_at: Option<Instant>,
    again: usize,
    certificates: Certificates,
}

/// What came of a proof.
pub(super) struct Proved {
    said: Said,
    budget: RefusalBudget,
}

/// What sshd said: of the keys of a target, or of certificates.
enum Said {
    Keys(usize, proof::Outcome),
    Certificates(Heard),
}

impl Prover {
    pub(super) fn new(config: &AgentConfig) -> Self {
        Self {
            sshd: config.verify,
            paths: config.sshd.clone(),
            budget: Some(RefusalBudget::new()),
            proving: None,
            again_at: None,
            again: 0,
            certificates: Certificates::default(),
        }
    }

    /// Where nobody may be asked, says so of everything that would be: before anybody is told, or
    /// the heartbeat would go without the reason.
    pub(super) fn excuse(&self, targets: &mut [Target]) {
        if self.sshd.is_none() {
            targets.iter_mut().for_each(|t| t.cannot_ask("verify-off"));
        }
    }

    /// Begins to ask about the first target that has something to be asked, then about certificates,
    /// unless a proof is under way. False when there was nothing to begin. `api` is the service that
    /// has probes of the account's CAs.
    pub(super) fn begin(&mut self, targets: &mut [Target], api: Option<&Api>) -> bool {
        let Some(address) = self.sshd else {
            return false;
        };
        let Some(budget) = self.budget.take() else {
            return false;
        };
        let mut asked = targets.iter_mut().enumerate();
        let next = asked.find_map(|(at, target)| Some((at, target.asking()?)));
        let Some((target, asking)) = next else {
            let Some(ask) = self.next_ask(targets, api) else {
                self.budget = Some(budget);
                return false;
            };
            self.proving = Some(tokio::spawn(async move {
                let mut budget = budget;
                let said = Said::Certificates(ask.ask(&mut budget).await);
                Proved { said, budget }
            }));
            return true;
        };
        let paths = self.paths.clone();
        self.proving = Some(tokio::spawn(async move {
            let mut budget = budget;
            let sshd = sshd::in_force(address, &paths, &asking.user).await;
            let question = Question {
                user: &asking.user,
                expect_accepted: &asking.accepted,
                expect_refused: &asking.refused,
                witnesses: &[],
                can_log_in: asking.can_log_in,
            };
            let outcome = prove(&sshd, &question, &mut budget, clock::now()).await;
            let said = Said::Keys(target, outcome);
            Proved { said, budget }
        }));
        true
    }

    /// Waits for the proof that is under way; for ever where none is. Safe to cancel.
    pub(super) async fn done(&mut self) -> Option<Proved> {
        match &mut self.proving {
            Some(proving) => proving.await.ok(),
            None => std::future::pending().await,
        }
    }

    /// Takes what came of a proof. Gives the version that sshd named.
    pub(super) fn take(
        &mut self,
        proved: Option<Proved>,
        targets: &mut [Target],
    ) -> Option<SshdVersion> {
        self.proving = None;
        let Some(proved) = proved else {
            // It broke off, and its answers with it: the daily round asks again.
            self.budget = Some(RefusalBudget::new());
            return None;
        };
        self.budget = Some(proved.budget);
        let (target, outcome) = match proved.said {
            Said::Keys(target, outcome) => (target, outcome),
            Said::Certificates(heard) => {
                let version = heard.banner.as_deref().and_then(sshd::version_in);
                self.heard_of_certificates(heard);
                return version;
            }
        };
        if outcome.unknown.iter().any(|(_, why)| why.is_passing()) {
            let wait = ASK_AGAIN.get(self.again).or(ASK_AGAIN.last());
            self.again_at = wait.map(|wait| Instant::now() + *wait);
            self.again += 1;
        } else {
            self.again = 0;
        }
        if let Some(target) = targets.get_mut(target) {
            target.heard(&outcome, clock::now());
            let (accepted, refused) = (outcome.accepted.len(), outcome.refused.len());
            let local_user = &target.settings.user;
            tracing::info!(local_user, accepted, refused, "asked sshd");
        }
        outcome.banner.as_deref().and_then(sshd::version_in)
    }

    /// When what could not be found out is to be asked again.
    pub(super) fn due(&self) -> Option<Instant> {
        let both = [self.again_at, self.certificates_due()];
        both.into_iter().flatten().min()
    }

    /// Marks what could not be found out, where its time has come.
    pub(super) fn ask_again(&mut self, now: Instant, targets: &mut [Target]) {
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            targets.iter_mut().for_each(Target::ask_unknown);
        }
        self.ask_certificates_again(now);
    }
}
