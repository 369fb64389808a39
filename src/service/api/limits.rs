//! The limits on how often one may ask, where requests meet them.
//!
//! An address is asked first, for everything; then the token, once it is found to be good. Calls
//! that want no token have a smaller room of their own; health checks, which cost nothing, have not.

use super::super::Service;
use super::super::auth::Means;
use super::super::listen::Conn;
use super::super::rates::TooOften;
use super::{ApiError, Asked};
use crate::sys::clock;
use axum::body::Body;
use axum::http::Request;
use std::net::IpAddr;

/// Where the request comes from; its connection is told what it is counted by.
pub(super) fn origin(service: &Service, request: &mut Request<Body>) -> Option<IpAddr> {
    let peer = request.extensions().get::<Conn>()?.peer.ip();
    let from = service.believed(peer, request.headers());
    let conn = request.extensions_mut().get_mut::<Conn>()?;
    conn.counted = service.counted(from);
    Some(from)
}

/// One request from there.
pub(super) fn address(service: &Service, from: Option<IpAddr>) -> Result<(), ApiError> {
    match from.and_then(|from| service.counted(from)) {
        None => Ok(()),
        Some(address) => service
            .rates
            .address(address, clock::monotonic())
            .map_err(|often| too_often(often, "this address asks too often; ask less often")),
    }
}

/// One request of a call that anyone may make.
pub(super) fn stranger(service: &Service, request: &Request<Body>) -> Result<(), ApiError> {
    if !request.uri().path().starts_with("/v1/") && !request.uri().path().starts_with("/api/") {
        return Ok(());
    }
    let asked = request.extensions().get::<Asked>();
    let from = asked.and_then(|asked| asked.from);
    match from.and_then(|from| service.counted(from)) {
        None => Ok(()),
        Some(address) => service
            .rates
            .stranger(address, clock::monotonic())
            .map_err(|often| {
                let detail = "this address asks too often without a token; ask less often";
                too_often(often, detail)
            }),
    }
}

/// One request with this token, which is good.
pub(super) fn token(service: &Service, asked: &Asked, means: &Means) -> Result<(), ApiError> {
    // Without a connection nobody asks but the program itself.
    if asked.from.is_none() {
        return Ok(());
    }
    service
        .rates
        .token(means.token().hash(), clock::monotonic())
        .map_err(|often| too_often(often, "this token asks too often; ask less often"))
}

fn too_often(TooOften(seconds): TooOften, detail: &'static str) -> ApiError {
    ApiError::too_many("too-often", detail, seconds)
}
