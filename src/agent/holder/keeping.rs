//! What of the holder is about sshd's configuration, what is kept, and letting go.

use super::super::target::Target;
use super::super::user_certificates::Done;
use super::Holder;
use crate::config::{AgentConfig, Method};
use crate::sinks::proof::read_banner;
use crate::sinks::sshd;
use crate::sinks::sshd_config::Kept;
use crate::sources::SourceState;
use crate::sync::{Dialect, Finding};
use crate::sys::clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A banner that does not come at once is not waited for: keys come first.
const BANNER_WITHIN: Duration = Duration::from_secs(1);

impl Holder {
    /// What the sshd there understands: by its banner, else by `sshd -V`. Looked up once, and again
    /// when a proof saw another banner.
    pub(super) async fn dialect(&mut self) -> Dialect {
        if let Some(dialect) = &self.dialect {
            return dialect.clone();
        }
        let banner = match self.config.verify {
            Some(address) => timeout(BANNER_WITHIN, read_banner(address))
                .await
                .ok()
                .flatten(),
            None => None,
        };
        let version = match banner.as_deref().and_then(sshd::version_in) {
            Some(version) => Some(version),
            None => sshd::version(&self.config.sshd).await,
        };
        let dialect = Dialect {
            sshd: version,
            zone: clock::zone(),
        };
        self.dialect = Some(dialect.clone());
        self.strict_modes = sshd::strict_modes(self.config.verify, &self.config.sshd).await;
        self.modes_asked_at = Instant::now();
        dialect
    }

    /// Begins what is due in sshd's configuration, once the files have had their turn. True while
    /// it is under way: what sshd says of keys meanwhile is worth nothing.
    pub(super) fn keep_sshd(&mut self) -> bool {
        self.turned && self.user_certificates.is_ready() && self.keeper.begin(&self.targets)
    }

    /// The same, to its end; for `agent --once`.
    pub(in super::super) async fn keep_sshd_now(&mut self) {
        while self.keep_sshd() {
            let kept = self.keeper.done().await;
            self.kept(kept);
            let states = self.states();
            self.certificates_turn(&states).await;
        }
    }

    /// What the account's lists say of certificates, in files; after the targets' turns.
    pub(super) async fn certificates_turn(&mut self, states: &[Arc<SourceState>]) {
        let look = self.keeper.seen().cloned();
        let files = &mut self.user_certificates;
        self.moved |= files.turn(states, look.as_ref(), &mut self.keeper).await;
    }

    /// Takes a turn at these files that others were not held up for.
    pub(in super::super) fn certificates_put(&mut self, done: Option<Done>) {
        self.user_certificates.take(done, &mut self.keeper);
        self.moved = true;
        self.look_soon(Duration::ZERO);
        self.publish();
    }

    /// Takes what came of it.
    pub(in super::super) fn kept(&mut self, kept: Option<Kept>) {
        if self.keeper.take(kept) {
            // Another configuration may take and refuse other keys.
            self.targets.iter_mut().for_each(Target::ask_all);
            self.prover.ask_certificates();
        } else {
            self.prover.ask_what_is_against();
        }
        let (look, findings) = (self.keeper.seen(), &self.keeper.findings);
        if self.keeper.is_idle() && self.user_certificates.kept(look, findings) {
            // What sshd's configuration named may go now.
            self.look_soon(Duration::ZERO);
        }
        self.host.kept();
        self.publish();
    }

    pub(in super::super) fn config(&self) -> &AgentConfig {
        &self.config
    }

    /// Takes out everything that was ever written; nothing more is written until a reload.
    ///
    /// sshd's configuration goes first: files that it still named would be missed. Where it cannot
    /// go, they stay.
    ///
    /// False where sshd's configuration still has something of ours.
    pub(in super::super) async fn unmanage(&mut self) -> bool {
        self.unmanaged = true;
        self.close_host_certificates().await;
        let is_gone = self.keeper.let_go().await;
        if is_gone {
            let look = self.keeper.seen().cloned();
            let files = &mut self.user_certificates;
            files.let_go(look.as_ref(), &mut self.keeper).await;
            self.remove_host_certificates().await;
        }
        let goes = |target: &&mut Target| is_gone || target.settings.method == Method::Block;
        let going = self.targets.iter_mut().filter(goes);
        self.to_take_out = going.map(|target| target.path.clone()).collect();
        if !is_gone {
            self.stay_named();
        }
        self.take_out_what_is_left().await;
        self.settle().await;
        if !self.to_take_out.is_empty() {
            // A turn was under way there, and may have ended.
            self.take_out_what_is_left().await;
            self.settle().await;
        }
        self.publish();
        is_gone
    }

    /// Notes of targets whose keys sshd still finds by its configuration that they stay.
    fn stay_named(&mut self) {
        let kept = &self.keeper.findings;
        for target in &mut self.targets {
            if target.settings.method == Method::Block {
                continue;
            }
            let about = target.path.display().to_string();
            let why = |finding: &Finding| Finding::new(finding.code, &about, &finding.text);
            target.findings = kept.iter().map(why).collect();
            target.settled = None;
            target.stopped = true;
            target.next_expiry = None;
        }
    }
}
