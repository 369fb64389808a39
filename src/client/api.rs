//! Typed calls of `/v1`: one method a call, each with its own limits.
//!
//! Owns paths, headers and body types of interface.md section 4. Refuses answers that are not the
//! JSON that was asked for. The token is zeroed when the last clone goes, and is no part of `Debug`.

use super::{Answer, ClientError, Http, Request, checked_url, clean};
use crate::wire::{
    EnrollAnswer, EnrollRequest, Handover, HeartbeatAnswer, HeartbeatRequest, Instance,
    NewInstance, NewInstanceAnswer, NewSshKey, NonceAnswer, Page, RenewAnswer, RenewRequest,
    Rollout, SignedSnapshot, SshKey,
};
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// The most bytes of a snapshot's answer (interface.md section 2).
pub const MAX_SNAPSHOT: usize = 8 * 1024 * 1024;
/// The most bytes of any other answer.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// The most bytes of a rollout: 10,000 instances with their labels and reasons.
const MAX_ROLLOUT: usize = 16 * 1024 * 1024;
/// To the answer's head, beside what the query may be held: it holds a connect of 10 s.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// From the head to the end.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// protocol.md section 4.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// The longest that a rollout is held.
const MAX_ROLLOUT_WAIT: Duration = Duration::from_secs(60);

/// The service, as one holder of a token sees it. Clones share connections.
#[derive(Clone)]
pub struct Api {
    http: Http,
    base: Url,
    token: Option<Arc<Zeroizing<String>>>,
}

/// What a query for the snapshot gave.
#[derive(Debug)]
pub enum Fetched {
    /// 304: what the ETag names is still the newest.
    Unchanged {
        /// The service's clock.
        date: Option<Timestamp>,
    },
    /// 200: a snapshot, of which nothing has been checked yet.
    New {
        /// Payload and signatures.
        snapshot: SignedSnapshot,
        /// For the next query; opaque.
        etag: Option<String>,
        /// The service's clock.
        date: Option<Timestamp>,
    },
}

impl Api {
    /// The service at `base_url`, with a token or none yet.
    ///
    /// # Errors
    /// [`ClientError::Setup`]: not https (nor http to loopback), with a query or a fragment, or a
    /// token that cannot stand in a header.
    pub fn try_new(
        http: Http,
        base_url: &str,
        token: Option<Zeroizing<String>>,
    ) -> Result<Self, ClientError> {
        let mut base = checked_url(base_url)?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err(ClientError::setup(
                "the service's address has a query or fragment; give it without",
            ));
        }
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        let api = Self {
            http,
            base,
            token: None,
        };
        match token {
            Some(token) => api.with_token(token),
            None => Ok(api),
        }
    }

    /// The same service with another token.
    ///
    /// # Errors
    /// [`ClientError::Setup`] where the token cannot stand in a header.
    pub fn with_token(&self, token: Zeroizing<String>) -> Result<Self, ClientError> {
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ClientError::setup(
                "the token has characters that no token has; it may have been cut or pasted wrong",
            ));
        }
        let token = Some(Arc::new(token));
        Ok(Self {
            token,
            ..self.clone()
        })
    }

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
        let date = answer.date;
        match answer.status {
            304 if etag.is_some() => Ok(Fetched::Unchanged { date }),
            304 => Err(ClientError::malformed("304 to a query that named no ETag")),
            _ => Ok(Fetched::New {
                snapshot: parse(&answer.body)?,
                etag: answer.etag,
                date,
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

    /// `POST /v1/agent/heartbeat`.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Conflict`] with code `clone` where a newer run has spoken.
    pub async fn heartbeat(&self, body: &HeartbeatRequest) -> Result<HeartbeatAnswer, ClientError> {
        self.post("v1/agent/heartbeat", body).await
    }

    /// `GET /v1/ssh-keys`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ssh_keys(&self) -> Result<Page<SshKey>, ClientError> {
        self.fetch("v1/ssh-keys").await
    }

    /// `POST /v1/ssh-keys`: the key, and whether it is new. The same key again is the same key.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Refused`] says in its code what is no public key.
    pub async fn add_ssh_key(&self, body: &NewSshKey) -> Result<(SshKey, bool), ClientError> {
        let answer = self.send_json("v1/ssh-keys", body).await?;
        Ok((parse(&answer.body)?, answer.status == 201))
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
        let request = self.request(Method::POST, &format!("v1/ssh-keys/{id}/revoke"))?;
        self.http.send(request).await.map(drop)
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

    /// `GET /v1/instances`: all of them, page after page.
    ///
    /// # Errors
    /// [`ClientError`]; a page that leads nowhere new is malformed.
    pub async fn instances(&self) -> Result<Page<Instance>, ClientError> {
        let mut all = Vec::new();
        let mut after = 0_i64;
        let mut path = "v1/instances".to_owned();
        loop {
            let page: Page<Instance> = self.fetch(&path).await?;
            all.extend(page.items);
            let Some(next) = page.next else {
                return Ok(Page::whole(all));
            };
            after = next
                .parse()
                .ok()
                .filter(|next| *next > after)
                .ok_or_else(|| ClientError::malformed("the next page is none; try again"))?;
            path = format!("v1/instances?after={after}");
        }
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

    async fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        parse(&self.http.send(self.request(Method::GET, path)?).await?.body)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        parse(&self.send_json(path, body).await?.body)
    }

    async fn send_json(&self, path: &str, body: &impl Serialize) -> Result<Answer, ClientError> {
        let mut request = self.request(Method::POST, path)?;
        let json = serde_json::to_vec(body)
            .map_err(|error| ClientError::setup(format!("the request is no JSON: {error}")))?;
        request.json = Some(json);
        self.http.send(request).await
    }

    fn request(&self, method: Method, path: &str) -> Result<Request, ClientError> {
        let url = self
            .base
            .join(path)
            .map_err(|error| ClientError::setup(format!("{path}: {error}")))?;
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
            put(&mut headers, AUTHORIZATION, &bearer)?;
        }
        Ok(Request {
            method,
            url,
            headers,
            json: None,
            accept: &["application/json"],
            redirects: 0,
            hops: 0,
            known: None,
            head_within: HEAD_WITHIN,
            body_within: BODY_WITHIN,
            limit: MAX_ANSWER,
        })
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Api({})", self.base)
    }
}

/// Lets the service hold the query: whole seconds, as the interface has them.
fn hold(request: &mut Request, wait: Duration) {
    request
        .url
        .set_query(Some(&format!("wait={}", wait.as_secs())));
    request.head_within = wait + HEAD_WITHIN;
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), ClientError> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| ClientError::setup(format!("{name} has characters that no header has")))?;
    value.set_sensitive(name == AUTHORIZATION);
    headers.insert(name, value);
    Ok(())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| {
        let error = clean(&error.to_string(), 256);
        ClientError::malformed(format!(
            "the answer is not the JSON that was asked for: {error}"
        ))
    })
}

#[cfg(test)]
mod tests;
