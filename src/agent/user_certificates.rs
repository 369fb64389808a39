//! Certificates of users on this machine: which files are to say what, when they are written, and
//! what of it is in force.
//!
//! The files come first, the drop-in that names them after (`sshd_keeper.rs`), and they go in the
//! reverse order: none is taken away while sshd's configuration may still name it. While a source
//! has not said anything in this state directory, what stands stays as it is.

mod record;
mod wanted;
mod work;

use super::sshd_keeper::Keeper;
use crate::config::{AgentConfig, SourceKind};
use crate::keys::Fingerprint;
use crate::sinks::sshd_config::{Look, Wish};
use crate::sinks::sshd_trust::{Left, REVOCATION, Standing, TrustFiles, USER_CERTIFICATES};
use crate::sources::SourceState;
use crate::sync::{Code, Finding};
use crate::sys::clock;
use crate::sys::users;
use crate::trust::Krl;
use crate::wire::CertificatesStatus;
use jiff::Timestamp;
use record::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};
pub(super) use work::Done;
use work::Job;

/// A change is waited for this long; one that takes longer goes on beside everything else.
const WITHIN: Duration = Duration::from_secs(2);
/// A drift is told for this long after the last one.
const TOLD: Duration = Duration::from_secs(600);
/// What could not be written is tried again after this, and ever later.
const AGAIN: Duration = Duration::from_secs(10);
const AGAIN_MOST: Duration = Duration::from_secs(600);

/// Who keeps them.
pub(super) struct UserCertificates {
    config: AgentConfig,
    /// Whether certificates of users are kept here at all.
    is_on: bool,
    /// Whether anything of a time when they were may stand here.
    is_recorded: bool,
    work: Option<JoinHandle<Option<Done>>>,
    done: Option<Done>,
    left: BTreeMap<PathBuf, Left>,
    merged: BTreeMap<PathBuf, Krl>,
    drifts: BTreeMap<PathBuf, (Instant, Timestamp)>,
    /// Purposes in force, as sshd was last seen.
    in_force: BTreeSet<&'static str>,
    /// What stands between, where something is not.
    not_in_force: Vec<Finding>,
    left_behind: Vec<Finding>,
    /// Trials in a row that could not write something, and when the next one is due.
    failures: u32,
    again_at: Option<Instant>,
}

/// Whether certificates of users are kept here at all.
pub(super) fn are_kept(config: &AgentConfig) -> bool {
    let mut kinds = config.sources.iter().map(|source| &source.kind);
    let has_account = kinds.any(|kind| matches!(kind, SourceKind::Account(_)));
    config.certificates.user_ca && may_write(config) && has_account
}

fn may_write(config: &AgentConfig) -> bool {
    !config.unprivileged && users::current_uid() == 0
}

/// What is to stand in sshd's configuration for files that stand. May block.
pub(super) fn standing_wishes(config: &AgentConfig) -> Vec<Wish> {
    let of = UserCertificates::new(config);
    if !of.is_on {
        return Vec::new();
    }
    let files = of.trust_files();
    let standing = files.look();
    let has_ca = standing.user_ca.is_some_and(|cas| !cas.is_empty());
    let merged = &config.certificates.merge_revoked;
    files.wishes(has_ca, standing.krl.is_some(), merged)
}

impl UserCertificates {
    pub(super) fn new(config: &AgentConfig) -> Self {
        Self {
            is_on: are_kept(config),
            is_recorded: may_write(config) && Record::is_there(&config.state_dir),
            config: config.clone(),
            work: None,
            done: None,
            left: BTreeMap::new(),
            merged: BTreeMap::new(),
            drifts: BTreeMap::new(),
            in_force: BTreeSet::new(),
            not_in_force: Vec::new(),
            left_behind: Vec::new(),
            failures: 0,
            again_at: None,
        }
    }

    /// Whether the files have been looked at: nothing is taken out of sshd's configuration before.
    pub(super) fn is_ready(&self) -> bool {
        self.done.is_some() || !(self.is_on || self.is_recorded)
    }

    /// One turn: makes the files say what the lists in force say. `look` is what was last seen of
    /// sshd's configuration, while nothing has been begun there since. True when files are to be
    /// watched that were not before.
    pub(super) async fn turn(
        &mut self,
        states: &[Arc<SourceState>],
        look: Option<&Look>,
        keeper: &mut Keeper,
    ) -> bool {
        self.again_at.take_if(|at| *at <= Instant::now());
        if !self.is_on && !self.is_recorded {
            return false;
        }
        let watched = self.files();
        if self.work.is_none() {
            let job = Job::of(self, states, look);
            self.work = Some(tokio::spawn(job.run()));
        }
        if let Some(work) = &mut self.work
            && let Ok(done) = timeout(WITHIN, work).await
        {
            self.take(done.ok().flatten(), keeper);
        }
        watched != self.files()
    }

    /// Waits for a turn that was not waited for; for ever where none is under way. Safe to cancel.
    pub(super) async fn late(&mut self) -> Option<Done> {
        match &mut self.work {
            Some(work) => work.await.ok().flatten(),
            None => std::future::pending().await,
        }
    }

    /// Takes what a turn did.
    pub(super) fn take(&mut self, done: Option<Done>, keeper: &mut Keeper) {
        self.work = None;
        // What broke off is in the log, and is begun again by the next turn.
        let Some(mut done) = done else { return };
        let (now, at) = (Instant::now(), clock::now());
        if !done.is_failed {
            (self.failures, self.again_at) = (0, None);
        } else if self.again_at.is_none() {
            let wait = AGAIN.saturating_mul(1 << self.failures.min(6));
            self.failures += 1;
            self.again_at = Some(now + wait.min(AGAIN_MOST));
        }
        for path in done.drifted.drain(..) {
            tracing::warn!(path = %path.display(), "somebody changed it; it was put back");
            self.drifts.insert(path, (now, at));
        }
        self.left = std::mem::take(&mut done.left);
        self.merged = std::mem::take(&mut done.merged);
        self.is_recorded = done.is_recorded;
        keeper.want(USER_CERTIFICATES, self.wishes(&done));
        let waited = self.done.as_ref().is_some_and(|done| done.waits_for_sshd);
        if done.waits_for_sshd && !waited {
            // Files that were named wait for sshd's configuration to be looked at.
            keeper.again();
        }
        self.done = Some(done);
    }

    fn wishes(&self, done: &Done) -> Vec<Wish> {
        if !self.is_on {
            return Vec::new();
        }
        let merged = &self.config.certificates.merge_revoked;
        self.trust_files()
            .wishes(done.names_ca, done.names_krl, merged)
    }

    fn trust_files(&self) -> TrustFiles {
        TrustFiles::new(&self.config.certificates.directory)
    }

    /// Takes what was seen of sshd's configuration once the keeper was through with it. True where
    /// files wait for that to go.
    pub(super) fn kept(&mut self, look: Option<&Look>, findings: &[Finding]) -> bool {
        self.in_force = look.map(|look| look.in_force.clone()).unwrap_or_default();
        self.not_in_force.clear();
        let waits = self.done.as_ref().is_some_and(|done| done.waits_for_sshd);
        let waits = waits && look.is_some_and(|look| look.is_settled);
        let Some(done) = self.done.as_ref().filter(|_| self.is_on) else {
            return waits;
        };
        let wanted = [
            (
                REVOCATION,
                "RevokedKeys",
                Code::KrlNotInForce,
                done.names_krl,
            ),
            (
                USER_CERTIFICATES,
                "TrustedUserCAKeys",
                Code::UserCaNotInForce,
                done.names_ca,
            ),
        ];
        for (purpose, keyword, code, is_wanted) in wanted {
            if !is_wanted || self.in_force.contains(purpose) {
                continue;
            }
            let names_it = |finding: &&Finding| {
                finding.about == keyword
                    || (keyword == "TrustedUserCAKeys"
                        && finding.about == "AuthorizedPrincipalsFile")
            };
            let of_drop_in = |finding: &&Finding| {
                finding.about == self.config.sshd.drop_in.display().to_string()
            };
            let mut why = findings.iter().filter(names_it);
            let why = why.next().or_else(|| findings.iter().find(of_drop_in));
            let why = match (why, look) {
                (Some(finding), _) => format!("{}: {}", finding.code.as_str(), finding.text),
                (None, None) => "sshd does not say what is in force".to_owned(),
                (None, Some(_)) => "sshd -T does not show it".to_owned(),
            };
            let text = format!("what the account's list says is not in force in sshd: {why}");
            self.not_in_force.push(Finding::new(code, keyword, text));
        }
        waits
    }

    /// What an administrator should hear.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = self.left_behind.clone();
        findings.extend(self.done.iter().flat_map(|done| done.findings.clone()));
        findings.extend(self.not_in_force.iter().cloned());
        let now = Instant::now();
        let told = self.drifts.iter().filter(|(_, (at, _))| now < *at + TOLD);
        findings.extend(told.map(|(path, (_, at))| {
            let text = format!("at {at:.0} somebody changed it; it was put back");
            Finding::new(Code::Drift, path.display().to_string(), text)
        }));
        findings
    }

    /// When a drift is no longer to be told, or what could not be written is tried again.
    pub(super) fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let ends = self.drifts.values().map(|(at, _)| *at + TOLD);
        let ends = ends.filter(|end| *end > now);
        ends.chain(self.again_at).min()
    }

    /// What the service hears; `None`: none are kept here.
    pub(super) fn status(&self) -> Option<CertificatesStatus> {
        let mut status = self.is_on.then(CertificatesStatus::default)?;
        let none = Standing::default();
        let standing = self.done.as_ref().map_or(&none, |done| &done.standing);
        if self.in_force.contains(USER_CERTIFICATES) {
            let cas = standing.user_ca.iter().flatten();
            status.user_ca = cas.map(Fingerprint::to_string).collect();
        }
        if self.in_force.contains(REVOCATION) {
            status.krl_version = standing.krl;
        }
        Some(status)
    }

    /// The number of this source's revocation list that sshd goes by, as far as files and `sshd -T`
    /// say.
    pub(super) fn krl_in_force(&self, source: &str) -> Option<u64> {
        let done = self.done.as_ref().filter(|_| self.is_on)?;
        let krl = done.krls.get(source).copied();
        krl.filter(|_| self.in_force.contains(REVOCATION) && done.standing.krl.is_some())
    }

    /// Whether a list that is on its way may come into force soon: nothing is known to keep it away.
    pub(super) fn may_revoke(&self) -> bool {
        let done = self.done.iter().flat_map(|done| &done.findings);
        let mut known = done.chain(&self.not_in_force);
        self.is_on && !known.any(|finding| finding.code == Code::KrlNotInForce)
    }

    /// Files that are worth watching.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let left = self.left.values().flat_map(|left| left.keys().cloned());
        let mut files: Vec<_> = left.collect();
        if self.is_on {
            files.extend(self.config.certificates.merge_revoked.iter().cloned());
        }
        files
    }

    /// Waits for the end of what is under way.
    pub(super) async fn finish(&mut self, keeper: &mut Keeper) {
        if self.work.is_some() {
            let done = self.late().await;
            self.take(done, keeper);
        }
    }

    /// Takes away all that was ever written, once sshd's configuration names it no more; gives what
    /// is left because somebody else's line still may.
    pub(super) async fn let_go(&mut self, look: Option<&Look>, keeper: &mut Keeper) {
        self.finish(keeper).await;
        let state_dir = self.config.state_dir.clone();
        let record = spawn_blocking(move || Record::load(&state_dir)).await;
        let mut record = record.unwrap_or_default();
        let look = look.filter(|look| look.is_settled);
        let mut left = Vec::new();
        for directory in record.directories.clone() {
            let files = TrustFiles::new(&directory);
            let named = match look {
                Some(look) => look.named.clone(),
                // Nobody says what is named.
                None => [files.krl().display().to_string()].into(),
            };
            let still = files.clear((true, true), &named).await;
            if still.is_empty() {
                record.directories.remove(&directory);
            }
            left.extend(still);
        }
        let state_dir = self.config.state_dir.clone();
        let saved = spawn_blocking(move || record.save(&state_dir)).await;
        if let Err(fault) = saved.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%fault, "the record of sshd's files of certificates");
        }
        let text = "sshd's configuration may name it, and nobody could log in without it: take \
                    the line out by hand, reload sshd, and run sshkeyd unmanage again";
        let finding =
            |path: PathBuf| Finding::new(Code::LeftBehind, path.display().to_string(), text);
        self.left_behind = left.into_iter().map(finding).collect();
        self.done = None;
        self.again_at = None;
        self.left.clear();
        self.drifts.clear();
        self.in_force.clear();
        self.not_in_force.clear();
        keeper.want(USER_CERTIFICATES, Vec::new());
    }

    /// Files that could not go.
    pub(super) fn left_behind(&self) -> Vec<String> {
        let all = self.left_behind.iter();
        all.map(|finding| finding.about.clone()).collect()
    }
}
