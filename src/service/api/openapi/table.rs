//! What the route table does not know of a call: a summary, its bodies, its query.

use crate::wire::{
    Account, AccountSession, ApiKey, ApiKeySecret, Attachment, AuditItem, Cas, EditApiKey,
    EditInstance, EditSshKey, EnrollAnswer, EnrollRequest, Handover, HeartbeatAnswer,
    HeartbeatRequest, Instance, LoginAnswer, LoginRequest, NewApiKey, NewInstance,
    NewInstanceAnswer, NewSshKey, NewUserCertificate, NonceAnswer, Page, PasswordChange,
    PasswordGiven, Probes, RenewAnswer, RenewRequest, RevokeCertificates, Rollout, RotateCa,
    SignUpRequest, SignedSnapshot, SshKey, TotpBegun, TotpConfirm, TotpConfirmed, TotpStatus,
    UserCertificate,
};
use crate::wire::{
    ApproveHostKey, HostCertificatesAnswer, HostCertificatesRequest, RevokedHostKey,
};
use axum::http::Method;
use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema};

/// Gives a body's schema.
pub(super) type Make = fn(&mut SchemaGenerator) -> Schema;

/// What an answer holds.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// Nothing.
    None,
    /// This, as JSON.
    Json(Make),
    /// Text of this type.
    Other(&'static str),
}

/// A call, described.
pub(super) struct About {
    method: &'static str,
    path: &'static str,
    /// One line.
    pub(super) summary: &'static str,
    /// Name, type and meaning of each query parameter.
    pub(super) query: &'static [(&'static str, &'static str, &'static str)],
    /// The body that it takes.
    pub(super) request: Option<Make>,
    /// Status and body of its answers.
    pub(super) answers: &'static [(u16, Body)],
}

/// The row of a call.
pub(super) fn about(method: &Method, path: &str) -> Option<&'static About> {
    let same = |about: &&About| about.path == path && about.method == method.as_str();
    TABLE.iter().find(same)
}

fn of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<T>()
}

const fn json<T: JsonSchema>() -> Body {
    Body::Json(of::<T>)
}

const TEXT: Body = Body::Other("text/plain");

const fn row(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    request: Option<Make>,
    answers: &'static [(u16, Body)],
) -> About {
    About {
        method,
        path,
        summary,
        query: &[],
        request,
        answers,
    }
}

const fn with(query: &'static [(&'static str, &'static str, &'static str)], about: About) -> About {
    About { query, ..about }
}

const PAGE: &[(&str, &str, &str)] = &[("after", "string", "`next` of the page before")];
const BACK: &[(&str, &str, &str)] = &[
    ("before", "string", "`next` of the page before"),
    ("limit", "integer", "Rows of a page, at the most"),
];
const END: &[(&str, &str, &str)] = &[(
    "end_sessions",
    "boolean",
    "End the SSH sessions that this key has opened, too",
)];
const WAIT: (&str, &str, &str) = (
    "wait",
    "integer",
    "Seconds that the query may be held until there is news",
);

#[rustfmt::skip]
const TABLE: &[About] = &[
    row("GET", "/healthz", "Whether the process answers", None, &[(200, TEXT)]),
    row("GET", "/readyz", "Whether the database answers, too", None, &[(200, TEXT)]),
    row("GET", "/metrics", "Counts for Prometheus: open on the service's own machine, else with the right to misc", None,
        &[(200, Body::Other("application/openmetrics-text"))]),
    row("GET", "/openapi.json", "This document", None, &[(200, json::<serde_json::Map<String, serde_json::Value>>())]),
    row("GET", "/install", "The script that installs an agent", None, &[(200, TEXT)]),

    row("POST", "/v1/login", "Log in: makes a session", Some(of::<LoginRequest>), &[(200, json::<LoginAnswer>())]),
    row("POST", "/v1/sign-up", "Make an account, where that is allowed", Some(of::<SignUpRequest>), &[(201, json::<LoginAnswer>())]),
    row("GET", "/v1/account", "Who this token speaks for, and what it may do", None, &[(200, json::<Account>())]),
    row("POST", "/v1/account/password", "Change the password; ends all other sessions", Some(of::<PasswordChange>), &[(204, Body::None)]),
    row("GET", "/v1/account/totp", "Whether there is a second factor", None, &[(200, json::<TotpStatus>())]),
    row("POST", "/v1/account/totp", "Begin a second factor", Some(of::<PasswordGiven>), &[(200, json::<TotpBegun>())]),
    row("POST", "/v1/account/totp/confirm", "Confirm it with a first code", Some(of::<TotpConfirm>), &[(200, json::<TotpConfirmed>())]),
    row("DELETE", "/v1/account/totp", "Take the second factor out", Some(of::<PasswordGiven>), &[(204, Body::None)]),

    row("GET", "/v1/sessions", "Who and what is logged in", None, &[(200, json::<Page<AccountSession>>())]),
    with(&[("others", "boolean", "To be true: all but the one that asks")],
        row("DELETE", "/v1/sessions", "Cut off all other sessions of people", None, &[(204, Body::None)])),
    row("DELETE", "/v1/sessions/current", "Log out", None, &[(204, Body::None)]),
    row("DELETE", "/v1/sessions/{id}", "Cut a session off, at once", None, &[(204, Body::None)]),

    row("GET", "/v1/ssh-keys", "The account's SSH keys", None, &[(200, json::<Page<SshKey>>())]),
    row("POST", "/v1/ssh-keys", "Save a key; the same one again is the same key (200)", Some(of::<NewSshKey>),
        &[(200, json::<SshKey>()), (201, json::<SshKey>())]),
    row("GET", "/v1/ssh-keys/{id}", "One key", None, &[(200, json::<SshKey>())]),
    with(END, row("PATCH", "/v1/ssh-keys/{id}", "Change a key", Some(of::<EditSshKey>), &[(200, json::<SshKey>())])),
    with(END, row("DELETE", "/v1/ssh-keys/{id}", "Delete a key, everywhere", None, &[(204, Body::None)])),
    row("POST", "/v1/ssh-keys/{id}/revoke", "Delete a key and refuse it for ever", None, &[(204, Body::None)]),
    with(&[WAIT], row("GET", "/v1/ssh-keys/{id}/rollout", "How far a key has come, instance by instance", None,
        &[(200, json::<Rollout>()), (304, Body::None)])),

    row("GET", "/v1/api-keys", "The account's API keys", None, &[(200, json::<Page<ApiKey>>())]),
    row("POST", "/v1/api-keys", "Make an API key; its secret stands in this answer", Some(of::<NewApiKey>), &[(201, json::<ApiKeySecret>())]),
    row("GET", "/v1/api-keys/{id}", "One API key, without its secret", None, &[(200, json::<ApiKey>())]),
    row("PATCH", "/v1/api-keys/{id}", "Change an API key", Some(of::<EditApiKey>), &[(200, json::<ApiKey>())]),
    row("DELETE", "/v1/api-keys/{id}", "Delete an API key", None, &[(204, Body::None)]),
    row("POST", "/v1/api-keys/{id}/reset", "Give it another secret; the old one stops at once", None, &[(200, json::<ApiKeySecret>())]),
    row("POST", "/v1/api-keys/{id}/reveal", "Show its secret again", Some(of::<PasswordGiven>), &[(200, json::<ApiKeySecret>())]),

    with(PAGE, row("GET", "/v1/instances", "The account's instances", None, &[(200, json::<Page<Instance>>())])),
    row("POST", "/v1/instances", "Make an instance: its enrolment token and install line", Some(of::<NewInstance>), &[(201, json::<NewInstanceAnswer>())]),
    row("GET", "/v1/instances/{id}", "One instance", None, &[(200, json::<Instance>())]),
    row("PATCH", "/v1/instances/{id}", "Rename an instance", Some(of::<EditInstance>), &[(200, json::<Instance>())]),
    with(&[("take_keys", "boolean", "Take the account's keys out of its files"),
           ("end_sessions", "boolean", "End the SSH sessions of the account's keys, too")],
        row("DELETE", "/v1/instances/{id}", "Remove an instance", None, &[(204, Body::None)])),
    row("POST", "/v1/instances/{id}/host-keys", "Let a host key have certificates", Some(of::<ApproveHostKey>), &[(204, Body::None)]),
    with(&[("fingerprint", "string", "The key's")],
        row("DELETE", "/v1/instances/{id}/host-keys", "Refuse a host key certificates, and revoke those it had", None, &[(204, Body::None)])),
    row("GET", "/v1/host-keys/revoked", "Host keys that known_hosts is to refuse", None, &[(200, json::<Page<RevokedHostKey>>())]),
    row("PUT", "/v1/instances/{id}/ssh-keys/{key}", "Attach a key: it is there, whatever its scope", None, &[(200, json::<Attachment>())]),
    row("DELETE", "/v1/instances/{id}/ssh-keys/{key}", "Detach a key: it is not there, whatever its scope", None, &[(200, json::<Attachment>())]),

    row("POST", "/v1/certificates/user", "Sign a certificate over a key, for a day at most", Some(of::<NewUserCertificate>), &[(201, json::<UserCertificate>())]),
    with(&[("end_sessions", "boolean", "End the SSH sessions that these certificates have opened, too")],
        row("POST", "/v1/certificates/revoke", "Revoke certificates by serial, by key ID, or with their key", Some(of::<RevokeCertificates>), &[(204, Body::None)])),
    row("GET", "/v1/ca", "The account's CAs", None, &[(200, json::<Cas>())]),
    row("POST", "/v1/ca/rotate", "Replace a CA, step by step", Some(of::<RotateCa>), &[(202, json::<Cas>())]),
    row("GET", "/v1/krl", "The revocation list, as sshd reads it", None, &[(200, Body::Other("application/octet-stream"))]),

    with(BACK, row("GET", "/v1/audit", "Who did what, from where, with which key", None, &[(200, json::<Page<AuditItem>>())])),
    row("GET", "/v1/events", "What is new, as it happens (server-sent events)", None, &[(200, Body::Other("text/event-stream"))]),

    row("POST", "/v1/agent/enroll", "Spend an enrolment token", Some(of::<EnrollRequest>), &[(200, json::<EnrollAnswer>())]),
    row("GET", "/v1/agent/nonce", "What a renewal is signed over", None, &[(200, json::<NonceAnswer>())]),
    row("POST", "/v1/agent/renew", "A new session key for a signature", Some(of::<RenewRequest>), &[(200, json::<RenewAnswer>())]),
    row("GET", "/v1/agent/signers", "How the set of signers came to be what it is", None, &[(200, json::<Page<Handover>>())]),
    with(&[WAIT], row("GET", "/v1/agent/snapshot", "The signed list, now or as soon as it is another one", None,
        &[(200, json::<SignedSnapshot>()), (304, Body::None)])),
    row("POST", "/v1/agent/host-certificates", "Certificates for the host keys that sshd serves", Some(of::<HostCertificatesRequest>),
        &[(200, json::<HostCertificatesAnswer>())]),
    row("POST", "/v1/agent/heartbeat", "What an instance says of itself", Some(of::<HeartbeatRequest>), &[(200, json::<HeartbeatAnswer>())]),
    row("GET", "/v1/agent/krl/{sha256}", "The revocation list that a snapshot names", None, &[(200, Body::Other("application/octet-stream"))]),
    row("GET", "/v1/agent/probes", "Certificates that sshd can be asked about, over a key that nobody has", None, &[(200, json::<Probes>())]),
];
