//! Options of a key, as they stand before it in authorized_keys (sshd(8), AUTHORIZED_KEYS FILE
//! FORMAT): read strictly, because an option that is misread opens more than its owner meant.
//!
//! One table says which options there are, which take a value, and since which OpenSSH they exist.
//! `cert-authority` and `principals` are never ours to write (CVE-2026-35414).

use serde::{Deserialize, Serialize};
use std::fmt;

/// An OpenSSH version, major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SshdVersion(pub u32, pub u32);

impl fmt::Display for SshdVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Longest option text, in bytes: sshd itself reads longer lines, people do not.
const MAX_TEXT: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    No,
    /// A value, at most once.
    Once,
    /// A value, any number of times.
    Many,
}

/// Name, value, and the first OpenSSH whose sshd knows it.
const TABLE: [(&str, Value, SshdVersion); 20] = [
    ("agent-forwarding", Value::No, SshdVersion(7, 2)),
    ("command", Value::Once, SshdVersion(2, 0)),
    ("environment", Value::Many, SshdVersion(2, 0)),
    (EXPIRY_TIME, Value::Once, SshdVersion(7, 7)),
    ("from", Value::Once, SshdVersion(2, 0)),
    ("no-agent-forwarding", Value::No, SshdVersion(2, 0)),
    ("no-port-forwarding", Value::No, SshdVersion(2, 0)),
    ("no-pty", Value::No, SshdVersion(2, 0)),
    ("no-touch-required", Value::No, SshdVersion(8, 2)),
    ("no-user-rc", Value::No, SshdVersion(2, 0)),
    ("no-X11-forwarding", Value::No, SshdVersion(2, 0)),
    ("permitlisten", Value::Many, SshdVersion(7, 8)),
    ("permitopen", Value::Many, SshdVersion(2, 0)),
    ("port-forwarding", Value::No, SshdVersion(7, 2)),
    ("pty", Value::No, SshdVersion(7, 2)),
    ("restrict", Value::No, SshdVersion(7, 2)),
    ("tunnel", Value::Once, SshdVersion(4, 3)),
    ("user-rc", Value::No, SshdVersion(7, 2)),
    ("verify-required", Value::No, SshdVersion(8, 4)),
    ("X11-forwarding", Value::No, SshdVersion(7, 2)),
];

/// The option that ends a key by itself.
pub const EXPIRY_TIME: &str = "expiry-time";

/// The first sshd that reads `expiry-time` at all, and the first that reads it in UTC, with a `Z`.
pub const EXPIRY_SINCE: (SshdVersion, SshdVersion) = (SshdVersion(7, 7), SshdVersion(9, 1));

/// A checked list of options. Empty means none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Options(Vec<(&'static str, Option<String>)>);

/// Why options are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Not in the table.
    #[error("option \"{0}\" is not known to sshd")]
    Unknown(String),
    /// In sshd's table, and never to be written by us.
    #[error("option \"{0}\" is not written here; an account's CA is trusted in sshd_config")]
    Forbidden(String),
    /// A value is missing.
    #[error("option \"{0}\" needs a value in quotes")]
    NeedsValue(&'static str),
    /// A value stands where none may.
    #[error("option \"{0}\" takes no value")]
    TakesNone(&'static str),
    /// It may stand once only.
    #[error("option \"{0}\" stands twice")]
    Twice(&'static str),
    /// A quote stays open, a comma stands alone, or words are left over.
    #[error("options are a comma-separated list with values in quotes")]
    Syntax,
    /// Control characters, or too long.
    #[error("options are one line of at most 4096 printable characters")]
    Text,
}

impl OptionsError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown-option",
            Self::Forbidden(_) => "forbidden-option",
            Self::NeedsValue(_) => "option-needs-value",
            Self::TakesNone(_) => "option-takes-no-value",
            Self::Twice(_) => "option-twice",
            Self::Syntax | Self::Text => "bad-options",
        }
    }
}

impl Options {
    /// Reads `no-pty,command="…"`.
    ///
    /// # Errors
    /// [`OptionsError`] with the option's name.
    pub fn parse(text: &str) -> Result<Self, OptionsError> {
        if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            return Err(OptionsError::Text);
        }
        let mut list: Vec<(&'static str, Option<String>)> = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let (name, rule) = look_up(word)?;
            let (value, after) = match after.strip_prefix('=') {
                Some(after) => {
                    let (value, after) = quoted(after).ok_or(match rule {
                        Value::No => OptionsError::TakesNone(name),
                        _ => OptionsError::NeedsValue(name),
                    })?;
                    (Some(value), after)
                }
                None => (None, after),
            };
            match (rule, &value) {
                (Value::No, Some(_)) => return Err(OptionsError::TakesNone(name)),
                (Value::Once | Value::Many, None) => return Err(OptionsError::NeedsValue(name)),
                _ => {}
            }
            if rule != Value::Many && list.iter().any(|(seen, _)| *seen == name) {
                return Err(OptionsError::Twice(name));
            }
            list.push((name, value));
            rest = match after.strip_prefix(',') {
                Some("") => return Err(OptionsError::Syntax),
                Some(next) => next,
                None if after.is_empty() => "",
                None => return Err(OptionsError::Syntax),
            };
        }
        Ok(Self(list))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Name and value of each, in their order: a later one may undo an earlier.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (*name, value.as_deref()))
    }

    /// Whether this option stands there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(seen, _)| *seen == name)
    }

    /// The first option that a given sshd does not know; writing it would refuse the key.
    #[must_use]
    pub fn newer_than(&self, sshd: SshdVersion) -> Option<(&'static str, SshdVersion)> {
        self.0.iter().find_map(|(name, _)| {
            let (_, _, since) = TABLE.iter().find(|(known, _, _)| known == name)?;
            (*since > sshd).then_some((*name, *since))
        })
    }

    /// The same options and one more, which must be a name of the table.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.push((name, Some(value.to_owned())));
        self
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
            if let Some(value) = value {
                write!(f, "=\"{}\"", value.replace('"', "\\\""))?;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Options {
    type Error = OptionsError;

    fn try_from(text: String) -> Result<Self, OptionsError> {
        Self::parse(&text)
    }
}

impl From<Options> for String {
    fn from(options: Options) -> Self {
        options.to_string()
    }
}

/// sshd compares names without regard to case.
fn look_up(word: &str) -> Result<(&'static str, Value), OptionsError> {
    if ["cert-authority", "principals"].contains(&word.to_ascii_lowercase().as_str()) {
        return Err(OptionsError::Forbidden(word.to_owned()));
    }
    if word.is_empty() {
        return Err(OptionsError::Syntax);
    }
    TABLE
        .iter()
        .find(|(name, _, _)| name.eq_ignore_ascii_case(word))
        .map(|(name, value, _)| (*name, *value))
        .ok_or_else(|| OptionsError::Unknown(word.to_owned()))
}

/// A value in quotes, in which only the quote itself is escaped (`opt_dequote`, `misc.c`).
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices().peekable();
    let body = text.get(1..)?;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if chars.peek().map(|(_, c)| *c) == Some('"') => {
                chars.next();
                value.push('"');
            }
            '"' => return Some((value, body.get(at + 1..)?)),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_what_they_write() {
        for text in [
            "",
            "no-pty",
            "restrict,pty,command=\"echo \\\"a b\\\", #c\"",
            "permitopen=\"a:1\",permitopen=\"b:2\",from=\"10.0.0.0/8,!10.1.1.1\"",
            "command=\"a\\\\b\"",
        ] {
            let options = Options::parse(text).unwrap();
            assert_eq!(options.to_string(), text);
            assert_eq!(Options::parse(&options.to_string()), Ok(options));
        }
        assert_eq!(Options::parse("No-PTY").unwrap().to_string(), "no-pty");
    }

    #[test]
    fn a_refused_option_is_named() {
        let error = |text: &str| Options::parse(text).expect_err(text);
        assert_eq!(error("no-ptty"), OptionsError::Unknown("no-ptty".into()));
        assert_eq!(
            error("cert-authority"),
            OptionsError::Forbidden("cert-authority".into())
        );
        assert_eq!(error("command"), OptionsError::NeedsValue("command"));
        assert_eq!(error("command=x"), OptionsError::NeedsValue("command"));
        assert_eq!(error("command=\"x"), OptionsError::NeedsValue("command"));
        assert_eq!(error("no-pty=\"x\""), OptionsError::TakesNone("no-pty"));
        assert_eq!(error("no-pty,no-pty"), OptionsError::Twice("no-pty"));
        assert_eq!(error("no-pty,"), OptionsError::Syntax);
        assert_eq!(error(",no-pty"), OptionsError::Syntax);
        assert_eq!(error("no-pty restrict"), OptionsError::Syntax);
        assert_eq!(error("no-pty\nssh-rsa"), OptionsError::Text);
    }

    #[test]
    fn an_option_that_an_old_sshd_does_not_know_is_found() {
        let options = Options::parse("no-pty,verify-required").unwrap();
        let since = SshdVersion(8, 4);
        assert_eq!(
            options.newer_than(SshdVersion(8, 3)),
            Some(("verify-required", since))
        );
        assert_eq!(options.newer_than(since), None);
    }
}
