//! The second factor of an account: begun, confirmed, taken away.

use super::super::Service;
use super::super::api::ApiError;
use super::super::auth::{Bearing, Caller};
use super::super::store::Credentials;
use super::Verdict;
use super::guesses::Guesser;
use super::totp::{self, Code};
use crate::wire::{PasswordGiven, TotpBegun, TotpConfirmed, TotpStatus};
use axum::http::StatusCode;
use serde_json::json;
use zeroize::Zeroizing;

fn place(account: i64) -> String {
    format!("totp {account}")
}

impl Service {
    /// The secret, opened.
    pub(super) fn totp_secret(
        &self,
        credentials: &Credentials,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let sealed = credentials.totp_secret.as_deref().unwrap_or_default();
        let opened = self.sealing.open(&place(credentials.account), sealed);
        opened.ok_or_else(|| {
            let account = credentials.account;
            tracing::debug!(
                account,
                "the second factor does not open under this sealing key"
            );
            ApiError::internal()
        })
    }

    /// Whether there is a second factor.
    pub(in crate::service) async fn totp_status(
        &self,
        caller: &Caller,
    ) -> Result<TotpStatus, ApiError> {
        let credentials = self.own(caller).await?;
        let left = self.store.backup_codes_left(caller.account()).await?;
        Ok(TotpStatus {
            enabled: credentials.totp_since.is_some(),
            since: credentials.totp_since,
            backup_codes_left: left,
        })
    }

    /// Makes a secret, after the password.
    ///
    /// # Errors
    /// Those of [`Service::check_password`]; 409 `totp-on`.
    pub(in crate::service) async fn begin_totp(
        &self,
        caller: &Caller,
        given: PasswordGiven,
    ) -> Result<TotpBegun, ApiError> {
        self.check_password(caller, given).await?;
        let account = caller.account();
        let secret = Zeroizing::new(rand::random::<[u8; totp::SECRET]>());
        let sealed = self.sealing.seal(&place(account), &*secret);
        if !self.store.begin_totp(account, sealed).await? {
            return Err(on());
        }
        let text = totp::base32(&*secret);
        let uri = totp::uri(&self.own(caller).await?.email, &text);
        Ok(TotpBegun { secret: text, uri })
    }

    /// Puts it in force, after a code of it.
    ///
    /// # Errors
    /// 403 `wrong-code`, which counts as a wrong guess; 409 `totp-on`, `totp-not-begun`.
    pub(in crate::service) async fn confirm_totp(
        &self,
        caller: &Caller,
        code: &str,
    ) -> Result<TotpConfirmed, ApiError> {
        let Bearing::Session(session, _) = caller.bearing else {
            return Err(ApiError::internal());
        };
        let credentials = self.own(caller).await?;
        let Some(sealed) = credentials.totp_secret.clone() else {
            let detail = "no second factor is begun; POST /v1/account/totp first";
            return Err(ApiError::conflict("totp-not-begun", detail));
        };
        if credentials.totp_since.is_some() {
            return Err(on());
        }
        let guess = self.begin_guess(Guesser::Session(session)).await?;
        let now = self.now();
        let step = match Code::read(code) {
            Code::Digits(digits) => {
                let secret = self.totp_secret(&credentials)?;
                totp::steps(&secret, digits, now).last().copied()
            }
            Code::Backup(_) => None,
        };
        let Some(step) = step else {
            let detail = json!({"why": "wrong-code"});
            self.note_refusal(caller.actor.clone(), "account.totp-on", detail)
                .await;
            let detail = "this is no code of the new secret; look at the time of both devices";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "wrong-code", detail));
        };
        self.judged(&guess, Ok(Verdict::Right)).await?;
        let codes = totp::backup_codes();
        let key = &self.people.sealing_key;
        let hash = |code: &Zeroizing<String>| match Code::read(code) {
            Code::Backup(code) => totp::backup_hash(key, caller.account(), &code),
            // Ten characters are never six digits.
            Code::Digits(_) => [0; 32],
        };
        let kept = codes.iter().map(hash).collect();
        let actor = caller.actor.clone();
        if !self
            .store
            .confirm_totp(actor, sealed, step, kept, now)
            .await?
        {
            let detail = "it was begun anew meanwhile; confirm with a code of the new secret";
            return Err(ApiError::conflict("totp-not-begun", detail));
        }
        Ok(TotpConfirmed {
            backup_codes: codes.iter().map(|code| code.to_string()).collect(),
        })
    }

    /// Takes it away, after password and code.
    ///
    /// # Errors
    /// Those of [`Service::check_password`]; 404.
    pub(in crate::service) async fn remove_totp(
        &self,
        caller: &Caller,
        given: PasswordGiven,
    ) -> Result<(), ApiError> {
        self.check_password(caller, given).await?;
        let now = self.now();
        if self.store.remove_totp(caller.actor.clone(), now).await? {
            return Ok(());
        }
        Err(ApiError::not_found("the account has no second factor"))
    }

    /// The caller's own account.
    pub(in crate::service) async fn own(&self, caller: &Caller) -> Result<Credentials, ApiError> {
        let found = self.store.credentials(caller.account()).await?;
        found.ok_or_else(ApiError::session_ended)
    }
}

fn on() -> ApiError {
    let detail = "the account has a second factor; DELETE /v1/account/totp takes it away";
    ApiError::conflict("totp-on", detail)
}
