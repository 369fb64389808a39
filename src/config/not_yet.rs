//! What the interface names and this version does not do: a fault, so that nothing looks done.
//!
//! One row a key: the value, what it may be all the same (what this version does anyway), and what
//! is not done. A feature that is built takes its row out.

use super::check::Check;
use super::raw;
use serde_spanned::Spanned;

impl Check<'_> {
    /// The keys of the agent's file, but for sources and targets.
    pub(super) fn not_yet_agent(&mut self, file: &raw::AgentFile) {
        let certificates = file.certificates.as_ref().map(Spanned::get_ref);
        if let Some(raw) = certificates {
            self.not_yet(&raw.user_ca, |on| !on, "handle user certificates");
            self.not_yet(&raw.host_certificates, |on| !on, "handle host certificates");
            self.not_yet(
                &raw.directory,
                |_| false,
                "use a directory for certificates",
            );
            self.not_yet(&raw.merge_revoked, |_| false, "write RevokedKeys");
        }
    }

    fn not_yet<T>(&mut self, value: &raw::Value<T>, done: fn(&T) -> bool, does: &str) {
        if let Some(value) = value.as_ref().filter(|value| !done(value.get_ref())) {
            let what = format!("this version does not {does} yet");
            self.fault(&value.span(), what, "remove it");
        }
    }
}
