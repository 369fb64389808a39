//! `/api/v0/ssh/`: an account's SSH keys.
//!
//! The client sends whatever it was given, a file's name too: what is a public key is judged here,
//! by the same parser as in `/v1`. The text that is shown is type, blob and the name as comment, so
//! that whoever compares it with what was saved finds it the same.

use super::super::extract::{Json, Params, id};
use super::super::{ApiError, ssh_keys};
use super::{DONE, Done, epoch};
use crate::keys::{KeyError, PublicKey};
use crate::service::Service;
use crate::service::auth::Caller;
use crate::wire::{EditSshKey, NewSshKey, SshKey};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

/// The body of a save. A client that has no key sends `null`.
#[derive(Debug, Deserialize)]
pub(super) struct Given {
    #[serde(default)]
    ssh_key: Option<String>,
}

impl Given {
    /// The key and its comment.
    ///
    /// # Errors
    /// 400 in this face's words.
    pub(super) fn parse(&self) -> Result<(PublicKey, String), ApiError> {
        // Vast takes NUL out before it looks.
        let text = self
            .ssh_key
            .as_deref()
            .unwrap_or_default()
            .replace('\0', "");
        PublicKey::parse_text(&text).map_err(|error| match error {
            KeyError::Empty => ApiError::bad("no-ssh-key", "No ssh key provided"),
            error => ApiError::bad(error.code(), format!("ssh_key: {error}")),
        })
    }
}

/// A key as clients read it; `id` stands first because some look for it in printed text.
#[derive(Debug, Serialize)]
pub(super) struct Key {
    id: i64,
    user_id: i64,
    public_key: String,
    key: String,
    ssh_key: String,
    name: String,
    created_at: f64,
    deleted_at: Option<f64>,
}

impl Key {
    pub(super) fn new(account: i64, key: SshKey) -> Self {
        let text = text(&key);
        Self {
            id: key.id,
            user_id: account,
            public_key: text.clone(),
            key: text.clone(),
            ssh_key: text,
            name: key.name,
            created_at: epoch(key.created_at),
            deleted_at: None,
        }
    }
}

/// The key with its comment. A name that begins so was made of the fingerprint: the text had none.
fn text(key: &SshKey) -> String {
    if key.name.starts_with('…') {
        key.public_key.clone()
    } else {
        format!("{} {}", key.public_key, key.name)
    }
}

/// What a save answers.
#[derive(Debug, Serialize)]
pub(super) struct Saved {
    success: bool,
    key: Key,
}

/// All keys: a bare array.
pub(super) async fn list(
    caller: Caller,
    State(service): State<Service>,
) -> Result<axum::Json<Vec<Key>>, ApiError> {
    let account = caller.account();
    let axum::Json(page) = ssh_keys::list(caller, State(service)).await?;
    let keys = page.items.into_iter();
    Ok(axum::Json(keys.map(|key| Key::new(account, key)).collect()))
}

/// Saves a key. One that the account has is the same key: a client repeats what got no answer.
pub(super) async fn create(
    caller: Caller,
    State(service): State<Service>,
    Json(given): Json<Given>,
) -> Result<axum::Json<Saved>, ApiError> {
    save(&service, &caller, &given).await.map(axum::Json)
}

/// The same, for whoever else takes a key.
pub(super) async fn save(
    service: &Service,
    caller: &Caller,
    given: &Given,
) -> Result<Saved, ApiError> {
    let (_, row) = ssh_keys::add(service, caller, &new_key(given)?).await?;
    Ok(Saved {
        success: true,
        key: Key::new(caller.account(), ssh_keys::shown(row)),
    })
}

/// A key that is to be everywhere, named by its comment.
pub(super) fn new_key(given: &Given) -> Result<NewSshKey, ApiError> {
    let (key, comment) = given.parse()?;
    Ok(NewSshKey {
        public_key: format!("{key} {comment}"),
        ..NewSshKey::default()
    })
}

/// Puts another key under the same id; it is called by its comment, where it has one.
pub(super) async fn update(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
    Params(ending): Params<ssh_keys::Deletion>,
    headers: HeaderMap,
    Json(given): Json<Given>,
) -> Result<axum::Json<Saved>, ApiError> {
    id(&key)?;
    let (to, comment) = given.parse()?;
    let name = match comment.is_empty() {
        true => None,
        false => Some(ssh_keys::name(None, &comment, &to)?),
    };
    let edit = EditSshKey {
        name,
        public_key: Some(to.to_string()),
        ..EditSshKey::default()
    };
    let changed = ssh_keys::change(&service, &caller, &key, &ending, &headers, &edit).await;
    let row = changed.map_err(no_ssh_key)?;
    Ok(axum::Json(Saved {
        success: true,
        key: Key::new(caller.account(), ssh_keys::shown(row)),
    }))
}

/// Deletes a key. Vast says `no_ssh_key` of one that is not there, too.
pub(super) async fn delete(
    caller: Caller,
    State(service): State<Service>,
    Path(key): Path<String>,
    deletion: Params<ssh_keys::Deletion>,
    headers: HeaderMap,
) -> Result<axum::Json<Done>, ApiError> {
    id(&key)?;
    match ssh_keys::delete(caller, State(service), Path(key), deletion, headers).await {
        Ok(_) => Ok(DONE),
        Err(error) => Err(no_ssh_key(error)),
    }
}

/// Not found, as Vast says it of a key.
pub(super) fn no_ssh_key(error: ApiError) -> ApiError {
    if error.code() == "not-found" {
        ApiError::bad("no-ssh-key", "the account has no ssh key of that id")
    } else {
        error
    }
}
