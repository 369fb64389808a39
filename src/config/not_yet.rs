//! What the interface names and this version does not do: a fault, so that nothing looks done.
//!
//! One row a key: the value, what it may be all the same (what this version does anyway), and what
//! is not done. A feature that is built takes its row out.

use super::check::Check;
use super::raw;

impl Check<'_> {
    /// The keys of the service's file.
    pub(super) fn not_yet_server(&mut self, raw: &raw::Server) {
        self.not_yet(&raw.database, |url| !is_postgres(url), "know PostgreSQL");
    }

    fn not_yet<T>(&mut self, value: &raw::Value<T>, done: fn(&T) -> bool, does: &str) {
        if let Some(value) = value.as_ref().filter(|value| !done(value.get_ref())) {
            let what = format!("this version does not {does} yet");
            self.fault(&value.span(), what, "remove it");
        }
    }
}

/// Whether the database is one that this version does not know.
pub(super) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}
