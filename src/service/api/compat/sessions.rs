//! `/api/v0/auth/sessions/`: who is logged in. No public page of Vast's says what its fields are
//! called, so the names are ours; there is no path for a single one, so the id comes in the body or
//! in the query.

use super::super::extract::{Json, Params};
use super::super::{ApiError, account_sessions};
use super::{Done, done, epoch};
use crate::service::Service;
use crate::service::auth::Caller;
use crate::wire::AccountSession;
use axum::body::Body;
use axum::extract::{FromRequest as _, Path, State};
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

/// A session, without its key.
#[derive(Debug, Serialize)]
struct Session {
    id: i64,
    user_id: i64,
    kind: String,
    created_at: f64,
    last_seen: Option<f64>,
    expires_at: Option<f64>,
    ip: String,
    user_agent: String,
    os: String,
    instance_id: Option<i64>,
    current: bool,
}

/// `{"sessions": […]}`.
#[derive(Debug, Serialize)]
pub(super) struct Sessions {
    success: bool,
    sessions: Vec<Session>,
}

/// All sessions.
pub(super) async fn list(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Sessions>, ApiError> {
    let account = caller.account();
    let axum::Json(page) = account_sessions::list(caller, State(service)).await?;
    let session = |session: AccountSession| Session {
        id: session.id,
        user_id: account,
        kind: session.kind,
        created_at: epoch(session.created_at),
        last_seen: session.last_seen.map(epoch),
        expires_at: session.expires_at.map(epoch),
        ip: session.device.address,
        user_agent: session.device.name,
        os: session.device.os,
        instance_id: session.instance,
        current: session.current,
    };
    Ok(axum::Json(Sessions {
        success: true,
        sessions: page.items.into_iter().map(session).collect(),
    }))
}

/// `{"id": 5}`, or `?id=5`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    id: Option<i64>,
}

/// Deletes one.
pub(super) async fn delete(
    caller: Caller,
    State(service): State<Service>,
    Params(named): Params<Which>,
    request: Request<Body>,
) -> Result<axum::Json<Done>, ApiError> {
    let headers = request.headers().clone();
    let given = if headers.contains_key(CONTENT_TYPE) {
        let Json(given): Json<Which> = Json::from_request(request, &service).await?;
        given
    } else {
        Which::default()
    };
    let id = match (named.id, given.id) {
        (Some(id), None) | (None, Some(id)) => id,
        (Some(id), Some(same)) if id == same => id,
        _ => {
            return Err(ApiError::bad(
                "invalid-request",
                "name one session: {\"id\": 5} in the body, or ?id=5",
            ));
        }
    };
    account_sessions::delete(caller, State(service), Path(id.to_string()), headers).await?;
    Ok(done("Session deleted."))
}
