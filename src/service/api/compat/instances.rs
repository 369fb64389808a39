//! Instances as Vast's clients read them.
//!
//! What Vast says of a rented machine and this service does not know is null or 0, or empty where a
//! client looks inside; `start_date` and `extra_env` are always there, because clients that find
//! them missing end in a traceback.

use super::super::extract::{Json, Params, id};
use super::super::{ApiError, instances};
use super::attachments::no_instance;
use super::listing::{Listing, Query};
use super::{DONE, Done, epoch};
use crate::service::Service;
use crate::service::auth::Caller;
use crate::service::board::Sighting;
use crate::service::store::InstanceRow;
use crate::wire::{EditInstance, InstanceState};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// All that is said of an instance.
const COLUMNS: [&str; 51] = [
    "id",
    "label",
    "actual_status",
    "intended_status",
    "cur_state",
    "next_state",
    "status_msg",
    "start_date",
    "end_date",
    "duration",
    "extra_env",
    "ports",
    "ssh_host",
    "ssh_port",
    "ssh_idx",
    "public_ipaddr",
    "local_ipaddrs",
    "direct_port_count",
    "image_uuid",
    "image_runtype",
    "template_id",
    "template_name",
    "machine_id",
    "host_id",
    "hostname",
    "os_version",
    "last_seen",
    "uptime_mins",
    "is_bid",
    "verification",
    "geolocation",
    "num_gpus",
    "gpu_name",
    "gpu_util",
    "gpu_ram",
    "gpu_temp",
    "cpu_cores",
    "cpu_cores_effective",
    "cpu_ram",
    "cpu_util",
    "mem_usage",
    "mem_limit",
    "disk_space",
    "disk_usage",
    "disk_util",
    "volume_info",
    "inet_up",
    "inet_down",
    "reliability2",
    "dph_total",
    "driver_version",
];

/// An instance, and what was heard of it.
struct Seen {
    row: InstanceRow,
    sighting: Sighting,
}

impl Seen {
    fn state(&self) -> InstanceState {
        match self.row.removing {
            true => InstanceState::Removing,
            false => self.sighting.state,
        }
    }

    fn field(&self, column: &str) -> Value {
        let (row, sighting) = (&self.row, &self.sighting);
        let device = sighting.device.as_deref();
        match column {
            "id" => json!(row.id),
            "label" if !row.label.is_empty() => json!(row.label),
            "actual_status" | "cur_state" => json!(self.status()),
            "intended_status" | "next_state" => match self.state() {
                InstanceState::Removing => json!("stopped"),
                _ => json!("running"),
            },
            "status_msg" => json!(self.message()),
            "start_date" => json!(epoch(row.created_at)),
            "last_seen" => json!(sighting.last_seen.map(epoch)),
            "hostname" if !row.hostname.is_empty() => json!(row.hostname),
            "os_version" => json!(device.map(|device| &device.os)),
            "image_runtype" => json!("ssh"),
            "extra_env" | "volume_info" => json!([]),
            "ports" => json!({}),
            "is_bid" => json!(false),
            "num_gpus"
            | "gpu_ram"
            | "cpu_cores"
            | "cpu_cores_effective"
            | "cpu_ram"
            | "disk_space"
            | "dph_total"
            | "direct_port_count" => json!(0),
            _ => Value::Null,
        }
    }

    /// In Vast's words: an instance that was heard lately is there.
    fn status(&self) -> &'static str {
        match self.state() {
            InstanceState::Live | InstanceState::Stale => "running",
            InstanceState::Offline => "offline",
            InstanceState::Never => "created",
            InstanceState::Removing => "exited",
        }
    }

    fn message(&self) -> &'static str {
        match self.state() {
            InstanceState::Live => "the agent is connected",
            InstanceState::Stale => "the agent has been silent for a while",
            InstanceState::Offline => "the agent is offline",
            InstanceState::Never => "no agent has enrolled yet",
            InstanceState::Removing => "being removed",
        }
    }

    fn whole(&self, columns: Option<&[String]>) -> Map<String, Value> {
        let entry = |column: &str| (column.to_owned(), self.field(column));
        match columns {
            Some(columns) => columns.iter().map(|column| entry(column)).collect(),
            None => COLUMNS.into_iter().map(entry).collect(),
        }
    }
}

async fn seen(
    service: &Service,
    caller: &Caller,
    after: i64,
    most: usize,
) -> Result<Vec<Seen>, ApiError> {
    let now = service.now();
    service.hear_others(caller.account()).await?;
    let rows = service
        .store
        .instances(caller.account(), after, most, now)
        .await?;
    let seen = |row: InstanceRow| Seen {
        sighting: service.board.look(row.id, row.enrolled, now),
        row,
    };
    Ok(rows.into_iter().map(seen).collect())
}

/// A page of `/api/v1/instances/`.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    success: bool,
    instances: Vec<Map<String, Value>>,
    instances_found: usize,
    total_instances: usize,
    next_token: Option<String>,
    label_counts: BTreeMap<String, u64>,
}

/// Instances as they are asked for, a page at a time.
pub(super) async fn page(
    caller: Caller,
    State(service): State<Service>,
    Params(query): Params<Query>,
) -> Result<axum::Json<Page>, ApiError> {
    let listing = Listing::parse(&query)?;
    let seen = seen(&service, &caller, 0, usize::MAX).await?;
    let field = |row: usize, column: &str| {
        let seen = seen.get(row);
        seen.map_or(Value::Null, |seen| seen.field(column))
    };
    let page = listing.page(seen.len(), &field);
    let mut label_counts = BTreeMap::new();
    for seen in page.found.iter().filter_map(|row| seen.get(*row)) {
        *label_counts.entry(seen.row.label.clone()).or_default() += 1;
    }
    let rows = page.rows.iter().filter_map(|row| seen.get(*row));
    Ok(axum::Json(Page {
        success: true,
        instances: rows.map(|row| row.whole(listing.columns())).collect(),
        instances_found: page.found.len(),
        total_instances: page.found.len(),
        next_token: page.next,
        label_counts,
    }))
}

/// All instances at once, as older clients want them.
pub(super) async fn all(
    caller: Caller,
    State(service): State<Service>,
) -> Result<Response, ApiError> {
    // Row by row: ten thousand maps at once would be many times the text that they become.
    let mut body = br#"{"success":true,"instances":["#.to_vec();
    for (place, seen) in seen(&service, &caller, 0, usize::MAX)
        .await?
        .iter()
        .enumerate()
    {
        if place > 0 {
            body.push(b',');
        }
        let row = serde_json::to_vec(&seen.whole(None));
        body.extend(row.map_err(|_| ApiError::internal())?);
    }
    body.extend(b"]}");
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// `{"instances": …}`: one, in spite of the name; null for none.
#[derive(Debug, Serialize)]
pub(super) struct One {
    instances: Option<Map<String, Value>>,
}

/// One instance.
pub(super) async fn one(
    caller: Caller,
    State(service): State<Service>,
    Path(instance): Path<String>,
) -> Result<axum::Json<One>, ApiError> {
    let id = id(&instance)?;
    let seen = seen(&service, &caller, id.saturating_sub(1), 1).await?;
    let one = seen.iter().find(|seen| seen.row.id == id);
    Ok(axum::Json(One {
        instances: one.map(|seen| seen.whole(None)),
    }))
}

/// `PUT /api/v0/instances/{id}/`. Vast starts and stops a machine with it, too.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    state: Option<Value>,
}

/// Gives an instance another label.
pub(super) async fn label(
    caller: Caller,
    State(service): State<Service>,
    instance: Path<String>,
    headers: HeaderMap,
    Json(change): Json<Change>,
) -> Result<axum::Json<Done>, ApiError> {
    if change.state.is_some() || change.label.is_none() {
        return Err(ApiError::bad(
            "invalid-request",
            "label is what can be changed here; no machine is started or stopped",
        ));
    }
    let edit = Json(EditInstance {
        label: change.label,
    });
    match instances::edit(caller, State(service), instance, headers, edit).await {
        Ok(_) => Ok(DONE),
        Err(error) if error.code() == "not-found" => Err(no_instance()),
        Err(error) => Err(error),
    }
}

/// What instances can be told apart by.
#[derive(Debug, Serialize)]
pub(super) struct Filters {
    success: bool,
    filters: Vec<Filter>,
}

#[derive(Debug, Serialize)]
struct Filter {
    actual_status: &'static str,
    verification: Option<String>,
    gpu_name: Option<String>,
}

/// The statuses that there are; machines and their graphics are not known here.
pub(super) async fn filters(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Filters>, ApiError> {
    let seen = seen(&service, &caller, 0, usize::MAX).await?;
    let mut statuses: Vec<_> = seen.iter().map(Seen::status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let filter = |actual_status| Filter {
        actual_status,
        verification: None,
        gpu_name: None,
    };
    Ok(axum::Json(Filters {
        success: true,
        filters: statuses.into_iter().map(filter).collect(),
    }))
}

/// Graphics cards on offer: none. The client asks before its first command, and an old one ends in
/// a traceback where there is no answer.
pub(super) async fn gpu_names() -> axum::Json<Value> {
    axum::Json(json!({"gpu_names": []}))
}
