//! What people ask the holder for beside the status: a plan, an examination, a seal.

use super::{Holder, Ledger};
use crate::agent::preview::Preview;
use crate::agent::{seal, sshd_lines};
use crate::config::SshdPaths;
use crate::sinks::doctor::{self, Patient};
use std::net::SocketAddr;
use std::path::Path;

impl Holder {
    /// What a plan is made of, as it is now; of one user's targets where `only` names him. Asks no
    /// source, changes nothing.
    pub(in crate::agent) async fn preview(&mut self, only: Option<&str>) -> Preview {
        let dialect = self.dialect().await;
        let states = self.states();
        let mut preview = Preview::new(&states, self.unmanaged, &self.config.state_dir);
        for target in &self.targets {
            if only.is_none_or(|user| user == target.settings.user) {
                let stuck = self.turns.finding(&target.path);
                let place = target.locate(&mut self.lookups).await;
                preview.add(target, place, &states, &dialect, &self.ledger, stuck);
            }
        }
        preview
    }

    /// Who is to be examined, with what the agent knows of each. One user, or every target's; only
    /// what is about his own file where `of_own` is set.
    pub(in crate::agent) fn patients(&self, user: Option<&str>, of_own: bool) -> Vec<Patient> {
        let settings: Vec<_> = self.targets.iter().map(|t| &t.settings).collect();
        let status = self.status();
        doctor::patients(user, &settings, Some((&status, of_own)))
    }

    /// The sshd of this machine, and where it is asked.
    pub(in crate::agent) fn sshd(&self) -> (SshdPaths, Option<SocketAddr>, String) {
        let config = &self.config;
        (config.sshd.clone(), config.verify, sshd_lines(config))
    }

    /// Files that are there, hold keys of ours, and that no target names any more. What lies in the
    /// state directory goes with it.
    async fn left_behind(&self) -> Vec<String> {
        let named = |file: &String| self.targets.iter().any(|t| t.path == Path::new(file));
        let left = self.ledger.files().into_iter().filter(|file| !named(file));
        let left = left.filter(|file| !Path::new(file).starts_with(&self.config.state_dir));
        let left: Vec<_> = left.collect();
        let is_gone = |file: &String| {
            let looked = std::fs::symlink_metadata(file);
            looked.is_err_and(|fault| fault.kind() == std::io::ErrorKind::NotFound)
        };
        let all = left.clone();
        let look = move || all.into_iter().filter(|file| !is_gone(file)).collect();
        tokio::task::spawn_blocking(look).await.unwrap_or(left)
    }

    /// Lets go of everything, and drops all that is kept of this machine; see [`seal`].
    ///
    /// # Errors
    /// Why it is not sealed, in words; nothing was dropped while a target still holds keys of ours.
    pub(in crate::agent) async fn seal(&mut self) -> Result<(), String> {
        let is_gone = self.unmanage().await;
        seal::may_leave(is_gone, &self.keeper.findings)?;
        seal::may_drop(&self.status(), &self.left_behind().await)?;
        seal::may_forget(&self.user_certificates.left_behind())?;
        seal::may_forget(&self.host.left)?;
        self.last_word().await;
        // It keeps what it has heard of sessions, and would again.
        self.sessions.close().await;
        let state_dir = self.config.state_dir.clone();
        let dropped = tokio::task::spawn_blocking(move || {
            seal::drop_state(&state_dir)?;
            Ledger::load(&state_dir)
        });
        let dropped = dropped.await.map_err(std::io::Error::other).flatten();
        self.ledger = dropped.map_err(|fault| format!("the state is not dropped: {fault}"))?;
        self.publish();
        Ok(())
    }
}
