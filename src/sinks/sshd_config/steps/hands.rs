//! What the steps do to files, away from the agent's one thread, and how they name what went wrong.

use super::super::daemon::Daemon;
use super::super::drop_in::{self, DropInError, Standing};
use super::super::judge::why_unread;
use super::super::places::Survey;
use super::super::reload::{Reloaded, reload};
use super::super::state::State;
use super::Run;
use crate::sync::{Code, Finding};
use tokio::task::spawn_blocking;

impl Run<'_> {
    /// A drop-in of ours that nobody remembers and nobody needs.
    pub(super) async fn stray(&self) -> Result<(), Finding> {
        match self.standing().await {
            Ok(Standing::Ours(_)) => {
                let text = "no target needs this drop-in, and nothing is known of it; it stays";
                Err(self.finding(Code::LeftBehind, text.to_owned()))
            }
            Ok(Standing::Nothing | Standing::Another) | Err(_) => Ok(()),
        }
    }

    pub(super) async fn standing(&self) -> Result<Standing, DropInError> {
        let path = self.sight.paths.drop_in.clone();
        let read = spawn_blocking(move || drop_in::read(&path)).await;
        read.unwrap_or_else(|fault| Err(std::io::Error::other(fault).into()))
    }

    pub(super) async fn put(&self, text: Option<String>) -> Result<(), DropInError> {
        let path = self.sight.paths.drop_in.clone();
        let put = spawn_blocking(move || drop_in::put(&path, text.as_deref())).await;
        put.unwrap_or_else(|fault| Err(std::io::Error::other(fault).into()))
    }

    pub(super) async fn put_back(&mut self, text: Option<String>) -> Result<(), Finding> {
        self.kept.is_gone = text.is_none();
        self.put(text)
            .await
            .map_err(|fault| self.unwritable(&fault))
    }

    /// The old drop-in stands again; sshd is told.
    pub(super) async fn reload_back(
        &mut self,
        daemon: &Daemon,
        back: Option<String>,
    ) -> Result<(), Finding> {
        self.kept.reloaded = true;
        let unsettled = match reload(daemon, &self.sight.paths).await {
            Reloaded::Seen => false,
            Reloaded::Unseen(why) | Reloaded::Failed(why) => {
                tracing::error!(why, "sshd was not told of the old drop-in");
                true
            }
        };
        self.remember(back, unsettled).await
    }

    pub(super) async fn settle(&mut self, text: Option<String>) -> Result<(), Finding> {
        self.kept.is_gone = text.is_none();
        self.remember(text, false).await
    }

    pub(super) async fn remember(
        &mut self,
        verified: Option<String>,
        unsettled: bool,
    ) -> Result<(), Finding> {
        self.state = State {
            verified,
            unsettled,
        };
        let (state, state_dir) = (self.state.clone(), self.sight.state_dir.clone());
        let saved = self.blocking(move || state.save(&state_dir)).await?;
        let about = self.sight.state_dir.display().to_string();
        saved.map_err(|fault| Finding::new(Code::StateFailed, about, fault.to_string()))
    }

    /// Work that may block, away from the agent's one thread.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Finding> {
        let done = spawn_blocking(work).await;
        done.map_err(|fault| self.finding(Code::DropInFailed, fault.to_string()))
    }

    pub(super) fn finding(&self, code: Code, text: String) -> Finding {
        Finding::new(code, self.sight.paths.drop_in.display().to_string(), text)
    }

    pub(super) fn unread(&self, survey: &Survey, shown: &str) -> Finding {
        let text = why_unread(survey, &self.sight.paths.drop_in, shown);
        self.finding(Code::DropInNotRead, text)
    }

    pub(super) fn unwritable(&self, fault: &DropInError) -> Finding {
        let code = match fault {
            DropInError::Taken => Code::DropInTaken,
            _ => Code::DropInFailed,
        };
        self.finding(code, fault.to_string())
    }
}
