//! A revocation list that does not travel in its signed list: fetched once by its digest, kept in a
//! file of its own, tried again with the source's waits. Keys never wait for it.

use super::super::trust::HeldKrl;
use super::{AccountTask, FIRST_WAIT, MOST_WAIT};
use crate::client::{Api, ClientError};
use crate::sync::Backoff;
use crate::sys::clock;
use crate::wire::KrlRef;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a sync that a person asked for waits for it.
const SOON: Duration = Duration::from_secs(15);

/// What was asked for, and what came.
type Got = (KrlRef, Result<Vec<u8>, ClientError>);

/// The fetch under way, if there is one.
#[derive(Debug, Default)]
pub(super) struct KrlFetch {
    /// At most one; it ends with this.
    task: JoinSet<Got>,
    failures: u32,
    /// Not before.
    due: Option<Instant>,
    /// What kept it away the last time.
    why: Option<String>,
}

impl KrlFetch {
    /// Begins where something is wanted and due.
    fn begin(&mut self, api: &Api, wanted: KrlRef) {
        if !self.task.is_empty() || self.due.is_some_and(|due| Instant::now() < due) {
            return;
        }
        let api = api.clone();
        self.task.spawn(async move {
            let size = usize::try_from(wanted.size).unwrap_or(usize::MAX);
            let got = api.agent_krl(&wanted.sha256, size).await;
            (wanted, got)
        });
    }

    /// Waits for the end of what is under way; for ever where nothing is. Safe to cancel.
    pub(super) async fn got(&mut self) -> Option<Got> {
        match self.task.join_next().await {
            // What broke off is in the log, and begins again.
            Some(ended) => ended.ok(),
            None => std::future::pending().await,
        }
    }

    /// The same, or until it is due again.
    pub(super) async fn got_or_due(&mut self) -> Option<Got> {
        let due = self.due.filter(|_| self.task.is_empty());
        let due = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            got = self.got() => got,
            () = due => None,
        }
    }
}

impl AccountTask {
    /// The revocation list that was brought back with the last good list: in its record, else in a
    /// file of its own, where the one before it may stand.
    pub(super) fn kept_krl(&self) -> Option<Arc<HeldKrl>> {
        let signed = self.held.as_ref()?.signed.as_ref()?;
        let part = signed.trust.as_ref()?;
        let inline = part.inline_krl();
        let kept = || {
            HeldKrl::load(&self.krl_path()).unwrap_or_else(|fault| {
                tracing::warn!(%fault, "the revocation list that was kept");
                None
            })
        };
        // Of a list that names none there is none, whatever lies about.
        let kept = inline.or_else(|| part.krl.as_ref().and_then(|_| kept()));
        kept.map(Arc::new)
    }

    pub(super) fn krl_path(&self) -> PathBuf {
        self.path.with_extension("krl")
    }

    /// Begins to fetch the list that is named and not here.
    pub(super) fn fetch_krl(&mut self, api: &Api) {
        if let Some(wanted) = self.missing_krl().cloned() {
            self.krl_fetch.begin(api, wanted);
        }
    }

    /// Somebody waits for a sync: it holds what can be had soon.
    pub(super) async fn krl_soon(&mut self) {
        let session = self.tell_session.borrow().clone();
        let Some(session) = session.filter(|_| self.missing_krl().is_some()) else {
            return;
        };
        self.krl_fetch.due = None;
        self.fetch_krl(&session.api);
        if let Ok(got) = timeout(SOON, self.krl_fetch.got()).await {
            self.take_krl(got).await;
        }
    }

    /// What keeps it away, in words.
    pub(super) fn krl_why(&self) -> Option<&str> {
        self.krl_fetch.why.as_deref()
    }

    fn missing_krl(&self) -> Option<&KrlRef> {
        let signed = self.held.as_ref()?.signed.as_ref()?;
        let part = signed.trust.as_ref().filter(|_| self.certificates)?;
        part.missing(self.krl.as_ref())
    }

    /// To the disk first, then in force.
    pub(super) async fn take_krl(&mut self, got: Option<Got>) {
        let Some((named, got)) = got else { return };
        if self.missing_krl() != Some(&named) {
            // Another is wanted by now.
            return;
        }
        let taken = match got {
            Ok(bytes) => HeldKrl::named(bytes, &named),
            Err(fault) => Err(fault.to_string()),
        };
        let stored = match taken {
            Err(why) => Err(why),
            Ok(krl) => {
                let (krl, path) = (Arc::new(krl), self.krl_path());
                let kept = Arc::clone(&krl);
                let stored = super::super::blocking(move || kept.store(&path)).await;
                stored.map(|()| krl).map_err(|fault| fault.to_string())
            }
        };
        match stored {
            Ok(krl) => {
                tracing::info!(
                    source = self.name,
                    version = krl.version,
                    "new revocation list"
                );
                self.krl = Some(krl);
                self.krl_fetch = KrlFetch::default();
            }
            Err(why) => {
                tracing::debug!(source = self.name, why, "revocation list");
                self.krl_fetch.failures += 1;
                let wait = Backoff::new(FIRST_WAIT, MOST_WAIT);
                let wait = wait.wait(self.krl_fetch.failures, None, rand::random());
                self.krl_fetch.due = Some(Instant::now() + wait);
                self.krl_fetch.why = Some(why);
            }
        }
        let (trust, findings) = (self.trust(), self.findings(clock::now()));
        self.publisher.publish(|state| {
            state.trust = trust;
            // What is wrong with the source itself it says itself.
            if state.live {
                state.findings = findings;
            }
        });
    }
}
