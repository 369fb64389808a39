//! `/api/v0/tfa/`: the second factor, as far as keys have to do with it. A code makes a session key
//! for whoever has an API key that may do everything; setting a factor up takes the password, and
//! is `/v1`'s.

use super::super::extract::Json;
use super::super::{ApiError, Asked};
use super::epoch;
use super::users::{User, user};
use crate::service::Service;
use crate::service::auth::Caller;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::USER_AGENT;
use serde::{Deserialize, Serialize};

/// The id of the one factor that an account can have.
const ONLY: i64 = 1;

/// Whether there is a second factor.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    success: bool,
    tfa_enabled: bool,
    methods: Vec<Factor>,
    backup_codes_remaining: u32,
    new_method_authorized: bool,
}

#[derive(Debug, Serialize)]
struct Factor {
    id: i64,
    user_id: i64,
    is_primary: bool,
    method: &'static str,
    label: Option<String>,
    created_at: Option<f64>,
    last_used: Option<f64>,
    fail_count: u32,
    locked_until: Option<f64>,
}

/// The second factor.
pub(super) async fn status(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Status>, ApiError> {
    let status = service.totp_status(&caller).await?;
    let factor = Factor {
        id: ONLY,
        user_id: caller.account(),
        is_primary: true,
        method: "totp",
        label: None,
        created_at: status.since.map(epoch),
        last_used: None,
        fail_count: 0,
        locked_until: None,
    };
    Ok(axum::Json(Status {
        success: true,
        tfa_enabled: status.enabled,
        methods: status.enabled.then_some(factor).into_iter().collect(),
        backup_codes_remaining: status.backup_codes_left,
        new_method_authorized: false,
    }))
}

/// A code, or a backup code.
#[derive(Deserialize)]
pub(super) struct Given {
    #[serde(default)]
    tfa_method: Option<String>,
    #[serde(default)]
    tfa_method_id: Option<serde_json::Value>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    backup_code: Option<String>,
}

/// The user, and a session key.
#[derive(Serialize)]
pub(super) struct LoggedIn {
    success: bool,
    #[serde(flatten)]
    user: User,
    session_key: String,
    expires_at: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_codes_remaining: Option<u32>,
}

/// Makes a session key.
pub(super) async fn log_in(
    caller: Caller,
    State(service): State<Service>,
    Extension(asked): Extension<Asked>,
    headers: HeaderMap,
    Json(given): Json<Given>,
) -> Result<axum::Json<LoggedIn>, ApiError> {
    let is_totp = given.tfa_method.as_deref().is_none_or(|m| m == "totp");
    let only = ONLY.to_string();
    let is_only = given
        .tfa_method_id
        .as_ref()
        .is_none_or(|id| id.as_i64() == Some(ONLY) || id.as_str() == Some(&only));
    if !is_totp || !is_only {
        return Err(ApiError::bad(
            "unknown-method",
            "the second factor here is totp, the code of an authenticator",
        ));
    }
    let is_backup = given.backup_code.is_some();
    let code = match (given.code, given.backup_code) {
        (Some(code), None) | (None, Some(code)) => code,
        _ => {
            return Err(ApiError::bad(
                "missing-code",
                "give one of code and backup_code",
            ));
        }
    };
    let agent = headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    let agent = agent.unwrap_or_default().to_owned();
    let made = service
        .log_in_by_code(&caller, &code, agent, &asked)
        .await?;
    let left = match is_backup {
        true => Some(service.totp_status(&caller).await?.backup_codes_left),
        false => None,
    };
    Ok(axum::Json(LoggedIn {
        success: true,
        user: user(&service, &caller).await?,
        session_key: made.token.reveal().to_owned(),
        expires_at: epoch(made.expires_at),
        backup_codes_remaining: left,
    }))
}
