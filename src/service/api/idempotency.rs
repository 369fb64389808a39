//! `Idempotency-Key`: a create that comes again within 24 hours, by the same token and with the
//! same body, is answered as it was the first time, and nothing is made.
//!
//! A handler makes a [`Once`] with [`once`], hands it to the store with its create, and answers
//! what [`again`] opens where the store has an earlier answer.

use super::super::Service;
use super::super::auth::{Bearing, Caller};
use super::super::store::{Earlier, Once};
use super::ApiError;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Characters of the header.
const LONGEST: usize = 64;

/// What makes this create one that is done once: none without the header. `body` is what is asked
/// for, as it was read; `answer` is what is answered, given the new id.
///
/// # Errors
/// 400 `bad-idempotency-key`: more than one, or not 1 to 64 visible ASCII characters.
pub(super) fn once<A: Serialize>(
    service: &Service,
    caller: &Caller,
    headers: &HeaderMap,
    route: &'static str,
    body: &impl Serialize,
    answer: impl Fn(i64) -> A + Send + 'static,
) -> Result<Option<Once>, ApiError> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = given.next() else {
        return Ok(None);
    };
    let key = key.to_str().ok().filter(|key| {
        (1..=LONGEST).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
    });
    let (Some(key), None) = (key, given.next()) else {
        return Err(ApiError::bad(
            "bad-idempotency-key",
            "Idempotency-Key is 1 to 64 visible ASCII characters, once",
        ));
    };
    let bearing = match caller.bearing {
        Bearing::ApiKey(id) => format!("api-key {id}"),
        Bearing::Session(id, _) => format!("session {id}"),
    };
    let name = format!("{route} {bearing} {key}");
    let place = place(caller.account(), &name);
    let sealing = service.sealing.clone();
    let body = Zeroizing::new(serde_json::to_vec(body).unwrap_or_default());
    Ok(Some(Once {
        name,
        request: Sha256::digest(&*body).into(),
        answer: Box::new(move |id| {
            let answer = Zeroizing::new(serde_json::to_vec(&answer(id)).unwrap_or_default());
            sealing.seal(&place, &answer)
        }),
    }))
}

/// The earlier answer.
///
/// # Errors
/// 422 `idempotency-key-reused` where something else was asked for, 429 where too many creates of
/// one day would have to be remembered.
pub(super) fn again<A: DeserializeOwned>(
    service: &Service,
    caller: &Caller,
    earlier: Earlier,
) -> Result<A, ApiError> {
    match earlier {
        Earlier::Same { name, answer } => {
            let opened = service
                .sealing
                .open(&place(caller.account(), &name), &answer);
            opened
                .and_then(|json| serde_json::from_slice(&json).ok())
                .ok_or_else(ApiError::internal)
        }
        Earlier::Other => Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "this Idempotency-Key came with another body before; send a new one",
        )),
        Earlier::TooMany => Err(ApiError::too_many(
            "too-many-creates",
            "2000 creates with an Idempotency-Key are remembered for a day each; send none, or wait",
            3_600,
        )),
    }
}

fn place(account: i64, name: &str) -> String {
    format!("idempotent {account} {name}")
}
