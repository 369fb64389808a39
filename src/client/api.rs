//! Typed calls of `/v1`: one method a call, each with its own limits.
//!
//! Owns paths, headers and body types of interface.md section 4; the calls stand by what they are
//! about, one file each. Refuses answers that are not the JSON that was asked for. The token is
//! zeroed when the last clone goes, and is no part of `Debug`.

mod account;
mod agent;
mod api_keys;
mod certificates;
mod instances;
mod ssh_keys;

pub use agent::{Fetched, MAX_SNAPSHOT};

use super::{Answer, ClientError, Http, Request, checked_url, clean};
use crate::wire::Page;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// The most bytes of an answer, where its call has no limit of its own.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// To the answer's head, beside what the query may be held: it holds a connect of 10 s.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// From the head to the end.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// The service, as one holder of a token sees it. Clones share connections.
#[derive(Clone)]
pub struct Api {
    http: Http,
    base: Url,
    token: Option<Arc<Zeroizing<String>>>,
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

    async fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        parse(&self.http.send(self.request(Method::GET, path)?).await?.body)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        parse(&self.send_json(Method::POST, path, body).await?.body)
    }

    /// A call without a body, whose answer has none that counts.
    async fn bare(&self, method: Method, path: &str) -> Result<(), ClientError> {
        self.http.send(self.request(method, path)?).await.map(drop)
    }

    /// A whole listing, page after page; a page that leads nowhere new is malformed.
    async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Page<T>, ClientError> {
        let mut all = Vec::new();
        let mut after = 0_i64;
        let mut page_path = path.to_owned();
        loop {
            let page: Page<T> = self.fetch(&page_path).await?;
            all.extend(page.items);
            let Some(next) = page.next else {
                return Ok(Page::whole(all));
            };
            after = next
                .parse()
                .ok()
                .filter(|next| *next > after)
                .ok_or_else(|| ClientError::malformed("the next page is none; try again"))?;
            page_path = format!("{path}?after={after}");
        }
    }

    async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer, ClientError> {
        let mut request = self.request(method, path)?;
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
