//! `/v1/instances`: an account's rented machines.

use super::super::Service;
use super::super::auth::Caller;
use super::super::board;
use super::super::store::{Attached, InstanceRow, MAX_ATTACHMENTS, MAX_INSTANCES, Made, Renamed};
use super::super::token::{Kind, Token};
use super::super::words::{self, NAME};
use super::extract::{Json, Params, id};
use super::{ApiError, etag, host_keys, idempotency, install};
use crate::wire::{
    Attachment, CloneSeen, EditInstance, Instance, InstanceState, NewInstance, NewInstanceAnswer,
    Page,
};
use axum::extract::{Path, State};
use axum::http::header::ETAG;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// How long an enrolment token is good.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// How long it is shown that a copy of an instance was refused.
const CLONE_SHOWN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Instances of a page, and bytes of what is said of them: the page that goes over ends. The whole
/// page, with the last status, stays within the 4 MiB that callers read.
const PAGE: usize = 1_000;
const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// `?after=ID`, as `next` of the page before says.
#[derive(Debug, Deserialize)]
pub(super) struct From {
    #[serde(default)]
    after: i64,
}

/// All instances, by id.
pub(super) async fn list(
    caller: Caller,
    State(service): State<Service>,
    Params(from): Params<From>,
) -> Result<axum::Json<Page<Instance>>, ApiError> {
    let now = service.now();
    service.hear_others(caller.account()).await?;
    let rows = service
        .store
        .instances(caller.account(), from.after, PAGE + 1, now)
        .await?;
    let count = rows.len();
    let mut page = Page::whole(Vec::new());
    let mut bytes = 0;
    for row in rows {
        let shown = shown(&service, row, now);
        bytes += serde_json::to_vec(&shown).map_or(0, |json| json.len());
        page.items.push(shown);
        if (page.items.len() >= PAGE || bytes >= PAGE_BYTES) && page.items.len() < count {
            page.next = page.items.last().map(|last| last.id.to_string());
            break;
        }
    }
    Ok(axum::Json(page))
}

/// One instance.
pub(super) async fn show(
    caller: Caller,
    State(service): State<Service>,
    Path(instance): Path<String>,
) -> Result<Response, ApiError> {
    let now = service.now();
    let row = find(&service, &caller, &instance, now).await?;
    let keys = service.store.host_keys(caller.account(), row.id).await?;
    let mut shown = shown(&service, row.clone(), now);
    shown.host_keys = host_keys::shown(keys);
    Ok(item(&row, shown))
}

async fn find(
    service: &Service,
    caller: &Caller,
    instance: &str,
    now: Timestamp,
) -> Result<InstanceRow, ApiError> {
    let id = id(instance)?;
    service.hear_others(caller.account()).await?;
    let store = &service.store;
    let rows = store
        .instances(caller.account(), id.saturating_sub(1), 1, now)
        .await?;
    rows.into_iter().find(|row| row.id == id).ok_or_else(none)
}

/// Gives an instance another label.
pub(super) async fn edit(
    caller: Caller,
    State(service): State<Service>,
    Path(instance): Path<String>,
    headers: HeaderMap,
    Json(edit): Json<EditInstance>,
) -> Result<Response, ApiError> {
    let now = service.now();
    let mut row = find(&service, &caller, &instance, now).await?;
    etag::check(&headers, &tag(&row))?;
    if let Some(given) = edit.label {
        let to = label(&given)?.to_owned();
        let was = std::mem::replace(&mut row.label, to.clone());
        let actor = caller.actor.clone();
        let store = &service.store;
        match store.rename_instance(actor, row.id, (was, to), now).await? {
            Renamed::Done => service.hub.reported(caller.account()),
            Renamed::Changed => return Err(etag::changed()),
            Renamed::NoInstance => return Err(none()),
        }
    }
    let shown = shown(&service, row.clone(), now);
    Ok(item(&row, shown))
}

/// A label that may be one, without blanks around it.
fn label(given: &str) -> Result<&str, ApiError> {
    let label = given.trim();
    if label.is_empty() || !words::is_plain(label) {
        return Err(ApiError::bad(
            "bad-label",
            format!("a label has 1 to {NAME} characters, and no control characters"),
        ));
    }
    Ok(label)
}

/// Makes an instance, and the token that an agent enrols with.
pub(super) async fn create(
    caller: Caller,
    State(service): State<Service>,
    headers: HeaderMap,
    Json(new): Json<NewInstance>,
) -> Result<(StatusCode, axum::Json<NewInstanceAnswer>), ApiError> {
    let label = label(&new.label)?;
    let now = service.now();
    let expires = now.checked_add(TOKEN_LIFE).unwrap_or(now);
    let token = Token::random(Kind::Enrolment);
    let answer = {
        let enroll_token = format!("{}.{}", token.reveal(), service.snapshots.fingerprint());
        let (label, public_url) = (label.to_owned(), service.public_url.clone());
        move |id| NewInstanceAnswer {
            id,
            label: label.clone(),
            install: install::line(&public_url, &enroll_token),
            enroll_token: enroll_token.clone(),
        }
    };
    let once = idempotency::once(
        &service,
        &caller,
        &headers,
        "POST /v1/instances",
        &new,
        answer.clone(),
    )?;
    let made = service
        .store
        .add_instance(
            caller.actor.clone(),
            label.to_owned(),
            token.hash(),
            expires,
            once,
            now,
        )
        .await?;
    let id = match made {
        Made::Instance(id) => id,
        Made::Earlier(earlier) => {
            let answer = idempotency::again(&service, &caller, earlier)?;
            return Ok((StatusCode::CREATED, axum::Json(answer)));
        }
        Made::TooMany => {
            return Err(ApiError::conflict(
                "too-many-instances",
                format!("an account has at most {MAX_INSTANCES} instances; remove one"),
            ));
        }
    };
    service.hub.reported(caller.account());
    tracing::info!(account = caller.account(), instance = id, "instance made");
    Ok((StatusCode::CREATED, axum::Json(answer(id))))
}

/// `?take_keys=true|false&end_sessions=true|false`.
#[derive(Debug, Deserialize)]
pub(super) struct Removing {
    #[serde(default)]
    take_keys: bool,
    #[serde(default)]
    end_sessions: bool,
}

/// Begins the removal of an instance (protocol.md section 1).
pub(super) async fn remove(
    caller: Caller,
    State(service): State<Service>,
    Path(instance): Path<String>,
    Params(removing): Params<Removing>,
) -> Result<StatusCode, ApiError> {
    let id = id(&instance)?;
    let Removing {
        take_keys,
        end_sessions,
    } = removing;
    let found = service
        .store
        .remove_instance(
            caller.actor.clone(),
            id,
            (take_keys, end_sessions),
            service.now(),
        )
        .await?;
    if !found {
        return Err(none());
    }
    service.hub.reported(caller.account());
    tracing::info!(
        account = caller.account(),
        instance = id,
        take_keys,
        end_sessions,
        "instance removing"
    );
    Ok(StatusCode::NO_CONTENT)
}

/// Has a key on an instance, whatever its scope.
pub(super) async fn attach(
    caller: Caller,
    State(service): State<Service>,
    Path((instance, key)): Path<(String, String)>,
) -> Result<axum::Json<Attachment>, ApiError> {
    set(&service, &caller, (&instance, &key), true).await
}

/// Has a key not on an instance, whatever its scope, until it is attached again.
pub(super) async fn detach(
    caller: Caller,
    State(service): State<Service>,
    Path((instance, key)): Path<(String, String)>,
) -> Result<axum::Json<Attachment>, ApiError> {
    set(&service, &caller, (&instance, &key), false).await
}

async fn set(
    service: &Service,
    caller: &Caller,
    (instance, key): (&str, &str),
    there: bool,
) -> Result<axum::Json<Attachment>, ApiError> {
    let (instance, key) = (id(instance)?, id(key)?);
    let nowhere = match put(service, caller, (instance, key), there).await? {
        Attached::Done { nowhere } => nowhere,
        Attached::Already => false,
        Attached::NoInstance => {
            return Err(ApiError::not_found(
                "the account has no instance of that id, or is removing it",
            ));
        }
        Attached::NoKey => {
            return Err(ApiError::not_found("the account has no key of that id"));
        }
        Attached::TooMany => return Err(too_many_attachments()),
    };
    Ok(axum::Json(Attachment {
        instance,
        key,
        attached: there,
        nowhere,
    }))
}

/// The same, for whichever face it is asked through.
pub(super) async fn put(
    service: &Service,
    caller: &Caller,
    (instance, key): (i64, i64),
    there: bool,
) -> Result<Attached, ApiError> {
    let (account, actor, now) = (caller.account(), caller.actor.clone(), service.now());
    let store = &service.store;
    let set = match there {
        true => store.attach_key(actor, instance, key, now).await?,
        false => store.detach_key(actor, instance, key, now).await?,
    };
    if matches!(set, Attached::Done { .. } | Attached::Already) {
        tracing::info!(account, instance, key, there, "attachment");
        service.hub.reported(account);
    }
    Ok(set)
}

pub(super) fn too_many_attachments() -> ApiError {
    ApiError::conflict(
        "too-many-attachments",
        format!(
            "an account has at most {MAX_ATTACHMENTS} keys attached to and detached from \
             instances; give the key scope all or some"
        ),
    )
}

/// One instance with its tag.
fn item(row: &InstanceRow, shown: Instance) -> Response {
    ([(ETAG, tag(row))], axum::Json(shown)).into_response()
}

/// Of what its owner edits; what the instance says leaves it alone.
fn tag(row: &InstanceRow) -> String {
    etag::of(&(row.id, &row.label))
}

fn none() -> ApiError {
    ApiError::not_found("the account has no instance of that id")
}

fn shown(service: &Service, row: InstanceRow, now: Timestamp) -> Instance {
    let sighting = service.board.look(row.id, row.enrolled, now);
    let status = sighting.status.map(|status| (*status).clone());
    Instance {
        id: row.id,
        label: row.label,
        state: match row.removing {
            true => InstanceState::Removing,
            false => sighting.state,
        },
        created_at: row.created_at,
        last_seen: sighting.last_seen,
        hostname: row.hostname,
        device: sighting.device.map(|device| (*device).clone()),
        clone: row
            .clone
            .filter(|seen| now.duration_since(seen.at) < CLONE_SHOWN)
            .map(|seen| CloneSeen {
                at: seen.at,
                from: Some(seen.from).filter(|from| !from.is_empty()),
            }),
        attached: row.attached,
        detached: row.detached,
        host_keys: Vec::new(),
        revision: status.as_ref().and_then(board::revision),
        status,
    }
}
