//! The REST API: which route is whose, and what holds for all of them.
//!
//! Bodies are `crate::wire`'s. Every refusal is a problem+json with a code and the request's id; a
//! handler that panics is a 500, not a dead connection. Refuses to decide: handlers check a
//! request's form, ask the store, and say what it said.

mod agent_heartbeat;
mod agent_identity;
mod agent_signers;
mod agent_snapshot;
mod error;
mod extract;
mod held;
mod instances;
mod rollout;
mod routes;
mod ssh_keys;
#[cfg(test)]
mod tests;

pub(in crate::service) use error::ApiError;

use super::Service;
use super::listen::Conn;
use super::permissions::Category;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use axum::http::{Request, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use routes::{Access, Routes, right};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Which of our two faces a request is for: they differ in how a token may come, and in how no is
/// said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Face {
    /// `/v1`, and all else.
    V1,
    /// `/api/v0`, Vast's.
    V0,
}

/// What is known of every request.
#[derive(Debug, Clone)]
pub(in crate::service) struct Asked {
    /// Which face it is for.
    pub(in crate::service) face: Face,
    /// Where it comes from, as far as that can be believed.
    pub(in crate::service) from: Option<IpAddr>,
    /// Its id, in the answer and in every log.
    pub(in crate::service) id: String,
}

/// All routes.
pub(super) fn router(service: Service) -> Router {
    let (router, _) = routes(&service).done();
    router
        .fallback(async || ApiError::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "this path does not take this method; Allow names those it takes",
            )
        })
        .layer(middleware::from_fn_with_state(service.clone(), around))
        .with_state(service)
}

/// Which calls there are, and who may make them: interface.md section 4, "Scopes".
fn routes(service: &Service) -> Routes {
    let keys_read = right(Category::UserRead, "api.ssh.keys");
    let keys_write = right(Category::UserWrite, "api.ssh.keys");
    let instances_read = right(Category::InstanceRead, "api.instances");
    let instances_write = right(Category::InstanceWrite, "api.instances");
    Routes::new(service.clone())
        .get("/healthz", Access::Anyone, async || "ok\n")
        .get("/readyz", Access::Anyone, ready)
        .get("/v1/ssh-keys", keys_read, ssh_keys::list)
        .post("/v1/ssh-keys", keys_write, ssh_keys::save)
        .get("/v1/ssh-keys/{id}", keys_read, ssh_keys::show)
        .delete("/v1/ssh-keys/{id}", keys_write, ssh_keys::delete)
        .post("/v1/ssh-keys/{id}/revoke", keys_write, ssh_keys::revoke)
        .get("/v1/ssh-keys/{id}/rollout", keys_read, rollout::show)
        .get("/v1/instances", instances_read, instances::list)
        .post("/v1/instances", instances_write, instances::create)
        .get("/v1/instances/{id}", instances_read, instances::show)
        .delete("/v1/instances/{id}", instances_write, instances::remove)
        .post("/v1/agent/enroll", Access::Anyone, agent_identity::enroll)
        .get("/v1/agent/nonce", Access::Anyone, agent_identity::nonce)
        .post("/v1/agent/renew", Access::Anyone, agent_identity::renew)
        .get("/v1/agent/snapshot", Access::Agent, agent_snapshot::show)
        .get("/v1/agent/signers", Access::Agent, agent_signers::list)
        .post("/v1/agent/heartbeat", Access::Agent, agent_heartbeat::take)
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
async fn around(
    State(service): State<Service>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    let id = format!("{:016x}", rand::random::<u64>());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let face = if path.starts_with("/api/") {
        Face::V0
    } else {
        Face::V1
    };
    let conn = request.extensions().get::<Conn>();
    let from = conn.map(|conn| service.believed(conn.peer.ip(), request.headers()));
    request.extensions_mut().insert(Asked {
        face,
        from,
        id: id.clone(),
    });
    let mut response = caught(next.run(request)).await;
    // The router's own refusal, in its own words: a path that is no UTF-8.
    if response.status() == StatusCode::BAD_REQUEST
        && response.extensions().get::<ApiError>().is_none()
    {
        response = ApiError::bad("bad-path", "the path is not UTF-8").into_response();
    }
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        let mut rendered = error.render(&id, face);
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
