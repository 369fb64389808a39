//! The console at `/`: three embedded files, and the headers that hold a browser to them.
//!
//! The page is a client of `/v1` (decision 10): there is nothing here but the files. Refuses to
//! fill anything in but whether one may sign up: what it serves is the same for everybody, and the
//! policy lets no script run that is not one of the three (interface.md, "People").

#[cfg(test)]
mod tests;

use super::Service;
use super::api::ApiError;
use axum::Router;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, REFERRER_POLICY,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::sync::LazyLock;

const INDEX: &str = include_str!("index.html");
const STYLE: &str = include_str!("app.css");
const SCRIPT: &str = include_str!("app.js");

/// What a page of ours may do: its own script, style, calls and forms, and nothing else; no text
/// becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'";

/// One of the three.
struct File {
    kind: &'static str,
    text: Cow<'static, str>,
    etag: String,
}

impl File {
    fn new(kind: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        let digest = Sha256::digest(text.as_bytes());
        let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
        Self {
            kind,
            text,
            etag: format!("\"{hex}\""),
        }
    }

    /// The file, or that the browser has it. It asks each time: a service that was upgraded must
    /// not meet the page of the one before.
    ///
    /// # Errors
    /// 421: no page is shown under a name that is not ours.
    fn answer(&self, service: &Service, headers: &HeaderMap) -> Result<Response, ApiError> {
        service.check_host(headers)?;
        Ok(self.fresh(headers))
    }

    fn fresh(&self, headers: &HeaderMap) -> Response {
        let common: [(HeaderName, &str); 4] = [
            (CACHE_CONTROL, "no-cache"),
            (ETAG, &self.etag),
            (CONTENT_SECURITY_POLICY, POLICY),
            (REFERRER_POLICY, "no-referrer"),
        ];
        if super::api::has_etag(headers, &self.etag) {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        (common, [(CONTENT_TYPE, self.kind)], self.text.clone()).into_response()
    }
}

const HTML: &str = "text/html; charset=utf-8";
static PAGE: LazyLock<File> = LazyLock::new(|| File::new(HTML, INDEX));
/// The same, where people may sign up.
static OPEN: LazyLock<File> =
    LazyLock::new(|| File::new(HTML, INDEX.replacen("<html", "<html data-sign-up", 1)));
static CSS: LazyLock<File> = LazyLock::new(|| File::new("text/css; charset=utf-8", STYLE));
static JS: LazyLock<File> = LazyLock::new(|| File::new("text/javascript; charset=utf-8", SCRIPT));

/// The console's routes.
pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/", get(page))
        .route("/app.css", get(style))
        .route("/app.js", get(script))
}

async fn page(State(service): State<Service>, headers: HeaderMap) -> Result<Response, ApiError> {
    let page = if service.people.sign_up { &OPEN } else { &PAGE };
    page.answer(&service, &headers)
}

async fn style(State(service): State<Service>, headers: HeaderMap) -> Result<Response, ApiError> {
    CSS.answer(&service, &headers)
}

async fn script(State(service): State<Service>, headers: HeaderMap) -> Result<Response, ApiError> {
    JS.answer(&service, &headers)
}
