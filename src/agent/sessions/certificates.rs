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
