//! Host keys: certificates for the agent that serves them, the owner's word, what is revoked.

use super::super::Service;
use super::super::auth::{Agent, Caller};
use super::super::host_keys;
use super::super::permissions::{Category, Endpoint};
use super::super::store::HostKeyRow;
use super::extract::{Json, Params, id};
use super::{ApiError, Asked, names};
use crate::wire::{
    ApproveHostKey, HostCertificatesAnswer, HostCertificatesRequest, HostKey, Page, RevokedHostKey,
};
use axum::extract::{Extension, Path, State};
use axum::http::{Method, StatusCode};
use serde::Deserialize;

/// What a key must be allowed beside the instance: a host's name is what people log in by.
const OWNERS_WORD: Endpoint = Endpoint {
    category: Category::UserWrite,
    name: names::HOST_KEYS,
};

/// Bytes of an agent's request: eight keys.
const LIMIT: usize = 64 * 1024;

/// Certificates for the host keys that an agent's sshd serves.
pub(super) async fn certify(
    Agent { session: agent, .. }: Agent,
    Extension(asked): Extension<Asked>,
    State(service): State<Service>,
    Json(body): Json<HostCertificatesRequest, LIMIT>,
) -> Result<axum::Json<HostCertificatesAnswer>, ApiError> {
    let keys = host_keys::parse(&body.keys)?;
    service.take_run(&agent, &body.run, &asked).await?;
    let answer = service.certify_hosts(&agent, &asked, keys).await?;
    Ok(axum::Json(answer))
}

/// The owner's word.
pub(super) async fn approve(
    caller: Caller,
    State(service): State<Service>,
    Path(instance): Path<String>,
    Json(body): Json<ApproveHostKey>,
) -> Result<StatusCode, ApiError> {
    decide(&service, &caller, (&instance, body.fingerprint), true).await
}

/// `?fingerprint=SHA256:…`.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    fingerprint: String,
}

/// The owner's no.
pub(super) async fn refuse(
    caller: Caller,
    State(service): State<Service>,
    Path(instance): Path<String>,
    Params(which): Params<Which>,
) -> Result<StatusCode, ApiError> {
    decide(&service, &caller, (&instance, which.fingerprint), false).await
}

async fn decide(
    service: &Service,
    caller: &Caller,
    (instance, fingerprint): (&str, String),
    approve: bool,
) -> Result<StatusCode, ApiError> {
    let method = match approve {
        true => Method::POST,
        false => Method::DELETE,
    };
    if !caller
        .rights
        .allows(OWNERS_WORD, method.as_str(), &|_| None)
    {
        let error = ApiError::new(
            StatusCode::FORBIDDEN,
            "scope",
            "a word on a host key takes user_write beside instance_write",
        );
        let path = format!("/v1/instances/{instance}/host-keys");
        service.refused(caller, &method, &path, &error).await;
        return Err(error);
    }
    let instance = id(instance)?;
    let (actor, now) = (caller.actor.clone(), service.now());
    let decided = service
        .store
        .decide_host_key(actor, instance, fingerprint, approve, now);
    if !decided.await? {
        return Err(ApiError::not_found(
            "the account has no instance of that id with a host key of that fingerprint",
        ));
    }
    tracing::info!(account = caller.account(), instance, approve, "host key");
    Ok(StatusCode::NO_CONTENT)
}

/// Host keys that nobody is to believe any more.
pub(super) async fn revoked(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Page<RevokedHostKey>>, ApiError> {
    let rows = service
        .store
        .revoked_host_keys(caller.account(), service.now())
        .await?;
    let items = rows.into_iter().map(|row| RevokedHostKey {
        instance: row.instance,
        public_key: row.public_key,
        names: row.names,
        until: row.until,
    });
    Ok(axum::Json(Page::whole(items.collect())))
}

/// As an instance's owner sees them.
pub(super) fn shown(rows: Vec<HostKeyRow>) -> Vec<HostKey> {
    let shown = |row: HostKeyRow| HostKey {
        key_type: row.key_type,
        fingerprint: row.fingerprint,
        public_key: row.public_key,
        state: row.state,
        since: row.since,
        also_on: row.also_on,
        serial: row.given.as_ref().map(|given| given.serial),
        valid_before: row.given.map(|given| given.valid_before),
    };
    rows.into_iter().map(shown).collect()
}
