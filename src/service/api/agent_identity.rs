//! `/v1/agent/enroll`, `nonce`, `renew`: how an agent comes to a session key (protocol.md 1).

use super::super::Service;
use super::super::auth::run_hash;
use super::super::store::{EnrolRequest, Enrolled, RenewRequest as Renewal, Renewed};
use super::super::token::{Kind, Token};
use super::super::words;
use super::extract::Json;
use super::{ApiError, Asked};
use crate::keys::PublicKey;
use crate::trust::{self, AGENT_NAMESPACE};
use crate::wire::{
    EnrollAnswer, EnrollRequest, NonceAnswer, RenewAnswer, RenewRequest, renewal_message,
};
use axum::extract::{Extension, State};
use axum::http::StatusCode;

/// Bodies here are small: a key, a token, a signature.
const LIMIT: usize = 16 * 1024;

/// Spends a token.
pub(super) async fn enroll(
    State(service): State<Service>,
    Extension(asked): Extension<Asked>,
    Json(request): Json<EnrollRequest, LIMIT>,
) -> Result<axum::Json<EnrollAnswer>, ApiError> {
    let token = Token::parse(&request.token)
        .filter(|token| token.kind() == Kind::Enrolment)
        .ok_or_else(|| refused("token-unknown", "the token is not one of ours"))?;
    let (identity, _) = PublicKey::parse_text(&request.public_key)
        .map_err(|error| ApiError::bad(error.code(), format!("public_key: {error}")))?;
    if identity.key_type() != "ssh-ed25519" {
        return Err(ApiError::bad(
            "identity-key",
            "public_key: an agent's identity key is Ed25519",
        ));
    }
    let session = Token::random(Kind::Session);
    let now = service.now();
    let enrolled = service
        .store
        .enrol(
            EnrolRequest {
                token: token.hash(),
                identity: identity.to_string(),
                hostname: words::said(&request.hostname),
                run: run_hash(&request.run)?,
                session: session.hash(),
                from: asked.from,
                request: asked.id,
            },
            now,
        )
        .await?;
    match enrolled {
        Enrolled::Session {
            instance,
            account,
            revision,
            again,
        } => {
            service.board.heard(instance, now);
            service.hub.reported(account);
            if again {
                tracing::debug!(account, instance, "instance enrolled again");
            } else {
                tracing::info!(account, instance, "instance enrolled");
            }
            Ok(axum::Json(EnrollAnswer {
                instance,
                account,
                session_key: session.reveal().to_owned(),
                revision,
                signers: service.snapshots.signers().lines(),
            }))
        }
        Enrolled::Unknown => Err(refused("token-unknown", "the token is not one of ours")),
        Enrolled::Expired => Err(refused(
            "token-expired",
            "the token's day is over; make another",
        )),
        Enrolled::Used => Err(ApiError::conflict(
            "token-used",
            "another machine has enrolled with this token; make another",
        )),
        Enrolled::Clone => Err(ApiError::twin()),
    }
}

/// Gives out a nonce.
pub(super) async fn nonce(State(service): State<Service>) -> axum::Json<NonceAnswer> {
    let (nonce, at) = service.nonces.issue(service.now());
    axum::Json(NonceAnswer { nonce, at })
}

/// A new session key for a signature by the identity key.
pub(super) async fn renew(
    State(service): State<Service>,
    Extension(asked): Extension<Asked>,
    Json(request): Json<RenewRequest, LIMIT>,
) -> Result<axum::Json<RenewAnswer>, ApiError> {
    let now = service.now();
    let run = run_hash(&request.run)?;
    let nonce = service
        .nonces
        .check(&request.nonce, now)
        .filter(|nonce| nonce.at == request.at)
        .ok_or_else(|| {
            refused(
                "nonce-expired",
                "the nonce is not ours or too old; get another",
            )
        })?;
    if request.url.trim_end_matches('/') != &*service.public_url {
        return Err(refused(
            "wrong-url",
            "the signature is for another service than this one's public-url",
        ));
    }
    let identity = service
        .store
        .identity(request.instance, now)
        .await?
        .and_then(|line| PublicKey::parse_text(&line).ok())
        .map(|(key, _)| key)
        .ok_or_else(ApiError::unauthorized)?;
    let message = renewal_message(request.instance, &request.url, request.at, &request.nonce);
    trust::verify(AGENT_NAMESPACE, &message, &request.signature, &identity)
        .map_err(|_| ApiError::unauthorized())?;

    let session = Token::random(Kind::Session);
    let renewal = Renewal {
        instance: request.instance,
        identity: identity.to_string(),
        nonce: nonce.hash,
        nonce_expires: nonce.expires,
        run,
        session: session.hash(),
    };
    match service.store.renew(renewal, asked.speaker(), now).await? {
        Renewed::Session => {
            tracing::debug!(instance = request.instance, "session renewed");
            Ok(axum::Json(RenewAnswer {
                session_key: session.reveal().to_owned(),
            }))
        }
        Renewed::Gone => Err(ApiError::unauthorized()),
        Renewed::Spent => Err(refused("nonce-used", "the nonce was used; get another")),
        Renewed::Clone => Err(ApiError::twin()),
    }
}

fn refused(code: &'static str, detail: &'static str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, code, detail)
}
