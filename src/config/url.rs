//! Addresses of services: `https://…`, and `http://…` to loopback only.
//!
//! Refuses what has no place in an address: a user, a fragment, and in a base address a query. Whether a name
//! resolves is not asked here.

use std::net::IpAddr;

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `https://` nor `http://`.
    #[error("not an https address")]
    Scheme,
    /// `http://` to a host that is not this machine.
    #[error("plain http to another host")]
    Plaintext,
    /// A user or a password before the host.
    #[error("an address with a user in it")]
    User,
    /// `?` or `#`.
    #[error("an address with a query or a fragment")]
    Query,
    /// `#` in an address that may have a query.
    #[error("an address with a fragment")]
    Fragment,
    /// A query that carries a credential.
    #[error("an address with a secret in its query")]
    Secret,
    /// No host, a bad port, blanks, control or other characters that are not ASCII.
    #[error("not an address")]
    Form,
}

/// Checks a base address and gives it back without slashes at its end.
///
/// # Errors
/// [`UrlError`].
pub fn parse_url(text: &str) -> Result<String, UrlError> {
    let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err(UrlError::Scheme),
    };
    if rest.contains(['?', '#']) {
        return Err(UrlError::Query);
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(UrlError::User);
    }
    let host = host_of(authority).ok_or(UrlError::Form)?;
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"\\<>^`{|}".contains(&b);
    if !path.bytes().all(plain) || path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(UrlError::Form);
    }
    if !tls && !is_loopback(host) {
        return Err(UrlError::Plaintext);
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Checks the whole address of a list: a query may stand in it, but none that carries a credential,
/// for addresses stand in configuration files, logs and proxies.
///
/// # Errors
/// [`UrlError`].
pub fn parse_list_url(text: &str) -> Result<(), UrlError> {
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    if text.contains('#') {
        return Err(UrlError::Fragment);
    }
    parse_url(address)?;
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"\\<>^`{|}".contains(&b);
    if !query.bytes().all(plain) {
        return Err(UrlError::Form);
    }
    let secret = |pair: &str| {
        let name = pair
            .split('=')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let words = [
            "token",
            "secret",
            "passw",
            "auth",
            "signature",
            "credential",
        ];
        let keys = [
            "key",
            "api_key",
            "apikey",
            "api-key",
            "access_key",
            "sig",
            "pass",
            "pwd",
        ];
        words.iter().any(|word| name.contains(word)) || keys.contains(&name.as_str())
    };
    if query.split('&').any(secret) {
        return Err(UrlError::Secret);
    }
    Ok(())
}

/// Whether the host, a name or an address with or without brackets, is this machine for certain.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    match bare.unwrap_or(host).parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// The host of `host`, `host:port` or `[v6]:port`.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.rfind(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let good_port = match port.strip_prefix(':') {
        Some(digits) => {
            digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|p| p > 0)
        }
        None => port.is_empty(),
    };
    let good_host = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let of_a_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            !host.is_empty() && !host.starts_with(['.', '-']) && host.bytes().all(of_a_name)
        }
    };
    (good_port && good_host).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_goes_anywhere_and_http_to_loopback_only() {
        for url in [
            "https://keys.example.com",
            "https://[2001:db8::1]:8443/base",
            "http://127.0.0.1:8022",
            "http://127.9.9.9",
            "http://[::1]:80",
            "http://localhost:1",
        ] {
            assert_eq!(parse_url(url).as_deref(), Ok(url));
            assert_eq!(parse_url(&format!("{url}//")).as_deref(), Ok(url));
        }
        for url in [
            "http://keys.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
        ] {
            assert_eq!(parse_url(url), Err(UrlError::Plaintext), "{url}");
        }
    }

    #[test]
    fn a_lists_address_may_have_a_query_without_a_secret() {
        for url in [
            "https://github.com/alice.keys",
            "https://api.example.com/keys/?per_page=100&q=a/b",
            "http://127.0.0.1:8022/",
        ] {
            assert_eq!(parse_list_url(url), Ok(()), "{url}");
        }
        for (url, error) in [
            ("https://x/?api_key=1", UrlError::Secret),
            ("https://x/?a=1&Private_Token=1", UrlError::Secret),
            ("https://x/?X-Amz-Signature=1", UrlError::Secret),
            ("https://x/#a", UrlError::Fragment),
            ("https://x/?a b", UrlError::Form),
            ("https://me:pw@x/?a=1", UrlError::User),
            ("http://x/?a=1", UrlError::Plaintext),
        ] {
            assert_eq!(parse_list_url(url), Err(error), "{url}");
        }
    }

    #[test]
    fn each_mistake_has_its_name() {
        for (url, error) in [
            ("keys.example.com", UrlError::Scheme),
            ("ftp://x", UrlError::Scheme),
            ("https://me:pw@x", UrlError::User),
            ("http://127.0.0.1@evil.example", UrlError::User),
            ("https://x/?a=b", UrlError::Query),
            ("https://x#a", UrlError::Query),
            ("https://", UrlError::Form),
            ("https:///path", UrlError::Form),
            ("https://x:0", UrlError::Form),
            ("https://x:+5", UrlError::Form),
            ("https://x:99999", UrlError::Form),
            ("https://x y", UrlError::Form),
            ("https://[::1", UrlError::Form),
            ("https://x/../y", UrlError::Form),
            ("https://x/ü", UrlError::Form),
        ] {
            assert_eq!(parse_url(url), Err(error), "{url}");
        }
    }
}
