//! `/v1/ssh-keys`: an account's keys.

mod form;

pub(super) use form::name;

use super::super::Service;
use super::super::auth::Caller;
use super::super::store::{
    Deleted, Edited, KeyRow, MAX_KEY_BYTES, MAX_KEYS, MAX_ORDERS, MAX_REVOKED, NewKey, Refused,
    Revocation, RevokedText, Saved,
};
use super::super::words::{self, NAME};
use super::extract::{Json, Params, id};
use super::{ApiError, etag};
use crate::keys::{Fingerprint, PublicKey};
use crate::wire::{EditSshKey, NewSshKey, Page, SshKey};
use axum::extract::{Path, State};
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use form::{checked_options, expiry};
use jiff::Timestamp;
use serde::Deserialize;

/// How often an edit is tried again that another one came before.
const TRIES: usize = 3;

/// All keys.
pub(super) async fn list(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Page<SshKey>>, ApiError> {
    let keys = service.store.keys(caller.account()).await?.keys;
    let items = keys.into_iter().map(shown).collect();
    Ok(axum::Json(Page::whole(items)))
}

/// One key.
pub(super) async fn show(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    let row = find(&service, &caller, &key).await?;
    Ok(item(StatusCode::OK, row))
}

/// Saves a key. 201 for a new one, 200 for one that the account has.
pub(super) async fn save(
    caller: Caller,
    State(service): State<Service>,
    Json(new): Json<NewSshKey>,
) -> Result<Response, ApiError> {
    let (status, row) = add(&service, &caller, &new).await?;
    Ok(item(status, row))
}

/// The same, for whichever face it is asked through.
pub(super) async fn add(
    service: &Service,
    caller: &Caller,
    new: &NewSshKey,
) -> Result<(StatusCode, KeyRow), ApiError> {
    let (now, scope) = (service.now(), new.scope);
    let new = checked(new, now)?;
    let differs = |id: i64, how: &str| {
        let detail = format!("the account has this key, as {id}, with {how}; edit that one");
        ApiError::conflict("options-differ", detail).about(id)
    };
    match service
        .store
        .save_key(caller.actor.clone(), new, now)
        .await?
    {
        Saved::New(row) => {
            let (account, revision) = (caller.account(), row.revision);
            let fingerprint = &row.fingerprint;
            tracing::info!(account, key = row.id, fingerprint, revision, "key added");
            Ok((StatusCode::CREATED, row))
        }
        Saved::Same(row) if scope.is_some_and(|scope| scope != row.scope) => {
            Err(differs(row.id, "another scope"))
        }
        Saved::Same(row) => Ok((StatusCode::OK, row)),
        Saved::Differs(id) => Err(differs(id, "other options or another expiry")),
        Saved::Revoked => Err(refused(Refused::Revoked)),
        Saved::TooMany => Err(refused(Refused::TooMany)),
        Saved::TooLong => Err(refused(Refused::TooLong)),
    }
}

/// A key as it would be kept, or why it is not.
pub(super) fn checked(new: &NewSshKey, now: Timestamp) -> Result<NewKey, ApiError> {
    let (key, comment) = text(&new.public_key)?;
    Ok(NewKey {
        name: name(new.name.as_deref(), &comment, &key)?,
        public_key: key.to_string(),
        fingerprint: key.fingerprint().to_string(),
        options: checked_options(new.options.as_deref(), new.expires_at.is_some())?,
        expires_at: new.expires_at.map(|at| expiry(at, now)).transpose()?,
        scope: new.scope.unwrap_or_default(),
    })
}

/// Edits a key: what the body does not name stays. Another text is another key under the same id;
/// with `end_sessions` every instance is told to end the sessions opened by the old one.
pub(super) async fn edit(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
    Params(ending): Params<Deletion>,
    headers: HeaderMap,
    Json(edit): Json<EditSshKey>,
) -> Result<Response, ApiError> {
    let row = change(&service, &caller, &key, &ending, &headers, &edit).await?;
    Ok(item(StatusCode::OK, row))
}

/// The same, for whichever face it is asked through.
pub(super) async fn change(
    service: &Service,
    caller: &Caller,
    key: &str,
    ending: &Deletion,
    headers: &HeaderMap,
    edit: &EditSshKey,
) -> Result<KeyRow, ApiError> {
    let now = service.now();
    if ending.end_sessions && edit.public_key.is_none() {
        return Err(ApiError::bad(
            "nothing-to-end",
            "end_sessions ends the sessions of a text that goes; give another public_key with it",
        ));
    }
    for _ in 0..TRIES {
        let was = find(service, caller, key).await?;
        etag::check(headers, &tag(&was))?;
        let to = edited(&was, edit, now)?;
        let actor = caller.actor.clone();
        let store = &service.store;
        let row = match store
            .edit_key(actor, was, to, ending.end_sessions, now)
            .await?
        {
            Edited::Changed => continue,
            Edited::Done(row, order) => {
                let (account, key, fingerprint) = (caller.account(), row.id, &row.fingerprint);
                tracing::info!(account, key, fingerprint, order, "key edited");
                row
            }
            Edited::Same(row) => row,
            Edited::NoKey => return Err(none()),
            Edited::Taken(id) => {
                let detail = format!("public_key: that is another key of the account: {id}");
                return Err(ApiError::conflict("key-taken", detail).about(id));
            }
            Edited::Refused(why) => return Err(refused(why)),
            Edited::TooManyOrders => {
                return Err(too_many_orders("the key is as it was; edit it"));
            }
        };
        return Ok(row);
    }
    Err(ApiError::conflict(
        "changed",
        "others are editing this key at the same time; read it again, then edit it",
    ))
}

/// What an edit makes of a key.
fn edited(was: &KeyRow, edit: &EditSshKey, now: Timestamp) -> Result<NewKey, ApiError> {
    let mut to = was.content();
    if let Some(name) = &edit.name {
        let name = name.trim();
        if name.is_empty() || !words::is_plain(name) {
            return Err(bad_name());
        }
        name.clone_into(&mut to.name);
    }
    if let Some(line) = &edit.public_key {
        let (key, _) = text(line)?;
        to.public_key = key.to_string();
        to.fingerprint = key.fingerprint().to_string();
    }
    if let Some(at) = edit.expires_at {
        to.expires_at = at.map(|at| expiry(at, now)).transpose()?;
    }
    if edit.options.is_some() || edit.expires_at.is_some() {
        let options = edit.options.as_deref().unwrap_or(&was.options);
        to.options = checked_options(Some(options), to.expires_at.is_some())?;
    }
    to.scope = edit.scope.unwrap_or(was.scope);
    Ok(to)
}

/// `?end_sessions=true`.
#[derive(Debug, Deserialize)]
pub(super) struct Deletion {
    #[serde(default)]
    pub(super) end_sessions: bool,
}

/// Deletes a key; with `end_sessions` every instance is told to end the sessions opened by it.
pub(super) async fn delete(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
    Params(deletion): Params<Deletion>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let (account, id) = (caller.account(), id(&key)?);
    let (now, store, end) = (service.now(), &service.store, deletion.end_sessions);
    let deleted = if headers.contains_key(IF_MATCH) {
        let was = find(&service, &caller, &key).await?;
        etag::check(&headers, &tag(&was))?;
        let deleted = store.delete_key_as(caller.actor, was, end, now).await?;
        deleted.ok_or_else(etag::changed)?
    } else {
        store.delete_key(caller.actor, id, end, now).await?
    };
    match deleted {
        Deleted::Done(gone, order) => {
            let fingerprint = gone.fingerprint;
            tracing::info!(account, key = id, fingerprint, order, "key deleted");
            Ok(StatusCode::NO_CONTENT)
        }
        Deleted::NoKey => Err(none()),
        Deleted::TooManyOrders => Err(too_many_orders("the key is not deleted; delete it")),
    }
}

/// Deletes a key, has every instance take it out of every line, whoever put it there, and end the
/// sessions opened by it. A fingerprint in the place of the id (`SHA256:…`, its slashes as `%2F`)
/// revokes a key that the account does not have: deleted before, or put somewhere by hand.
pub(super) async fn revoke(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (account, now, store) = (caller.account(), service.now(), &service.store);
    let revocation = if key.starts_with("SHA256:") {
        let fingerprint: Fingerprint = key.parse().map_err(|_| {
            ApiError::bad(
                "bad-fingerprint",
                "a fingerprint is SHA256: and 43 characters, as ssh-keygen -l shows it",
            )
        })?;
        match store
            .revoke_fingerprint(caller.actor, fingerprint, now)
            .await?
        {
            RevokedText::Key(revocation) => revocation,
            RevokedText::Done(order) => {
                tracing::info!(account, fingerprint = key, order, "key revoked");
                return Ok(StatusCode::NO_CONTENT);
            }
            RevokedText::Already => return Ok(StatusCode::NO_CONTENT),
            RevokedText::TooMany => Revocation::TooMany,
        }
    } else {
        store.revoke_key(caller.actor, id(&key)?, now).await?
    };
    match revocation {
        Revocation::Done(gone, order) => {
            let (key, fingerprint) = (gone.id, gone.fingerprint);
            tracing::info!(account, key, fingerprint, order, "key revoked");
            Ok(StatusCode::NO_CONTENT)
        }
        Revocation::NoKey => Err(none()),
        Revocation::TooMany => Err(too_many_revoked()),
    }
}

pub(super) fn too_many_revoked() -> ApiError {
    ApiError::conflict(
        "too-many-revoked",
        format!("an account revokes at most {MAX_REVOKED} keys; delete this one"),
    )
}

pub(super) fn refused(why: Refused) -> ApiError {
    match why {
        Refused::Revoked => ApiError::conflict(
            "revoked",
            "the account revoked this key, and it stays so; make a new one",
        ),
        Refused::TooMany => ApiError::conflict(
            "too-many-keys",
            format!("an account has at most {MAX_KEYS} keys; delete one"),
        ),
        Refused::TooLong => ApiError::conflict(
            "too-many-keys",
            format!(
                "an account's keys, names and options have at most {} KiB in all; delete one",
                MAX_KEY_BYTES / 1024
            ),
        ),
    }
}

fn too_many_orders(state: &str) -> ApiError {
    ApiError::conflict(
        "too-many-orders",
        format!(
            "{MAX_ORDERS} orders to end sessions are under way, and {state} without end_sessions: \
             open sessions stay, new logins are refused"
        ),
    )
}

/// The key of that id, if it is the owner's.
pub(super) async fn find(
    service: &Service,
    caller: &Caller,
    key: &str,
) -> Result<KeyRow, ApiError> {
    let id = id(key)?;
    let keys = service.store.keys(caller.account()).await?.keys;
    keys.into_iter().find(|key| key.id == id).ok_or_else(none)
}

fn none() -> ApiError {
    ApiError::not_found("the account has no key of that id")
}

fn bad_name() -> ApiError {
    ApiError::bad(
        "bad-name",
        format!("a name has 1 to {NAME} characters, and no control characters"),
    )
}

/// A key and its comment.
fn text(line: &str) -> Result<(PublicKey, String), ApiError> {
    PublicKey::parse_text(line)
        .map_err(|error| ApiError::bad(error.code(), format!("public_key: {error}")))
}

/// One key with its tag.
fn item(status: StatusCode, row: KeyRow) -> Response {
    let tag = tag(&row);
    (status, [(ETAG, tag)], axum::Json(shown(row))).into_response()
}

/// Of what its owner edits; a use of the key leaves it alone.
fn tag(row: &KeyRow) -> String {
    let mut shown = shown(row.clone());
    shown.last_used_at = None;
    etag::of(&shown)
}

pub(super) fn shown(row: KeyRow) -> SshKey {
    SshKey {
        id: row.id,
        name: row.name,
        public_key: row.public_key,
        fingerprint: row.fingerprint,
        options: row.options,
        scope: row.scope,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
    }
}
