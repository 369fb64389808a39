//! A session for whoever holds an API key and the second factor, without the password.
//!
//! Only for a key that is held to nothing: from any other the session would be a way to become
//! more than the key is.

use super::super::super::Service;
use super::super::super::api::{ApiError, Asked};
use super::super::super::auth::{Bearing, Caller};
use super::super::super::limits::Limits;
use super::super::super::permissions::Permissions;
use super::super::super::store::{Act, SessionKind};
use super::super::Verdict;
use super::super::guesses::Guesser;
use super::super::totp::{self, Code};
use super::{LoggedIn, Login};
use axum::http::StatusCode;
use serde_json::json;

impl Service {
    /// Logs in by API key and code, or backup code.
    ///
    /// # Errors
    /// 400 `no-api-key` for a session, `no-second-factor`; 403 `wider-than-you` for a key that is
    /// held to less than everything, `2fa-verification-failed` for a wrong code, which counts as a
    /// wrong guess; 429 `slow-down`.
    pub(in crate::service) async fn log_in_by_code(
        &self,
        caller: &Caller,
        code: &str,
        user_agent: String,
        asked: &Asked,
    ) -> Result<LoggedIn, ApiError> {
        let Bearing::ApiKey(key) = caller.bearing else {
            let detail = "this is a session key already; log in with an API key";
            return Err(ApiError::bad("no-api-key", detail));
        };
        let account = caller.account();
        let row = self.store.api_key_of(account, key).await?;
        let limits = row.as_ref().and_then(Limits::of);
        let all = Limits {
            rights: Permissions::all(),
            networks: Vec::new(),
            ends: None,
        };
        if !limits.is_some_and(|limits| limits.contain(&all)) {
            return Err(self.refuse(caller, "wider-than-you", TOO_NARROW).await);
        }
        let credentials = self.own(caller).await?;
        if credentials.totp_since.is_none() {
            let detail = "the account has no second factor; log in with address and password";
            return Err(ApiError::bad("no-second-factor", detail));
        }
        let guess = self.begin_guess(Guesser::ApiKey(key)).await?;
        let good = match Code::read(code) {
            Code::Digits(digits) => self.spend_digits(&credentials, digits).await,
            Code::Backup(code) => {
                let hash = totp::backup_hash(&self.people.sealing_key, account, &code);
                let (actor, now) = (caller.actor.clone(), self.now());
                let spent = self.store.spend_backup_code(actor, hash, now).await;
                spent.map_err(ApiError::from)
            }
        };
        let verdict = good.map(|good| match good {
            true => Verdict::Right,
            false => Verdict::WrongCode,
        });
        if self.judged(&guess, verdict).await? != Verdict::Right {
            return Err(self.refuse(caller, "2fa-verification-failed", WRONG).await);
        }
        let login = Login {
            kind: SessionKind::Cli,
            device: None,
            user_agent,
            device_token: None,
        };
        self.still(caller).await?;
        let proven = Some(credentials);
        let made = self.make_session(account, proven, None, login, asked);
        let made = made.await?;
        let act = Act::done("account.login-by-code", account, json!({}));
        let noted = self.store.note(caller.actor.clone(), act, self.now());
        noted.await?;
        Ok(made)
    }

    async fn refuse(&self, caller: &Caller, code: &'static str, detail: &'static str) -> ApiError {
        let why = json!({ "why": code });
        self.note_refusal(caller.actor.clone(), "account.login-by-code", why)
            .await;
        ApiError::new(StatusCode::FORBIDDEN, code, detail)
    }
}

const TOO_NARROW: &str =
    "a session may do everything; it takes an API key that may, from anywhere and without an end";
const WRONG: &str = "this code is not good, or was used";
