//! `/v1/account`: whose key this is, its password, its second factor.

use super::super::Service;
use super::super::auth::{Bearing, Caller};
use super::super::store::By;
use super::ApiError;
use super::extract::Json;
use super::login::BODY;
use crate::wire::{
    Account, AccountKey, PasswordChange, PasswordGiven, TotpBegun, TotpConfirm, TotpConfirmed,
    TotpStatus,
};
use axum::extract::State;
use axum::http::StatusCode;

/// Whose key this is, and what it may do.
pub(super) async fn show(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Account>, ApiError> {
    let credentials = service.own(&caller).await?;
    let (kind, id) = match caller.bearing {
        Bearing::ApiKey(id) => ("api-key", id),
        Bearing::Session(id, kind) => (kind.word(), id),
    };
    let name = match &caller.actor.by {
        By::Session { name, .. } | By::ApiKey { name, .. } => name.clone(),
        By::Agent { .. } | By::Server | By::Nobody => String::new(),
    };
    Ok(axum::Json(Account {
        account: credentials.account,
        email: credentials.email,
        key: AccountKey {
            kind: kind.to_owned(),
            id,
            name,
            expires_at: caller.ends,
        },
        rights: caller.rights.to_value(),
        totp: credentials.totp_since.is_some(),
    }))
}

/// Changes the password; ends all other sessions of people.
pub(super) async fn change_password(
    caller: Caller,
    State(service): State<Service>,
    Json(change): Json<PasswordChange, BODY>,
) -> Result<StatusCode, ApiError> {
    service.change_password(&caller, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether there is a second factor.
pub(super) async fn totp(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<TotpStatus>, ApiError> {
    Ok(axum::Json(service.totp_status(&caller).await?))
}

/// Begins a second factor.
pub(super) async fn begin_totp(
    caller: Caller,
    State(service): State<Service>,
    Json(given): Json<PasswordGiven, BODY>,
) -> Result<axum::Json<TotpBegun>, ApiError> {
    Ok(axum::Json(service.begin_totp(&caller, given).await?))
}

/// Puts it in force.
pub(super) async fn confirm_totp(
    caller: Caller,
    State(service): State<Service>,
    Json(given): Json<TotpConfirm, BODY>,
) -> Result<axum::Json<TotpConfirmed>, ApiError> {
    Ok(axum::Json(
        service.confirm_totp(&caller, &given.code).await?,
    ))
}

/// Takes it away.
pub(super) async fn remove_totp(
    caller: Caller,
    State(service): State<Service>,
    Json(given): Json<PasswordGiven, BODY>,
) -> Result<StatusCode, ApiError> {
    service.remove_totp(&caller, given).await?;
    Ok(StatusCode::NO_CONTENT)
}
