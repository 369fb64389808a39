//! The one HTTP client, and typed calls of our own API over it (interface.md section 4, `/v1`).
//!
//! Owns TLS, limits and deadlines (`http`), redirects (`redirect`), errors by reaction (`error`), the
//! calls (`api`), and the polling of others' lists (`list`). Refuses to decide: it never retries, keeps no list, and never reads a failure as an
//! empty answer. reqwest stands nowhere else.

mod address;
mod api;
mod error;
mod headers;
mod http;
mod list;
mod problem;
mod redirect;
mod text;

#[cfg(test)]
pub(crate) mod canned;

pub use address::checked_url;
pub use api::{Api, Fetched, MAX_SNAPSHOT};
pub use error::ClientError;
pub use http::{Answer, Http, HttpOptions, Known, Request, install_crypto};
pub use list::{ListKind, ListQuery, Listed};
pub use text::{MAX_REMOTE_TEXT, clean, is_unprintable};
