//! `/metrics`, for Prometheus.
//!
//! It says nothing of accounts. It is open to whoever asks from the service's own machine and not
//! through a proxy; from elsewhere it takes a token with the right to read `misc`.

use super::super::Service;
use super::super::auth::{Identity, Means};
use super::super::listen::Conn;
use super::super::metrics::Now;
use super::super::permissions::{Category, Endpoint};
use super::{ApiError, Asked};
use axum::extract::{Extension, State};
use axum::http::header::{CONTENT_TYPE, FORWARDED, HeaderMap};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

/// OpenMetrics 1.0, which Prometheus reads by this name.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const READ: Endpoint = Endpoint {
    category: Category::Misc,
    name: "api.metrics",
};

/// The counts.
pub(super) async fn show(
    State(service): State<Service>,
    Extension(asked): Extension<Asked>,
    conn: Option<Extension<Conn>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    if !conn.is_some_and(|Extension(conn)| is_near(&service, &conn, &headers)) {
        let means = Means::of(&service, &headers, &uri, asked.face)?;
        means.check_browser(&service, &Method::GET, &headers)?;
        let identity = service.identify(&means, &asked).await?;
        super::limits::token(&service, &asked, &means)?;
        let may = match &identity {
            Identity::Caller(caller) => caller.rights.allows(READ, "GET", &|_| None),
            Identity::Agent(_) => false,
        };
        if !may {
            let detail = "this token has no right to read misc; ask from the service's own machine";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "scope", detail));
        }
    }
    let now = Now {
        held: service.holds.taken(),
        queued: service.store.queued(),
    };
    let text = service.metrics.text(now).ok_or_else(ApiError::internal)?;
    Ok(([(CONTENT_TYPE, TEXT)], text).into_response())
}

/// On this machine, and nobody stands between.
fn is_near(service: &Service, conn: &Conn, headers: &HeaderMap) -> bool {
    let peer = conn.peer.ip().to_canonical();
    let handed_on = headers.contains_key(FORWARDED) || headers.contains_key("x-forwarded-for");
    let direct = peer.is_loopback() && !service.proxies.has(peer) && !handed_on;
    direct && service.is_asked_by_name(headers)
}
