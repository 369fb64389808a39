//! An account's API keys.
//!
//! Owns which answers hold a key itself: those of create, reset and reveal.

use super::Api;
use crate::client::ClientError;
use crate::wire::{ApiKey, ApiKeySecret, EditApiKey, NewApiKey, Page, PasswordGiven};
use reqwest::Method;
use serde_json::json;

impl Api {
    /// `GET /v1/api-keys`: all of them, without the keys.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn api_keys(&self) -> Result<Page<ApiKey>, ClientError> {
        self.all("v1/api-keys").await
    }

    /// `GET /v1/api-keys/{id}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn api_key(&self, id: i64) -> Result<ApiKey, ClientError> {
        self.fetch(&format!("v1/api-keys/{id}")).await
    }

    /// `POST /v1/api-keys`.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Forbidden`] for rights that the caller has not.
    pub async fn create_api_key(&self, body: &NewApiKey) -> Result<ApiKeySecret, ClientError> {
        self.post("v1/api-keys", body).await
    }

    /// `PATCH /v1/api-keys/{id}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn edit_api_key(&self, id: i64, body: &EditApiKey) -> Result<ApiKey, ClientError> {
        let path = format!("v1/api-keys/{id}");
        super::parse(&self.send_json(Method::PATCH, &path, body).await?.body)
    }

    /// `POST /v1/api-keys/{id}/reset`: another key under the same id; the old one is dead.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reset_api_key(&self, id: i64) -> Result<ApiKeySecret, ClientError> {
        let path = format!("v1/api-keys/{id}/reset");
        self.post(&path, &json!({})).await
    }

    /// `POST /v1/api-keys/{id}/reveal`: the key once more, for a person who gives the password.
    ///
    /// # Errors
    /// [`ClientError`]; a problem of code `totp-required` asks for the same with a code.
    pub async fn reveal_api_key(
        &self,
        id: i64,
        body: &PasswordGiven,
    ) -> Result<ApiKeySecret, ClientError> {
        self.post(&format!("v1/api-keys/{id}/reveal"), body).await
    }

    /// `DELETE /v1/api-keys/{id}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_api_key(&self, id: i64) -> Result<(), ClientError> {
        self.bare(Method::DELETE, &format!("v1/api-keys/{id}"))
            .await
    }
}
