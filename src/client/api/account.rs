//! People: signing in, who one is, what is logged in, what was done.
//!
//! Refuses nothing of its own; what may be asked by which token is the service's to say.

use super::Api;
use crate::client::ClientError;
use crate::wire::{Account, AccountSession, AuditItem, LoginAnswer, LoginRequest, Page};
use reqwest::Method;

impl Api {
    /// `POST /v1/login`. The session key of the answer is for [`Api::with_token`].
    ///
    /// # Errors
    /// [`ClientError`]; a problem of code `totp-required` asks for the same with a code.
    pub async fn login(&self, body: &LoginRequest) -> Result<LoginAnswer, ClientError> {
        self.post("v1/login", body).await
    }

    /// `GET /v1/account`: whose token this is, and what it may do.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn account(&self) -> Result<Account, ClientError> {
        self.fetch("v1/account").await
    }

    /// `GET /v1/sessions`: people's and agents', all of them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sessions(&self) -> Result<Page<AccountSession>, ClientError> {
        self.all("v1/sessions").await
    }

    /// `DELETE /v1/sessions/{id}`: whoever holds it is cut off.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_session(&self, id: i64) -> Result<(), ClientError> {
        self.bare(Method::DELETE, &format!("v1/sessions/{id}"))
            .await
    }

    /// `DELETE /v1/sessions/current`: ends the session whose key this client holds.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn logout(&self) -> Result<(), ClientError> {
        self.bare(Method::DELETE, "v1/sessions/current").await
    }

    /// `GET /v1/audit`: at most `limit` acts, the newest first; with `before`, the `next` of another
    /// page, those that page stops at.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit(
        &self,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Page<AuditItem>, ClientError> {
        let mut request = self.request(Method::GET, "v1/audit")?;
        let mut query = request.url.query_pairs_mut();
        query.append_pair("limit", &limit.to_string());
        if let Some(before) = before {
            query.append_pair("before", before);
        }
        drop(query);
        super::parse(&self.http.send(request).await?.body)
    }
}
