//! By what means a token comes: a header, a cookie, and for `/api/v0` alone the query.
//!
//! A cookie comes by itself, from any page that a browser shows: a write by cookie counts only with
//! a header that a page of another origin cannot send, and from our own origin.

use super::super::Service;
use super::super::api::{ApiError, Face};
use super::super::token::Token;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use std::net::IpAddr;

/// The cookie, where it can be `Secure`.
pub(in crate::service) const COOKIE_NAME: &str = "__Host-sshkeyd";

/// The cookie on a plaintext listener of loopback.
pub(in crate::service) const PLAIN_COOKIE_NAME: &str = "sshkeyd";

/// What a write by cookie carries.
pub(in crate::service) const X_SSHKEYD: HeaderName = HeaderName::from_static("x-sshkeyd");

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A token, and how it came.
pub(in crate::service) enum Means {
    /// `Authorization: Bearer TOKEN` (RFC 6750, section 2.1).
    Bearer(Token),
    /// A browser's cookie.
    Cookie(Token),
    /// `?api_key=TOKEN`.
    Query(Token),
}

impl Means {
    /// Reads it off a request.
    ///
    /// # Errors
    /// 401: there is none, or nothing that could be one.
    pub(in crate::service) fn of(
        headers: &HeaderMap,
        uri: &Uri,
        face: Face,
    ) -> Result<Self, ApiError> {
        let found = if headers.contains_key(AUTHORIZATION) {
            bearer(headers).map(Self::Bearer)
        } else if let Some(token) = cookie(headers) {
            Some(Self::Cookie(token))
        } else if face == Face::V0 {
            in_query(uri).map(Self::Query)
        } else {
            None
        };
        found.ok_or_else(ApiError::unauthorized)
    }

    /// The token.
    pub(in crate::service) fn token(&self) -> &Token {
        match self {
            Self::Bearer(token) | Self::Cookie(token) | Self::Query(token) => token,
        }
    }

    /// It came by itself.
    pub(in crate::service) fn is_cookie(&self) -> bool {
        matches!(self, Self::Cookie(_))
    }

    /// Whether a browser may do this.
    ///
    /// # Errors
    /// 403 for a write that a page of another origin could have made, 421 for another's name.
    pub(in crate::service) fn check_browser(
        &self,
        service: &Service,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        if !self.is_cookie() {
            return Ok(());
        }
        service.check_host(headers)?;
        if method.is_safe() {
            return Ok(());
        }
        service.check_origin(headers)
    }
}

impl Service {
    /// Whether the request is for a name of ours: `public-url`'s, or one of loopback when listening
    /// there. Else a page could reach us under a name of its own.
    ///
    /// # Errors
    /// 421.
    pub(in crate::service) fn check_host(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        if host.is_some_and(|host| self.is_ours(host)) {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "wrong-host",
            "this service has another name; use its public-url",
        ))
    }

    fn is_ours(&self, host: &str) -> bool {
        let public = self
            .public_url
            .split_once("://")
            .map_or("", |(_, rest)| rest);
        let public = public.split('/').next().unwrap_or_default();
        host.eq_ignore_ascii_case(public) || (self.on_loopback && is_loopback(host))
    }

    /// Whether a browser's write comes from a page of ours.
    ///
    /// # Errors
    /// 403 `csrf`.
    pub(in crate::service) fn check_origin(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let marked = text(&X_SSHKEYD) == Some("1");
        let ours = match text(&ORIGIN) {
            Some(origin) => origin.split_once("://").is_some_and(|(scheme, host)| {
                let public = self.public_url.split_once("://").map_or("", |(s, _)| s);
                self.is_ours(host) && (scheme == public || (scheme == "http" && self.on_loopback))
            }),
            None => text(&SEC_FETCH_SITE) == Some("same-origin"),
        };
        if marked && ours {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "csrf",
            "a write by cookie wants X-Sshkeyd: 1, from a page of this service",
        ))
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Two such headers are none: whatever stands before us may have read the other one.
fn bearer(headers: &HeaderMap) -> Option<Token> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (all.next()?, all.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())?;
    Token::parse(token)
}

fn cookie(headers: &HeaderMap) -> Option<Token> {
    let all = headers.get_all(COOKIE).iter();
    let pairs = all
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(name, _)| [COOKIE_NAME, PLAIN_COOKIE_NAME].contains(name));
    // A second one was set by somebody else, a neighbour on the same host or a parent domain.
    let ((_, token), None) = (ours.next()?, ours.next()) else {
        return None;
    };
    Token::parse(token)
}

fn in_query(uri: &Uri) -> Option<Token> {
    let pairs = uri.query()?.split('&').filter_map(|p| p.split_once('='));
    let mut ours = pairs.filter(|(name, _)| *name == "api_key");
    let ((_, token), None) = (ours.next()?, ours.next()) else {
        return None;
    };
    Token::parse(token)
}

#[cfg(test)]
mod tests {
    use super::super::super::token::Kind;
    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn one_bearer_token_is_read_and_nothing_else() {
        let token = Token::random(Kind::Api);
        let text = token.reveal();
        let headers = |values: &[&str]| headers(AUTHORIZATION, values);
        let read = bearer(&headers(&[&format!("bearer {text}")])).unwrap();
        assert_eq!(read.hash(), token.hash());
        let good = format!("Bearer {text}");
        assert!(bearer(&headers(&[])).is_none());
        assert!(bearer(&headers(&[text])).is_none());
        assert!(bearer(&headers(&[&format!("Basic {text}")])).is_none());
        assert!(bearer(&headers(&[&format!("{good}x")])).is_none());
        assert!(bearer(&headers(&[&good, &good])).is_none());
    }

    #[test]
    fn one_cookie_of_ours_is_read_and_no_second() {
        let token = Token::random(Kind::Session);
        let text = token.reveal();
        let headers = |values: &[&str]| headers(COOKIE, values);
        let good = format!("a=b; {COOKIE_NAME}={text}; c=d");
        assert_eq!(cookie(&headers(&[&good])).unwrap().hash(), token.hash());
        assert!(cookie(&headers(&["a=b"])).is_none());
        assert!(cookie(&headers(&[&good, &good])).is_none());
        let two = format!("{good}; {PLAIN_COOKIE_NAME}={text}");
        assert!(cookie(&headers(&[&two])).is_none());
    }

    #[test]
    fn the_query_counts_for_the_old_face_alone() {
        let token = Token::random(Kind::Api);
        let uri: Uri = format!("/api/v0/ssh/?owner=me&api_key={}", token.reveal())
            .parse()
            .unwrap();
        let none = HeaderMap::new();
        assert!(matches!(
            Means::of(&none, &uri, Face::V0),
            Ok(Means::Query(_))
        ));
        assert!(Means::of(&none, &uri, Face::V1).is_err());
    }

    #[test]
    fn names_of_loopback_are_known() {
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:8022",
            "[::1]:8022",
            "127.9.9.9",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
