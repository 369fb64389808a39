//! The one HTTP client: who is trusted, what may be sent where, how much and how long is read.
//!
//! Owns TLS roots, the proxy, deadlines, the body limit and content types. Refuses plain http to anything but loopback, every
//! redirect, and any body over its limit. HTTP/1.1 only; no timer runs between two requests.

use super::address::check_url;
use super::headers::{date, media_type, retry_after, text};
use super::{ClientError, MAX_REMOTE_TEXT, clean};
use crate::wire::Problem;
use jiff::Timestamp;
use reqwest::header::{self, HeaderMap};
use reqwest::{Certificate, Client, Method, NoProxy, Proxy, Response, StatusCode, Url, redirect};
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
    /// The media type that a body must have, without parameters.
    pub accept: &'static str,
    /// From now to the answer's head: what a held query may be held, and some.
    pub head_within: Duration,
    /// From the head to the end of the body.
    pub body_within: Duration,
    /// The most bytes of a body.
    pub limit: usize,
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
            None => builder(options)?
                .build()
                .or(builder(options)?.tls_certs_only([]).build()),
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
        let place = request.url.origin().ascii_serialization();
        let mut call = self
            .client
            .request(request.method, request.url)
            .header(
                header::ACCEPT,
                format!("{}, application/problem+json", request.accept),
            )
            .headers(request.headers);
        if let Some(json) = request.json {
            call = call
                .header(header::CONTENT_TYPE, "application/json")
                .body(json);
        }
        let response = timeout(request.head_within, call.send())
            .await
            .map_err(|_| ClientError::Timeout)?
            .map_err(|error| network(&place, &error))?;
        let status = response.status();
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            return Err(redirected(&response));
        }
        let date = date(response.headers(), &header::DATE);
        let etag = text(response.headers(), &header::ETAG).map(|tag| clean(tag, 256));
        let wanted = if status.is_success() {
            request.accept
        } else {
            "application/problem+json"
        };
        let fits = media_type(response.headers()).is_some_and(|found| found == wanted);
        if !status.is_success() && status != StatusCode::NOT_MODIFIED {
            let retry_after = retry_after(response.headers(), date);
            // A refusal counts by its status, whether or not its words can be read.
            let body = read(response, MAX_PROBLEM, request.body_within, &place).await;
            let body = body.ok().filter(|_| fits);
            let problem = Box::new(problem(status, body.as_deref()));
            return Err(ClientError::of_status(problem, retry_after));
        }
        let empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if !empty && !fits {
            let found = media_type(response.headers()).unwrap_or_else(|| "nothing".to_owned());
            return Err(ClientError::malformed(format!(
                "{place}: the answer is of type {found}, not {wanted}; is this the right address"
            )));
        }
        let body = if empty {
            Vec::new()
        } else {
            read(response, request.limit, request.body_within, &place).await?
        };
        let status = status.as_u16();
        Ok(Answer {
            status,
            body,
            etag,
            date,
        })
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
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_WITHIN)
        .resolve_to_addrs("localhost", &loopback)
        .pool_idle_timeout(None)
        .pool_max_idle_per_host(2)
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

fn redirected(response: &Response) -> ClientError {
    let to = text(response.headers(), &header::LOCATION).unwrap_or("another place");
    ClientError::malformed(format!(
        "the answer is a redirect to {}; give the service's own address",
        clean(to, 128)
    ))
}

/// What the body says, or the status line alone where it says nothing that can be trusted to be
/// a problem.
fn problem(status: StatusCode, body: Option<&[u8]>) -> Problem {
    let plain = Problem {
        kind: "about:blank".to_owned(),
        title: format!(
            "{} {}",
            status.as_u16(),
            status.canonical_reason().unwrap_or("(unknown status)")
        ),
        status: status.as_u16(),
        code: String::new(),
        detail: String::new(),
        request_id: None,
    };
    let Some(said) = body.and_then(|b| serde_json::from_slice::<Problem>(b).ok()) else {
        return plain;
    };
    Problem {
        kind: clean(&said.kind, 128),
        title: clean(&said.title, 128),
        // The status line is what counts: a body must not turn a 401 into a 404.
        status: plain.status,
        code: clean(&said.code, 64),
        detail: clean(&said.detail, MAX_REMOTE_TEXT),
        request_id: said.request_id.map(|id| clean(&id, 64)),
    }
}

#[cfg(test)]
mod tests;
