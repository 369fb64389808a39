//! What a source holds, and how it tells.

use super::trust::Trust;
use crate::config::{Source, SourceKind};
use crate::keys::KeyList;
use crate::sync::Finding;
use crate::wire;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// "Something changed, look": carries nothing, so that missed, doubled and reordered ones cannot
/// matter.
#[derive(Debug, Clone, Default)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    /// Wakes whoever waits, now or when he next waits.
    pub fn nudge(&self) {
        self.0.notify_one();
    }

    /// Waits for a nudge. Safe to cancel.
    pub async fn nudged(&self) {
        self.0.notified().await;
    }
}

/// What a fresh list asks for beside its keys: sessions that are to end (protocol.md section 3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// Orders, each with an id.
    pub list: Vec<wire::EndSessions>,
    /// The service's clock less ours, as it was measured with the list.
    pub ahead: SignedDuration,
    /// This instance was removed, and sessions opened by keys that go with it are to end.
    pub removal: bool,
}

/// A source as it is now.
#[derive(Debug, Clone)]
pub struct SourceState {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind.
    pub kind: wire::SourceKind,
    /// The list in force; `None` while it has never answered.
    pub list: Option<Arc<KeyList>>,
    /// What a signed list says of certificates; `None` while none was heard.
    pub trust: Option<Arc<Trust>>,
    /// Its revision, for kinds that number theirs.
    pub revision: Option<u64>,
    /// Whether its last answer came and was taken.
    pub live: bool,
    /// When it last answered well.
    pub last_success: Option<Timestamp>,
    /// What went wrong last, `None` while all is well.
    pub last_error: Option<String>,
    /// What an administrator should hear.
    pub findings: Vec<Finding>,
    /// Which instance of the account this is, once enrolled.
    pub instance: Option<i64>,
    /// What its last fresh answer asks for; nothing of a list that was only kept.
    pub orders: Arc<Orders>,
}

/// The one hand that writes a state.
#[derive(Debug)]
pub(super) struct Publisher {
    tell: watch::Sender<Arc<SourceState>>,
    nudge: Nudge,
}

impl Publisher {
    pub(super) fn begin(
        source: &Source,
        nudge: Nudge,
    ) -> (Self, watch::Receiver<Arc<SourceState>>) {
        let kind = match &source.kind {
            SourceKind::Account(_) => wire::SourceKind::Account,
            SourceKind::Vast(_) => wire::SourceKind::Vast,
            SourceKind::Http(_) => wire::SourceKind::Http,
            SourceKind::File(_) => wire::SourceKind::File,
        };
        let (tell, state) = watch::channel(Arc::new(SourceState {
            name: source.name.clone(),
            kind,
            list: None,
            trust: None,
            revision: None,
            live: false,
            last_success: None,
            last_error: None,
            findings: Vec::new(),
            instance: None,
            orders: Arc::default(),
        }));
        (Self { tell, nudge }, state)
    }

    /// Changes the state and nudges.
    pub(super) fn publish(&self, change: impl FnOnce(&mut SourceState)) {
        self.tell.send_modify(|state| change(Arc::make_mut(state)));
        self.nudge.nudge();
    }

    /// Changes what nobody has to be woken for.
    pub(super) fn note(&self, change: impl FnOnce(&mut SourceState)) {
        self.tell.send_modify(|state| change(Arc::make_mut(state)));
    }

    /// The state now.
    pub(super) fn state(&self) -> Arc<SourceState> {
        Arc::clone(&self.tell.borrow())
    }
}
