//! `/v1/audit`: who did what from where with which key, the newest first.
//!
//! A row is shown to whoever may read what it is about; the others are left out, and a page that
//! was looked through ends all the same.

use super::super::Service;
use super::super::auth::Caller;
use super::super::permissions::{Category, Endpoint};
use super::super::store::AuditRow;
use super::ApiError;
use super::extract::Params;
use super::names;
use crate::wire::{AuditBy, AuditItem, Page};
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

/// Rows of a page, if nothing else is said, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 500;

/// Rows that are read at a time, and looked through for one page.
const READ: usize = 500;
const LOOKED_THROUGH: usize = 4 * READ;

/// `?before=ID&limit=N`, the first as `next` of the page before says.
#[derive(Debug, Deserialize)]
pub(super) struct Window {
    before: Option<i64>,
    limit: Option<usize>,
}

impl Window {
    /// The newest page, as long as there is any.
    pub(super) fn newest() -> Self {
        Self {
            before: None,
            limit: Some(MAX_PAGE),
        }
    }

    /// The one after a page that ended so.
    pub(super) fn after(next: &str) -> Option<Self> {
        Some(Self {
            before: Some(next.parse().ok()?),
            ..Self::newest()
        })
    }
}

/// One page.
pub(super) async fn list(
    caller: Caller,
    State(service): State<Service>,
    Params(window): Params<Window>,
) -> Result<axum::Json<Page<AuditItem>>, ApiError> {
    let limit = window.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let mut before = window.before.unwrap_or(i64::MAX);
    let mut page = Page::whole(Vec::new());
    let mut looked = 0;
    loop {
        let rows = service.store.audit(caller.account(), before, READ).await?;
        let last = rows.len() < READ;
        for row in rows {
            if page.items.len() == limit {
                page.next = Some(before.to_string());
                return Ok(axum::Json(page));
            }
            before = row.id;
            if may_read(&caller, &row) {
                page.items.push(item(row));
            }
        }
        looked += READ;
        if last {
            return Ok(axum::Json(page));
        }
        if looked >= LOOKED_THROUGH {
            page.next = Some(before.to_string());
            return Ok(axum::Json(page));
        }
    }
}

/// Whether the caller may read what a row is about.
fn may_read(caller: &Caller, row: &AuditRow) -> bool {
    let may = |category, name| {
        let id = row.about.map(Value::from);
        let parameter = |name: &str| id.clone().filter(|_| name == "id");
        let endpoint = Endpoint { category, name };
        caller.rights.allows(endpoint, "GET", &parameter)
    };
    let (what, _) = row.action.split_once('.').unwrap_or((&row.action, ""));
    match what {
        "ssh-key" => may(Category::UserRead, names::SSH_KEYS),
        "api-key" => may(Category::UserRead, names::API_KEYS),
        "session" => may(Category::UserRead, names::SESSIONS),
        "instance" => may(Category::InstanceRead, names::INSTANCES),
        // Of which kind it is only its detail says.
        _ => {
            may(Category::UserRead, names::ACCOUNT) && may(Category::InstanceRead, names::INSTANCES)
        }
    }
}

fn item(row: AuditRow) -> AuditItem {
    AuditItem {
        id: row.id,
        at: row.at,
        action: row.action,
        outcome: row.outcome,
        by: AuditBy {
            kind: row.by_kind,
            id: row.by_id,
            name: row.by_name,
        },
        address: row.address,
        about: row.about,
        detail: serde_json::from_str(&row.detail).unwrap_or_else(|_| json!({})),
        request_id: row.request,
    }
}
