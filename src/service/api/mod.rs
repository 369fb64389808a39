//! The REST API: which route is whose, and what holds for all of them.
//!
//! Bodies are `crate::wire`'s. Every refusal is a problem+json with a code and the request's id; a
//! handler that panics is a 500, not a dead connection. Refuses to decide: handlers check a
//! request's form, ask the store, and say what it said.

mod agent_heartbeat;
mod agent_identity;
mod agent_snapshot;
mod error;
mod extract;
mod held;
mod instances;
mod rollout;
mod ssh_keys;
#[cfg(test)]
mod tests;

pub(in crate::service) use error::ApiError;

use super::Service;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use axum::http::{Request, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// All routes.
pub(super) fn router(service: Service) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/v1/ssh-keys", get(ssh_keys::list).post(ssh_keys::save))
        .route(
            "/v1/ssh-keys/{id}",
            get(ssh_keys::show).delete(ssh_keys::delete),
        )
        .route("/v1/ssh-keys/{id}/revoke", post(ssh_keys::revoke))
        .route("/v1/ssh-keys/{id}/rollout", get(rollout::show))
        .route(
            "/v1/instances",
            get(instances::list).post(instances::create),
        )
        .route(
            "/v1/instances/{id}",
            get(instances::show).delete(instances::remove),
        )
        .route("/v1/agent/enroll", post(agent_identity::enroll))
        .route("/v1/agent/nonce", get(agent_identity::nonce))
        .route("/v1/agent/renew", post(agent_identity::renew))
        .route("/v1/agent/snapshot", get(agent_snapshot::show))
        .route("/v1/agent/heartbeat", post(agent_heartbeat::take))
        .fallback(async || ApiError::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "this path does not take this method; Allow names those it takes",
            )
        })
        .layer(middleware::from_fn(around))
        .with_state(service)
}

/// Whether the store answers.
async fn ready(State(service): State<Service>) -> Result<&'static str, ApiError> {
    match service.store.ping().await {
        Ok(()) => Ok("ok\n"),
        Err(error) => {
            tracing::debug!(%error, "not ready");
            Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not-ready",
                "",
            ))
        }
    }
}

/// Around every request: its id, its refusal's text, its panic, its line in the log.
async fn around(request: Request<Body>, next: Next) -> Response {
    let id = format!("{:016x}", rand::random::<u64>());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let mut response = caught(next.run(request)).await;
    // The router's own refusal, in its own words: a path that is no UTF-8.
    if response.status() == StatusCode::BAD_REQUEST
        && response.extensions().get::<ApiError>().is_none()
    {
        response = ApiError::bad("bad-path", "the path is not UTF-8").into_response();
    }
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        let mut rendered = error.render(&id);
        // What the router set beside it, as Allow.
        for (name, value) in response.headers() {
            if !rendered.headers().contains_key(name) {
                rendered.headers_mut().insert(name, value.clone());
            }
        }
        response = rendered;
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    let status = response.status().as_u16();
    tracing::debug!(request_id = id, %method, path, status, "request");
    response
}

/// Turns a panic of a handler into a 500. What it leaves behind is the store's, which rolls back,
/// or stands under locks whose every step is whole.
async fn caught(handler: impl Future<Output = Response>) -> Response {
    let mut handler = pin!(handler);
    std::future::poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context)))
            .unwrap_or_else(|_| Poll::Ready(ApiError::internal().into_response()))
    })
    .await
}
