//! New accounts: a checked address, a hashed password, one full-access API key.

use super::people::{self, PASSWORD};
use super::store::{Actor, Added, FirstKey, StoreError};
use super::token::{Kind, Token};
use super::{Service, ServiceError};
use zeroize::Zeroizing;

/// Longest e-mail address (RFC 5321, section 4.5.3.1.3, less the brackets).
const MAX_EMAIL: usize = 254;

/// A new account, with its secret: shown once.
pub struct NewAccount {
    /// Its id.
    pub account: i64,
    /// Its address.
    pub email: String,
    /// `skd_api_…`.
    pub api_key: Zeroizing<String>,
}

/// Why there is no new account.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The address is none.
    #[error("\"{0}\" is not an e-mail address; it is like alice@example.com")]
    Email(String),
    /// The password is too short or far too long.
    #[error("a password has 8 to 1024 bytes")]
    Password,
    /// There is an account of that address.
    #[error("\"{0}\" has an account")]
    Taken(String),
    /// There is no such account.
    #[error("no account \"{0}\"; see `sshkeyd account list`")]
    Unknown(String),
    /// It is so already.
    #[error("account \"{0}\" is {1}; nothing changed")]
    Already(String, &'static str),
    /// It is to be disabled before it is removed.
    #[error(
        "account \"{0}\" is not disabled; disable it first, so that its keys leave the instances"
    )]
    NotDisabled(String),
    /// These instances may still hold its keys.
    #[error(
        "its keys may still be on {}: not heard to have let go of them; wait for them, remove \
         them, or say --force and the keys stay there", .0.join(", ")
    )]
    KeysLeft(Vec<String>),
    /// The service cannot.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl Service {
    /// Makes an account with one API key. Works beside a running server on the same database.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn add_account(
        &self,
        email: &str,
        password: Option<Zeroizing<String>>,
    ) -> Result<NewAccount, AccountError> {
        if !is_email(email) {
            return Err(AccountError::Email(email.escape_debug().to_string()));
        }
        let password = match password {
            Some(password) => Some(hash(password).await?),
            None => None,
        };
        let api_key = Token::random(Kind::Api);
        let first = FirstKey {
            hash: api_key.hash(),
            tail: api_key.tail(),
            sealed: self.sealing.seal_token(&api_key),
        };
        let (actor, email_kept) = (Actor::server(0), email.to_owned());
        let added = self
            .store
            .add_account(actor, email_kept, password, Some(first), self.now())
            .await
            .map_err(ServiceError::from)?;
        match added {
            Added::Taken => Err(AccountError::Taken(email.to_owned())),
            Added::Account(account) => {
                tracing::info!(account, "account made");
                Ok(NewAccount {
                    account,
                    email: email.to_owned(),
                    api_key: Zeroizing::new(api_key.reveal().to_owned()),
                })
            }
        }
    }
}

/// argon2id, as a PHC string with its own salt. It takes 19 MiB and some tens of milliseconds, so
/// it runs beside the tasks.
pub(super) async fn hash(password: Zeroizing<String>) -> Result<String, AccountError> {
    if !PASSWORD.contains(&password.len()) {
        return Err(AccountError::Password);
    }
    let hashed = tokio::task::spawn_blocking(move || people::hash(&password));
    match hashed.await {
        Ok(Some(phc)) => Ok(phc),
        Ok(None) | Err(_) => Err(ServiceError::from(StoreError::Lost).into()),
    }
}

/// One @ with something on either side, nothing that steers a terminal, no blanks. Whether mail
/// arrives there only mail can tell.
pub(super) fn is_email(text: &str) -> bool {
    let parts: Vec<&str> = text.split('@').collect();
    text.len() <= MAX_EMAIL
        && parts.len() == 2
        && parts.iter().all(|part| !part.is_empty())
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_at_and_two_sides() {
        assert!(is_email("alice@example.com"));
        assert!(is_email("é@localhost"));
        for text in ["", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n", "a"] {
            assert!(!is_email(text), "{text:?}");
        }
        assert!(!is_email(&format!("{}@example.com", "a".repeat(250))));
    }

    #[tokio::test]
    async fn what_is_too_short_or_far_too_long_is_no_password() {
        for text in ["", "short77", &"x".repeat(1_025)] {
            let refused = hash(Zeroizing::new(text.to_owned())).await;
            assert!(matches!(refused, Err(AccountError::Password)));
        }
        assert!(hash(Zeroizing::new("eight888".to_owned())).await.is_ok());
    }
}
