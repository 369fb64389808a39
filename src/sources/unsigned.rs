//! What a source without signatures holds: admitted, brought to the disk, in force; or held, and why.
//!
//! The one path for `file`, `http` and `vast`: whatever they read ends in [`Keeper::take`], and what
//! they could not read in [`Keeper::failed`]. Owns the last good list and the agreement on a shrunk
//! one. Refuses to take an accident for a decision (`sync::admit`).

use super::last_good::LastGood;
use super::state::{Publisher, SourceState};
use crate::config::Source;
use crate::keys::KeyList;
use crate::sync::{Admission, Agreement, Code, Finding, HoldReason, admit};
use crate::sys::clock;
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;

/// The keeper of one source's list.
pub(super) struct Keeper {
    name: String,
    allow_empty: bool,
    path: PathBuf,
    held: Option<Held>,
    agreement: Option<Agreement>,
    publisher: Publisher,
}

struct Held {
    list: Arc<KeyList>,
    received_at: Timestamp,
    /// What stands on the disk beside the list.
    offered: Option<Agreement>,
}

impl Keeper {
    /// The last good list is in force before this returns.
    pub(super) fn new(source: &Source, path: PathBuf, publisher: Publisher) -> Self {
        let mut keeper = Self {
            name: source.name.clone(),
            allow_empty: source.danger_allow_empty,
            path,
            held: None,
            agreement: None,
            publisher,
        };
        match LastGood::load_or_set_aside(&keeper.path) {
            Ok(Some(record)) => {
                let list = record.list;
                keeper.publisher.note(|state| {
                    state.list = Some(Arc::clone(&list));
                    state.last_success = Some(record.received_at);
                });
                keeper.agreement.clone_from(&record.offered);
                keeper.held = Some(Held {
                    list,
                    received_at: record.received_at,
                    offered: record.offered,
                });
            }
            Ok(None) => {}
            Err(fault) => keeper.failed(Code::StateFailed, fault.to_string()),
        }
        keeper
    }

    /// The source's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A whole answer. Whether it is in force now; else what was held stays.
    pub(super) async fn take(&mut self, offered: KeyList) -> bool {
        if offered.accepted.is_empty()
            && let Some(first) = offered.rejected.first()
        {
            // A page, an error's text: it says nothing about keys, not even that there are none.
            let (count, at, why) = (offered.rejected.len(), &first.at, &first.why);
            let text =
                format!("no key that could be used; {count} left out, the first {at}: {why}");
            self.failed(Code::SourceMalformed, text);
            return false;
        }
        let now = clock::now();
        let held = self.held.as_ref().map(|held| &*held.list);
        let agreement = &mut self.agreement;
        match admit(held, &offered, false, self.allow_empty, agreement, now) {
            Admission::Take => {}
            Admission::Hold(why) => {
                let code = match why {
                    HoldReason::EmptyList { .. } => Code::HoldEmptyList,
                    _ => Code::HoldShrunkList,
                };
                if self.remember_agreement().await {
                    self.failed(code, why.to_string());
                }
                return false;
            }
        }
        let news = held != Some(&offered);
        if news {
            let keys = offered.accepted.len();
            let list = Arc::new(offered);
            let held = Held {
                list,
                received_at: now,
                offered: None,
            };
            if !self.store(&held).await {
                return false;
            }
            self.held = Some(held);
            tracing::info!(source = self.name, keys, "new list");
        } else if !self.remember_agreement().await {
            return false;
        }
        self.settled(news);
        true
    }

    /// The source says that its last answer, which was taken, still holds.
    pub(super) fn unchanged(&self) {
        self.settled(false);
    }

    /// No answer, or none that can be taken: what was held stays. The same again wakes nobody.
    pub(super) fn failed(&self, code: Code, text: String) {
        let finding = Finding::new(code, &self.name, &text);
        if self.publisher.state().findings == [finding.clone()] {
            return;
        }
        self.publisher.publish(|state| {
            state.live = false;
            state.last_error = Some(text);
            state.findings = vec![finding];
        });
    }

    fn settled(&self, news: bool) {
        let list = self.held.as_ref().map(|held| Arc::clone(&held.list));
        let change = |state: &mut SourceState| {
            state.list = list;
            state.live = true;
            state.last_success = Some(clock::now());
            state.last_error = None;
            state.findings.clear();
        };
        if news || !self.publisher.state().live {
            self.publisher.publish(change);
        } else {
            self.publisher.note(change);
        }
    }

    /// What is agreed on so far outlives the process: `agent --once` may be all there is.
    async fn remember_agreement(&mut self) -> bool {
        let Some(held) = &mut self.held else {
            return true;
        };
        if held.offered == self.agreement {
            return true;
        }
        let held = Held {
            list: Arc::clone(&held.list),
            received_at: held.received_at,
            offered: self.agreement.clone(),
        };
        let stored = self.store(&held).await;
        if stored {
            self.held = Some(held);
        }
        stored
    }

    async fn store(&self, held: &Held) -> bool {
        let record = LastGood {
            list: Arc::clone(&held.list),
            received_at: held.received_at,
            signed: None,
            offered: held.offered.clone(),
        };
        let path = self.path.clone();
        let stored = super::blocking(move || record.store(&path)).await;
        if let Err(fault) = &stored {
            let text = format!("the list could not be kept: {fault}");
            self.failed(Code::StateFailed, text);
        }
        stored.is_ok()
    }
}
