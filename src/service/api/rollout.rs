//! `/v1/ssh-keys/{id}/rollout`: how far a key has come, now or as soon as that changes; for one
//! that was deleted with its sessions, how far that has, while the order is of use.

use super::super::Service;
use super::super::auth::Caller;
use super::super::listen::Conn;
use super::super::rollout::{self, Subject};
use super::super::store::Ended;
use super::extract::{Params, id};
use super::held::{self, Wait};
use super::{ApiError, ssh_keys};
use crate::wire::Rollout;
use axum::extract::{Extension, Path, State};
use axum::http::header::ETAG;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::pin::pin;
use std::time::Duration;

/// Longest `wait`.
const WAIT: Duration = Duration::from_secs(60);

/// A fleet that answers all at once is drawn this often, not once an instance.
const PAUSE: Duration = Duration::from_millis(50);

/// The picture. With `wait` it is held until it is another one than the caller has: the one that
/// `If-None-Match` names, else the one at the beginning.
pub(super) async fn show(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
    Params(wait): Params<Wait>,
    conn: Option<Extension<Conn>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut conn = conn.map(|Extension(conn)| conn);
    let wait = wait.limited(WAIT);
    let wait = caller
        .left(service.now())
        .map_or(wait, |left| wait.min(left));
    let mut watching = service.hub.watch(caller.account());
    let mut deadline = pin!(tokio::time::sleep(wait));
    let mut begin = None;
    let mut hold = None;
    loop {
        watching.reports.mark_unchanged();
        if watching.access.has_changed().unwrap_or(false) {
            watching.access.mark_unchanged();
            service.still(&caller).await?;
        }
        let now = service.now();
        let subject = subject(&service, &caller, &key, now).await?;
        service.hear_others(caller.account()).await?;
        let rows = service
            .store
            .instances(caller.account(), 0, usize::MAX, now)
            .await?;
        let look = |id, enrolled| service.board.look(id, enrolled, now);
        let seen = rows.into_iter().map(|row| {
            let sighting = look(row.id, row.enrolled);
            (row, sighting)
        });
        let picture = rollout::picture(&subject, seen.collect());
        let etag = etag(&picture);
        let known = held::has(&headers, &etag);
        let begin = begin.get_or_insert_with(|| etag.clone());
        let changed = if headers.contains_key(axum::http::header::IF_NONE_MATCH) {
            !known
        } else {
            *begin != etag
        };
        if changed || wait.is_zero() || deadline.is_elapsed() {
            if hold.is_some() {
                service.still(&caller).await?;
            }
            return Ok(answer(known, etag, picture));
        }
        if hold.is_none() {
            hold = Some(held::take(&service, caller.holder(), conn.as_ref())?);
            // A token that ended between the door and the watch.
            service.still(&caller).await?;
        }
        tokio::select! {
            _ = watching.reports.changed() => tokio::time::sleep(PAUSE).await,
            _ = watching.keys.changed() => {}
            _ = watching.access.changed() => service.still(&caller).await?,
            () = &mut deadline => {}
            () = held::stopping(&mut conn) => return Ok(answer(known, etag, picture)),
        }
    }
}

/// The key of that id or that fingerprint, or the order that its end gave.
async fn subject(
    service: &Service,
    caller: &Caller,
    key: &str,
    now: Timestamp,
) -> Result<Subject, ApiError> {
    let account = caller.account();
    let (found, ended) = if key.starts_with("SHA256:") {
        let found = service.store.key_of(account, key.to_owned()).await?;
        let none = || ApiError::not_found("the account has and had no such key");
        (found.ok_or_else(none), Ended::Fingerprint(key.to_owned()))
    } else {
        let found = ssh_keys::find(service, caller, key).await;
        (found, Ended::Id(id(key)?))
    };
    let Err(none) = found else {
        return found.map(Subject::Key);
    };
    let order = service.store.order_of_key(account, ended, now).await?;
    match order {
        Some((order, results)) => Ok(Subject::Deleted(order, results)),
        None => Err(none),
    }
}

fn answer(known: bool, etag: String, picture: Rollout) -> Response {
    if known {
        return (StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response();
    }
    ([(ETAG, etag)], axum::Json(picture)).into_response()
}

fn etag(picture: &Rollout) -> String {
    let json = serde_json::to_vec(picture).unwrap_or_default();
    let digest = Sha256::digest(json);
    let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("\"{hex}\"")
}
