//! What an agent asks: enrolment, renewal, the snapshot, heartbeats.
//!
//! Owns how long a query for the snapshot is held, and that a 304 answers only who named an ETag.

use super::{Api, hold, parse, put};
use crate::client::ClientError;
use crate::wire::{
    EnrollAnswer, EnrollRequest, Handover, HeartbeatAnswer, HeartbeatRequest,
    HostCertificatesAnswer, HostCertificatesRequest, NonceAnswer, Page, Probes, RenewAnswer,
    RenewRequest, SignedSnapshot,
};
use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{HeaderName, IF_NONE_MATCH};
use std::time::Duration;

/// The most bytes of a snapshot's answer (interface.md section 2).
pub const MAX_SNAPSHOT: usize = 8 * 1024 * 1024;
/// A revocation list of millions of bytes may come slowly; keys do not wait for it.
const KRL_WITHIN: Duration = Duration::from_secs(300);
/// protocol.md section 4.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// What a query for the snapshot gave.
#[derive(Debug)]
pub enum Fetched {
    /// 304: what the ETag names is still the newest.
    Unchanged {
        /// The service's clock.
        date: Option<Timestamp>,
        /// Over how long to spread when all have to come back.
        retry_within: Duration,
    },
    /// 200: a snapshot, of which nothing has been checked yet.
    New {
        /// Payload and signatures.
        snapshot: SignedSnapshot,
        /// For the next query; opaque.
        etag: Option<String>,
        /// The service's clock.
        date: Option<Timestamp>,
        /// Over how long to spread when all have to come back.
        retry_within: Duration,
    },
}

impl Api {
    /// `POST /v1/agent/enroll`. The session key of the answer is for [`Api::with_token`].
    ///
    /// # Errors
    /// [`ClientError`]; a token that was spent by another key is [`ClientError::Conflict`].
    pub async fn enroll(&self, body: &EnrollRequest) -> Result<EnrollAnswer, ClientError> {
        self.post("v1/agent/enroll", body).await
    }

    /// `GET /v1/agent/nonce`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn nonce(&self) -> Result<NonceAnswer, ClientError> {
        self.fetch("v1/agent/nonce").await
    }

    /// `POST /v1/agent/renew`.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Unauthorized`] for an instance that was removed.
    pub async fn renew(&self, body: &RenewRequest) -> Result<RenewAnswer, ClientError> {
        self.post("v1/agent/renew", body).await
    }

    /// `GET /v1/agent/snapshot?wait=SECONDS`: a fetch that waits until there is another snapshot
    /// than `etag`, `wait` (300 s at the most) at the longest. `run` is the agent's run id. A dead
    /// connection shows as [`ClientError::Timeout`] ten seconds after `wait`.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Conflict`] with code `clone` where a newer run has spoken.
    pub async fn snapshot(
        &self,
        etag: Option<&str>,
        wait: Duration,
        run: &str,
    ) -> Result<Fetched, ClientError> {
        let wait = wait.min(MAX_WAIT);
        let mut request = self.request(Method::GET, "v1/agent/snapshot")?;
        hold(&mut request, wait);
        request.limit = MAX_SNAPSHOT;
        put(
            &mut request.headers,
            HeaderName::from_static("x-sshkeyd-run"),
            run,
        )?;
        if let Some(etag) = etag {
            put(&mut request.headers, IF_NONE_MATCH, etag)?;
        }
        let answer = self.http.send(request).await?;
        let (date, retry_within) = (answer.date, answer.retry_within);
        match answer.status {
            304 if etag.is_some() => Ok(Fetched::Unchanged { date, retry_within }),
            304 => Err(ClientError::malformed("304 to a query that named no ETag")),
            _ => Ok(Fetched::New {
                snapshot: parse(&answer.body)?,
                etag: answer.etag,
                date,
                retry_within,
            }),
        }
    }

    /// `GET /v1/agent/signers?from=FINGERPRINT`: the hand-overs from this signer on, the first
    /// first; nothing of them has been checked yet.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn signers(&self, from: &str) -> Result<Page<Handover>, ClientError> {
        let mut request = self.request(Method::GET, "v1/agent/signers")?;
        request.url.query_pairs_mut().append_pair("from", from);
        parse(&self.http.send(request).await?.body)
    }

    /// `GET /v1/agent/krl/SHA256`: a revocation list of the account by its digest, of `size` bytes;
    /// neither has been checked yet.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::TooLarge`] where it has more bytes.
    pub async fn agent_krl(&self, sha256: &str, size: usize) -> Result<Vec<u8>, ClientError> {
        let path = format!("v1/agent/krl/{sha256}");
        let mut request = self.request(Method::GET, &path)?;
        request.accept = &["application/octet-stream"];
        request.limit = size;
        request.body_within = KRL_WITHIN;
        Ok(self.http.send(request).await?.body)
    }

    /// `GET /v1/agent/probes`: certificates to ask sshd about. Nothing of them has been checked yet.
    ///
    /// # Errors
    /// [`ClientError`]; a service that knows of none is [`ClientError::NotFound`].
    pub async fn probes(&self) -> Result<Probes, ClientError> {
        self.fetch("v1/agent/probes").await
    }

    /// `POST /v1/agent/heartbeat`.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Conflict`] with code `clone` where a newer run has spoken.
    pub async fn heartbeat(&self, body: &HeartbeatRequest) -> Result<HeartbeatAnswer, ClientError> {
        self.post("v1/agent/heartbeat", body).await
    }

    /// `POST /v1/agent/host-certificates`; nothing of the answer has been checked yet.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::NotFound`] of a service that knows no certificates.
    pub async fn host_certificates(
        &self,
        body: &HostCertificatesRequest,
    ) -> Result<HostCertificatesAnswer, ClientError> {
        self.post("v1/agent/host-certificates", body).await
    }
}
