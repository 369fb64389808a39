//! The agent's one drop-in below sshd_config(5), and the steps by which a setting gets into force.
//!
//! sshd's configuration is somebody's: the first value wins, a `Match` goes before what stands
//! globally, and sshd that does not come back locks everybody out. So what is in force is read
//! first, another's value is never overruled, what sshd does not take is put back, and sshd is
//! looked at after every reload. Knows nothing of why a directive is wanted.

mod daemon;
mod drop_in;
mod in_force;
mod judge;
mod look;
mod looked;
mod places;
mod reload;
mod reread;
mod state;
mod steps;

pub use looked::{Look, drop_in_names, look};
pub use reread::{Reread, listens_at, reread, settled};
pub use state::is_remembered;
pub use steps::{Kept, Sight, keep, let_go};

use super::sshd::Settings;
use crate::config::SshdPaths;
use daemon::Daemon;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

/// First line of the drop-in; a file of that name that begins otherwise is somebody else's.
pub const MARK: &str =
    "# Kept by sshkeyd: written anew whole, and taken away by `sshkeyd unmanage`.";

/// One keyword of sshd_config(5) with the value that it ought to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// sshd's keyword, as sshd_config(5) spells it.
    pub keyword: &'static str,
    /// What it ought to have in force.
    pub wanted: Wanted,
    /// Values of others that it may go before: what they do ours does too.
    pub over: Vec<String>,
}

/// What a keyword ought to have in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This value and no other, as `sshd -T` prints it. sshd's own default is `none`.
    Is(String),
    /// These words among others of one line, after sshd's default (`AuthorizedKeysFile`).
    Names {
        /// Words that go before, where nobody has set the keyword.
        default: &'static str,
        /// Ours, in order.
        words: Vec<String>,
    },
    /// A line of its own for each, beside those of others (`HostCertificate`).
    Lines(Vec<String>),
}

/// Directives that make sense together only: all of them come into force, or none does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// What they are for, in a few words: `method own-file`.
    pub purpose: &'static str,
    /// The directives.
    pub directives: Vec<Directive>,
}

impl Directive {
    /// A keyword with one value: `AuthorizedKeysCommand`, `TrustedUserCAKeys`, `RevokedKeys` …
    #[must_use]
    pub fn is(keyword: &'static str, value: impl Into<String>) -> Self {
        Self::new(keyword, Wanted::Is(value.into()))
    }

    fn new(keyword: &'static str, wanted: Wanted) -> Self {
        Self {
            keyword,
            wanted,
            over: Vec::new(),
        }
    }

    /// The same, which may go before these values of others.
    #[must_use]
    pub fn over(self, values: Vec<String>) -> Self {
        Self {
            over: values,
            ..self
        }
    }

    /// `AuthorizedKeysFile` with these paths, sshd's tokens in them, after sshd's default.
    #[must_use]
    pub fn authorized_keys_file(words: Vec<String>) -> Self {
        let wanted = Wanted::Names {
            default: ".ssh/authorized_keys .ssh/authorized_keys2",
            words,
        };
        Self::new("AuthorizedKeysFile", wanted)
    }

    /// A keyword that may stand any number of times: `HostCertificate`.
    #[must_use]
    pub fn lines(keyword: &'static str, values: Vec<String>) -> Self {
        Self::new(keyword, Wanted::Lines(values))
    }

    /// Its lines in sshd_config(5), each with a newline.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{} {value}", self.keyword);
        };
        match &self.wanted {
            Wanted::Is(value) => line(value),
            Wanted::Names { default, words } => {
                let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
                line(&format!("{default} {}", words.join(" ")));
            }
            Wanted::Lines(values) => values.iter().for_each(|value| line(&quoted(value))),
        }
        text
    }
}

/// The lines that an administrator would have to add for these wishes: what `doctor` prints, and
/// the condition where the agent may not write them.
#[must_use]
pub fn lines(wishes: &[Wish]) -> String {
    let directives = wishes.iter().flat_map(|wish| &wish.directives);
    directives.map(Directive::text).collect()
}

/// The configuration that the sshd at this address was started with, else the configured one, and
/// what `sshd -T` says of it, with the options of its command line, for a login of this user from
/// this machine; or why it says nothing, in sshd's words.
pub async fn effective(
    address: Option<SocketAddr>,
    paths: &SshdPaths,
    user: &str,
) -> (PathBuf, Result<Settings, String>) {
    match Daemon::find(address, paths).await {
        Ok(daemon) => {
            let settings = daemon.values(&daemon.config, user).await;
            (daemon.config, settings)
        }
        Err(why) => (paths.config.clone(), Err(why)),
    }
}

/// A word as sshd reads it back: with a blank or `#` in it, in quotes (sshd_config(5)).
pub(super) fn quoted(word: &str) -> String {
    if word.contains(|c: char| c.is_whitespace() || c == '#') {
        format!("\"{word}\"")
    } else {
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_directive_has_its_lines() {
        let wishes = [
            Wish {
                purpose: "method own-file",
                directives: vec![Directive::authorized_keys_file(vec![
                    "/etc/ssh/sshkeyd/keys/%u".into(),
                    "%h/my keys".into(),
                ])],
            },
            Wish {
                purpose: "method command",
                directives: vec![
                    Directive::is(
                        "AuthorizedKeysCommand",
                        "/usr/bin/sshkeyd authorized-keys %u",
                    ),
                    Directive::is("AuthorizedKeysCommandUser", "sshkeyd-keys"),
                ],
            },
            Wish {
                purpose: "host certificates",
                directives: vec![Directive::lines(
                    "HostCertificate",
                    vec!["/a".into(), "/b".into()],
                )],
            },
        ];
        assert_eq!(
            lines(&wishes),
            "AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 \
             /etc/ssh/sshkeyd/keys/%u \"%h/my keys\"\n\
             AuthorizedKeysCommand /usr/bin/sshkeyd authorized-keys %u\n\
             AuthorizedKeysCommandUser sshkeyd-keys\n\
             HostCertificate /a\nHostCertificate /b\n"
        );
    }
}
