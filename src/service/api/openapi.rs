//! `/openapi.json`: the calls as a document that programs read (OpenAPI 3.1).
//!
//! Made of the route table, so that no call is missing, of the bodies' own schemas, so that none is
//! described as something else, and of `openapi/table.rs`, which has what neither knows: a summary,
//! which body, which query parameters.

mod table;
#[cfg(test)]
mod tests;

use super::super::Service;
use super::routes::{Access, Call};
use crate::wire::Problem;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};
use table::{About, Body};

/// The document.
pub(super) async fn show(State(service): State<Service>) -> Response {
    let make = || {
        let (_, calls) = super::routes().done();
        let document = document(&calls, &service.public_url);
        Bytes::from(document.to_string())
    };
    let document = service.openapi.get_or_init(make).clone();
    ([(CONTENT_TYPE, "application/json")], document).into_response()
}

/// Of these calls, at this address.
fn document(calls: &[Call], url: &str) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let problem = schemas.subschema_for::<Problem>();
    let mut paths: Map<String, Value> = Map::new();
    for call in calls {
        let about = table::about(&call.method, call.path);
        let operation = operation(call, about, &mut schemas);
        let path = paths
            .entry(call.path)
            .or_insert_with(|| json!({"parameters": in_path(call.path)}));
        if let Value::Object(path) = path {
            path.insert(call.method.as_str().to_ascii_lowercase(), operation);
        }
    }
    let refusal = json!({
        "description": "No, and why (RFC 9457)",
        "content": {"application/problem+json": {"schema": problem}}
    });
    let vast = json!({
        "description": "No, and why, as Vast's clients read it",
        "content": {"application/json": {"schema": {"type": "object",
            "required": ["success", "error", "msg"],
            "properties": {"success": {"const": false}, "error": {"type": "string"},
                "msg": {"type": "string"}}}}}
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "sshkeyd",
            "summary": "An account's SSH keys, live on every instance",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "servers": [{"url": url}],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "responses": {"Refusal": refusal, "VastRefusal": vast},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer",
                    "description": "An API key (skd_api_…) or a session key (skd_ses_…)"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "__Host-sshkeyd",
                    "description": "A browser's session; writes want X-Sshkeyd: 1"},
            },
        },
    })
}

fn operation(call: &Call, about: Option<&About>, schemas: &mut SchemaGenerator) -> Value {
    let is_vast = call.path.starts_with("/api/v0");
    let summary = about.map_or("As the call of Vast.ai's API of this path", |a| a.summary);
    let mut operation = Map::new();
    let mut put = |name: &str, value: Value| operation.insert(name.to_owned(), value);
    put("operationId", id(call).into());
    put("summary", summary.into());
    put("tags", json!([tag(call.path)]));
    if let Some(right) = who(call.access) {
        put("description", right.into());
    }
    let security = match call.access {
        Access::Anyone => json!([]),
        Access::Agent => json!([{"bearer": []}]),
        _ => json!([{"bearer": []}, {"cookie": []}]),
    };
    put("security", security);
    let query = about.into_iter().flat_map(|about| about.query);
    let query: Vec<Value> = query
        .map(|(name, kind, means)| {
            json!({"name": name, "in": "query", "required": false, "description": means,
                "schema": {"type": kind}})
        })
        .collect();
    if !query.is_empty() {
        put("parameters", query.into());
    }
    let writes = matches!(call.method.as_str(), "POST" | "PUT" | "PATCH");
    let body = |schema: Value, required: bool| json!({"required": required, "content": {"application/json": {"schema": schema}}});
    if let Some(request) = about.and_then(|about| about.request) {
        put("requestBody", body(request(schemas).to_value(), true));
    } else if is_vast && writes {
        put("requestBody", body(json!({"type": "object"}), false));
    }
    let refusal = if is_vast { "VastRefusal" } else { "Refusal" };
    let refusal = json!({"$ref": format!("#/components/responses/{refusal}")});
    let mut responses = Map::new();
    match about {
        Some(about) => responses.extend(
            about
                .answers
                .iter()
                .map(|(status, body)| (status.to_string(), answer(*status, *body, schemas))),
        ),
        None => {
            let any = json!({"application/json": {"schema": {}}});
            let any = json!({"description": "Done", "content": any});
            responses.insert("2XX".to_owned(), any);
        }
    }
    responses.insert("4XX".to_owned(), refusal.clone());
    responses.insert("5XX".to_owned(), refusal);
    put("responses", responses.into());
    operation.into()
}

fn answer(status: u16, body: Body, schemas: &mut SchemaGenerator) -> Value {
    let means = match status {
        200 => "OK",
        201 => "Made",
        204 => "Done",
        304 => "Nothing new",
        _ => "Done",
    };
    let content = match body {
        Body::None => return json!({"description": means}),
        Body::Json(schema) => json!({"application/json": {"schema": schema(schemas)}}),
        Body::Other(kind) => json!({kind: {"schema": {"type": "string"}}}),
    };
    json!({"description": means, "content": content})
}

/// What a caller has to be, in words.
fn who(access: Access) -> Option<String> {
    match access {
        Access::Anyone => None,
        Access::Agent => Some("An instance's agent.".to_owned()),
        Access::AnyKey => Some("Any token of the account.".to_owned()),
        Access::Right(right) => Some(format!(
            "A token with the right to {} ({}).",
            right.category.word(),
            right.name
        )),
        Access::Person(right) => Some(format!(
            "A person's session with the right to {} ({}); no API key.",
            right.category.word(),
            right.name
        )),
    }
}

/// `get /v1/ssh-keys/{id}` as `get-v1-ssh-keys-id`; a slash at the end tells two paths apart.
fn id(call: &Call) -> String {
    let mut id = call.method.as_str().to_ascii_lowercase();
    for part in call.path.split('/').skip(1) {
        id.push('-');
        id.extend(part.chars().filter(|c| !matches!(c, '{' | '}' | '*')));
    }
    id
}

fn tag(path: &str) -> &str {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some("v1"), Some(resource)) => resource,
        (Some("api"), _) => "vast",
        _ => "service",
    }
}

fn in_path(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(name.trim_start_matches('*'))
    });
    let parameter =
        |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
    names.map(parameter).collect()
}
