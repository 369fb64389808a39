//! Which addresses may be called.
//!
//! Owns the rule of interface.md section 2: `https`, and `http` to loopback only. Refuses a user or
//! password inside an address, where logs and error texts would repeat it.

use super::{ClientError, clean};
use reqwest::Url;
use std::net::IpAddr;

/// Reads an address that may be called: https, or http to loopback, without user or password.
///
/// # Errors
/// [`ClientError::Setup`] with what is wrong.
pub fn checked_url(text: &str) -> Result<Url, ClientError> {
    let url = Url::parse(text).map_err(|error| {
        let text = clean(text, 128);
        ClientError::setup(format!(
            "\"{text}\" is no address: {error}; as in https://keys.example.com"
        ))
    })?;
    check_url(&url)?;
    Ok(url)
}

/// The same for an address that is read already.
pub(super) fn check_url(url: &Url) -> Result<(), ClientError> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ClientError::setup(
            "an address with a user or password in it is not taken; give the token by itself",
        ));
    }
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(host) => Ok(()),
        "http" => Err(ClientError::setup(format!(
            "plain http goes to loopback only, not to {}; use https",
            clean(host, 128)
        ))),
        other => Err(ClientError::setup(format!(
            "{} is not spoken; use https",
            clean(other, 32)
        ))),
    }
}

/// By literal address, or the one name that the client pins to loopback (RFC 6761, section 6.3).
fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_are_addresses() {
        for good in [
            "https://keys.example.com",
            "http://127.0.0.1:8022",
            "http://127.9.9.9",
            "http://[::1]:8022/x",
            "http://localhost",
            "http://LOCALHOST",
            // The URL standard reads this as 127.0.0.1, and so does what connects.
            "http://2130706433/",
        ] {
            assert!(checked_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://keys.example.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://[::ffff:10.0.0.1]",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "ftp://127.0.0.1",
            "file:///etc/passwd",
            "https://me:secret@keys.example.com",
            "http://127.0.0.1@keys.example.com",
            "keys.example.com",
            "",
        ] {
            let error = checked_url(bad).unwrap_err();
            assert!(matches!(error, ClientError::Setup { .. }), "{bad}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
