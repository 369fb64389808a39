//! The account itself: signing in, who one is, password and second factor.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// `POST /v1/login`. From a browser, with `X-Sshkeyd: 1`, the session comes as a cookie.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct LoginRequest {
    /// Whose account.
    pub email: String,
    /// Its password.
    pub password: String,
    /// The second factor: six digits, or a backup code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<LoginDevice>,
    /// What an earlier login on this device answered: wrong guesses by others do not slow it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_token: Option<String>,
}

impl fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginRequest({})", self.email.escape_debug())
    }
}

/// A device, in its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct LoginDevice {
    /// What it calls itself.
    #[serde(default)]
    pub name: String,
    /// Its operating system.
    #[serde(default)]
    pub os: String,
}

/// The answer.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct LoginAnswer {
    /// `skd_ses_…`; a browser has it as a cookie, and none here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// When the session ends.
    pub expires_at: Timestamp,
    /// For the next login on this device; a browser has it as a cookie, and none here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_token: Option<String>,
}

impl fmt::Debug for LoginAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginAnswer({})", self.expires_at)
    }
}

/// `POST /v1/sign-up`, where it is allowed.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct SignUpRequest {
    /// Whose account it is to be.
    pub email: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for SignUpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignUpRequest({})", self.email.escape_debug())
    }
}

/// `GET /v1/account`: whose key this is, and what it may do. Any token may ask.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Account {
    /// The account's id.
    pub account: i64,
    /// Its address.
    pub email: String,
    /// The token that asks.
    pub key: AccountKey,
    /// What that token may do: a permission tree.
    pub rights: Value,
    /// A second factor is asked for at login.
    pub totp: bool,
}

/// The token that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct AccountKey {
    /// `api-key`, `browser`, `cli`.
    pub kind: String,
    /// Its id among those of its kind.
    pub id: i64,
    /// What it is called.
    pub name: String,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// `POST /v1/account/password`: ends all other sessions.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct PasswordChange {
    /// The password now.
    pub password: String,
    /// The one from then on.
    pub new_password: String,
    /// The second factor, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// A person's password in the same request: to see an API key again, to change the second factor.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct PasswordGiven {
    /// The password.
    pub password: String,
    /// The second factor, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl fmt::Debug for PasswordGiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordGiven")
    }
}

impl fmt::Debug for PasswordChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordChange")
    }
}

/// `GET /v1/account/totp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct TotpStatus {
    /// It is asked for at login.
    pub enabled: bool,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Backup codes that were not used.
    pub backup_codes_left: u32,
}

/// `POST /v1/account/totp` with the password: begins, and is in force once a code is confirmed.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct TotpBegun {
    /// Base32.
    pub secret: String,
    /// `otpauth://totp/…`, for an authenticator.
    pub uri: String,
}

impl fmt::Debug for TotpBegun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpBegun")
    }
}

/// `POST /v1/account/totp/confirm`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct TotpConfirm {
    /// Six digits.
    pub code: String,
}

impl fmt::Debug for TotpConfirm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpConfirm")
    }
}

/// The answer: shown once.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct TotpConfirmed {
    /// Each is good once, in the place of a code.
    pub backup_codes: Vec<String>,
}

impl fmt::Debug for TotpConfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpConfirmed")
    }
}
