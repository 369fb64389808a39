//! `/v1/api-keys`: an account's API keys.
//!
//! The key itself is answered by create, reset and reveal, and by nothing else. No key makes,
//! resets, edits or deletes one that is held to less than itself (`limits`).

mod form;

use super::super::Service;
use super::super::auth::{Bearing, Caller};
use super::super::limits;
use super::super::permissions::Permissions;
use super::super::store::{
    ApiKeyEdit, ApiKeyMade, ApiKeyRow, MAX_API_KEYS, NewApiKeyRow, Secret, Touched,
};
use super::super::token::{Kind, Token};
use super::extract::{Json, id};
use super::{ApiError, etag, idempotency};
use crate::wire::{ApiKey, ApiKeySecret, EditApiKey, NewApiKey, Page, PasswordGiven};
use axum::extract::{Path, State};
use axum::http::header::ETAG;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use form::{checked_addresses, checked_end, checked_name, checked_rights, in_millis};
use serde_json::{Value, json};

/// All keys.
pub(super) async fn list(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Page<ApiKey>>, ApiError> {
    let rows = service.store.api_keys(caller.account()).await?;
    let items = rows
        .into_iter()
        .map(|row| shown(&service, &caller, row))
        .collect();
    Ok(axum::Json(Page::whole(items)))
}

/// One key.
pub(super) async fn show(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    let row = service
        .store
        .api_key_of(caller.account(), id(&key)?)
        .await?;
    let row = row.ok_or_else(none)?;
    Ok((
        [(ETAG, tag(&row))],
        axum::Json(shown(&service, &caller, row)),
    )
        .into_response())
}

/// Makes a key.
pub(super) async fn create(
    caller: Caller,
    State(service): State<Service>,
    headers: HeaderMap,
    Json(new): Json<NewApiKey>,
) -> Result<(StatusCode, axum::Json<ApiKeySecret>), ApiError> {
    let made = make(&service, &caller, &headers, new).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

/// The same, for whichever face it is asked through.
pub(super) async fn make(
    service: &Service,
    caller: &Caller,
    headers: &HeaderMap,
    new: NewApiKey,
) -> Result<ApiKeySecret, ApiError> {
    let now = service.now();
    let token = Token::random(Kind::Api);
    let rights = match &new.permissions {
        Some(tree) => checked_rights(tree)?,
        None => Permissions::all(),
    };
    let addresses = checked_addresses(new.addresses.as_deref().unwrap_or_default())?;
    let about = ApiKey {
        id: 0,
        name: checked_name(&new.name)?,
        permissions: rights.to_value(),
        addresses,
        tail: token.tail(),
        created_at: in_millis(now),
        expires_at: new.expires_at.map(|at| checked_end(at, now)).transpose()?,
        last_used_at: None,
        last_used_from: String::new(),
        current: false,
    };
    let row = NewApiKeyRow {
        name: about.name.clone(),
        rights: rights.to_string(),
        addresses: json!(about.addresses).to_string(),
        expires_at: about.expires_at,
        secret: secret(service, &token),
    };
    let answer = move |id| ApiKeySecret {
        key: token.reveal().to_owned(),
        about: ApiKey {
            id,
            ..about.clone()
        },
    };
    let answer = std::sync::Arc::new(answer);
    let kept = answer.clone();
    let once = idempotency::once(
        service,
        caller,
        headers,
        "POST /v1/api-keys",
        &new,
        move |id| kept(id),
    )?;
    let made = service
        .store
        .add_api_key(caller.actor.clone(), row, once, now)
        .await?;
    match made {
        ApiKeyMade::Key(id) => {
            tracing::info!(account = caller.account(), api_key = id, "API key made");
            Ok(answer(id))
        }
        ApiKeyMade::Earlier(earlier) => idempotency::again(service, caller, earlier),
        ApiKeyMade::Wider => Err(wider(service, caller, "api-key.create", None).await),
        ApiKeyMade::TooMany => Err(ApiError::conflict(
            "too-many-api-keys",
            format!("an account has at most {MAX_API_KEYS} API keys; delete one"),
        )),
    }
}

/// Changes a key.
pub(super) async fn edit(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
    headers: HeaderMap,
    Json(edit): Json<EditApiKey>,
) -> Result<Response, ApiError> {
    let (id, now) = (id(&key)?, service.now());
    let addresses = edit.addresses.as_deref().map(checked_addresses);
    let edit = ApiKeyEdit {
        name: edit.name.as_deref().map(checked_name).transpose()?,
        rights: match &edit.permissions {
            Some(tree) => Some(checked_rights(tree)?.to_string()),
            None => None,
        },
        addresses: addresses.transpose()?.map(|all| json!(all).to_string()),
        expires_at: match edit.expires_at {
            Some(Some(at)) => Some(Some(checked_end(at, now)?)),
            Some(None) => Some(None),
            None => None,
        },
    };
    let check = move |row: &ApiKeyRow| etag::check(&headers, &tag(row));
    let touched = service
        .store
        .edit_api_key(caller.actor.clone(), id, edit, check, now)
        .await?;
    let row = done(&service, &caller, "api-key.edit", id, touched).await?;
    tracing::info!(account = caller.account(), api_key = id, "API key edited");
    Ok((
        [(ETAG, tag(&row))],
        axum::Json(shown(&service, &caller, row)),
    )
        .into_response())
}

/// Gives a key another secret; the old one is dead at once.
pub(super) async fn reset(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<axum::Json<ApiKeySecret>, ApiError> {
    let id = id(&key)?;
    renew(&service, &caller, &headers, id).await.map(axum::Json)
}

/// The same, for whichever face it is asked through.
pub(super) async fn renew(
    service: &Service,
    caller: &Caller,
    headers: &HeaderMap,
    id: i64,
) -> Result<ApiKeySecret, ApiError> {
    let token = Token::random(Kind::Api);
    let headers = headers.clone();
    let check = move |row: &ApiKeyRow| etag::check(&headers, &tag(row));
    let secret = secret(service, &token);
    let touched = service
        .store
        .reset_api_key(caller.actor.clone(), id, secret, check, service.now())
        .await?;
    let row = done(service, caller, "api-key.reset", id, touched).await?;
    tracing::info!(account = caller.account(), api_key = id, "API key reset");
    Ok(ApiKeySecret {
        key: token.reveal().to_owned(),
        about: shown(service, caller, row),
    })
}

/// Shows a key again, to a person who gives the password.
pub(super) async fn reveal(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
    Json(given): Json<PasswordGiven>,
) -> Result<axum::Json<ApiKeySecret>, ApiError> {
    let id = id(&key)?;
    if !service.reveal_api_keys {
        let off = "this service shows a key once only; reset it to have a new one";
        let off = ApiError::new(StatusCode::FORBIDDEN, "reveal-off", off);
        return Err(refused(&service, &caller, "api-key.reveal", Some(id), off).await);
    }
    service.check_password(&caller, given).await?;
    let found = service
        .store
        .reveal_api_key(caller.actor.clone(), id, service.now())
        .await?;
    let (row, kept) = found.ok_or_else(none)?;
    let not_kept = || {
        ApiError::conflict(
            "not-kept",
            "this key was made before keys were kept for their owner; reset it to have a new one",
        )
    };
    let kept = kept.ok_or_else(not_kept)?;
    let token = service.sealing.open_token(&kept.hash, &kept.sealed);
    let token = token.ok_or_else(ApiError::internal)?;
    tracing::info!(account = caller.account(), api_key = id, "API key shown");
    Ok(axum::Json(ApiKeySecret {
        key: token.reveal().to_owned(),
        about: shown(&service, &caller, row),
    }))
}

/// Deletes a key; whoever has it is cut off.
pub(super) async fn delete(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let id = id(&key)?;
    remove(&service, &caller, &headers, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The same, for whichever face it is asked through.
pub(super) async fn remove(
    service: &Service,
    caller: &Caller,
    headers: &HeaderMap,
    id: i64,
) -> Result<(), ApiError> {
    let headers = headers.clone();
    let check = move |row: &ApiKeyRow| etag::check(&headers, &tag(row));
    let touched = service
        .store
        .delete_api_key(caller.actor.clone(), id, check, service.now())
        .await?;
    done(service, caller, "api-key.delete", id, touched).await?;
    tracing::info!(account = caller.account(), api_key = id, "API key deleted");
    Ok(())
}

async fn done(
    service: &Service,
    caller: &Caller,
    action: &'static str,
    id: i64,
    touched: Touched<ApiError>,
) -> Result<ApiKeyRow, ApiError> {
    match touched {
        Touched::Done(row) => Ok(row),
        Touched::NoKey => Err(none()),
        Touched::Wider => Err(wider(service, caller, action, Some(id)).await),
        Touched::Not(error) => Err(error),
    }
}

async fn wider(
    service: &Service,
    caller: &Caller,
    action: &'static str,
    about: Option<i64>,
) -> ApiError {
    let error = ApiError::new(
        StatusCode::FORBIDDEN,
        "wider-than-you",
        "a key has to do only with keys that may do no more than itself, from nowhere else and no \
         longer",
    );
    refused(service, caller, action, about, error).await
}

/// Has the log say so.
async fn refused(
    service: &Service,
    caller: &Caller,
    action: &'static str,
    about: Option<i64>,
    error: ApiError,
) -> ApiError {
    let detail = json!({"why": error.code(), "id": about});
    let actor = caller.actor.clone();
    service.note_refusal(actor, action, detail).await;
    error
}

fn none() -> ApiError {
    ApiError::not_found("the account has no API key of that id")
}

fn secret(service: &Service, token: &Token) -> Secret {
    Secret {
        hash: token.hash(),
        tail: token.tail(),
        sealed: service.sealing.seal_token(token),
    }
}

/// The tag of what can be edited of a key, and of its secret.
fn tag(row: &ApiKeyRow) -> String {
    etag::of(&(
        row.id,
        &row.name,
        &row.rights,
        &row.addresses,
        row.expires_at,
        &row.tail,
    ))
}

/// A key as its account sees it. A tree that cannot be read allows nothing, and is shown as such.
pub(super) fn shown(service: &Service, caller: &Caller, row: ApiKeyRow) -> ApiKey {
    let bearing = Bearing::ApiKey(row.id);
    let (last_used_at, last_used_from) =
        service
            .uses
            .merged(bearing, row.last_used_at, row.last_used_from.clone());
    let none = || Value::Object(serde_json::Map::new());
    ApiKey {
        permissions: limits::rights(&row).map_or_else(none, |rights| rights.to_value()),
        addresses: serde_json::from_str(&row.addresses).unwrap_or_default(),
        current: caller.bearing == bearing,
        id: row.id,
        name: row.name,
        tail: row.tail,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at,
        last_used_from,
    }
}
