//! How the API says no: RFC 9457 problem details.
//!
//! A 4xx says what was wrong with the request. A 5xx says only the request's id; what happened
//! stands in the log under the same id.

use super::super::store::StoreError;
use super::Face;
use crate::sys::clock;
use crate::wire::Problem;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A refusal on its way out. As a response it has no body yet: the request's id is put in by the
/// layer around all routes, with [`ApiError::render`].
#[derive(Debug, Clone)]
pub(in crate::service) struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    retry_after: Option<u32>,
    /// The id of what stands in the way.
    about: Option<i64>,
    /// The token is one of a session that is over.
    ended: bool,
    internal: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl ApiError {
    /// Any refusal.
    pub(in crate::service) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            retry_after: None,
            about: None,
            ended: false,
            internal: None,
        }
    }

    /// 400.
    pub(in crate::service) fn bad(
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401, the same for every reason: nothing is learnt by trying.
    pub(in crate::service) fn unauthorized() -> Self {
        let detail = "no valid token; send Authorization: Bearer with one that was not deleted";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// 401 for a session that is over; the old face has a word of its own for it.
    pub(in crate::service) fn session_ended() -> Self {
        Self {
            ended: true,
            ..Self::unauthorized()
        }
    }

    /// A stable word for programs.
    pub(in crate::service) fn code(&self) -> &'static str {
        self.code
    }

    /// 403.
    pub(in crate::service) fn forbidden(detail: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 409: two agents speak for one instance.
    pub(in crate::service) fn twin() -> Self {
        let detail = "another run has taken over this instance: this machine is a copy of it, or \
                      it of this one; enrol this one anew with a token of its own";
        Self::new(StatusCode::CONFLICT, "clone", detail)
    }

    /// 404.
    pub(in crate::service) fn not_found(detail: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// 409.
    pub(in crate::service) fn conflict(
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// The same, of the thing with this id.
    pub(super) fn about(self, id: i64) -> Self {
        Self {
            about: Some(id),
            ..self
        }
    }

    /// 429, with seconds to wait.
    pub(in crate::service) fn too_many(
        code: &'static str,
        detail: &'static str,
        retry_after: u32,
    ) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail)
        }
    }

    /// 500.
    pub(in crate::service) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "")
    }

    /// The whole answer to the request of this id.
    pub(super) fn render(&self, request_id: &str, face: Face) -> Response {
        let server = self.status.is_server_error();
        let detail = if server {
            format!("not done; the service's log says why, under request {request_id}")
        } else {
            self.detail.clone().into_owned()
        };
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: self
                .status
                .canonical_reason()
                .unwrap_or_default()
                .to_owned(),
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            detail,
            id: self.about,
            request_id: Some(request_id.to_owned()),
        };
        if server {
            let error = self
                .internal
                .as_deref()
                .map(|e| e as &dyn std::error::Error);
            if first_this_second() {
                tracing::error!(request_id, code = self.code, error, "request");
            } else {
                tracing::debug!(request_id, code = self.code, error, "request");
            }
        }
        let mut response = match face {
            Face::V1 => self.as_problem(&problem),
            Face::V0 => self.as_vast(&problem.detail),
        };
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl ApiError {
    /// RFC 9457.
    fn as_problem(&self, problem: &Problem) -> Response {
        let body = serde_json::to_vec(problem).unwrap_or_default();
        let json = HeaderValue::from_static("application/problem+json");
        (self.status, [(CONTENT_TYPE, json)], body).into_response()
    }

    /// As Vast's clients read it: they look at `msg`, and at two of its texts to the letter.
    fn as_vast(&self, detail: &str) -> Response {
        let (status, msg) = match self.status {
            StatusCode::UNAUTHORIZED if self.ended => (
                StatusCode::NOT_FOUND,
                "Session expired. Please log in again.",
            ),
            StatusCode::UNAUTHORIZED if self.code == "unauthorized" => {
                (self.status, "Invalid user key")
            }
            _ => (self.status, detail),
        };
        let error = self.code.replace('-', "_");
        let body = serde_json::json!({"success": false, "error": error, "msg": msg});
        (status, axum::Json(body)).into_response()
    }
}

/// Callers may bring about any number of 5xx; the log gets one a second above `debug`.
fn first_this_second() -> bool {
    static LAST: AtomicU64 = AtomicU64::new(u64::MAX);
    let now = clock::monotonic().as_secs();
    LAST.swap(now, Ordering::Relaxed) != now
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let (status, code, retry_after) = match &error {
            StoreError::Busy | StoreError::Conflict(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "busy", Some(5))
            }
            StoreError::Unavailable(_) | StoreError::Signers => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", Some(5))
            }
            StoreError::Full => (StatusCode::INSUFFICIENT_STORAGE, "no-room", Some(60)),
            StoreError::Fault(_)
            | StoreError::Newer(_)
            | StoreError::File { .. }
            | StoreError::Thread(_)
            | StoreError::Lost => (StatusCode::INTERNAL_SERVER_ERROR, "internal", None),
        };
        Self {
            retry_after,
            internal: Some(Arc::new(error)),
            ..Self::new(status, code, "")
        }
    }
}
