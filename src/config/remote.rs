//! `vast.…` and `http.…` of a `[[source]]`: lists that are polled over HTTP (interface.md section 2).
//!
//! Owns what may stand in the file and what must come from a file of its own: a header that could
//! carry a credential never has its value here, and an address never carries a secret.

use super::check::Check;
use super::pointer::{Pointer, PointerError};
use super::raw;
use super::source::is;
use super::url::parse_list_url;
use serde_spanned::Spanned;
use std::ops::Range;
use std::path::PathBuf;

/// Vast.ai's own service.
const VAST_URL: &str = "https://console.vast.ai";
/// Most headers of a source.
const MAX_HEADERS: usize = 16;
/// Longest value of a header that stands in the file, in bytes.
const MAX_HEADER: usize = 256;
/// Headers that the client or the connection sets by itself (RFC 9110, sections 7.6.1 and 13.1).
const OURS: [&str; 17] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// `vast.…` of a source: Vast.ai's REST API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VastSource {
    /// The API's address, without a slash at its end.
    pub url: String,
    /// The file with the API key; none means systemd's credential `vast-api-key`.
    pub api_key_file: Option<PathBuf>,
    /// Which instance this is; none means `$CONTAINER_ID` of the agent.
    pub instance: Option<u64>,
    /// Whether a proxy named by the environment is used.
    pub proxy: bool,
}

/// `http.…` of a source: any address with a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSource {
    /// The address, exactly as it is asked for. May have a query, but none with a secret.
    pub url: String,
    /// How the answer is read.
    pub format: HttpFormat,
    /// What is sent beside our own headers, and to no other origin than `url`'s.
    pub headers: Vec<Header>,
    /// Whether a proxy named by the environment is used.
    pub proxy: bool,
}

/// How an answer is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpFormat {
    /// sshd(8), AUTHORIZED_KEYS FILE FORMAT, options and all.
    AuthorizedKeys,
    /// JSON, and where the keys stand in it.
    Json(Pointer),
}

/// A header to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name, in lower case.
    pub name: String,
    /// Where its value is.
    pub value: HeaderValue,
}

/// Where a header's value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// Here: only for headers that say nothing secret.
    Text(String),
    /// In this file, read anew before each request.
    File(PathBuf),
}

impl Check<'_> {
    pub(super) fn vast(&mut self, raw: &Spanned<raw::Vast>) -> Option<VastSource> {
        let raw = raw.get_ref();
        let url = match &raw.url {
            Some(value) => self.url(value),
            None => Some(VAST_URL.to_owned()),
        };
        let api_key_file = self.path(&raw.api_key_file);
        let instance = match &raw.instance {
            Some(value) if *value.get_ref() == 0 => {
                let todo = "give the instance's number, or remove the key where $CONTAINER_ID is";
                self.fault(&value.span(), "no instance has the number 0", todo);
                None
            }
            value => Some(value.as_ref().map(|value| *value.get_ref())),
        };
        Some(VastSource {
            url: url?,
            api_key_file: api_key_file.ok()?,
            instance: instance?,
            proxy: is(&raw.proxy),
        })
    }

    pub(super) fn http(&mut self, raw: &Spanned<raw::Http>) -> Option<HttpSource> {
        let (at, raw) = (raw.span(), raw.get_ref());
        let url = match &raw.url {
            Some(value) => self.list_url(value),
            None => {
                let todo = "name the address: http.url = \"https://…\"";
                self.missing(&at, "url", "an http source without a url", todo);
                None
            }
        };
        let format = self.http_format(raw, &at);
        let headers = self.headers(raw);
        Some(HttpSource {
            url: url?,
            format: format?,
            headers: headers?,
            proxy: is(&raw.proxy),
        })
    }

    fn list_url(&mut self, value: &Spanned<String>) -> Option<String> {
        match parse_list_url(value.get_ref()) {
            Ok(()) => Some(value.get_ref().clone()),
            Err(error) => {
                self.url_fault(value, error);
                None
            }
        }
    }

    fn http_format(&mut self, raw: &raw::Http, at: &Range<usize>) -> Option<HttpFormat> {
        let formats = [("authorized-keys", false), ("json", true)];
        let json = self.choice(&raw.format, "format", &formats)?;
        match (&raw.keys, json) {
            (None, false) => Some(HttpFormat::AuthorizedKeys),
            (Some(value), false) => {
                let todo = "remove it, or set http.format = \"json\"";
                self.fault(&value.span(), "\"keys\" without format \"json\"", todo);
                None
            }
            (None, true) => {
                let what = "format \"json\" without \"keys\"";
                let todo = "say where the keys stand: http.keys = \"/ssh_keys/*/public_key\"";
                self.missing(at, "keys", what, todo);
                None
            }
            (Some(value), true) => match Pointer::parse(value.get_ref()) {
                Ok(pointer) => Some(HttpFormat::Json(pointer)),
                Err(error) => {
                    let todo = match error {
                        PointerError::Begin => "begin with \"/\", as in \"/ssh_keys/*/public_key\"",
                        PointerError::Escape => "write \"~0\" for \"~\" and \"~1\" for \"/\"",
                        PointerError::Long => "name where the keys stand, no deeper than 32 steps",
                    };
                    let what = format!("\"{}\" is {error}", value.get_ref());
                    self.fault(&value.span(), what, todo);
                    None
                }
            },
        }
    }

    fn headers(&mut self, raw: &raw::Http) -> Option<Vec<Header>> {
        let Some(values) = &raw.headers else {
            return Some(Vec::new());
        };
        if values.get_ref().len() > MAX_HEADERS {
            let what = format!("more than {MAX_HEADERS} headers");
            self.fault(&values.span(), what, "keep those that the server wants");
            return None;
        }
        let mut headers: Vec<Option<Header>> = Vec::new();
        for (name, value) in values.get_ref() {
            let header = self.header(name, value);
            let named = |one: &Option<Header>| one.as_ref().map(|one| one.name.clone());
            if header.is_some() && headers.iter().any(|one| named(one) == named(&header)) {
                let what = format!("a second header \"{name}\"");
                self.fault(&value.span(), what, "name it once; case does not count");
            }
            headers.push(header);
        }
        headers.into_iter().collect()
    }

    fn header(&mut self, name: &str, value: &Spanned<String>) -> Option<Header> {
        let (at, text) = (value.span(), value.get_ref());
        let lower = name.to_ascii_lowercase();
        // RFC 9110, section 5.6.2.
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if lower.is_empty() || lower.len() > 64 || !lower.bytes().all(token) {
            let todo = "give the name alone, without a colon";
            self.fault(&at, format!("\"{name}\" is not a header's name"), todo);
            return None;
        }
        if OURS.contains(&lower.as_str()) {
            let what = format!("header \"{name}\" is the agent's own to set");
            self.fault(&at, what, "remove it");
            return None;
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = self.absolute(&Spanned::new(at, path.to_owned()))?;
            let value = HeaderValue::File(path);
            return Some(Header { name: lower, value });
        }
        // The value may be a secret: it is never repeated.
        if !says_nothing_secret(&lower) {
            let what = format!("the value of \"{name}\" may be a secret");
            let todo = "put it into a file: \"file:/etc/sshkeyd/…\", mode 0600";
            self.fault(&at, what, todo);
            if let Some(fault) = self.faults.last_mut() {
                fault.line = None;
            }
            return None;
        }
        let plain = |b: u8| b == b' ' || b.is_ascii_graphic();
        if text.is_empty() || text.len() > MAX_HEADER || !text.bytes().all(plain) {
            let what = format!("the value of \"{name}\" cannot be sent");
            let todo = format!("give 1 to {MAX_HEADER} printable ASCII characters");
            self.fault(&at, what, todo);
            return None;
        }
        let value = HeaderValue::Text(text.clone());
        Some(Header { name: lower, value })
    }
}

/// The only headers whose value may stand in the file. Any other name may carry a credential with
/// some server, and a list of those that do would never be whole.
fn says_nothing_secret(lower: &str) -> bool {
    matches!(lower, "accept" | "accept-language" | "user-agent") || lower.ends_with("-version")
}
