//! `/api/v0/audit_logs/`: the newest of the account's log, as Vast's clients put it into a table.

use super::super::extract::Params;
use super::super::{ApiError, audit};
use super::epoch;
use crate::service::Service;
use crate::service::auth::Caller;
use crate::wire::AuditItem;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;

/// Pages of `/v1/audit` that are gathered: there are no pages here.
const PAGES: usize = 2;

/// A row. What stands for Vast's route is what was done.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    id: i64,
    created_at: f64,
    ip_address: String,
    api_key_id: Option<i64>,
    session_id: Option<i64>,
    api_route: String,
    outcome: String,
    about_id: Option<i64>,
    args: Value,
}

/// A bare array, the newest first.
pub(super) async fn list(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Vec<Row>>, ApiError> {
    let (mut rows, mut window) = (Vec::new(), audit::Window::newest());
    for _ in 0..PAGES {
        let page = audit::list(caller.clone(), State(service.clone()), Params(window));
        let axum::Json(page) = page.await?;
        rows.extend(page.items.into_iter().map(row));
        let Some(next) = page.next.as_deref().and_then(audit::Window::after) else {
            break;
        };
        window = next;
    }
    Ok(axum::Json(rows))
}

fn row(item: AuditItem) -> Row {
    let by = |kind: &str| item.by.id.filter(|_| item.by.kind == kind);
    Row {
        api_key_id: by("api-key"),
        session_id: by("session"),
        id: item.id,
        created_at: epoch(item.at),
        ip_address: item.address,
        api_route: item.action,
        outcome: item.outcome,
        about_id: item.about,
        args: item.detail,
    }
}
