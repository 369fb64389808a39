//! `/v1/sessions`: who and what is logged in to the account, and cutting it off.

use super::super::Service;
use super::super::auth::{Bearing, Caller};
use super::super::permissions::Permissions;
use super::super::store::{PersonSession, SessionKind};
use super::ApiError;
use super::extract::{Params, id};
use super::login::clear_cookie;
use crate::wire::{AccountSession, Page, SessionDevice};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

/// All sessions, people's and agents', by id.
pub(super) async fn list(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Page<AccountSession>>, ApiError> {
    let now = service.now();
    service.hear_others(caller.account()).await?;
    let rows = service.store.sessions(caller.account(), now).await?;
    let shown = |row| shown(&service, &caller, row, now);
    Ok(axum::Json(Page::whole(
        rows.into_iter().map(shown).collect(),
    )))
}

/// Deletes one.
pub(super) async fn delete(
    caller: Caller,
    State(service): State<Service>,
    Path(session): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    end(&service, caller, id(&session)?, &headers).await
}

/// Logs out.
pub(super) async fn delete_current(
    caller: Caller,
    State(service): State<Service>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Bearing::Session(session, _) = caller.bearing else {
        let detail = "an API key is no session; delete it under /v1/api-keys";
        return Err(ApiError::not_found(detail));
    };
    end(&service, caller, session, &headers).await
}

/// `?others=true`.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    others: bool,
}

/// Deletes all sessions of people but the caller's own. Agents stay: their keys are not a person's
/// login.
pub(super) async fn delete_others(
    caller: Caller,
    State(service): State<Service>,
    Params(which): Params<Which>,
) -> Result<StatusCode, ApiError> {
    if !which.others {
        let detail = "say ?others=true to end all sessions but this one";
        return Err(ApiError::bad("which-sessions", detail));
    }
    contains(&service, &caller, &Permissions::all(), "/v1/sessions").await?;
    let keep = match caller.bearing {
        Bearing::Session(session, _) => Some(session),
        Bearing::ApiKey(_) => None,
    };
    let account = caller.account();
    let store = &service.store;
    let ended = store
        .delete_other_sessions(caller.actor, keep, service.now())
        .await?;
    tracing::info!(account, ended, "sessions deleted");
    Ok(StatusCode::NO_CONTENT)
}

async fn end(
    service: &Service,
    caller: Caller,
    session: i64,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let none = || ApiError::not_found("the account has no session of that id");
    let (account, now) = (caller.account(), service.now());
    let found = service.store.session_of_id(account, session).await?;
    let rights = match found.ok_or_else(none)?.kind {
        SessionKind::Browser | SessionKind::Cli => Permissions::all(),
        // What it cuts off is an instance.
        SessionKind::Agent => instance_write(),
    };
    let path = format!("/v1/sessions/{session}");
    contains(service, &caller, &rights, &path).await?;
    let own = matches!(caller.bearing, Bearing::Session(id, _) if id == session);
    let gone = service
        .store
        .delete_session(caller.actor, session, now)
        .await?
        .ok_or_else(none)?;
    let kind = gone.kind.word();
    tracing::info!(account, session, kind, "session deleted");
    let mut response = StatusCode::NO_CONTENT.into_response();
    if own && gone.kind == SessionKind::Browser {
        clear_cookie(service, headers, &mut response);
    }
    Ok(response)
}

/// Whether the caller may do all that the bearer of `rights` may.
async fn contains(
    service: &Service,
    caller: &Caller,
    rights: &Permissions,
    path: &str,
) -> Result<(), ApiError> {
    if caller.rights.contains(rights) {
        return Ok(());
    }
    let error = ApiError::new(
        StatusCode::FORBIDDEN,
        "wider-than-you",
        "this session may do more than the key that would delete it",
    );
    service.refused(caller, &Method::DELETE, path, &error).await;
    Err(error)
}

fn instance_write() -> Permissions {
    Permissions::parse(&json!({"api": {"instance_write": {}}}))
        .expect("an object of objects is a permission tree")
}

fn shown(service: &Service, caller: &Caller, row: PersonSession, now: Timestamp) -> AccountSession {
    let token = Bearing::Session(row.id, row.kind);
    let (mut last_seen, address) = service.uses.merged(token, row.last_seen, row.address);
    if let Some(instance) = row.instance {
        last_seen = service
            .board
            .look(instance, true, now)
            .last_seen
            .or(last_seen);
    }
    AccountSession {
        id: row.id,
        kind: row.kind.word().to_owned(),
        device: SessionDevice {
            name: row.name,
            os: row.os,
            address,
        },
        instance: row.instance,
        created_at: row.created_at,
        last_seen,
        expires_at: row.expires_at,
        current: token == caller.bearing,
    }
}
