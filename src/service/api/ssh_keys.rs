//! `/v1/ssh-keys`: an account's keys.

use super::super::Service;
use super::super::auth::Caller;
use super::super::store::{
    Deleted, KeyRow, MAX_KEY_BYTES, MAX_KEYS, MAX_ORDERS, MAX_REVOKED, NewKey, Revocation, Saved,
};
use super::super::words::{self, NAME};
use super::ApiError;
use super::extract::{Json, Params, id};
use crate::keys::{EXPIRY_TIME, Options, PublicKey};
use crate::wire::{NewSshKey, Page, SshKey};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde::Deserialize;

/// All keys.
pub(super) async fn list(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Page<SshKey>>, ApiError> {
    let keys = service.store.keys(caller.account()).await?.keys;
    let items = keys.into_iter().map(shown).collect();
    Ok(axum::Json(Page::whole(items)))
}

/// One key.
pub(super) async fn show(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
) -> Result<axum::Json<SshKey>, ApiError> {
    Ok(axum::Json(shown(find(&service, &caller, &key).await?)))
}

/// Saves a key. 201 for a new one, 200 for one that the account has.
pub(super) async fn save(
    caller: Caller,
    State(service): State<Service>,
    Json(new): Json<NewSshKey>,
) -> Result<(StatusCode, axum::Json<SshKey>), ApiError> {
    let now = service.now();
    let (key, comment) = PublicKey::parse_text(&new.public_key)
        .map_err(|error| ApiError::bad(error.code(), format!("public_key: {error}")))?;
    let new = NewKey {
        name: name(new.name.as_deref(), &comment, &key)?,
        public_key: key.to_string(),
        fingerprint: key.fingerprint().to_string(),
        options: checked_options(new.options.as_deref(), new.expires_at.is_some())?,
        expires_at: new.expires_at.map(|at| expiry(at, now)).transpose()?,
        scope: new.scope.unwrap_or_default(),
    };
    match service
        .store
        .save_key(caller.actor.clone(), new, now)
        .await?
    {
        Saved::New(row) => {
            let (account, revision) = (caller.account(), row.revision);
            let fingerprint = &row.fingerprint;
            tracing::info!(account, key = row.id, fingerprint, revision, "key added");
            Ok((StatusCode::CREATED, axum::Json(shown(row))))
        }
        Saved::Same(row) => Ok((StatusCode::OK, axum::Json(shown(row)))),
        Saved::Differs(id) => Err(ApiError::conflict(
            "options-differ",
            format!("the account has this key, as {id}, with other options or another expiry"),
        )),
        Saved::Revoked => Err(ApiError::conflict(
            "revoked",
            "the account revoked this key, and it stays so; make a new one",
        )),
        Saved::TooMany => Err(ApiError::conflict(
            "too-many-keys",
            format!("an account has at most {MAX_KEYS} keys; delete one"),
        )),
        Saved::TooLong => Err(ApiError::conflict(
            "too-many-keys",
            format!(
                "an account's keys, names and options have at most {} KiB in all; delete one",
                MAX_KEY_BYTES / 1024
            ),
        )),
    }
}

/// `?end_sessions=true`.
#[derive(Debug, Deserialize)]
pub(super) struct Deletion {
    #[serde(default)]
    end_sessions: bool,
}

/// Deletes a key; with `end_sessions` every instance is told to end the sessions opened by it.
pub(super) async fn delete(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
    Params(deletion): Params<Deletion>,
) -> Result<StatusCode, ApiError> {
    let (account, id) = (caller.account(), id(&key)?);
    let deleted = service
        .store
        .delete_key(caller.actor, id, deletion.end_sessions, service.now())
        .await?;
    match deleted {
        Deleted::Done(gone, order) => {
            let fingerprint = gone.fingerprint;
            tracing::info!(account, key = id, fingerprint, order, "key deleted");
            Ok(StatusCode::NO_CONTENT)
        }
        Deleted::NoKey => Err(none()),
        Deleted::TooManyOrders => Err(ApiError::conflict(
            "too-many-orders",
            format!(
                "{MAX_ORDERS} orders to end sessions are under way, and the key is not deleted; \
                 delete it without end_sessions: open sessions stay, new logins are refused"
            ),
        )),
    }
}

/// Deletes a key, has every instance take it out of every line, whoever put it there, and end the
/// sessions opened by it.
pub(super) async fn revoke(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (account, id) = (caller.account(), id(&key)?);
    match service
        .store
        .revoke_key(caller.actor, id, service.now())
        .await?
    {
        Revocation::Done(gone, order) => {
            let fingerprint = gone.fingerprint;
            tracing::info!(account, key = id, fingerprint, order, "key revoked");
            Ok(StatusCode::NO_CONTENT)
        }
        Revocation::NoKey => Err(none()),
        Revocation::TooMany => Err(ApiError::conflict(
            "too-many-revoked",
            format!("an account revokes at most {MAX_REVOKED} keys; delete this one"),
        )),
    }
}

/// The key of that id, if it is the owner's.
pub(super) async fn find(
    service: &Service,
    caller: &Caller,
    key: &str,
) -> Result<KeyRow, ApiError> {
    let id = id(key)?;
    let keys = service.store.keys(caller.account()).await?.keys;
    keys.into_iter().find(|key| key.id == id).ok_or_else(none)
}

fn none() -> ApiError {
    ApiError::not_found("the account has no key of that id")
}

/// The name that was given, else the comment, else the fingerprint's end.
fn name(given: Option<&str>, comment: &str, key: &PublicKey) -> Result<String, ApiError> {
    let given = given.map_or("", str::trim);
    if !words::is_plain(given) {
        return Err(ApiError::bad(
            "bad-name",
            format!("a name has at most {NAME} characters, and no control characters"),
        ));
    }
    if !given.is_empty() {
        return Ok(given.to_owned());
    }
    let comment: String = words::said(comment).chars().take(NAME).collect();
    if !comment.trim().is_empty() {
        return Ok(comment.trim().to_owned());
    }
    let fingerprint = key.fingerprint().to_string();
    let end = fingerprint.len().saturating_sub(8);
    Ok(format!("…{}", fingerprint.get(end..).unwrap_or_default()))
}

/// Options as they will be written, or why not. A list with options that nobody checked could lock
/// its owner out, or open more than he meant.
fn checked_options(text: Option<&str>, expires: bool) -> Result<String, ApiError> {
    let options = Options::parse(text.unwrap_or_default())
        .map_err(|error| ApiError::bad(error.code(), format!("options: {error}")))?;
    if expires && options.has(EXPIRY_TIME) {
        return Err(ApiError::bad(
            "option-twice",
            format!("options: {EXPIRY_TIME} beside expires_at; give expires_at alone"),
        ));
    }
    Ok(options.to_string())
}

/// Whole seconds, as sshd's `expiry-time` has them; down, so that no key outlives its word.
fn expiry(at: Timestamp, now: Timestamp) -> Result<Timestamp, ApiError> {
    let down = TimestampRound::new()
        .smallest(Unit::Second)
        .mode(RoundMode::Floor);
    at.round(down)
        .ok()
        .filter(|at| *at > now)
        .ok_or_else(|| ApiError::bad("expired", "expires_at: that time is over"))
}

fn shown(row: KeyRow) -> SshKey {
    SshKey {
        id: row.id,
        name: row.name,
        public_key: row.public_key,
        fingerprint: row.fingerprint,
        options: row.options,
        scope: row.scope,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
    }
}
