//! Which redirects are followed: as many as the request allows, GET only, never to plain http, and
//! with no header of the request to another origin (interface.md section 2).
//!
//! Once an origin was left, headers stay away even where a later redirect leads back: whoever stood
//! between has chosen that way. Refuses to guess: a `Location` that is no address ends the call.

use super::address::check_url;
use super::headers::text;
use super::http::Request;
use super::{ClientError, clean};
use reqwest::header;
use reqwest::{Method, Response, StatusCode, Url};

/// Points the request to where the answer leads.
///
/// # Errors
/// [`ClientError::Malformed`]: this redirect is not followed.
pub(super) fn follow(request: &mut Request, response: &Response) -> Result<(), ClientError> {
    let location = text(response.headers(), &header::LOCATION);
    let no = |why: &str| {
        let to = location.map(shown).unwrap_or_else(|| "no place".to_owned());
        ClientError::malformed(format!("the answer is a redirect to {to}; {why}"))
    };
    let known = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    if request.redirects == 0 || !known || request.method != Method::GET {
        return Err(no("give the service's own address"));
    }
    if request.hops >= request.redirects {
        return Err(no(&format!(
            "{} were followed, and no more are",
            request.hops
        )));
    }
    let to = location
        .and_then(|to| request.url.join(to).ok())
        .ok_or_else(|| no("that is no address"))?;
    if to.scheme() == "http" && request.url.scheme() != "http" {
        return Err(no("plain http is not spoken there; give an https address"));
    }
    check_url(&to).map_err(|_| no("it is not followed there; give an https address"))?;
    if to.origin() != request.url.origin() {
        request.headers.clear();
    }
    request.hops += 1;
    request.url = to;
    Ok(())
}

/// A `Location` for a message: without its query, which may hold a passing credential.
fn shown(location: &str) -> String {
    let place = location.split(['?', '#']).next().unwrap_or_default();
    let place = match Url::parse(place) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            url.origin().ascii_serialization()
        }
        _ => place.to_owned(),
    };
    clean(&place, 128)
}
