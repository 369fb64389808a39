//! A list that was judged: to the disk first, then in force.

use super::super::last_good::{LastGood, SignedPart};
use super::super::trust::{Trust, TrustPart};
use super::{AccountTask, Step};
use crate::keys::PublicKey;
use crate::sources::judge::Judged;
use crate::sync::{Code, Finding};
use crate::sys::{clock, private_file};
use crate::trust::{Floor, Standing};
use std::sync::Arc;

impl AccountTask {
    /// The list of the run before is in force until there is a newer one: also when the service is
    /// away, and also on a copy, whose file is left as it is.
    pub(super) fn bring_back(&mut self, held: Option<LastGood>) {
        let Some(held) = held else { return };
        let instance = self.enroller.kept().map(|kept| kept.instance);
        let list = Arc::clone(&held.list);
        self.publisher.note(|state| {
            state.revision = held.signed.as_ref().map(|signed| signed.floor.revision);
            state.list = Some(list);
            state.instance = instance;
            state.last_success = Some(held.received_at);
        });
        self.held = Some(held);
        self.krl = self.kept_krl();
        let trust = self.trust();
        self.publisher.note(|state| state.trust = trust);
    }

    /// What is in force of certificates; `None` while nothing was heard of them.
    pub(super) fn trust(&self) -> Option<Arc<Trust>> {
        let signed = self.held.as_ref()?.signed.as_ref()?;
        let part = signed.trust.as_ref()?;
        Some(Arc::new(part.trust(self.krl.as_ref())))
    }

    /// To the disk first, then in force.
    pub(super) async fn keep(
        &mut self,
        judged: Judged,
        account: i64,
        instance: i64,
        etag: Option<String>,
    ) -> Step {
        let removed = judged.removed.clone();
        // A removed instance keeps its keys unless its owner said otherwise: also those of a list
        // that is not known any more.
        if removed.as_ref().is_some_and(|removed| !removed.take_keys) && self.held.is_none() {
            return self.removed_without_a_list();
        }
        let list = match (&removed, &self.held) {
            (None, _) => Arc::new(judged.list),
            (Some(removed), Some(held)) if !removed.take_keys => Arc::clone(&held.list),
            (Some(_), _) => Arc::default(),
        };
        let revision = judged.revision;
        let news = judged.standing == Standing::Newer;
        // The same list counts as a fresh word when it was signed later: anybody may play it again.
        let signed = self.held.as_ref().and_then(|held| held.signed.as_ref());
        // A record of a time when nothing was kept of certificates lacks what the same list says.
        let is_whole = signed.is_some_and(|signed| signed.trust.is_some());
        if !news && is_whole && signed.is_some_and(|s| s.expires_at >= judged.expires_at) {
            let first = self.etag.is_none() && etag.is_some();
            self.etag = etag;
            self.settled(false);
            return match (removed, first) {
                (Some(_), _) => Step::Over,
                (None, true) => Step::Again,
                (None, false) => self.brought_nothing(),
            };
        }
        let before = signed.filter(|signed| signed.account == account);
        let before = before.and_then(|signed| signed.trust.as_ref());
        let trust = TrustPart::of(judged.trust, before, removed.is_some());
        let krl = trust.inline_krl().map(Arc::new).or_else(|| {
            let is_of_it = before.is_some();
            self.krl.clone().filter(|_| is_of_it)
        });
        // The one that is here stays in force until the next is, also over a restart.
        let to_keep = krl.clone().filter(|_| trust.inline_krl().is_none());
        let to_keep = to_keep.filter(|_| is_inline(before));
        let record = LastGood {
            list: Arc::clone(&list),
            received_at: clock::now(),
            signed: Some(SignedPart {
                account,
                instance,
                floor: Floor {
                    revision,
                    digest: Some(judged.digest),
                },
                signers: judged.signers.iter().map(PublicKey::to_string).collect(),
                expires_at: judged.expires_at,
                removed: removed.is_some(),
                trust: Some(trust),
            }),
            offered: None,
        };
        let (stored, path, krl_path) = (record.clone(), self.path.clone(), self.krl_path());
        let is_of_another = before.is_none();
        let stored = super::super::blocking(move || {
            if is_of_another {
                private_file::remove(&krl_path)?;
            }
            to_keep.map_or(Ok(()), |krl| krl.store(&krl_path))?;
            stored.store(&path)
        });
        if let Err(fault) = stored.await {
            self.publisher.publish(|state| {
                state.live = false;
                state.last_error = Some(fault.to_string());
                let text = format!("the list could not be kept: {fault}");
                state.findings = vec![Finding::new(Code::StateFailed, &state.name, text)];
            });
            return self.wait_for_another(None);
        }
        self.held = Some(record);
        self.krl = krl;
        self.etag = etag;
        self.fresh_at = clock::monotonic();
        self.idle = 0;
        let trust = self.trust();
        let is_same = self.publisher.state().trust == trust;
        self.publisher.note(|state| state.trust = trust);
        if news {
            let keys = list.accepted.len();
            tracing::info!(source = self.name, revision, keys, "new list");
            self.publisher.note(|state| {
                state.list = Some(list);
                state.revision = Some(revision);
            });
        }
        self.settled(news || !is_same);
        if removed.is_some() {
            return Step::Over;
        }
        Step::Again
    }
}

fn is_inline(part: Option<&TrustPart>) -> bool {
    let krl = part.and_then(|part| part.krl.as_ref());
    krl.is_some_and(|krl| krl.base64.is_some())
}
