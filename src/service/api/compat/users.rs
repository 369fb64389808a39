//! Whoever asks, and his account: what Vast's clients show of a user.
//!
//! Money, addresses and phones are not known here: they are null or 0, and are not to be set.

use super::super::ApiError;
use super::super::extract::{Json, parse};
use super::epoch;
use super::ssh_keys::{Given, Saved, save};
use crate::service::Service;
use crate::service::auth::{Bearing, Caller};
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The account, and the key that asks.
#[derive(Debug, Serialize)]
pub(super) struct User {
    id: i64,
    /// The API key's id, or none.
    key_id: Option<i64>,
    /// The session's id, or none.
    sid: Option<i64>,
    email: String,
    username: String,
    fullname: Option<String>,
    rights: Value,
    tfa_enabled: bool,
    tfa_status: &'static str,
    balance: f64,
    credit: f64,
    ssh_key: Option<String>,
    host_agreement_accepted: bool,
    /// Never told. An old client ends in a traceback where there is no such field.
    api_key: Option<String>,
}

/// Any key may ask what it is itself.
pub(super) async fn current(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<User>, ApiError> {
    user(&service, &caller).await.map(axum::Json)
}

pub(super) async fn user(service: &Service, caller: &Caller) -> Result<User, ApiError> {
    let own = service.own(caller).await?;
    let (key_id, sid) = match caller.bearing {
        Bearing::ApiKey(id) => (Some(id), None),
        Bearing::Session(id, _) => (None, Some(id)),
    };
    let tfa_enabled = own.totp_since.is_some();
    Ok(User {
        id: caller.account(),
        key_id,
        sid,
        username: own.email.clone(),
        email: own.email,
        fullname: None,
        rights: caller.rights.to_value(),
        tfa_enabled,
        tfa_status: if tfa_enabled { "enabled" } else { "disabled" },
        balance: 0.0,
        credit: 0.0,
        ssh_key: None,
        host_agreement_accepted: false,
        api_key: None,
    })
}

/// Saves the key that is set as the user's. It replaces none: the account has many.
pub(super) async fn set(
    caller: Caller,
    State(service): State<Service>,
    Json(mut settings): Json<Map<String, Value>>,
) -> Result<axum::Json<Saved>, ApiError> {
    if settings.is_empty() {
        return Err(ApiError::bad("empty-input", "there is nothing to set"));
    }
    let given = settings.remove("ssh_key");
    // Half of what was asked for is not done.
    if let Some((other, _)) = settings.into_iter().next() {
        let other = other.escape_debug().to_string();
        return Err(ApiError::bad(
            "invalid-input",
            format!("{other:.64} is not kept here; ssh_key alone can be set"),
        ));
    }
    let given: Given = parse(serde_json::from_value(json!({ "ssh_key": given })))?;
    save(&service, &caller, &given).await.map(axum::Json)
}

/// There are no accounts below accounts.
pub(super) async fn subaccounts(_: Caller) -> axum::Json<Value> {
    axum::Json(json!({"success": true, "users": []}))
}

/// An address that the account was used from.
#[derive(Debug, Serialize)]
struct Address {
    ip: String,
    first_seen: f64,
    first_location: Option<String>,
}

/// `{"results": […]}`.
#[derive(Debug, Serialize)]
pub(super) struct Addresses {
    success: bool,
    results: Vec<Address>,
}

/// Where the account's sessions were last seen from, and since when the earliest of each is there.
pub(super) async fn addresses(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Addresses>, ApiError> {
    let sessions = service.store.sessions(caller.account(), service.now());
    let mut first = BTreeMap::new();
    for session in sessions.await? {
        if !session.address.is_empty() {
            let since = first.entry(session.address).or_insert(session.created_at);
            *since = session.created_at.min(*since);
        }
    }
    let address = |(ip, since)| Address {
        ip,
        first_seen: epoch(since),
        first_location: None,
    };
    Ok(axum::Json(Addresses {
        success: true,
        results: first.into_iter().map(address).collect(),
    }))
}
