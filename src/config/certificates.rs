//! `[certificates]`, checked: which certificates the agent keeps sshd's part of, and where.

use super::agent::Certificates;
use super::check::Check;
use super::raw;
use serde_spanned::Spanned;
use std::path::PathBuf;

const DIRECTORY: &str = "/etc/ssh/sshkeyd";

impl Check<'_> {
    /// What is on where nobody says: both, but for an agent that may not write sshd's files.
    pub(super) fn certificates(
        &mut self,
        file: &raw::AgentFile,
        unprivileged: bool,
    ) -> Option<Certificates> {
        let none = raw::Certificates::default();
        let raw = file.certificates.as_ref().map_or(&none, Spanned::get_ref);
        let user_ca = self.switch(&raw.user_ca, "user-ca", unprivileged);
        let host = self.switch(&raw.host_certificates, "host-certificates", unprivileged);
        let directory = match &raw.directory {
            None => Some(PathBuf::from(DIRECTORY)),
            Some(value) => self.plain(value),
        };
        let merge = raw.merge_revoked.as_ref().map(Spanned::get_ref);
        let merge: Vec<_> = merge
            .into_iter()
            .flatten()
            .map(|value| self.absolute(value))
            .collect();
        Some(Certificates {
            user_ca: user_ca?,
            host: host?,
            directory: directory?,
            merge_revoked: merge.into_iter().collect::<Option<_>>()?,
        })
    }

    fn switch(&mut self, value: &raw::Value<bool>, key: &str, unprivileged: bool) -> Option<bool> {
        match value {
            Some(value) if *value.get_ref() && unprivileged => {
                let what = format!("\"{key}\" in an unprivileged agent");
                self.fault(
                    &value.span(),
                    what,
                    "remove it: the files of sshd are root's",
                );
                None
            }
            Some(value) => Some(*value.get_ref()),
            None => Some(!unprivileged),
        }
    }

    /// A path that stands in sshd_config(5) as it is, with sshd's tokens beside it.
    fn plain(&mut self, value: &Spanned<String>) -> Option<PathBuf> {
        let is_odd = |c: char| c.is_whitespace() || matches!(c, '#' | '%' | '"' | '\\' | '\'');
        if value.get_ref().contains(is_odd) {
            let what = format!(
                "\"{}\" cannot stand in sshd_config as it is",
                value.get_ref()
            );
            let todo = "name a directory without blanks, quotes, # and %";
            self.fault(&value.span(), what, todo);
            return None;
        }
        self.absolute(value)
    }
}
