//! The task: asks the service about the host keys that sshd serves, and has its answer put in force.

use super::View;
use crate::client::ClientError;
use crate::config::AgentConfig;
use crate::keys::PublicKey;
use crate::sinks::host_certificates::{HostFiles, Served, check, name_of, served};
use crate::sinks::sshd_config::Sight;
use crate::sources::Session;
use crate::sync::{Backoff, Code, Finding, Life, jittered};
use crate::sys::clock;
use crate::sys::watch::{self, Watch};
use crate::trust::Certificate;
use crate::wire::{HostCertificate, HostCertificatesRequest};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch as tell};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Asked again this often, give or take: another label gives other names.
const DAILY: Duration = Duration::from_secs(22 * 3600);
const DAILY_SPREAD: Duration = Duration::from_secs(4 * 3600);
/// The same, while a key waits for its owner's word.
const WAITING: Duration = Duration::from_secs(45);
const WAITING_SPREAD: Duration = Duration::from_secs(30);
/// While the service gives no answer.
const FIRST_WAIT: Duration = Duration::from_secs(30);
const MOST_WAIT: Duration = Duration::from_secs(3600);
/// sshd is looked at again while it does not show what stands.
const UNSEEN: Duration = Duration::from_secs(600);
/// The clock of day may be set: nothing is slept away for longer than this.
const LOOK_UP: Duration = Duration::from_secs(3600);
/// ssh-keygen writes a new pair in several steps.
const QUIET: Duration = Duration::from_millis(300);
const MOST: Duration = Duration::from_secs(3);
/// Certificates of an answer that are looked at.
const MAX_ANSWER: usize = 16;

pub(super) struct Task {
    pub(super) config: AgentConfig,
    pub(super) sight: Sight,
    /// None: what stands is to go.
    session: Option<tell::Receiver<Option<Session>>>,
    pub(super) files: HostFiles,
    pub(super) tell: tell::Sender<Arc<View>>,
    pub(super) kept: Arc<Notify>,
    /// What the files hold.
    pub(super) standing: BTreeMap<&'static str, Certificate>,
    /// Not to be shown, though they stand.
    pub(super) left_out: BTreeSet<&'static str>,
    /// sshd was seen to show it.
    pub(super) shown: BTreeSet<&'static str>,
    /// sshd did not answer when it was looked at: nothing follows from that.
    pub(super) unknown: BTreeSet<&'static str>,
    /// By what they are about: what came of it.
    pub(super) refused: BTreeMap<&'static str, Finding>,
    pub(super) waiting: Vec<String>,
    failures: u32,
    pub(super) last_fault: Option<String>,
    /// The instance and the keys that were asked about, and when they are again.
    pub(super) asked: Option<(i64, Vec<PublicKey>)>,
    next: Timestamp,
    /// There is a session, and a key to ask about.
    can_ask: bool,
}

impl Task {
    pub(super) fn new(
        config: &AgentConfig,
        session: Option<tell::Receiver<Option<Session>>>,
        files: HostFiles,
        tell: tell::Sender<Arc<View>>,
        kept: Arc<Notify>,
    ) -> Self {
        Self {
            config: config.clone(),
            sight: Sight {
                address: config.verify,
                paths: config.sshd.clone(),
                state_dir: config.state_dir.clone(),
                users: Vec::new(),
                may_write: config.sshd.manage,
                only_add: true,
            },
            session,
            files,
            tell,
            kept,
            standing: BTreeMap::new(),
            left_out: BTreeSet::new(),
            shown: BTreeSet::new(),
            unknown: BTreeSet::new(),
            can_ask: false,
            refused: BTreeMap::new(),
            waiting: Vec::new(),
            failures: 0,
            last_fault: None,
            asked: None,
            next: Timestamp::MIN,
        }
    }

    pub(super) async fn run(mut self) {
        let mut watch: Option<(Vec<PathBuf>, Watch)> = None;
        loop {
            let mut served = self.look_around().await;
            if self.session.is_some() && self.ask(&served).await {
                self.standing = self.read().await;
            }
            self.leave_out(&served);
            self.bring_into_force(&mut served).await;
            self.publish(&served, true);
            if self.session.is_none() && self.standing.is_empty() {
                return;
            }
            if watch
                .as_ref()
                .is_none_or(|(files, _)| *files != served.files)
            {
                let files = served.files.clone();
                let begun = watch::watch(files.clone(), QUIET, MOST).await;
                watch = begun.ok().map(|watch| (files, watch));
            }
            self.wait(&mut watch).await;
        }
    }

    /// What sshd serves, and what stands.
    async fn look_around(&mut self) -> Served {
        self.standing = self.read().await;
        self.serves().await
    }

    pub(super) async fn serves(&self) -> Served {
        served(
            self.sight.address,
            &self.sight.paths,
            self.files.directory(),
        )
        .await
    }

    pub(super) async fn read(&self) -> BTreeMap<&'static str, Certificate> {
        let files = self.files.clone();
        let read = spawn_blocking(move || files.standing()).await;
        read.unwrap_or_default()
    }

    /// Keys that a certificate is asked for: not those that an administrator's own is over.
    fn ours(served: &Served) -> Vec<PublicKey> {
        let is_taken = |key: &PublicKey| served.taken.iter().any(|(taken, _)| taken == key);
        let keys = served.keys.iter().filter(|key| !is_taken(key));
        keys.cloned().collect()
    }

    /// Asks, where that is due; true where a file was written.
    async fn ask(&mut self, served: &Served) -> bool {
        self.can_ask = false;
        let session = self.session.as_ref();
        let Some(session) = session.and_then(|session| session.borrow().clone()) else {
            return false;
        };
        let keys = Self::ours(served);
        let asked = (session.instance, keys.clone());
        let now = clock::now();
        let is_new = self.asked.as_ref() != Some(&asked);
        self.can_ask = !keys.is_empty();
        if !self.can_ask || (now < self.next && !(is_new && self.failures == 0)) {
            return false;
        }
        let body = HostCertificatesRequest {
            run: session.run.clone(),
            keys: keys.iter().map(PublicKey::to_string).collect(),
        };
        let answer = match session.api.host_certificates(&body).await {
            Ok(answer) => answer,
            Err(fault) => {
                self.failed(&fault, now);
                return false;
            }
        };
        self.asked = Some(asked);
        self.failures = 0;
        self.last_fault = None;
        let is_asked = |print: &String| {
            keys.iter()
                .any(|key| key.fingerprint().to_string() == *print)
        };
        let waiting = answer.waiting.into_iter().take(MAX_ANSWER);
        self.waiting = waiting.filter(is_asked).collect();
        self.refused.clear();
        self.left_out.clear();
        let mut is_written = false;
        for key in &keys {
            let Some(name) = name_of(key.key_type()) else {
                continue;
            };
            let fingerprint = key.fingerprint().to_string();
            let mut given = answer.certificates.iter().take(MAX_ANSWER);
            match given.find(|given| given.key == fingerprint) {
                Some(given) => is_written |= self.take(name, key, given, session.instance).await,
                // The owner took his word back, or has not given it yet.
                None => {
                    self.left_out.insert(name);
                }
            }
        }
        self.next = self.next_ask(now);
        is_written
    }

    /// Writes a certificate where it is another one than stands.
    async fn take(
        &mut self,
        name: &'static str,
        key: &PublicKey,
        given: &HostCertificate,
        instance: i64,
    ) -> bool {
        let is_it = |held: &Certificate| held.serial() == given.serial && held.key() == key;
        if self.standing.get(name).is_some_and(is_it) {
            return false;
        }
        let principal = format!("instance-{instance}.sshkeyd");
        let state_dir = &self.config.state_dir;
        let text = &given.certificate;
        let checked = check(text, key, &principal, clock::now(), state_dir).await;
        let about = self.files.path(name).display().to_string();
        let line = match checked {
            Ok((_, line)) => line,
            Err(fault) => {
                let text = format!("the service's certificate is not used: {fault}");
                let finding = Finding::new(Code::HostCertificateRefused, about, text);
                self.refused.insert(name, finding);
                return false;
            }
        };
        let files = self.files.clone();
        let put = spawn_blocking(move || files.put(name, &line)).await;
        let fault = match put {
            Ok(Ok(())) => {
                let serial = given.serial;
                tracing::info!(serial, file = about, "host certificate written");
                self.shown.remove(name);
                return true;
            }
            Ok(Err(fault)) => fault.to_string(),
            Err(fault) => fault.to_string(),
        };
        let finding = Finding::new(Code::WriteFailed, about, fault);
        self.refused.insert(name, finding);
        false
    }

    fn failed(&mut self, fault: &ClientError, now: Timestamp) {
        // The source's own query says the same, and is the one that is reported.
        tracing::debug!(%fault, "host certificates");
        self.failures += 1;
        self.last_fault = Some(fault.to_string());
        let wait = match fault {
            // A service that knows no certificates.
            ClientError::NotFound(_) => DAILY,
            _ => Backoff::new(FIRST_WAIT, MOST_WAIT).wait(
                self.failures,
                fault.retry_after(),
                rand::random(),
            ),
        };
        self.next = after(now, wait);
    }

    /// When the service is asked again: each day, but not between the end of a certificate's youth
    /// and its renewal.
    fn next_ask(&self, now: Timestamp) -> Timestamp {
        if !self.waiting.is_empty() {
            return after(now, WAITING + jittered(WAITING_SPREAD, rand::random()));
        }
        let daily = after(now, DAILY + jittered(DAILY_SPREAD, rand::random()));
        let lives = self.standing.values().map(life);
        let first = lives.min_by_key(Life::young_until);
        match first {
            Some(life) if life.young_until() <= daily && life.is_young(now) => {
                life.renewal(rand::random())
            }
            _ => daily,
        }
    }

    /// What stands and is not to be shown: over keys that sshd does not serve, and beside an
    /// administrator's own.
    fn leave_out(&mut self, served: &Served) {
        if self.session.is_none() {
            self.left_out.extend(self.standing.keys());
        }
        // Where no key could be read nothing is known of any.
        if served.keys.is_empty() {
            return;
        }
        let keys = Self::ours(served);
        for (name, certificate) in &self.standing {
            if !keys.contains(certificate.key()) {
                self.left_out.insert(name);
            }
        }
    }

    /// Until something is due: by the clock, by a file, by a session, by sshd's configuration.
    async fn wait(&mut self, watch: &mut Option<(Vec<PathBuf>, Watch)>) {
        let now = clock::now();
        let due = Duration::try_from(self.next.duration_since(now)).unwrap_or_default();
        let is_seen =
            self.used().keys().all(|name| self.shown.contains(name)) && self.unknown.is_empty();
        let most = if is_seen { LOOK_UP } else { UNSEEN };
        let told_session = async {
            if let Some(session) = &mut self.session
                && session.changed().await.is_ok()
            {
                return;
            }
            std::future::pending::<()>().await;
        };
        let changed = async {
            match watch {
                Some((_, watch)) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let due = match self.can_ask {
            true => due.max(Duration::from_secs(1)).min(most),
            false => most,
        };
        tokio::select! {
            () = sleep(due) => {}
            () = changed => {}
            () = told_session => {
                if self.failures > 0 {
                    self.failures = 0;
                    self.next = now;
                }
            }
            () = self.kept.notified() => {
                if !self.waiting.is_empty() {
                    // A person who has just given his word asks for a sync.
                    self.next = now;
                }
            }
        }
    }
}

pub(super) fn life(certificate: &Certificate) -> Life {
    Life::new(certificate.valid_after(), certificate.valid_before())
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}
