//! By what means a token comes: a header, a cookie, and for `/api/v0` alone the query.
//!
//! A cookie comes by itself, from any page that a browser shows: a write by cookie counts only with
//! a header that a page of another origin cannot send, and from our own origin.

use super::super::Service;
use super::super::api::{ApiError, Face};
use super::super::people::cookie_named;
use super::super::token::Token;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
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
        service: &Service,
        headers: &HeaderMap,
        uri: &Uri,
        face: Face,
    ) -> Result<Self, ApiError> {
        // The one name that this browser has it by: without the prefix, where the prefix can be,
        // anybody below a parent domain may have set it.
        let name = match service.takes_plain_cookie(headers) {
            true => PLAIN_COOKIE_NAME,
            false => COOKIE_NAME,
        };
        let found = if headers.contains_key(AUTHORIZATION) {
            bearer(headers).map(Self::Bearer)
        } else if let Some(token) = cookie(headers, name) {
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

    /// Whether a browser that knows us by this request's name takes a cookie from us only without
    /// `Secure`: on plain HTTP of loopback, unless a proxy with TLS stands between.
    pub(in crate::service) fn takes_plain_cookie(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        self.people.plain_loopback && host.is_some_and(is_loopback)
    }

    fn is_ours(&self, host: &str) -> bool {
        let (scheme, public) = self.public();
        without_port_of(scheme, host).eq_ignore_ascii_case(public)
            || (self.on_loopback && is_loopback(host))
    }

    /// Scheme and authority of `public-url`, as a browser says them.
    fn public(&self) -> (&str, &str) {
        let (scheme, rest) = self.public_url.split_once("://").unwrap_or_default();
        let authority = rest.split('/').next().unwrap_or_default();
        (scheme, without_port_of(scheme, authority))
    }

    /// Whether whoever asks from this machine itself knows whom he asks: a page that reaches us
    /// under a name of its own does not. Programs may leave the name out; browsers never do.
    pub(in crate::service) fn is_asked_by_name(&self, headers: &HeaderMap) -> bool {
        headers.get(HOST).is_none_or(|host| {
            let host = host.to_str().unwrap_or_default();
            is_loopback(host) || self.is_ours(host)
        })
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
                // Of loopback's names the one that was called, with its port: behind another port
                // stands another program.
                let called = text(&HOST).is_some_and(|called| called.eq_ignore_ascii_case(host));
                let (public_scheme, public) = self.public();
                let local = called && self.on_loopback && is_loopback(host);
                (local && (scheme == "http" || scheme == public_scheme))
                    || (scheme == public_scheme && host.eq_ignore_ascii_case(public))
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

/// Without the port that the scheme has by itself: it is left out of Host and Origin, but for some.
fn without_port_of<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = match scheme {
        "https" => ":443",
        _ => ":80",
    };
    authority.strip_suffix(port).unwrap_or(authority)
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

/// The one cookie of this name. A second one was set by somebody else, on another path of the host.
fn cookie(headers: &HeaderMap, name: &str) -> Option<Token> {
    cookie_named(headers, name).and_then(Token::parse)
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
    use axum::http::header::COOKIE;

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
    fn one_cookie_of_the_name_is_read_and_no_second() {
        let token = Token::random(Kind::Session);
        let text = token.reveal();
        let headers = |values: &[&str]| headers(COOKIE, values);
        let good = format!("a=b; {COOKIE_NAME}={text}; c=d");
        let read = |values: &[&str]| cookie(&headers(values), COOKIE_NAME).map(|t| t.hash());
        assert_eq!(read(&[&good]), Some(token.hash()));
        assert_eq!(read(&["a=b"]), None);
        assert_eq!(read(&[&good, &good]), None);
        let plain = format!("{PLAIN_COOKIE_NAME}={text}");
        assert_eq!(read(&[&plain]), None);
        assert_eq!(read(&[&good, &plain]), Some(token.hash()));
    }

    #[test]
    fn the_query_counts_for_the_old_face_alone() {
        let token = Token::random(Kind::Api);
        let uri: Uri = format!("/api/v0/ssh/?owner=me&api_key={}", token.reveal())
            .parse()
            .unwrap();
        let none = HeaderMap::new();
        let dir = tempfile::tempdir().unwrap();
        let config = super::super::super::api::tests::config(&dir);
        let service = Service::open(&config).unwrap();
        assert!(matches!(
            Means::of(&service, &none, &uri, Face::V0),
            Ok(Means::Query(_))
        ));
        assert!(Means::of(&service, &none, &uri, Face::V1).is_err());
    }

    #[test]
    fn the_port_that_goes_without_saying_makes_no_other_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = super::super::super::api::tests::config(&dir);
        let ours = |service: &Service, host: &str| {
            let origin = format!("https://{host}");
            let headers = [(HOST, host), (ORIGIN, &origin), (X_SSHKEYD, "1")];
            let headers = headers.map(|(name, value)| (name, value.parse().unwrap()));
            let headers = HeaderMap::from_iter(headers);
            service.check_host(&headers).is_ok() && service.check_origin(&headers).is_ok()
        };
        for (url, other) in [
            ("https://keys.example.com:443", "keys.example.com:8443"),
            ("https://keys.example.com", "keys.example.com:80"),
        ] {
            config.public_url = url.to_owned();
            let service = Service::open(&config).unwrap();
            assert!(ours(&service, "keys.example.com"), "{url}");
            assert!(!ours(&service, other), "{url}");
        }
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
