//! `/api/v0/auth/apikeys/`, and the reset of the key that asks.
//!
//! Permissions must be named here: a client that forgot them does not get a key that may do
//! everything. Parameters of a key that are not known here are refused, because whoever gives them
//! means to hold the key to less.

use super::super::extract::{Json, id};
use super::super::{ApiError, api_keys};
use super::epoch;
use crate::service::Service;
use crate::service::auth::{Bearing, Caller};
use crate::service::permissions::Permissions;
use crate::wire::{ApiKey, NewApiKey};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a key is called whose maker gives it no name.
const UNNAMED: &str = "unnamed";

/// `POST /api/v0/auth/apikeys/`.
#[derive(Debug, Deserialize)]
pub(super) struct New {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    permissions: Option<Value>,
    #[serde(default)]
    key_params: Option<Value>,
}

/// The answer: the only time that the key is shown.
#[derive(Serialize)]
pub(super) struct Made {
    success: bool,
    id: i64,
    key: String,
    permissions: Value,
    name: String,
}

/// A key, without the key.
#[derive(Debug, Serialize)]
pub(super) struct Key {
    id: i64,
    user_id: i64,
    name: String,
    rights: Value,
    permissions: Value,
    key_params: Params,
    team_id: Option<i64>,
    team_name: Option<String>,
    tail: String,
    created_at: f64,
    expires_at: Option<f64>,
    last_used: Option<f64>,
    deleted_at: Option<f64>,
}

/// `key_params`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    #[serde(default)]
    ip_whitelist: Vec<String>,
}

/// `{"apikeys": […]}`.
#[derive(Debug, Serialize)]
pub(super) struct Keys {
    apikeys: Vec<Key>,
}

/// `PUT /api/v0/commands/reset_apikey/`: whose key is reset.
#[derive(Debug, Deserialize)]
pub(super) struct Whose {
    #[serde(default)]
    client_id: Option<Value>,
}

/// The answer to a reset.
#[derive(Serialize)]
pub(super) struct Reset {
    success: bool,
    new_api_key: String,
}

impl Key {
    fn new(account: i64, key: ApiKey) -> Self {
        Self {
            id: key.id,
            user_id: account,
            name: key.name,
            rights: key.permissions.clone(),
            permissions: key.permissions,
            key_params: Params {
                ip_whitelist: key.addresses,
            },
            team_id: None,
            team_name: None,
            tail: key.tail,
            created_at: epoch(key.created_at),
            expires_at: key.expires_at.map(epoch),
            last_used: key.last_used_at.map(epoch),
            deleted_at: None,
        }
    }
}

/// All keys.
pub(super) async fn list(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Keys>, ApiError> {
    let account = caller.account();
    let axum::Json(page) = api_keys::list(caller, State(service)).await?;
    let keys = page.items.into_iter().map(|key| Key::new(account, key));
    Ok(axum::Json(Keys {
        apikeys: keys.collect(),
    }))
}

/// One key.
pub(super) async fn show(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
) -> Result<axum::Json<Key>, ApiError> {
    let account = caller.account();
    let row = service.store.api_key_of(account, id(&key)?).await?;
    let key = api_keys::shown(&service, &caller, row.ok_or_else(none)?);
    Ok(axum::Json(Key::new(account, key)))
}

/// Makes a key.
pub(super) async fn create(
    caller: Caller,
    State(service): State<Service>,
    headers: HeaderMap,
    Json(new): Json<New>,
) -> Result<axum::Json<Made>, ApiError> {
    let Some(tree) = new.permissions else {
        return Err(ApiError::bad(
            "missing-permissions",
            "no permissions; name what the key may do, as {\"api\": {\"user_read\": {}}}",
        ));
    };
    Permissions::parse(&tree)
        .map_err(|error| ApiError::bad("invalid-permissions", format!("permissions: {error}")))?;
    let Params { ip_whitelist } = params(new.key_params)?;
    let name = new.name.filter(|name| !name.trim().is_empty());
    let new = NewApiKey {
        name: name.unwrap_or_else(|| UNNAMED.to_owned()),
        permissions: Some(tree),
        addresses: Some(ip_whitelist),
        expires_at: None,
    };
    let made = api_keys::make(&service, &caller, &headers, new).await?;
    Ok(axum::Json(Made {
        success: true,
        id: made.about.id,
        key: made.key,
        permissions: made.about.permissions,
        name: made.about.name,
    }))
}

/// An object, or the same as text: the command line sends what it was given.
fn params(given: Option<Value>) -> Result<Params, ApiError> {
    let given = match given {
        None | Some(Value::Null) => return Ok(Params::default()),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Params::default()),
        Some(Value::String(text)) => serde_json::from_str(&text),
        Some(value) => Ok(value),
    };
    let read = given.and_then(|value| serde_json::from_value(Value::Object(object(value)?)));
    read.map_err(|error| {
        ApiError::bad(
            "invalid-key-params",
            format!("key_params: {error}; it is like {{\"ip_whitelist\": [\"203.0.113.7\"]}}"),
        )
    })
}

fn object(value: Value) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_value(value)
}

/// Deletes a key: the answer is a bare string.
pub(super) async fn delete(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<axum::Json<&'static str>, ApiError> {
    let id = id(&key)?;
    match api_keys::remove(&service, &caller, &headers, id).await {
        Ok(()) => Ok(axum::Json("Successfully Deleted API Key")),
        Err(error) if error.code() == "not-found" => Err(none()),
        Err(error) if error.code() == "wider-than-you" => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "wider-than-you",
            "You do not have permission to delete this API Key.",
        )),
        Err(error) => Err(error),
    }
}

/// Gives the key that asks another secret; the old one is dead at once.
pub(super) async fn reset(
    caller: Caller,
    State(service): State<Service>,
    headers: HeaderMap,
    Json(whose): Json<Whose>,
) -> Result<axum::Json<Reset>, ApiError> {
    if whose.client_id != Some(Value::from("me")) {
        return Err(ApiError::bad(
            "invalid-request",
            "client_id is \"me\": the key that asks is reset, and no other",
        ));
    }
    let Bearing::ApiKey(id) = caller.bearing else {
        return Err(ApiError::bad(
            "no-api-key",
            "this resets the API key that asks, and it was asked with a session key",
        ));
    };
    let made = api_keys::renew(&service, &caller, &headers, id).await?;
    Ok(axum::Json(Reset {
        success: true,
        new_api_key: made.key,
    }))
}

fn none() -> ApiError {
    ApiError::not_found("API Key not found.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn params_come_as_an_object_or_as_its_text() {
        let list = json!({"ip_whitelist": ["203.0.113.7"]});
        for given in [list.clone(), json!(list.to_string())] {
            let read = params(Some(given)).unwrap();
            assert_eq!(read.ip_whitelist, ["203.0.113.7"]);
        }
        for given in [None, Some(json!(null)), Some(json!(" ")), Some(json!({}))] {
            assert!(params(given).unwrap().ip_whitelist.is_empty());
        }
    }

    #[test]
    fn params_that_are_not_known_are_refused() {
        for given in [
            json!("id=5"),
            json!([]),
            json!(5),
            json!({"ip_whitelist": "203.0.113.7"}),
            json!({"ip_whitelist": [], "id": 5}),
        ] {
            let error = params(Some(given)).unwrap_err();
            assert_eq!(error.code(), "invalid-key-params");
        }
    }
}
