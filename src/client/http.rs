//! The one HTTP client: who is trusted, what may be sent where, how much and how long is read.
//!
//! Owns TLS roots, the proxy, deadlines, the body limit and content types. Refuses plain http to
//! anything but loopback, every redirect that was not asked for (`redirect.rs` has the rules for the
//! others), and any body over its limit. HTTP/1.1 only; no timer runs between two requests.

use super::address::check_url;
use super::headers::{date, media_type, retry_after, retry_within, text};
use super::problem::{is_problem, problem};
use super::redirect;
use super::{ClientError, MAX_REMOTE_TEXT, clean};
use jiff::Timestamp;
use reqwest::header::{self, HeaderMap};
use reqwest::{Certificate, Client, Method, NoProxy, Proxy, Response, StatusCode, Url};
use std::error::Error as _;
use std::fmt;
use std::io::Read as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// TCP and TLS together.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Longest problem+json that is read.
const MAX_PROBLEM: usize = 64 * 1024;
/// Longest CA file that is read: the whole of Debian's bundle is a quarter of it.
const MAX_CA_FILE: u64 = 1024 * 1024;

/// How a client is to be.
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// Only the CAs of this PEM file; `None` for the platform's.
    pub ca_file: Option<PathBuf>,
    /// Whether `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` count. What goes to loopback in plain
    /// text is never given to a proxy.
    pub proxy: bool,
    /// `User-Agent`.
    pub user_agent: String,
    /// Whether no connection is kept for a next request: for what is asked once in minutes.
    pub one_shot: bool,
}

/// The client. Clones share its connections.
#[derive(Clone)]
pub struct Http {
    client: Client,
}

/// One request. Everything that bounds it is said here.
#[derive(Debug)]
pub struct Request {
    /// GET, POST, DELETE.
    pub method: Method,
    /// Where to; checked by [`super::checked_url`] before anything is sent.
    pub url: Url,
    /// Headers beside `User-Agent` and `Accept`.
    pub headers: HeaderMap,
    /// JSON to send.
    pub json: Option<Vec<u8>>,
    /// The media types of which a body must have one, without parameters. `application/*+json`
    /// stands for every type that ends so.
    pub accept: &'static [&'static str],
    /// How many redirects are followed. Headers go to no other origin than `url`'s.
    pub redirects: u8,
    /// How many were followed by now; 0 to begin with.
    pub hops: u8,
    /// The answer that is known already, and the address that gave it.
    pub known: Option<Known>,
    /// From now to the answer's head: what a held query may be held, and some.
    pub head_within: Duration,
    /// From the head to the end of the body.
    pub body_within: Duration,
    /// The most bytes of a body.
    pub limit: usize,
}

/// An answer that a next request may refer to (RFC 9110, section 13.1.2). It counts at the address
/// that gave it and nowhere else, wherever redirects lead by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub(super) url: Url,
    pub(super) etag: String,
}

/// A success, or a 304.
#[derive(Debug)]
pub struct Answer {
    /// 2xx or 304.
    pub status: u16,
    /// The whole body; empty for 204 and 304.
    pub body: Vec<u8>,
    /// `ETag`, as it came, quotes and all.
    pub etag: Option<String>,
    /// Who answered, after all redirects.
    pub url: Url,
    /// Whether the head says how the body ends, so that a body cut short is known to be one.
    pub framed: bool,
    /// Whether a `Link` says that more follows elsewhere (RFC 8288).
    pub goes_on: bool,
    /// Over how long to spread when all have to come back.
    pub retry_within: Duration,
    /// The service's clock, to tell a wrong one of ours.
    pub date: Option<Timestamp>,
}

/// Makes ring the process's provider of TLS cryptography. May be called any number of times.
pub fn install_crypto() {
    // An error means that one is installed already: by us, as nothing else does.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Http {
    /// Builds the client. Reads the CA file, and the proxy from the environment where asked to.
    ///
    /// # Errors
    /// [`ClientError::Setup`]: a CA file that cannot be read or holds no certificate, a proxy
    /// address that is none.
    pub fn try_new(options: &HttpOptions) -> Result<Self, ClientError> {
        install_crypto();
        let client = match &options.ca_file {
            Some(path) => builder(options)?
                .tls_certs_only(certificates(path)?)
                .build(),
            // A host without any CA can still speak to loopback; https then says UnknownIssuer.
            None => match builder(options)?.build() {
                Err(_) => builder(options)?.tls_certs_only([]).build(),
                built => built,
            },
        };
        let client = client.map_err(|error| ClientError::setup(cause(&error)))?;
        Ok(Self { client })
    }

    /// Sends one request and reads the whole answer, within the request's limits.
    ///
    /// # Errors
    /// Every variant of [`ClientError`]. Nothing leaves for an address that [`super::checked_url`] would
    /// refuse.
    pub async fn send(&self, request: Request) -> Result<Answer, ClientError> {
        check_url(&request.url)?;
        let (accept, limit, body_within) = (request.accept, request.limit, request.body_within);
        let (response, url) = timeout(request.head_within, self.head(request))
            .await
            .map_err(|_| ClientError::Timeout)??;
        let place = url.origin().ascii_serialization();
        let status = response.status();
        let date = date(response.headers(), &header::DATE);
        let etag = text(response.headers(), &header::ETAG).map(|tag| clean(tag, 256));
        let found = media_type(response.headers());
        if !status.is_success() && status != StatusCode::NOT_MODIFIED {
            let retry_after = retry_after(response.headers(), date);
            // A refusal counts by its status, whether or not its words can be read.
            let readable = found.as_deref().is_some_and(is_problem);
            let body = read(response, MAX_PROBLEM, body_within, &place).await;
            let body = body.ok().filter(|_| readable);
            let said = found.as_deref().zip(body.as_deref());
            return Err(ClientError::of_status(
                Box::new(problem(status, said)),
                retry_after,
            ));
        }
        let empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if !empty && !found.as_deref().is_some_and(|found| fits(found, accept)) {
            let found = found.unwrap_or_else(|| "nothing".to_owned());
            let wanted = accept.first().copied().unwrap_or_default();
            return Err(ClientError::malformed(format!(
                "{place}: the answer is of type {found}, not {wanted}; is this the right address"
            )));
        }
        if !empty && response.headers().contains_key(header::CONTENT_ENCODING) {
            return Err(ClientError::malformed(format!(
                "{place}: the answer is compressed, which was not asked for"
            )));
        }
        let framed = response.content_length().is_some()
            || response.headers().contains_key(header::TRANSFER_ENCODING);
        let goes_on = goes_on(response.headers());
        let retry_within = retry_within(response.headers());
        let body = if empty {
            Vec::new()
        } else {
            read(response, limit, body_within, &place).await?
        };
        let status = status.as_u16();
        Ok(Answer {
            status,
            body,
            etag,
            url,
            framed,
            goes_on,
            retry_within,
            date,
        })
    }

    /// Sends the request until somebody answers with something else than a redirect that may be
    /// followed; gives that answer and who gave it.
    async fn head(&self, mut request: Request) -> Result<(Response, Url), ClientError> {
        loop {
            let place = request.url.origin().ascii_serialization();
            let mut call = self
                .client
                .request(request.method.clone(), request.url.clone())
                .header(header::ACCEPT, accept_header(request.accept))
                .headers(request.headers.clone());
            let known = request.known.as_ref().filter(|k| k.url == request.url);
            if let Some(known) = known {
                call = call.header(header::IF_NONE_MATCH, &known.etag);
            }
            if let Some(json) = request.json.take() {
                call = call
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(json);
            }
            let response = call.send().await.map_err(|error| network(&place, &error))?;
            let status = response.status();
            if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
                return Ok((response, request.url));
            }
            redirect::follow(&mut request, &response)?;
        }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

fn builder(options: &HttpOptions) -> Result<reqwest::ClientBuilder, ClientError> {
    // Port 0 stands for the address's own port.
    let loopback = [
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    ];
    let mut builder = Client::builder()
        .user_agent(&options.user_agent)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_WITHIN)
        .resolve_to_addrs("localhost", &loopback)
        .pool_idle_timeout(None)
        .pool_max_idle_per_host(if options.one_shot { 0 } else { 2 })
        // The kernel's own probes: they keep a NAT's entry alive through a held query, and wake
        // no process.
        .tcp_keepalive(Duration::from_secs(60))
        .no_proxy();
    if options.proxy {
        let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
        let address = names
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
        if let Some(address) = address {
            // Its text may hold a password: it is not repeated.
            let proxy = Proxy::https(address).map_err(|_| {
                ClientError::setup("the proxy in the environment is no address; see HTTPS_PROXY")
            })?;
            builder = builder.proxy(proxy.no_proxy(NoProxy::from_env()));
        }
    }
    Ok(builder)
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let fault = |what: String| ClientError::setup(format!("{}: {what}", path.display()));
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_CA_FILE + 1).read_to_end(&mut pem))
        .map_err(|error| {
            fault(format!(
                "{error}; name a readable PEM file of CA certificates"
            ))
        })?;
    if pem.len() as u64 > MAX_CA_FILE {
        return Err(fault(
            "over 1 MiB; name a PEM file of CA certificates".to_owned(),
        ));
    }
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| {
        fault(format!(
            "{}; name a PEM file of CA certificates",
            cause(&error)
        ))
    })?;
    if found.is_empty() {
        return Err(fault(
            "no certificate in it; name a PEM file of CA certificates".to_owned(),
        ));
    }
    Ok(found)
}

/// The whole body, or no byte of it over the limit is kept.
async fn read(
    mut response: Response,
    limit: usize,
    within: Duration,
    place: &str,
) -> Result<Vec<u8>, ClientError> {
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(ClientError::TooLarge { limit });
    }
    let all = async {
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| network(place, &error))?
        {
            if body.len() + chunk.len() > limit {
                return Err(ClientError::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    timeout(within, all)
        .await
        .map_err(|_| ClientError::Timeout)?
}

fn network(place: &str, error: &reqwest::Error) -> ClientError {
    if error.is_timeout() {
        return ClientError::Timeout;
    }
    let mut why = format!("{place}: {}", cause(error));
    if error.is_body() || error.is_decode() {
        why = format!("{place}: the connection broke in the middle of the answer");
    } else if why.ends_with("UnknownIssuer") || why.ends_with("BadSignature") {
        why.push_str("; no CA known here has signed its certificate, name that CA with ca-file");
    }
    ClientError::Offline {
        why: clean(&why, MAX_REMOTE_TEXT),
    }
}

/// The innermost cause: the outer ones repeat the address and say "error sending request".
fn cause(error: &reqwest::Error) -> String {
    let mut inner = error.source();
    while let Some(deeper) = inner.and_then(|e| e.source()) {
        inner = Some(deeper);
    }
    inner.map_or_else(
        || "the request cannot be made".to_owned(),
        ToString::to_string,
    )
}

/// What is asked for; what only a pattern names is taken where it comes, and not asked for.
fn accept_header(accept: &[&str]) -> String {
    let named = accept.iter().filter(|kind| !kind.contains('*'));
    let mut kinds: Vec<&str> = named.copied().collect();
    kinds.push("application/problem+json");
    kinds.join(", ")
}

/// Whether a media type is one of those.
fn fits(found: &str, accept: &[&str]) -> bool {
    let is = |kind: &&str| match kind.split_once('*') {
        Some((head, tail)) => found.starts_with(head) && found.ends_with(tail),
        None => found == *kind,
    };
    accept.iter().any(is)
}

/// Whether a `Link` of relation `next` stands there, alone or among others.
fn goes_on(headers: &HeaderMap) -> bool {
    let next = |parameter: &str| {
        let parameter = parameter.trim().to_ascii_lowercase();
        let relations = parameter.strip_prefix("rel=").unwrap_or_default();
        let mut relations = relations.trim_matches('"').split_ascii_whitespace();
        relations.any(|relation| relation == "next")
    };
    let links = headers.get_all(header::LINK).iter();
    links
        .filter_map(|link| link.to_str().ok())
        .any(|link| link.split([';', ',']).any(next))
}

#[cfg(test)]
mod tests;
