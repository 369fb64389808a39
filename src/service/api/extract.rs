//! What handlers take in: JSON bodies and query parameters, limited and refused in our own words.

use super::super::Service;
use super::super::auth::Caller;
use super::ApiError;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Query};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Bytes of a body, where nothing smaller is said.
pub(super) const BODY: usize = 1024 * 1024;

/// How long a body may take to arrive.
pub(super) const BODY_TIME: Duration = Duration::from_secs(30);

/// A JSON body of at most `LIMIT` bytes. The door looked at the token before the body was there:
/// one that ended since is refused, so that nobody keeps a call open to make it afterwards.
pub(super) struct Json<T, const LIMIT: usize = BODY>(pub(super) T);

impl<T: DeserializeOwned, const LIMIT: usize> FromRequest<Service> for Json<T, LIMIT> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, service: &Service) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "send Content-Type: application/json",
            ));
        }
        let caller = request.extensions().get::<Caller>().cloned();
        let body = Limited::new(request.into_body(), LIMIT).collect();
        let Ok(body) = tokio::time::timeout(BODY_TIME, body).await else {
            return Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "the body did not arrive in time",
            ));
        };
        let bytes = match body {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(ApiError::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "too-large",
                    format!("the body is over {LIMIT} bytes"),
                ));
            }
            Err(_) => return Err(ApiError::bad("cut-off", "the body ended too soon")),
        };
        if let Some(caller) = caller {
            service.still(&caller).await?;
        }
        parse(serde_json::from_slice(&bytes)).map(Self)
    }
}

/// Takes JSON that was parsed, or refuses in our words.
pub(super) fn parse<T>(parsed: Result<T, serde_json::Error>) -> Result<T, ApiError> {
    parsed.map_err(|error| ApiError::bad("bad-json", format!("the body: {error}")))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    value
        .and_then(|v| v.split(';').next())
        .is_some_and(|v| v.trim().eq_ignore_ascii_case("application/json"))
}

/// Query parameters.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::of(&parts.uri)
    }
}

impl<T: DeserializeOwned> Params<T> {
    /// Those of this target.
    ///
    /// # Errors
    /// 400: they are not what is asked for.
    pub(super) fn of(uri: &Uri) -> Result<Self, ApiError> {
        let read: Result<Query<T>, QueryRejection> = Query::try_from_uri(uri);
        match read {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(ApiError::bad("bad-query", error.body_text())),
        }
    }
}

/// An id out of the path; text that is none is the id of nothing.
pub(super) fn id(text: &str) -> Result<i64, ApiError> {
    text.parse()
        .map_err(|_| ApiError::not_found("nothing has that id"))
}
