//! A session with the service: the key that is kept, a renewed one, or a first one by a token.

use super::super::enrolment::Trouble;
use super::super::last_good::SignedPart;
use super::{AccountTask, Session};
use crate::client::Api;
use crate::keys::PublicKey;

impl AccountTask {
    /// A session key: the one that is kept, a renewed one, or a first one by a token.
    pub(super) async fn signed_in_api(&mut self) -> Result<Api, Trouble> {
        let url = self.url();
        let bare = Api::try_new(self.http.clone(), &url, None).map_err(Trouble::Service)?;
        if self.enroller.kept().is_none() {
            self.enroller.enroll(&bare).await?;
            self.forget_another_accounts_list();
        } else if !self.signed_in
            && let Err(trouble) = self.enroller.renew(&bare, &url).await
        {
            let Trouble::Person(_) = &trouble else {
                return Err(trouble);
            };
            // Removed or deleted: only a token that was not tried yet helps. Without one, the
            // service's own word is what a person should read.
            if self.enroller.enroll(&bare).await.is_err() {
                return Err(trouble);
            }
            self.forget_another_accounts_list();
        }
        self.signed_in = true;
        let kept = self.enroller.kept();
        let (key, instance) = kept.map(|k| (k.session_key(), k.instance)).unzip();
        let api = bare
            .with_token(key.unwrap_or_default())
            .map_err(Trouble::Service)?;
        let session = kept.map(|kept| Session {
            api: api.clone(),
            run: self.run.clone(),
            instance: kept.instance,
            account: kept.account,
            window: self.window.clone(),
        });
        // Heartbeats go where lists come from: the replica of before may be gone.
        let known = self.tell_session.borrow().is_some() && self.told_at == self.at;
        self.told_at = self.at;
        if !known || self.publisher.state().instance != instance {
            self.publisher.note(|state| state.instance = instance);
            self.tell_session.send_replace(session);
        }
        Ok(api)
    }

    /// Signers in force: those that the known ones led to, while that is tried; the configuration's
    /// word, else the last snapshot's, else enrolment's.
    pub(super) fn signers(&self, signed: Option<&SignedPart>) -> Vec<PublicKey> {
        if let Some(led_to) = &self.led_to {
            return led_to.clone();
        }
        let handed_over = signed.filter(|_| !self.enroller.signers_are_configured());
        match handed_over {
            None => self.enroller.signers(),
            Some(signed) => signed
                .signers
                .iter()
                .filter_map(|line| PublicKey::parse_text(line).ok())
                .map(|(key, _)| key)
                .collect(),
        }
    }

    /// After a new enrolment: a floor of another account says nothing here, and the next answer
    /// must be a whole list.
    pub(super) fn forget_another_accounts_list(&mut self) {
        self.etag = None;
        self.tell_session.send_replace(None);
        let account = self.enroller.kept().map(|kept| kept.account);
        let signed = self.held.as_mut().and_then(|held| held.signed.as_mut());
        if let Some(signed) = signed {
            signed.removed = false;
            if Some(signed.account) != account {
                self.held = None;
                self.krl = None;
            }
        }
    }
}
