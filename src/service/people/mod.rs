//! People: who they are, proved by a password and a second factor.
//!
//! Owns what is asked of a person before anything is given: the wait after wrong guesses, the
//! argon2 threads, codes. Refuses to tell whether there is an account: an address that has none
//! costs the same time, the same wait, the same answer and the same write.

mod change;
mod devices;
mod guesses;
mod login;
mod passwords;
mod second_factor;
mod totp;

pub(super) use devices::{LIFE as DEVICE_LIFE, cookie_named};
pub(super) use login::{LoggedIn, Login, SignUp};
pub(super) use passwords::{Block, PASSWORD, hash};

use super::Service;
use super::api::ApiError;
use super::auth::{Bearing, Caller};
use super::refusals::not_listed;
use super::store::{Act, Actor, Credentials, RefusedLogins};
use crate::config::ServerConfig;
use crate::wire::PasswordGiven;
use axum::http::StatusCode;
use guesses::{Guess, Guesser, Guesses};
use passwords::Passwords;
use serde_json::json;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use totp::Code;
use zeroize::Zeroizing;

/// Refused logins that wait to be written; past that they are counted.
const REFUSED: usize = 256;

/// How long refused logins are gathered for one write.
const GATHER: Duration = Duration::from_secs(1);

/// What is known of people while the service runs.
pub(super) struct People {
    passwords: Passwords,
    guesses: Guesses,
    sealing_key: Zeroizing<[u8; 32]>,
    refused: Mutex<RefusedLogins>,
    waiting: Notify,
    /// How long a session lasts.
    pub(super) session_lifetime: Duration,
    /// Anyone may make an account.
    pub(super) sign_up: bool,
    /// The listener is plain HTTP on loopback: a browser there takes no `Secure` cookie.
    pub(super) plain_loopback: bool,
}

/// What somebody says to prove who he is.
pub(super) struct Proof {
    /// The password.
    pub(super) password: Zeroizing<String>,
    /// The second factor.
    pub(super) code: Option<String>,
}

/// What a proof is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Right,
    WrongPassword,
    /// The password is right, and a code is asked for.
    CodeWanted,
    WrongCode,
}

impl People {
    /// As the configuration says, under the sealing key.
    pub(super) fn new(config: &ServerConfig, sealing_key: Zeroizing<[u8; 32]>) -> Self {
        Self {
            passwords: Passwords::new(),
            guesses: Guesses::default(),
            sealing_key,
            refused: Mutex::default(),
            waiting: Notify::new(),
            session_lifetime: config.session_lifetime,
            sign_up: config.sign_up,
            plain_loopback: config.tls.is_none() && config.listen.ip().is_loopback(),
        }
    }
}

impl Service {
    /// Asks a person's session for the password again, and for a code where there is a second
    /// factor.
    ///
    /// # Errors
    /// 401 for a session that is over; 403 `person-only` for an API key, `wrong-password`, `totp-required`, `wrong-code`; 429
    /// `slow-down` after wrong guesses of this session, `busy` when too many are checked.
    pub(super) async fn check_password(
        &self,
        caller: &Caller,
        given: PasswordGiven,
    ) -> Result<(), ApiError> {
        let Bearing::Session(session, _) = caller.bearing else {
            let detail = "this takes a person's session; no API key can do it";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "person-only", detail));
        };
        let guess = self.begin_guess(Guesser::Session(session)).await?;
        let credentials = self.store.credentials(caller.account()).await;
        let proof = Proof {
            password: Zeroizing::new(given.password),
            code: given.code,
        };
        let verdict = match credentials {
            Ok(credentials) => {
                let credentials = credentials.as_ref();
                self.judge(credentials, proof, &caller.actor).await
            }
            Err(error) => Err(error.into()),
        };
        let (code, detail) = match self.judged(&guess, verdict).await? {
            // It may have ended while the password was hashed.
            Verdict::Right => return self.still(caller).await,
            Verdict::WrongPassword => ("wrong-password", "this is not the account's password"),
            Verdict::CodeWanted => (
                "totp-required",
                "the account has a second factor; give its code, or a backup code, as code",
            ),
            Verdict::WrongCode => ("wrong-code", "this code is not good, or was used"),
        };
        if code != "totp-required" {
            let detail = json!({ "why": code });
            self.note_refusal(caller.actor.clone(), "account.password-check", detail)
                .await;
        }
        Err(ApiError::new(StatusCode::FORBIDDEN, code, detail))
    }

    /// Gives a guess back that was none.
    async fn judged(
        &self,
        guess: &Guess,
        verdict: Result<Verdict, ApiError>,
    ) -> Result<Verdict, ApiError> {
        if matches!(verdict, Ok(Verdict::Right | Verdict::CodeWanted) | Err(_)) {
            self.give_guess_back(guess).await;
        }
        verdict
    }

    /// What this proof is worth for this account, or for one that there is not: at the same cost.
    async fn judge(
        &self,
        credentials: Option<&Credentials>,
        proof: Proof,
        actor: &Actor,
    ) -> Result<Verdict, ApiError> {
        let kept = credentials.and_then(|credentials| credentials.password.clone());
        let block = Block::of(actor.from);
        let right = self
            .people
            .passwords
            .verify(proof.password, kept, block)
            .await?;
        let Some(credentials) = credentials.filter(|c| right && c.disabled_at.is_none()) else {
            return Ok(Verdict::WrongPassword);
        };
        if credentials.totp_since.is_none() {
            return Ok(Verdict::Right);
        }
        let Some(code) = proof.code.filter(|code| !code.is_empty()) else {
            return Ok(Verdict::CodeWanted);
        };
        let actor = Actor {
            account: credentials.account,
            ..actor.clone()
        };
        let good = match Code::read(&code) {
            Code::Digits(digits) => self.spend_digits(credentials, digits).await?,
            Code::Backup(code) => {
                let hash = totp::backup_hash(&self.people.sealing_key, actor.account, &code);
                let now = self.now();
                self.store.spend_backup_code(actor, hash, now).await?
            }
        };
        Ok(if good {
            Verdict::Right
        } else {
            Verdict::WrongCode
        })
    }

    async fn spend_digits(&self, credentials: &Credentials, digits: u32) -> Result<bool, ApiError> {
        let secret = self.totp_secret(credentials)?;
        let steps = totp::steps(&secret, digits, self.now());
        Ok(self.store.spend_step(credentials.account, steps).await?)
    }

    /// Has a refused login written, within a second or so and with others: neither the answer nor
    /// what the database does after it tells whether there is such an account.
    fn note_refused_login(&self, account: Option<i64>, actor: &Actor, why: &'static str) {
        let now = self.now();
        let mut refused = lock(&self.people.refused);
        match account {
            Some(account) if refused.known.len() < REFUSED => {
                let mut detail = json!({ "why": why });
                if let Some(left_out) = self.refusals.take(account, now) {
                    not_listed(&mut detail, left_out);
                    let actor = Actor {
                        account,
                        ..actor.clone()
                    };
                    let act = Act::refused("account.login", detail);
                    refused.known.push((actor, act, now));
                }
            }
            Some(account) => self.refusals.leave_out(account),
            None => refused.unknown += 1,
        }
        drop(refused);
        self.people.waiting.notify_one();
    }

    /// Writes what refused logins there are.
    pub(super) async fn write_refused_logins(&self) {
        let refused = std::mem::take(&mut *lock(&self.people.refused));
        if refused.known.is_empty() && refused.unknown == 0 {
            return;
        }
        if let Err(error) = self.store.note_refused_logins(refused).await {
            tracing::debug!(%error, "audit log");
        }
    }

    /// Writes refused logins as they come; never returns.
    pub(super) async fn gather_refused_logins(&self) {
        loop {
            self.people.waiting.notified().await;
            tokio::time::sleep(GATHER).await;
            self.write_refused_logins().await;
        }
    }
}

fn lock(refused: &Mutex<RefusedLogins>) -> std::sync::MutexGuard<'_, RefusedLogins> {
    // It is taken whole, or one row is added.
    refused.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody who has shown no key.
fn nobody(account: i64, from: Option<IpAddr>, request: &str) -> Actor {
    Actor {
        account,
        by: super::store::By::Nobody,
        from,
        request: request.to_owned(),
    }
}
