//! New accounts: a checked address, a hashed password, one full-access API key.

use super::store::{Actor, Added, FirstKey, StoreError};
use super::token::{Kind, Token};
use super::{Service, ServiceError};
use argon2::{Argon2, PasswordHasher as _};
use zeroize::Zeroizing;

/// Longest e-mail address (RFC 5321, section 4.5.3.1.3, less the brackets).
const MAX_EMAIL: usize = 254;

/// Bytes of a password: enough to be one, and no work for nothing.
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=1024;

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
async fn hash(password: Zeroizing<String>) -> Result<String, AccountError> {
    if !PASSWORD.contains(&password.len()) {
        return Err(AccountError::Password);
    }
    let hashed = tokio::task::spawn_blocking(move || {
        Argon2::default()
            .hash_password(password.as_bytes())
            .map(|phc| phc.to_string())
    });
    match hashed.await {
        Ok(Ok(phc)) => Ok(phc),
        Ok(Err(_)) | Err(_) => Err(ServiceError::from(StoreError::Lost).into()),
    }
}

/// One @ with something on either side, nothing that steers a terminal, no blanks. Whether mail
/// arrives there only mail can tell.
fn is_email(text: &str) -> bool {
    let parts: Vec<&str> = text.split('@').collect();
    text.len() <= MAX_EMAIL
        && parts.len() == 2
        && parts.iter().all(|part| !part.is_empty())
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::PasswordVerifier as _;
    use argon2::password_hash::phc::PasswordHash;

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
    async fn a_password_is_kept_as_argon2id() {
        let kept = hash(Zeroizing::new("correct horse".to_owned()))
            .await
            .unwrap();
        assert!(kept.starts_with("$argon2id$v=19$"));
        let phc = PasswordHash::new(&kept).unwrap();
        assert!(
            Argon2::default()
                .verify_password(b"correct horse", &phc)
                .is_ok()
        );
        assert!(
            Argon2::default()
                .verify_password(b"wrong horse", &phc)
                .is_err()
        );
        let short = hash(Zeroizing::new("short".to_owned())).await;
        assert!(matches!(short, Err(AccountError::Password)));
    }
}
