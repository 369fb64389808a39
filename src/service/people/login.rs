//! Logging in, and making an account where anyone may: each gives a session of its own.

mod by_code;

use super::super::Service;
use super::super::accounts::is_email;
use super::super::api::{ApiError, Asked};
use super::super::store::{Added, Credentials, NewSession, SessionKind};
use super::super::token::{Kind, Token};
use super::super::words::said;
use super::devices::Device;
use super::guesses::Guesser;
use super::{Block, PASSWORD, Proof, Verdict, nobody};
use crate::wire::LoginDevice;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

/// What logs in.
pub(in crate::service) struct Login {
    /// Browser or command line.
    pub(in crate::service) kind: SessionKind,
    /// What it says of itself.
    pub(in crate::service) device: Option<LoginDevice>,
    /// What its program says of itself.
    pub(in crate::service) user_agent: String,
    /// What an earlier login on this device answered.
    pub(in crate::service) device_token: Option<String>,
}

/// Whose account it is to be.
pub(in crate::service) struct SignUp {
    /// The address.
    pub(in crate::service) email: String,
    /// Password; no code.
    pub(in crate::service) proof: Proof,
}

/// A session that was made.
pub(in crate::service) struct LoggedIn {
    /// Its key: shown once.
    pub(in crate::service) token: Token,
    /// When it ends.
    pub(in crate::service) expires_at: Timestamp,
    /// For the next login on this device.
    pub(in crate::service) device_token: String,
}

const WRONG_LOGIN: &str = "address or password is wrong";

impl Service {
    /// Logs in.
    ///
    /// # Errors
    /// 401 `wrong-login`, the same for an address without account, an account without password and
    /// a disabled one; `totp-required` and `wrong-code` once the password is right; 429
    /// `slow-down`, `busy`.
    pub(in crate::service) async fn log_in(
        &self,
        email: &str,
        proof: Proof,
        login: Login,
        asked: &Asked,
    ) -> Result<LoggedIn, ApiError> {
        let now = self.now();
        let credentials = self.store.credentials_of(email).await?;
        let device = credentials
            .as_ref()
            .and_then(|credentials| self.known(credentials, &login, now));
        let guesser = match device {
            Some(device) => Guesser::Device(device.account, device.number),
            None => {
                let email = Sha256::digest(email.to_lowercase().as_bytes());
                Guesser::Stranger(email.into(), Block::of(asked.from))
            }
        };
        let actor = nobody(0, asked.from, &asked.id);
        let guess = self.begin_guess(guesser).await?;
        let verdict = self.judge(credentials.as_ref(), proof, &actor).await;
        let verdict = self.judged(&guess, verdict).await?;
        let account = credentials.as_ref().map(|credentials| credentials.account);
        let (code, detail) = match (verdict, credentials) {
            (Verdict::Right, Some(credentials)) => {
                let (account, proven) = (credentials.account, Some(credentials));
                return self
                    .make_session(account, proven, device, login, asked)
                    .await;
            }
            (Verdict::CodeWanted, _) => (
                "totp-required",
                "the account has a second factor; give its code, or a backup code, as code",
            ),
            (Verdict::WrongCode, _) => ("wrong-code", "this code is not good, or was used"),
            _ => ("wrong-login", WRONG_LOGIN),
        };
        if verdict != Verdict::CodeWanted {
            self.note_refused_login(account, &actor, code);
        }
        Err(ApiError::new(StatusCode::UNAUTHORIZED, code, detail))
    }

    /// Makes an account and logs in to it. Without mail there is no way to make one and not to
    /// tell that another has the address; so each try counts as a wrong guess of its network,
    /// whatever comes of it, and costs a hash.
    ///
    /// # Errors
    /// 404 where that is not allowed, 400 for what is no address or no password, 409 `taken`, 429
    /// `slow-down`, `busy`.
    pub(in crate::service) async fn sign_up(
        &self,
        new: SignUp,
        login: Login,
        asked: &Asked,
    ) -> Result<LoggedIn, ApiError> {
        if !self.people.sign_up {
            let detail = "accounts are made by whoever runs this service";
            return Err(ApiError::not_found(detail));
        }
        if !is_email(&new.email) {
            let detail = "email is no address; it is like alice@example.com";
            return Err(ApiError::bad("bad-email", detail));
        }
        check_new(&new.proof.password)?;
        let block = Block::of(asked.from);
        let guess = self.begin_guess(Guesser::SignUp(block)).await?;
        let password = match self.people.passwords.hash(new.proof.password, block).await {
            Ok(password) => password,
            Err(error) => {
                self.give_guess_back(&guess).await;
                return Err(error);
            }
        };
        let actor = nobody(0, asked.from, &asked.id);
        let (email, now) = (new.email.clone(), self.now());
        let added = self
            .store
            .add_account(actor.clone(), email, Some(password), None, now)
            .await?;
        match added {
            Added::Account(account) => {
                tracing::info!(account, "account made by sign-up");
                self.make_session(account, None, None, login, asked).await
            }
            Added::Taken => {
                let whose = self.store.credentials_of(&new.email).await?;
                let account = whose.map(|credentials| credentials.account);
                self.note_refused_login(account, &actor, "sign-up");
                let detail = "no account was made: the address has one; log in, or use another";
                Err(ApiError::conflict("taken", detail))
            }
        }
    }

    /// The device, if it logged in to this account before.
    fn known(&self, credentials: &Credentials, login: &Login, now: Timestamp) -> Option<Device> {
        let token = login.device_token.as_deref()?;
        Device::read(token, &self.people.sealing_key, now)
            .filter(|device| device.account == credentials.account)
    }

    async fn make_session(
        &self,
        account: i64,
        proven: Option<Credentials>,
        device: Option<Device>,
        login: Login,
        asked: &Asked,
    ) -> Result<LoggedIn, ApiError> {
        let now = self.now();
        let lifetime = SignedDuration::try_from(self.people.session_lifetime);
        let expires_at = now
            .checked_add(lifetime.unwrap_or(SignedDuration::ZERO))
            .unwrap_or(Timestamp::MAX);
        let token = Token::random(Kind::Session);
        let said_device = login.device.unwrap_or_default();
        let (name, os) = named(&login.user_agent);
        let or = |said_so: String, else_so: &str| match said_so.trim() {
            "" => said(else_so),
            words => said(words),
        };
        let new = NewSession {
            kind: login.kind,
            hash: token.hash(),
            name: or(said_device.name, name),
            os: or(said_device.os, os),
            expires_at,
        };
        let actor = nobody(account, asked.from, &asked.id);
        let added = self.store.add_session(actor, new, proven, now).await?;
        let session = added
            .ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "wrong-login", WRONG_LOGIN))?;
        let kind = login.kind.word();
        tracing::info!(account, session, kind, "logged in");
        let device = device.unwrap_or_else(|| Device::random(account));
        Ok(LoggedIn {
            token,
            expires_at,
            device_token: device.token(&self.people.sealing_key, now),
        })
    }
}

/// Whether it can be a password from now on.
pub(super) fn check_new(password: &str) -> Result<(), ApiError> {
    if PASSWORD.contains(&password.len()) {
        return Ok(());
    }
    let detail = "a password has 8 to 1024 bytes";
    Err(ApiError::bad("bad-password", detail))
}

/// Program and system out of a User-Agent (RFC 9110, section 10.1.5), by the words that browsers
/// put there; what it does not name is left out.
fn named(user_agent: &str) -> (&str, &'static str) {
    // Who imitates another names both: the imitator first.
    let programs = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    let systems = [
        ("Windows", "Windows"),
        ("Android", "Android"),
        ("iPhone", "iOS"),
        ("iPad", "iPadOS"),
        ("CrOS", "ChromeOS"),
        ("Mac OS X", "macOS"),
        ("FreeBSD", "FreeBSD"),
        ("Linux", "Linux"),
    ];
    let find = |table: &[(&str, &'static str)]| {
        let mut found = table.iter().filter(|(word, _)| user_agent.contains(word));
        found.next().map(|(_, name)| *name)
    };
    let first = user_agent.split(' ').next().unwrap_or_default();
    (
        find(&programs).unwrap_or(first),
        find(&systems).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::api::{Face, tests::config};
    use super::*;
    use zeroize::Zeroizing;

    #[tokio::test]
    async fn what_was_proven_and_is_no_more_makes_no_session() {
        let dir = tempfile::tempdir().unwrap();
        let service = Service::open(&config(&dir)).unwrap();
        let (email, store) = ("a@example.com", &service.store);
        let password = || Some(Zeroizing::new("correct horse".to_owned()));
        let account = service.add_account(email, password()).await.unwrap();
        let account = account.account;
        let asked = Asked {
            face: Face::V1,
            from: None,
            id: String::new(),
        };
        let enter = async |proven: &Option<Credentials>| {
            let login = Login {
                kind: SessionKind::Cli,
                device: None,
                user_agent: String::new(),
                device_token: None,
            };
            let made = service.make_session(account, proven.clone(), None, login, &asked);
            made.await.map(|_| ()).map_err(|error| error.code())
        };
        let first = store.credentials_of(email).await.unwrap();
        assert_eq!(enter(&first).await, Ok(()));
        // The same password, hashed anew: whoever changes it ends what it opened.
        let reset = service.reset_account(email, password(), false);
        reset.await.unwrap();
        assert_eq!(enter(&first).await, Err("wrong-login"));
        let second = store.credentials_of(email).await.unwrap();
        service.switch_account(email, false).await.unwrap();
        assert_eq!(enter(&second).await, Err("wrong-login"));
        service.switch_account(email, true).await.unwrap();
        assert_eq!(enter(&second).await, Ok(()));
        let sessions = store.sessions(account, service.now()).await.unwrap();
        assert_eq!(sessions.len(), 1);
    }

    #[test]
    fn a_browser_is_known_by_its_user_agent() {
        let chrome = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
        for (text, program, system) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
                "Firefox",
                "Linux",
            ),
            (
                &format!("Mozilla/5.0 (Windows NT 10.0; Win64; x64) {chrome} Edg/130.0"),
                "Edge",
                "Windows",
            ),
            (
                &format!("Mozilla/5.0 (Linux; Android 10; K) {chrome}"),
                "Chrome",
                "Android",
            ),
            ("curl/8.5.0", "curl/8.5.0", ""),
            ("", "", ""),
        ] {
            assert_eq!(named(text), (program, system), "{text}");
        }
    }
}
