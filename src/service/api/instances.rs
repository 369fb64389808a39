//! `/v1/instances`: an account's rented machines.

use super::super::Service;
use super::super::auth::Caller;
use super::super::board;
use super::super::store::{InstanceRow, MAX_INSTANCES, Made};
use super::super::token::{Kind, Token};
use super::super::words::{self, NAME};
use super::ApiError;
use super::extract::{Json, Params, id};
use crate::wire::{Instance, NewInstance, NewInstanceAnswer, Page};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// How long an enrolment token is good.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24);

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
    let rows = service
        .store
        .instances(caller.account(), from.after, now)
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
) -> Result<axum::Json<Instance>, ApiError> {
    let id = id(&instance)?;
    let now = service.now();
    let rows = service
        .store
        .instances(caller.account(), id.saturating_sub(1), now)
        .await?;
    let row = rows.into_iter().find(|row| row.id == id).ok_or_else(none)?;
    Ok(axum::Json(shown(&service, row, now)))
}

/// Makes an instance, and the token that an agent enrols with.
pub(super) async fn create(
    caller: Caller,
    State(service): State<Service>,
    Json(new): Json<NewInstance>,
) -> Result<(StatusCode, axum::Json<NewInstanceAnswer>), ApiError> {
    let label = new.label.trim();
    if label.is_empty() || !words::is_plain(label) {
        return Err(ApiError::bad(
            "bad-label",
            format!("a label has 1 to {NAME} characters, and no control characters"),
        ));
    }
    let now = service.now();
    let expires = now.checked_add(TOKEN_LIFE).unwrap_or(now);
    let token = Token::random(Kind::Enrolment);
    let made = service
        .store
        .add_instance(
            caller.actor.clone(),
            label.to_owned(),
            token.hash(),
            expires,
            now,
        )
        .await?;
    let Made::Instance(id) = made else {
        return Err(ApiError::conflict(
            "too-many-instances",
            format!("an account has at most {MAX_INSTANCES} instances; remove one"),
        ));
    };
    service.hub.reported(caller.account());
    tracing::info!(account = caller.account(), instance = id, "instance made");
    let enroll_token = format!("{}.{}", token.reveal(), service.snapshots.fingerprint());
    Ok((
        StatusCode::CREATED,
        axum::Json(NewInstanceAnswer {
            id,
            label: label.to_owned(),
            install: install(&enroll_token),
            enroll_token,
        }),
    ))
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

/// A line for a root shell. The token is of characters that a shell leaves alone, and the file is
/// never readable by others, not for a moment.
fn install(token: &str) -> String {
    format!(
        "(umask 077 && mkdir -p /etc/sshkeyd && printf '%s\\n' '{token}' \
         > /etc/sshkeyd/enroll-token) # then start: sshkeyd agent"
    )
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
        state: sighting.state,
        created_at: row.created_at,
        last_seen: sighting.last_seen,
        hostname: row.hostname,
        device: sighting.device.map(|device| (*device).clone()),
        attached: Vec::new(),
        detached: Vec::new(),
        revision: status.as_ref().and_then(board::revision),
        status,
    }
}
