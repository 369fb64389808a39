//! One GET of somebody else's list of keys: what is sent, what is taken for a whole answer.
//!
//! Owns the media types of each kind of list and the rule that half a list is none: only a 200 whose
//! end is known and that says of no further page. Refuses to read the list itself.

use super::address::check_url;
use super::{ClientError, Http, Known, Request};
use crate::config::Secret;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use std::time::Duration;

/// Redirects that are followed.
const REDIRECTS: u8 = 3;
/// To the answer's head, all redirects and connects included.
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// From the head to the end.
const BODY_WITHIN: Duration = Duration::from_secs(20);

/// What an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// Lines. Stores of plain files know them as bytes only.
    Text,
    /// JSON.
    Json,
}

impl ListKind {
    fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Text => &[
                "text/plain",
                "application/octet-stream",
                "binary/octet-stream",
            ],
            Self::Json => &["application/json", "application/*+json", "text/json"],
        }
    }
}

/// What is asked.
#[derive(Debug)]
pub struct ListQuery<'a> {
    /// The whole address.
    pub url: &'a str,
    /// Names and values, each taken for a secret; they go to no other origin than `url`'s.
    pub headers: &'a [(String, Secret)],
    /// What the answer must be.
    pub kind: ListKind,
    /// The most bytes of it.
    pub limit: usize,
    /// The answer of before.
    pub known: Option<&'a Known>,
}

/// What came.
#[derive(Debug)]
pub enum Listed {
    /// 304: the answer of before still holds.
    Unchanged,
    /// 200.
    New {
        /// The whole body.
        body: Vec<u8>,
        /// What to refer to next time, where the answer can be referred to.
        known: Option<Known>,
    },
}

impl Http {
    /// Asks for a list.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Malformed`] also for an answer that may be a part of a list.
    pub async fn list(&self, query: &ListQuery<'_>) -> Result<Listed, ClientError> {
        let url = Url::parse(query.url)
            .map_err(|error| ClientError::setup(format!("the address is none: {error}")))?;
        check_url(&url)?;
        let answer = self
            .send(Request {
                method: Method::GET,
                url,
                headers: headers(query.headers)?,
                json: None,
                accept: query.kind.media_types(),
                redirects: REDIRECTS,
                hops: 0,
                known: query.known.cloned(),
                head_within: HEAD_WITHIN,
                body_within: BODY_WITHIN,
                limit: query.limit,
            })
            .await?;
        let place = answer.url.origin().ascii_serialization();
        match answer.status {
            304 if query.known.is_some_and(|known| known.url == answer.url) => {
                return Ok(Listed::Unchanged);
            }
            200 => {}
            status => {
                return Err(ClientError::malformed(format!(
                    "{place}: the answer is a {status}, not the whole list"
                )));
            }
        }
        if !answer.framed {
            return Err(ClientError::malformed(format!(
                "{place}: the answer does not say where it ends, so it may be cut short; the \
                 server must send Content-Length or chunks"
            )));
        }
        if answer.goes_on {
            return Err(ClientError::malformed(format!(
                "{place}: the answer is one page of several; ask for a larger page, as in \
                 ?per_page=100"
            )));
        }
        let url = answer.url;
        Ok(Listed::New {
            body: answer.body,
            known: answer.etag.map(|etag| Known { url, etag }),
        })
    }
}

fn headers(given: &[(String, Secret)]) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let unfit = || ClientError::setup(format!("{name} has characters that no header has"));
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| unfit())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
