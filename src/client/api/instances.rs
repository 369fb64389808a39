//! An account's instances.
//!
//! Owns their paths. Refuses to choose what becomes of the keys where one is removed.

use super::{Api, parse};
use crate::client::ClientError;
use crate::wire::{
    ApproveHostKey, EditInstance, Instance, NewInstance, NewInstanceAnswer, Page, RevokedHostKey,
};
use reqwest::Method;
use serde::Deserialize;

impl Api {
    /// `GET /v1/instances`: all of them, page after page.
    ///
    /// # Errors
    /// [`ClientError`]; a page that leads nowhere new is malformed.
    pub async fn instances(&self) -> Result<Page<Instance>, ClientError> {
        self.all("v1/instances").await
    }

    /// `GET /v1/instances/{id}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn instance(&self, id: i64) -> Result<Instance, ClientError> {
        self.fetch(&format!("v1/instances/{id}")).await
    }

    /// `POST /v1/instances`: the enrolment token stands in this answer only.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_instance(
        &self,
        body: &NewInstance,
    ) -> Result<NewInstanceAnswer, ClientError> {
        self.post("v1/instances", body).await
    }

    /// `PATCH /v1/instances/{id}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn edit_instance(
        &self,
        id: i64,
        body: &EditInstance,
    ) -> Result<Instance, ClientError> {
        let path = format!("v1/instances/{id}");
        parse(&self.send_json(Method::PATCH, &path, body).await?.body)
    }

    /// `DELETE /v1/instances/{id}`: its agent is told, and its session key dies. With `take_keys`
    /// the agent first takes out what it wrote, with `end_sessions` also ends what was opened by it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_instance(
        &self,
        id: i64,
        take_keys: bool,
        end_sessions: bool,
    ) -> Result<(), ClientError> {
        let mut request = self.request(Method::DELETE, &format!("v1/instances/{id}"))?;
        let query = format!("take_keys={take_keys}&end_sessions={end_sessions}");
        request.url.set_query(Some(&query));
        self.http.send(request).await.map(drop)
    }

    /// `POST /v1/instances/{id}/host-keys`: the key gets certificates.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn approve_host_key(&self, id: i64, fingerprint: &str) -> Result<(), ClientError> {
        let body = ApproveHostKey {
            fingerprint: fingerprint.to_owned(),
        };
        let path = format!("v1/instances/{id}/host-keys");
        self.send_json(Method::POST, &path, &body).await.map(drop)
    }

    /// `DELETE /v1/instances/{id}/host-keys?fingerprint=…`: the key gets none, and has none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn refuse_host_key(&self, id: i64, fingerprint: &str) -> Result<(), ClientError> {
        let mut request = self.request(Method::DELETE, &format!("v1/instances/{id}/host-keys"))?;
        let mut query = request.url.query_pairs_mut();
        query.append_pair("fingerprint", fingerprint);
        drop(query);
        self.http.send(request).await.map(drop)
    }

    /// `GET /v1/host-keys/revoked`: what known_hosts is to refuse.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoked_host_keys(&self) -> Result<Page<RevokedHostKey>, ClientError> {
        self.fetch("v1/host-keys/revoked").await
    }

    /// `PUT /v1/instances/{id}/ssh-keys/{key}`: the key is there, whatever its scope.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn attach_ssh_key(&self, instance: i64, key: i64) -> Result<(), ClientError> {
        let path = format!("v1/instances/{instance}/ssh-keys/{key}");
        self.bare(Method::PUT, &path).await
    }

    /// `DELETE /v1/instances/{id}/ssh-keys/{key}`: the key is not there, whatever its scope, until
    /// it is attached again. Says whether it is on no instance at all from now on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn detach_ssh_key(&self, instance: i64, key: i64) -> Result<bool, ClientError> {
        let path = format!("v1/instances/{instance}/ssh-keys/{key}");
        let request = self.request(Method::DELETE, &path)?;
        let answer = self.http.send(request).await?;
        match answer.body.is_empty() {
            true => Ok(false),
            false => Ok(parse::<Detached>(&answer.body)?.nowhere),
        }
    }
}

/// What counts of the answer.
#[derive(Deserialize)]
struct Detached {
    #[serde(default)]
    nowhere: bool,
}
