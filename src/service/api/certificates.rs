//! `/v1/certificates`, `/v1/ca`, `/v1/krl`: what an account's CAs sign, and what of it is revoked;
//! and what of that agents fetch.

use super::super::Service;
use super::super::auth::{Agent, Caller};
use super::super::rotation;
use super::super::store::{CertificatesRevoked, MAX_KEY_ID, Revocation, RevokedText, Which};
use super::ApiError;
use super::extract::{Json, Params};
use super::ssh_keys::{Deletion, too_many_revoked};
use crate::keys::PublicKey;
use crate::trust::Krl;
use crate::wire::{Cas, NewUserCertificate, Probes, RevokeCertificates, RotateCa, UserCertificate};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;

/// Bodies here are small: a key and a time.
const LIMIT: usize = 32 * 1024;

/// A list of a digest never changes; it is the account's own.
const IMMUTABLE: &str = "private, max-age=86400, immutable";

/// Signs a user's certificate.
pub(super) async fn user(
    caller: Caller,
    State(service): State<Service>,
    Json(new): Json<NewUserCertificate, LIMIT>,
) -> Result<(StatusCode, axum::Json<UserCertificate>), ApiError> {
    let made = service.certify_user(&caller, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

/// Revokes certificates, and with a key's text the key itself; with `end_sessions` the sessions that
/// they opened end. Those of a key that is revoked always do.
pub(super) async fn revoke(
    caller: Caller,
    State(service): State<Service>,
    Params(ending): Params<Deletion>,
    Json(body): Json<RevokeCertificates, LIMIT>,
) -> Result<StatusCode, ApiError> {
    let (account, now) = (caller.account(), service.now());
    let none = || ApiError::not_found("the account has no user certificate of that serial");
    let which = match (body.serial, body.key_id, body.public_key) {
        (Some(serial), None, None) => Which::Serial(i64::try_from(serial).map_err(|_| none())?),
        (None, Some(key_id), None) => Which::KeyId(checked(key_id)?),
        (None, None, Some(text)) => {
            return revoke_key(caller, &service, &text).await;
        }
        _ => {
            let detail = "give exactly one of serial, key_id, public_key";
            return Err(ApiError::bad("which", detail));
        }
    };
    let end = ending.end_sessions;
    let revoked = service
        .store
        .revoke_certificates(caller.actor, which, end, now);
    match revoked.await? {
        CertificatesRevoked::Done(count, order) => {
            tracing::info!(account, count, order, "certificates revoked");
            Ok(StatusCode::NO_CONTENT)
        }
        CertificatesRevoked::NoCertificate => Err(none()),
        CertificatesRevoked::TooMany => Err(ApiError::conflict(
            "too-many-revoked",
            "as many key IDs, or orders to end sessions, are listed as may be, and nothing \
             changed; revoke by serial, without end_sessions, or delete the session that got them",
        )),
    }
}

async fn revoke_key(caller: Caller, service: &Service, text: &str) -> Result<StatusCode, ApiError> {
    let (account, now) = (caller.account(), service.now());
    let (key, _) = PublicKey::parse_text(text)
        .map_err(|error| ApiError::bad(error.code(), format!("public_key: {error}")))?;
    let fingerprint = key.fingerprint();
    let revoked = service
        .store
        .revoke_fingerprint(caller.actor, fingerprint, now);
    let order = match revoked.await? {
        RevokedText::Key(Revocation::Done(_, order)) | RevokedText::Done(order) => order,
        // Taken out by another call meanwhile.
        RevokedText::Key(Revocation::NoKey) | RevokedText::Already => {
            return Ok(StatusCode::NO_CONTENT);
        }
        RevokedText::Key(Revocation::TooMany) | RevokedText::TooMany => {
            return Err(too_many_revoked());
        }
    };
    tracing::info!(account, %fingerprint, order, "key revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// One that a certificate may have.
fn checked(key_id: String) -> Result<String, ApiError> {
    let is_plain =
        !key_id.is_empty() && key_id.len() <= MAX_KEY_ID && !key_id.chars().any(char::is_control);
    is_plain.then_some(key_id).ok_or_else(|| {
        let detail = format!("key_id has 1 to {MAX_KEY_ID} bytes, and no control characters");
        ApiError::bad("bad-key-id", detail)
    })
}

/// The account's CAs.
pub(super) async fn cas(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Cas>, ApiError> {
    Ok(axum::Json(service.shown_cas(caller.account()).await?))
}

/// Begins to replace a CA.
pub(super) async fn rotate(
    caller: Caller,
    State(service): State<Service>,
    Json(body): Json<RotateCa, LIMIT>,
) -> Result<(StatusCode, axum::Json<Cas>), ApiError> {
    service.check_password(&caller, body.person).await?;
    let role = rotation::role(body.role);
    let actor = caller.actor.clone();
    match body.compromised {
        true => Box::pin(service.replace_cas(actor, role)).await?,
        false => Box::pin(service.rotate_ca(actor, role)).await?,
    }
    let cas = service.shown_cas(caller.account()).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(cas)))
}

/// The revocation list, as sshd reads it; one that revokes nothing where the account has none.
pub(super) async fn krl(
    caller: Caller,
    State(service): State<Service>,
) -> Result<Response, ApiError> {
    let (account, now) = (caller.account(), service.now());
    let head = service.store.head(account).await?;
    let revision = head.map_or(0, |head| head.revision);
    let signed = service
        .snapshots
        .current(&service.store, account, revision, now)
        .await?;
    let bytes = match &signed.krl {
        Some(krl) => krl.bytes.clone(),
        None => Krl::default().encode().into(),
    };
    Ok(file(bytes, "no-cache"))
}

/// The revocation list of this digest: of an agent's own account.
pub(super) async fn krl_file(
    Agent { session: agent, .. }: Agent,
    State(service): State<Service>,
    Path(sha256): Path<String>,
) -> Result<Response, ApiError> {
    let found = service
        .snapshots
        .krl(&service.store, agent.account, &sha256, service.now());
    let found = found.await?.ok_or_else(|| {
        ApiError::not_found("no list of that digest is in force; ask for the snapshot again")
    })?;
    Ok(file(found.bytes.clone(), IMMUTABLE))
}

/// What the instance's sshd can be asked about.
pub(super) async fn probes(
    Agent { session: agent, .. }: Agent,
    State(service): State<Service>,
) -> Result<axum::Json<Probes>, ApiError> {
    let probes = service.probes(agent.account).await?;
    Ok(axum::Json(Probes { probes }))
}

fn file(bytes: Bytes, cached: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/octet-stream"),
        (CACHE_CONTROL, cached),
    ];
    (headers, bytes).into_response()
}
