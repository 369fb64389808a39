//! An account's CAs, what they sign for people, and the list of what is revoked.
//!
//! Owns how large a revocation list may be. Refuses to judge what comes: whoever asked does.

use super::{Api, MAX_ANSWER};
use crate::client::ClientError;
use crate::trust::MAX_KRL;
use crate::wire::{Cas, NewUserCertificate, RevokeCertificates, RotateCa, UserCertificate};
use reqwest::Method;

/// The types under which a revocation list comes.
const KRL: &[&str] = &["application/octet-stream"];

impl Api {
    /// `POST /v1/certificates/user`.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Conflict`] where the key or the session that asks is about to
    /// end, or the key was revoked.
    pub async fn certify_user(
        &self,
        body: &NewUserCertificate,
    ) -> Result<UserCertificate, ClientError> {
        self.post("v1/certificates/user", body).await
    }

    /// `POST /v1/certificates/revoke`; with `end_sessions` the sessions opened by them end
    /// everywhere.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::NotFound`] where the account has none such.
    pub async fn revoke_certificates(
        &self,
        body: &RevokeCertificates,
        end_sessions: bool,
    ) -> Result<(), ClientError> {
        let query = if end_sessions {
            "?end_sessions=true"
        } else {
            ""
        };
        let path = format!("v1/certificates/revoke{query}");
        self.send_json(Method::POST, &path, body).await.map(drop)
    }

    /// `GET /v1/ca`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cas(&self) -> Result<Cas, ClientError> {
        self.fetch("v1/ca").await
    }

    /// `POST /v1/ca/rotate`, for a person who gives the password: the CAs after it.
    ///
    /// # Errors
    /// [`ClientError`]; a problem of code `totp-required` asks for the same with a code.
    pub async fn rotate_ca(&self, body: &RotateCa) -> Result<Cas, ClientError> {
        self.post("v1/ca/rotate", body).await
    }

    /// `GET /v1/krl`: the revocation list as sshd reads it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn krl(&self) -> Result<Vec<u8>, ClientError> {
        let mut request = self.request(Method::GET, "v1/krl")?;
        request.accept = KRL;
        request.limit = MAX_KRL.max(MAX_ANSWER);
        Ok(self.http.send(request).await?.body)
    }
}
