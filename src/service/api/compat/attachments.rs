//! `/api/v0/instances/{id}/ssh/`: keys of one instance.
//!
//! Attaching takes a key's text: one that the account does not have is saved, for this instance
//! alone. A key that is there already is 200 with `success` false, in the words that clients look
//! for; nothing is to be tried again.

use super::super::extract::{Json, id};
use super::super::{ApiError, instances, names, ssh_keys};
use super::ssh_keys::{Given, new_key};
use super::{Done, done};
use crate::service::Service;
use crate::service::auth::Caller;
use crate::service::permissions::{Category, Endpoint};
use crate::service::store::{Attached, AttachedText, KeyRow, NewKey};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;

const ATTACHED: &str = "SSH key attached successfully";
const ALREADY: &str = "SSH key already associated with instance.";
const REMOVED: &str = "SSH key removed from instance.";
const NOWHERE: &str = "SSH key removed from instance. It is still saved, and on no instance.";

/// The keys of an instance: JSON inside of JSON.
#[derive(Debug, Serialize)]
pub(super) struct Keys {
    success: bool,
    ssh_keys: String,
}

#[derive(Debug, Serialize)]
struct Key {
    id: i64,
    name: String,
    public_key: String,
}

/// The keys that are on an instance.
pub(super) async fn list(
    caller: Caller,
    State(service): State<Service>,
    Path(instance): Path<String>,
) -> Result<axum::Json<Keys>, ApiError> {
    let id = id(&instance)?;
    let keys = service.store.keys_of_instance(caller.account(), id).await?;
    let key = |row: KeyRow| Key {
        id: row.id,
        name: row.name,
        public_key: row.public_key,
    };
    let keys: Vec<Key> = keys.ok_or_else(no_instance)?.into_iter().map(key).collect();
    let ssh_keys = serde_json::to_string(&keys).map_err(|_| ApiError::internal())?;
    Ok(axum::Json(Keys {
        success: true,
        ssh_keys,
    }))
}

/// Has a key on an instance, by its text.
pub(super) async fn attach(
    caller: Caller,
    State(service): State<Service>,
    Path(instance): Path<String>,
    Json(given): Json<Given>,
) -> Result<axum::Json<Done>, ApiError> {
    let (instance, now) = (id(&instance)?, service.now());
    let key = ssh_keys::checked(&new_key(&given)?, now)?;
    let set = if may_save(&caller) {
        let account = caller.account();
        let actor = caller.actor.clone();
        match service.store.attach_text(actor, instance, key, now).await? {
            AttachedText::Had(_, set) => set,
            AttachedText::Made(row) => {
                let (key, fingerprint) = (row.id, row.fingerprint);
                tracing::info!(account, key, fingerprint, instance, "key added");
                service.hub.reported(account);
                Attached::Done { nowhere: false }
            }
            AttachedText::NoInstance => Attached::NoInstance,
            AttachedText::Refused(why) => return Err(ssh_keys::refused(why)),
            AttachedText::TooMany => Attached::TooMany,
        }
    } else {
        let key = saved(&service, &caller, &key).await?;
        instances::put(&service, &caller, (instance, key), true).await?
    };
    match set {
        Attached::Done { .. } => Ok(done(ATTACHED)),
        Attached::Already => Ok(axum::Json(Done {
            success: false,
            msg: Some(ALREADY),
        })),
        refused => Err(no(refused)),
    }
}

/// Whether the caller may make a text one of the account's keys. Without that right nothing that
/// he brings opens any instance.
fn may_save(caller: &Caller) -> bool {
    let save = Endpoint {
        category: Category::UserWrite,
        name: names::SSH_KEYS,
    };
    caller.rights.allows(save, "POST", &|_| None)
}

/// The account's key of this text.
async fn saved(service: &Service, caller: &Caller, key: &NewKey) -> Result<i64, ApiError> {
    let keys = service.store.keys(caller.account()).await?.keys;
    let had = keys.iter().find(|row| row.public_key == key.public_key);
    had.map(|row| row.id).ok_or_else(|| {
        ApiError::new(
            StatusCode::FORBIDDEN,
            "scope",
            "the account does not have this ssh key, and the API key has no right to user_write \
             api.ssh.keys; save it with one that has",
        )
    })
}

/// Has a key not on an instance.
pub(super) async fn detach(
    caller: Caller,
    State(service): State<Service>,
    Path((instance, key)): Path<(String, String)>,
) -> Result<axum::Json<Done>, ApiError> {
    let both = (id(&instance)?, id(&key)?);
    match instances::put(&service, &caller, both, false).await? {
        Attached::Done { nowhere: true } => Ok(done(NOWHERE)),
        Attached::Done { nowhere: false } | Attached::Already => Ok(done(REMOVED)),
        refused => Err(no(refused)),
    }
}

fn no(why: Attached) -> ApiError {
    match why {
        Attached::NoInstance => no_instance(),
        Attached::NoKey => ApiError::new(
            StatusCode::NOT_FOUND,
            "no-such-ssh-key",
            "the account has no ssh key of that id",
        ),
        Attached::TooMany => instances::too_many_attachments(),
        Attached::Done { .. } | Attached::Already => ApiError::internal(),
    }
}

/// 404, in Vast's words.
pub(super) fn no_instance() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no-such-instance",
        "Instance not found.",
    )
}
