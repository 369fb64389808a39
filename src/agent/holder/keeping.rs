//! What of the holder is about sshd's configuration, what is kept, and letting go.

use super::super::target::Target;
use super::Holder;
use crate::config::Method;
use crate::sinks::sshd_config::Kept;
use crate::sync::Finding;

impl Holder {
    /// Begins what is due in sshd's configuration, once the files have had their turn. True while
    /// it is under way: what sshd says of keys meanwhile is worth nothing.
    pub(super) fn keep_sshd(&mut self) -> bool {
        self.turned && self.keeper.begin(&self.targets)
    }

    /// The same, to its end; for `agent --once`.
    pub(super) async fn keep_sshd_now(&mut self) {
        while self.keep_sshd() {
            let kept = self.keeper.done().await;
            self.kept(kept);
        }
    }

    /// Takes what came of it.
    pub(in super::super) fn kept(&mut self, kept: Option<Kept>) {
        if self.keeper.take(kept) {
            // Another configuration may take and refuse other keys.
            self.targets.iter_mut().for_each(Target::ask_all);
        }
        self.publish();
    }

    /// Takes out everything that was ever written; nothing more is written until a reload.
    ///
    /// sshd's configuration goes first: files that it still named would be missed. Where it cannot
    /// go, they stay.
    pub(in super::super) async fn unmanage(&mut self) {
        self.unmanaged = true;
        let is_gone = self.keeper.let_go().await;
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
