//! Which parameters a call reads beside those of its path.
//!
//! A limit that an API key is held to is met by what the call does, not by a word that stands in
//! the request and that nobody looks at. A call that is not here reads none, so that a limit on one
//! refuses it.

use axum::http::Method;

/// Parameters of a call, by where they stand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reads {
    /// In the query.
    pub(super) query: &'static [&'static str],
    /// In the outermost object of the body.
    pub(super) body: &'static [&'static str],
}

const KEY: &[&str] = &["name", "public_key", "options", "expires_at", "scope"];
const API_KEY: &[&str] = &["name", "permissions", "addresses", "expires_at"];
const END: &[&str] = &["end_sessions"];
const REMOVING: &[&str] = &["take_keys", "end_sessions"];
const PAGE: &[&str] = &[
    "select_filters",
    "order_by",
    "limit",
    "select_cols",
    "after_token",
];
const CODE: &[&str] = &["tfa_method", "tfa_method_id", "code", "backup_code"];
const V0_API_KEY: &[&str] = &["name", "permissions", "key_params"];

#[rustfmt::skip]
const CALLS: &[(&str, &str, &[&str], &[&str])] = &[
    ("POST", "/v1/ssh-keys", &[], KEY),
    ("PATCH", "/v1/ssh-keys/{id}", END, KEY),
    ("DELETE", "/v1/ssh-keys/{id}", END, &[]),
    ("GET", "/v1/ssh-keys/{id}/rollout", &["wait"], &[]),
    ("DELETE", "/v1/sessions", &["others"], &[]),
    ("POST", "/v1/api-keys", &[], API_KEY),
    ("PATCH", "/v1/api-keys/{id}", &[], API_KEY),
    ("POST", "/v1/certificates/user", &[], &["public_key", "ttl"]),
    ("POST", "/v1/certificates/revoke", END, &["serial", "key_id", "public_key"]),
    ("GET", "/v1/audit", &["before", "limit"], &[]),
    ("GET", "/v1/instances", &["after"], &[]),
    ("POST", "/v1/instances", &[], &["label"]),
    ("PATCH", "/v1/instances/{id}", &[], &["label"]),
    ("DELETE", "/v1/instances/{id}", REMOVING, &[]),
    ("POST", "/v1/instances/{id}/host-keys", &[], &["fingerprint"]),
    ("DELETE", "/v1/instances/{id}/host-keys", &["fingerprint"], &[]),
    ("POST", "/api/v0/ssh", &[], &["ssh_key"]),
    ("PUT", "/api/v0/ssh/{id}", END, &["ssh_key"]),
    ("DELETE", "/api/v0/ssh/{id}", END, &[]),
    ("GET", "/api/v1/instances", PAGE, &[]),
    ("PUT", "/api/v0/instances/{id}", &[], &["label"]),
    ("POST", "/api/v0/instances/{id}/ssh", &[], &["ssh_key"]),
    ("PUT", "/api/v0/instances/{id}/ssh", &[], &["ssh_key"]),
    ("POST", "/api/v0/auth/apikeys", &[], V0_API_KEY),
    ("PUT", "/api/v0/commands/reset_apikey", &[], &["client_id"]),
    ("DELETE", "/api/v0/auth/sessions", &["id"], &["id"]),
    ("PUT", "/api/v0/users", &[], &["ssh_key"]),
    ("POST", "/api/v0/tfa", &[], CODE),
];

/// Those of the call with this method and route, with or without a slash at its end.
pub(super) fn of(method: &Method, path: &str) -> Reads {
    let path = path.strip_suffix('/').unwrap_or(path);
    let call = CALLS
        .iter()
        .find(|(m, p, ..)| *m == method.as_str() && *p == path);
    call.map_or_else(Reads::default, |(_, _, query, body)| Reads { query, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_call_here_is_a_route() {
        let (_, routes) = super::super::routes().done();
        let routes: BTreeSet<_> = routes
            .iter()
            .map(|call| (call.method.as_str(), call.path))
            .collect();
        for (method, path, ..) in CALLS {
            assert!(routes.contains(&(*method, *path)), "{method} {path}");
        }
    }
}
