//! What the loop says of certificates to the task that knows live sessions: whose CAs are an
//! account's, and which revocation list sshd goes by now.

use super::task::Command;
use super::{Sessions, book};
use crate::config::EndOnRevoke;
use crate::keys::Fingerprint;
use crate::sources::{HeldKrl, SourceState};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What of one source's certificates is in force.
#[derive(Debug, Clone)]
pub(in crate::agent) struct Trusted {
    /// The source, by its name.
    pub(in crate::agent) source: String,
    /// The CAs of its list.
    pub(in crate::agent) cas: BTreeSet<Fingerprint>,
    /// Its revocation list, once sshd goes by it.
    pub(in crate::agent) krl: Option<Arc<HeldKrl>>,
}

/// What was told last: whether there is something new.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    source: String,
    cas: BTreeSet<Fingerprint>,
    krl: Option<u64>,
}

impl Sessions {
    /// Says what of certificates is in force. Orders that are handed on after it go by it.
    pub(in crate::agent) fn trusts(&mut self, mut trusted: Trusted) {
        let Some(running) = &self.running else { return };
        // By a list alone sessions end where they always do, else by orders.
        if self.end_on_revoke != EndOnRevoke::Always {
            trusted.krl = None;
        }
        let told = Told {
            source: trusted.source.clone(),
            cas: trusted.cas.clone(),
            krl: trusted.krl.as_ref().map(|krl| krl.version),
        };
        if self.told.contains(&told) {
            return;
        }
        // What finds no room is said with the next look.
        if running.commands.try_send(Command::Trusts(trusted)).is_ok() {
            self.told.retain(|before| before.source != told.source);
            self.told.push(told);
        }
    }

    /// Sessions by certificates of an account that this instance was taken from, where its removal
    /// ends sessions: none of its CAs is trusted any more.
    pub(super) fn removed(&mut self, states: &[Arc<SourceState>]) {
        if self.running.is_none() || self.end_on_revoke == EndOnRevoke::Never {
            return;
        }
        for state in states.iter().filter(|state| state.orders.removal) {
            if self.left.insert(state.name.clone()) {
                let (id, source) = (book::own_id(), state.name.clone());
                self.wait(None, Command::Left { id, source });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::sessions::task::View;
    use crate::agent::sessions::{PROOF_WITHIN, Running};
    use tokio::sync::{mpsc, watch};
    use tokio::time::Instant;

    fn sessions() -> (Sessions, mpsc::Receiver<Command>) {
        let (commands, heard) = mpsc::channel(8);
        let running = Running {
            view: watch::channel(Arc::new(View::default())).1,
            commands,
            task: tokio::spawn(std::future::pending()),
        };
        let sessions = Sessions {
            running: Some(running),
            ..Sessions::off()
        };
        (sessions, heard)
    }

    fn waiting() -> Command {
        let (id, source) = (book::own_id(), "account".to_owned());
        Command::Left { id, source }
    }

    #[tokio::test]
    async fn sessions_wait_for_the_revocation_list_and_not_for_ever() {
        let (mut sessions, mut heard) = sessions();
        sessions.wait(None, waiting());
        sessions.let_go(&[], true, true);
        assert!(heard.try_recv().is_err());
        // In force.
        sessions.let_go(&[], true, false);
        assert!(heard.try_recv().is_ok());
        // Never in force: what was revoked may come back, and is ended all the same.
        sessions.wait(None, waiting());
        sessions.let_go(&[], true, true);
        assert!(heard.try_recv().is_err() && sessions.due().is_some());
        sessions.waiting[0].since = Instant::now().checked_sub(PROOF_WITHIN).unwrap();
        sessions.let_go(&[], true, true);
        assert!(heard.try_recv().is_ok());
    }

    #[tokio::test]
    async fn what_is_in_force_is_said_once_and_a_list_only_where_it_ends_sessions() {
        let (mut sessions, mut heard) = sessions();
        let trusted = |n: u8| Trusted {
            source: "account".to_owned(),
            cas: [Fingerprint::from_digest([n; 32])].into(),
            krl: None,
        };
        sessions.trusts(trusted(1));
        sessions.trusts(trusted(1));
        let Ok(Command::Trusts(told)) = heard.try_recv() else {
            panic!("nothing was told");
        };
        assert_eq!((told.cas, told.krl.is_none()), (trusted(1).cas, true));
        assert!(heard.try_recv().is_err());
        sessions.trusts(trusted(2));
        assert!(heard.try_recv().is_ok());
    }
}
