//! The REST API: which route is whose, and what holds for all of them.
//!
//! Bodies are `crate::wire`'s. Every refusal is a problem+json with a code and the request's id; a
//! handler that panics is a 500, not a dead connection. Refuses to decide: handlers check a
//! request's form, ask the store, and say what it said.

mod account;
mod account_sessions;
mod agent_heartbeat;
mod agent_identity;
mod agent_signers;
mod agent_snapshot;
mod api_keys;
mod around;
mod audit;
mod certificates;
mod compat;
mod error;
mod etag;
mod events;
mod extract;
mod held;
mod host_keys;
mod idempotency;
mod install;
mod instances;
mod limits;
mod login;
mod metrics;
mod names;
mod openapi;
mod reads;
mod rollout;
mod routes;
mod ssh_keys;
#[cfg(test)]
pub(in crate::service) mod tests;

pub(in crate::service) use error::ApiError;
pub(in crate::service) use held::has as has_etag;

use super::Service;
use super::permissions::Category;
use super::store::Speaker;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use routes::{Access, Routes, person, right};
use std::net::IpAddr;

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

impl Asked {
    /// The same of an agent, for the store.
    pub(in crate::service) fn speaker(&self) -> Speaker {
        Speaker {
            from: self.from,
            request: self.id.clone(),
        }
    }
}

/// All routes.
pub(super) fn router(service: Service) -> Router {
    let (router, _) = routes().done();
    router
        .merge(super::console::routes())
        .fallback(async || ApiError::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "this path does not take this method; Allow names those it takes",
            )
        })
        .layer(around::layer(service.clone()))
        .with_state(service)
}

/// Which calls there are, and who may make them: interface.md section 4, "Scopes".
fn routes() -> Routes {
    let keys_read = right(Category::UserRead, names::SSH_KEYS);
    let keys_write = right(Category::UserWrite, names::SSH_KEYS);
    let api_keys_read = right(Category::UserRead, names::API_KEYS);
    let api_keys_write = right(Category::UserWrite, names::API_KEYS);
    let api_keys_person = person(Category::UserWrite, names::API_KEYS);
    let sessions_read = right(Category::UserRead, names::SESSIONS);
    let sessions_write = right(Category::UserWrite, names::SESSIONS);
    let own_account = person(Category::UserWrite, names::ACCOUNT);
    let certificates_write = right(Category::UserWrite, names::CERTIFICATES);
    let ca_read = right(Category::UserRead, names::CA);
    let ca_person = person(Category::UserWrite, names::CA);
    let instances_read = right(Category::InstanceRead, names::INSTANCES);
    let instances_write = right(Category::InstanceWrite, names::INSTANCES);
    let audit_read = right(Category::Misc, names::AUDIT);
    let events_read = right(Category::Misc, names::EVENTS);
    compat::routes(Routes::new())
        .get("/healthz", Access::Anyone, async || "ok\n")
        .get("/readyz", Access::Anyone, ready)
        .post("/v1/login", Access::Anyone, login::log_in)
        .post("/v1/sign-up", Access::Anyone, login::sign_up)
        .get("/v1/account", Access::AnyKey, account::show)
        .post(
            "/v1/account/password",
            own_account,
            account::change_password,
        )
        .get("/v1/account/totp", own_account, account::totp)
        .post("/v1/account/totp", own_account, account::begin_totp)
        .delete("/v1/account/totp", own_account, account::remove_totp)
        .post(
            "/v1/account/totp/confirm",
            own_account,
            account::confirm_totp,
        )
        .get("/v1/sessions", sessions_read, account_sessions::list)
        .delete(
            "/v1/sessions",
            sessions_write,
            account_sessions::delete_others,
        )
        .delete(
            "/v1/sessions/current",
            sessions_write,
            account_sessions::delete_current,
        )
        .delete(
            "/v1/sessions/{id}",
            sessions_write,
            account_sessions::delete,
        )
        .get("/metrics", Access::Anyone, metrics::show)
        .get("/openapi.json", Access::Anyone, openapi::show)
        .get("/v1/ssh-keys", keys_read, ssh_keys::list)
        .post("/v1/ssh-keys", keys_write, ssh_keys::save)
        .get("/v1/ssh-keys/{id}", keys_read, ssh_keys::show)
        .patch("/v1/ssh-keys/{id}", keys_write, ssh_keys::edit)
        .delete("/v1/ssh-keys/{id}", keys_write, ssh_keys::delete)
        .post("/v1/ssh-keys/{id}/revoke", keys_write, ssh_keys::revoke)
        .get("/v1/ssh-keys/{id}/rollout", keys_read, rollout::show)
        .get("/v1/api-keys", api_keys_read, api_keys::list)
        .post("/v1/api-keys", api_keys_write, api_keys::create)
        .get("/v1/api-keys/{id}", api_keys_read, api_keys::show)
        .patch("/v1/api-keys/{id}", api_keys_write, api_keys::edit)
        .delete("/v1/api-keys/{id}", api_keys_write, api_keys::delete)
        .post("/v1/api-keys/{id}/reset", api_keys_write, api_keys::reset)
        .post(
            "/v1/api-keys/{id}/reveal",
            api_keys_person,
            api_keys::reveal,
        )
        .get("/v1/audit", audit_read, audit::list)
        .get("/v1/events", events_read, events::stream)
        .get("/v1/instances", instances_read, instances::list)
        .post("/v1/instances", instances_write, instances::create)
        .get("/v1/instances/{id}", instances_read, instances::show)
        .patch("/v1/instances/{id}", instances_write, instances::edit)
        .delete("/v1/instances/{id}", instances_write, instances::remove)
        .post(
            "/v1/instances/{id}/host-keys",
            instances_write,
            host_keys::approve,
        )
        .delete(
            "/v1/instances/{id}/host-keys",
            instances_write,
            host_keys::refuse,
        )
        .get("/v1/host-keys/revoked", ca_read, host_keys::revoked)
        .put(
            "/v1/instances/{id}/ssh-keys/{key}",
            instances_write,
            instances::attach,
        )
        .delete(
            "/v1/instances/{id}/ssh-keys/{key}",
            instances_write,
            instances::detach,
        )
        .post(
            "/v1/certificates/user",
            certificates_write,
            certificates::user,
        )
        .post(
            "/v1/certificates/revoke",
            certificates_write,
            certificates::revoke,
        )
        .get("/v1/ca", ca_read, certificates::cas)
        .post("/v1/ca/rotate", ca_person, certificates::rotate)
        .get("/v1/krl", ca_read, certificates::krl)
        .get("/install", Access::Anyone, install::script)
        .get("/install/{program}", Access::Anyone, install::program)
        .post("/v1/agent/enroll", Access::Anyone, agent_identity::enroll)
        .get("/v1/agent/nonce", Access::Anyone, agent_identity::nonce)
        .post("/v1/agent/renew", Access::Anyone, agent_identity::renew)
        .get("/v1/agent/snapshot", Access::Agent, agent_snapshot::Show)
        .get("/v1/agent/signers", Access::Agent, agent_signers::list)
        .post("/v1/agent/heartbeat", Access::Agent, agent_heartbeat::take)
        .post(
            "/v1/agent/host-certificates",
            Access::Agent,
            host_keys::certify,
        )
        .get(
            "/v1/agent/krl/{sha256}",
            Access::Agent,
            certificates::krl_file,
        )
        .get("/v1/agent/probes", Access::Agent, certificates::probes)
}

/// Whether the store answers.
async fn ready(State(service): State<Service>) -> Result<String, ApiError> {
    match service.store.ping().await {
        Ok(()) => Ok(match service.store.warning() {
            None => "ok\n".to_owned(),
            Some(warning) => format!("ok\n{warning}\n"),
        }),
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
