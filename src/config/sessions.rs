//! `[sessions]`: whether live sessions are told of and ended, and where sshd's word on them is heard.

use super::check::Check;
use super::raw;
use serde_spanned::Spanned;
use std::path::PathBuf;

/// What is done about live sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// Whether heartbeats and status list them.
    pub report: bool,
    /// When they end.
    pub end_on_revoke: EndOnRevoke,
    /// Where sshd's word on them is heard.
    pub auth_log: AuthLog,
}

/// When sessions end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOnRevoke {
    /// When the owner asks for it.
    IfAsked,
    /// Whatever the owner asks for.
    Never,
    /// Whenever their key goes or expires.
    Always,
}

/// Where sshd's word is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthLog {
    /// The journal where there is one, else nowhere.
    Auto,
    /// The journal.
    Journal,
    /// A log file of syslog.
    File(PathBuf),
    /// What `sshkeyd syslog-socket` keeps.
    SyslogSocket,
}

impl Sessions {
    /// Whether anything is to be done at all.
    #[must_use]
    pub fn is_off(&self) -> bool {
        !self.report && self.end_on_revoke == EndOnRevoke::Never
    }
}

impl Check<'_> {
    /// The table; `None` where it is at fault.
    pub(super) fn sessions(&mut self, file: &raw::AgentFile) -> Option<Sessions> {
        let none = raw::Sessions::default();
        let raw = file.sessions.as_ref().map_or(&none, Spanned::get_ref);
        let choices = [
            ("if-asked", EndOnRevoke::IfAsked),
            ("never", EndOnRevoke::Never),
            ("always", EndOnRevoke::Always),
        ];
        let end_on_revoke = self.choice(&raw.end_on_revoke, "end-on-revoke", &choices);
        let auth_log = self.auth_log(&raw.auth_log);
        Some(Sessions {
            report: raw.report.as_ref().is_none_or(|on| *on.get_ref()),
            end_on_revoke: end_on_revoke?,
            auth_log: auth_log?,
        })
    }

    fn auth_log(&mut self, value: &raw::Text) -> Option<AuthLog> {
        let word = value.as_ref().map(|value| value.get_ref().as_str());
        if word.is_some_and(|word| word.starts_with('/')) {
            return self.path(value).ok()?.map(AuthLog::File);
        }
        let choices = [("auto", 0), ("journal", 1), ("syslog-socket", 2)];
        Some(match self.choice(value, "auth-log", &choices)? {
            0 => AuthLog::Auto,
            1 => AuthLog::Journal,
            _ => AuthLog::SyslogSocket,
        })
    }
}
