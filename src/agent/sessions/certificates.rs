//! What the loop says of certificates to the task that knows live sessions: whose CAs are an
//! account's, and which revocation list sshd goes by now.

use super::task::Command;
use super::{Sessions, book};
use crate::config::EndOnRevoke;
use crate::keys::Fingerprint;
use crate::sources::SourceState;
use crate::trust::Krl;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What of one source's certificates is in force.
#[derive(Debug, Clone)]
pub(in crate::agent) struct Trusted {
    /// The source, by its name.
    pub(in crate::agent) source: String,
    /// The CAs of its list.
    pub(in crate::agent) cas: BTreeSet<Fingerprint>,
    /// Its revocation list, once sshd enforces it.
    pub(in crate::agent) krl: Option<Arc<Krl>>,
}

impl Trusted {
    fn is(&self, other: &Self) -> bool {
        let number = |of: &Self| of.krl.as_ref().map(|krl| krl.version);
        self.source == other.source && self.cas == other.cas && number(self) == number(other)
    }
}

impl Sessions {
    /// Whether [`Trusted::krl`] is of any use: sessions end by it where they always do, else by
    /// orders alone.
    pub(in crate::agent) fn wants_krl(&self) -> bool {
        self.running.is_some() && self.end_on_revoke == EndOnRevoke::Always
    }

    /// Says what of certificates is in force. Orders that come after it go by it.
    pub(in crate::agent) fn trusts(&mut self, mut trusted: Trusted) {
        if !self.wants_krl() {
            trusted.krl = None;
        }
        let Some(running) = &self.running else { return };
        if self.trusted.iter().any(|told| told.is(&trusted)) {
            return;
        }
        // What finds no room is said with the next look.
        let command = Command::Trusts(trusted.clone());
        if running.commands.try_send(command).is_ok() {
            self.trusted.retain(|told| told.source != trusted.source);
            self.trusted.push(Trusted {
                // Its number is enough to know it by.
                krl: trusted.krl.map(|krl| {
                    Arc::new(Krl {
                        version: krl.version,
                        ..Krl::default()
                    })
                }),
                ..trusted
            });
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
