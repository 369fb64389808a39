//! Paths with sshd's tokens `%h`, `%u`, `%U` and `%%`, as in sshd_config(5), TOKENS.

use std::fmt;
use std::path::{Path, PathBuf};

/// A path in which the home, the name and the number of a local user are put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Home,
    User,
    Uid,
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathTemplateError {
    /// Begins with `~`, which sshd does not know.
    #[error("\"~\" is not expanded")]
    Tilde,
    /// Begins neither with `/` nor with `%h`.
    #[error("not an absolute path")]
    Relative,
    /// `%` with a letter that is no token here.
    #[error("unknown token after %")]
    Token,
    /// `.` or `..` as a part, nothing after the last `/`, or a control character.
    #[error("not the path of a file")]
    Form,
}

impl PathTemplate {
    /// Reads a path with tokens.
    ///
    /// # Errors
    /// [`PathTemplateError`]; the path must be absolute once expanded, and name a file.
    pub fn parse(text: &str) -> Result<Self, PathTemplateError> {
        if text.starts_with('~') {
            return Err(PathTemplateError::Tilde);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, token)) = rest.split_once('%') {
            push_text(&mut parts, before);
            let mut chars = token.chars();
            match chars.next() {
                Some('h') => parts.push(Part::Home),
                Some('u') => parts.push(Part::User),
                Some('U') => parts.push(Part::Uid),
                Some('%') => push_text(&mut parts, "%"),
                _ => return Err(PathTemplateError::Token),
            }
            rest = chars.as_str();
        }
        push_text(&mut parts, rest);
        match parts.first() {
            Some(Part::Home) => {}
            Some(Part::Text(text)) if text.starts_with('/') => {}
            _ => return Err(PathTemplateError::Relative),
        }
        let tail = text.strip_prefix("%h").unwrap_or(text);
        // Without a slash `%hx` would be a neighbour of the home, never meant.
        let well_formed = tail.starts_with('/')
            && !tail.ends_with('/')
            && !parts.iter().skip(1).any(|part| matches!(part, Part::Home))
            && !tail.contains(|c: char| c.is_control())
            && !tail.split('/').any(|part| matches!(part, "." | ".."));
        if !well_formed {
            return Err(PathTemplateError::Form);
        }
        Ok(Self(parts))
    }

    /// The path for one local user. `home` is absolute, as passwd(5) gives it.
    #[must_use]
    pub fn expand(&self, home: &Path, user: &str, uid: u32) -> PathBuf {
        let mut path = std::ffi::OsString::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => path.push(text),
                Part::Home => path.push(home),
                Part::User => path.push(user),
                Part::Uid => path.push(uid.to_string()),
            }
        }
        PathBuf::from(path)
    }

    /// Whether every user has the same path.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(_)))
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(&text.replace('%', "%%")),
            Part::Home => f.write_str("%h"),
            Part::User => f.write_str("%u"),
            Part::Uid => f.write_str("%U"),
        })
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_sshd() {
        for (text, path) in [
            ("%h/.ssh/authorized_keys", "/home/al/.ssh/authorized_keys"),
            ("/etc/ssh/keys/%u", "/etc/ssh/keys/al"),
            ("/k/%U-100%%/%u", "/k/1001-100%/al"),
        ] {
            let template = PathTemplate::parse(text).unwrap();
            assert_eq!(
                template.expand(Path::new("/home/al"), "al", 1001),
                Path::new(path)
            );
            assert_eq!(template.to_string(), text);
            assert!(!template.is_fixed());
        }
        assert!(PathTemplate::parse("/etc/keys").unwrap().is_fixed());
        assert!(PathTemplate::parse("/100%%hot/keys").unwrap().is_fixed());
    }

    #[test]
    fn each_mistake_has_its_name() {
        for (text, error) in [
            ("~/.ssh/authorized_keys", PathTemplateError::Tilde),
            (".ssh/authorized_keys", PathTemplateError::Relative),
            ("%u/keys", PathTemplateError::Relative),
            ("%%h/keys", PathTemplateError::Relative),
            ("", PathTemplateError::Relative),
            ("%h/%k", PathTemplateError::Token),
            ("/keys/100%", PathTemplateError::Token),
            ("%h/", PathTemplateError::Form),
            ("%h", PathTemplateError::Form),
            ("%hx", PathTemplateError::Form),
            ("/keys/%h", PathTemplateError::Form),
            ("%h/../x", PathTemplateError::Form),
            ("/a\0b", PathTemplateError::Form),
        ] {
            assert_eq!(PathTemplate::parse(text), Err(error), "{text}");
        }
    }
}
