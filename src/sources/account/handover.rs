//! What to do about a list by signers that are not known here: ask who they are.

use super::super::handover::follow;
use super::{AccountTask, Step};
use crate::client::Api;
use crate::keys::PublicKey;

impl AccountTask {
    /// Asks the service for the hand-overs from the signers that are known here. Where they lead
    /// on, the list is asked for again and judged by those they lead to, which are kept with it;
    /// else the refusal stands.
    pub(super) async fn ask_who_signs(&mut self, known: Vec<PublicKey>) -> Option<Step> {
        // The configuration's word is the last, and what was led to once is not asked for again.
        if self.enroller.signers_are_configured() || self.led_to.is_some() {
            self.led_to = None;
            return None;
        }
        let api = self.signed_in_api().await.ok()?;
        for from in &known {
            let Ok(page) = api.signers(&from.fingerprint().to_string()).await else {
                continue;
            };
            match follow(&known, &page.items) {
                Ok(set) if set != known => {
                    let names: Vec<String> = set
                        .iter()
                        .map(|key| key.fingerprint().to_string())
                        .collect();
                    tracing::info!(source = self.name, signers = ?names, "signers handed over");
                    self.led_to = Some(set);
                    self.etag = None;
                    return Some(Step::Again);
                }
                Ok(_) => {}
                Err(refusal) => {
                    tracing::debug!(source = self.name, %refusal, "hand-over");
                }
            }
        }
        // Replaced without hand-over: only a token that was not tried yet says whom to believe.
        let bare = Api::try_new(self.http.clone(), &self.url(), None).ok()?;
        self.enroller.enroll(&bare).await.ok()?;
        self.forget_another_accounts_list();
        Some(Step::Again)
    }
}
