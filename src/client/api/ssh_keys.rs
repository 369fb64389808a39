//! An account's SSH keys, and how far each has come.
//!
//! Owns how long a query for a rollout is held, and how large one may be.

use super::{Api, hold, parse, put};
use crate::client::{ClientError, Request};
use crate::wire::{EditSshKey, NewSshKey, Page, Rollout, SshKey};
use reqwest::Method;
use reqwest::header::IF_NONE_MATCH;
use std::time::Duration;

/// The most bytes of a rollout: 10,000 instances with their labels and reasons.
const MAX_ROLLOUT: usize = 16 * 1024 * 1024;
/// The longest that a rollout is held.
const MAX_ROLLOUT_WAIT: Duration = Duration::from_secs(60);

impl Api {
    /// `GET /v1/ssh-keys`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ssh_keys(&self) -> Result<Page<SshKey>, ClientError> {
        self.all("v1/ssh-keys").await
    }

    /// `POST /v1/ssh-keys`: the key, and whether it is new. The same key again is the same key.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Refused`] says in its code what is no public key.
    pub async fn add_ssh_key(&self, body: &NewSshKey) -> Result<(SshKey, bool), ClientError> {
        let answer = self.send_json(Method::POST, "v1/ssh-keys", body).await?;
        Ok((parse(&answer.body)?, answer.status == 201))
    }

    /// `PATCH /v1/ssh-keys/{id}`; with `end_sessions`, where the text changes, the sessions opened by
    /// the key of before end everywhere.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Conflict`] where the account has that text under another id.
    pub async fn edit_ssh_key(
        &self,
        id: i64,
        body: &EditSshKey,
        end_sessions: bool,
    ) -> Result<SshKey, ClientError> {
        let query = if end_sessions {
            "?end_sessions=true"
        } else {
            ""
        };
        let path = format!("v1/ssh-keys/{id}{query}");
        parse(&self.send_json(Method::PATCH, &path, body).await?.body)
    }

    /// `DELETE /v1/ssh-keys/{id}`; with `end_sessions` the sessions opened by it end everywhere, and
    /// [`Api::rollout`] says what became of them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_ssh_key(&self, id: i64, end_sessions: bool) -> Result<(), ClientError> {
        let mut request = self.request(Method::DELETE, &format!("v1/ssh-keys/{id}"))?;
        if end_sessions {
            request.url.set_query(Some("end_sessions=true"));
        }
        self.http.send(request).await.map(drop)
    }

    /// `POST /v1/ssh-keys/{id}/revoke`: deletes it, and has it refused wherever it stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_ssh_key(&self, id: i64) -> Result<(), ClientError> {
        self.bare(Method::POST, &format!("v1/ssh-keys/{id}/revoke"))
            .await
    }

    /// `GET /v1/ssh-keys/{id}/rollout`: the picture now; with `wait` (60 s at the most) it is held
    /// until it is another than at the beginning.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rollout(&self, id: i64, wait: Option<Duration>) -> Result<Rollout, ClientError> {
        let request = self.rollout_request(id, wait)?;
        parse(&self.http.send(request).await?.body)
    }

    /// The same, held until the picture is another than the one that `etag` names, so that nothing
    /// between two calls is missed. `None`: it is still that one. Gives the picture's own ETag.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rollout_after(
        &self,
        id: i64,
        etag: &str,
        wait: Duration,
    ) -> Result<Option<(Rollout, Option<String>)>, ClientError> {
        let mut request = self.rollout_request(id, Some(wait))?;
        put(&mut request.headers, IF_NONE_MATCH, etag)?;
        let answer = self.http.send(request).await?;
        match answer.status {
            304 => Ok(None),
            _ => Ok(Some((parse(&answer.body)?, answer.etag))),
        }
    }

    fn rollout_request(&self, id: i64, wait: Option<Duration>) -> Result<Request, ClientError> {
        let mut request = self.request(Method::GET, &format!("v1/ssh-keys/{id}/rollout"))?;
        request.limit = MAX_ROLLOUT;
        if let Some(wait) = wait {
            hold(&mut request, wait.min(MAX_ROLLOUT_WAIT));
        }
        Ok(request)
    }
}
