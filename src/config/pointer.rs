//! Where the keys stand in a JSON answer: a JSON Pointer (RFC 6901) in which `*` stands for every
//! element of an array and every member of an object.
//!
//! Owns the text's form. Refuses what RFC 6901 refuses. What it meets in an answer is judged where
//! answers are read.

use std::fmt;

/// Deepest pattern.
const MAX_STEPS: usize = 32;
/// Longest pattern, in bytes.
const MAX_TEXT: usize = 1024;

/// A pattern. The empty one is the whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    steps: Vec<Step>,
}

/// One step of the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The member of this name; in an array the element of this number.
    Name(String),
    /// Every element or member.
    Each,
}

/// What is wrong with the text of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It does not begin with a slash.
    #[error("not a JSON pointer")]
    Begin,
    /// A `~` that is neither `~0` nor `~1`.
    #[error("a JSON pointer with a \"~\" that stands for nothing")]
    Escape,
    /// More than anybody writes.
    #[error("too long a JSON pointer")]
    Long,
}

impl Pointer {
    /// Reads a pattern, as in `/ssh_keys/*/public_key`.
    ///
    /// # Errors
    /// [`PointerError`].
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.len() > MAX_TEXT {
            return Err(PointerError::Long);
        }
        let mut parts = text.split('/');
        if parts.next() != Some("") {
            return Err(PointerError::Begin);
        }
        let steps: Vec<Step> = parts.map(step).collect::<Result<_, _>>()?;
        if steps.len() > MAX_STEPS {
            return Err(PointerError::Long);
        }
        let text = text.to_owned();
        Ok(Self { text, steps })
    }

    /// The way, step by step.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn step(part: &str) -> Result<Step, PointerError> {
    if part == "*" {
        return Ok(Step::Each);
    }
    // `~01` is `~1`: what `~0` gave is not read again.
    let mut name = String::new();
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        name.push(match c {
            '~' => match chars.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err(PointerError::Escape),
            },
            other => other,
        });
    }
    Ok(Step::Name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<Step> {
        Pointer::parse(text).unwrap().steps
    }

    #[test]
    fn escapes_are_those_of_rfc_6901_and_a_star_is_each() {
        let name = |text: &str| Step::Name(text.to_owned());
        assert_eq!(steps(""), []);
        assert_eq!(steps("/"), [name("")]);
        assert_eq!(
            steps("/a~1b/~01/*/k"),
            [name("a/b"), name("~1"), Step::Each, name("k")]
        );
        assert_eq!(steps("/a*"), [name("a*")]);
    }

    #[test]
    fn what_is_none_is_refused() {
        assert_eq!(Pointer::parse("ssh_keys"), Err(PointerError::Begin));
        assert_eq!(Pointer::parse("*"), Err(PointerError::Begin));
        assert_eq!(Pointer::parse("/a~2"), Err(PointerError::Escape));
        assert_eq!(Pointer::parse("/a~"), Err(PointerError::Escape));
        assert_eq!(Pointer::parse(&"/a".repeat(33)), Err(PointerError::Long));
        assert_eq!(Pointer::parse(&"/".repeat(2000)), Err(PointerError::Long));
    }
}
