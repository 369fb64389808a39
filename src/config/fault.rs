//! Faults of a configuration file: where, what is wrong, what to do about it.
//!
//! Owns the places (`file:line:column`, lines and columns from 1, columns in characters) and the
//! way faults print. Knows nothing of TOML or of what a key means. Never prints a line that holds
//! one of our own tokens.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where in a file a fault stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Line and column in characters, both from 1; none when the fault is the whole file's.
    pub at: Option<(usize, usize)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match self.at {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

/// One fault. `{}` prints `file:line:column: what; what to do`, `{:#}` the source line and a caret
/// below that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub todo: String,
    /// The line of the file, where there is one that may be shown.
    pub line: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.todo)?;
        if let (true, Some(line), Some((_, column))) = (f.alternate(), &self.line, self.place.at) {
            // The blanks before the caret are those of the line, so that tabs stay in step.
            let blanks: String = line
                .chars()
                .take(column.saturating_sub(1))
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(f, "\n    {line}\n    {blanks}^")?;
        }
        Ok(())
    }
}

/// Every fault of a file, by place. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The faults in the order of their places; none when there is no fault.
    #[must_use]
    pub fn sorted(mut faults: Vec<Fault>) -> Option<Self> {
        faults.sort_by(|a, b| (&a.place, &a.what).cmp(&(&b.place, &b.what)));
        faults.dedup();
        (!faults.is_empty()).then_some(Self(faults))
    }

    /// One fault alone.
    #[must_use]
    pub fn one(fault: Fault) -> Self {
        Self(vec![fault])
    }

    /// One fault of the whole file: it cannot be read.
    #[must_use]
    pub fn of_file(file: &Path, what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::one(Fault {
            place: Place {
                file: file.to_owned(),
                at: None,
            },
            what: what.into(),
            todo: todo.into(),
            line: None,
        })
    }

    /// The faults, by place.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            fmt::Display::fmt(fault, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// A file's name and text: turns byte spans into places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Text<'_> {
    /// The fault at the start of `span`.
    pub(super) fn fault(&self, span: &Range<usize>, what: String, todo: String) -> Fault {
        let (line, column, shown) = self.look_up(span.start);
        Fault {
            place: Place {
                file: self.file.to_owned(),
                at: Some((line, column)),
            },
            what,
            todo,
            line: (!may_hold_a_secret(shown)).then(|| shown.to_owned()),
        }
    }

    /// The line that holds the byte, from 1.
    pub(super) fn line_of(&self, byte: usize) -> usize {
        self.look_up(byte).0
    }

    /// The text of the line that holds the byte.
    pub(super) fn line_text(&self, byte: usize) -> &str {
        self.look_up(byte).2
    }

    fn look_up(&self, byte: usize) -> (usize, usize, &str) {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let start = before.rfind('\n').map_or(0, |n| n + 1);
        let line = before.matches('\n').count() + 1;
        let column = before.get(start..).unwrap_or("").chars().count() + 1;
        let rest = self.text.get(start..).unwrap_or("");
        (line, column, rest.lines().next().unwrap_or(""))
    }
}

/// A token, or an address with a password in it.
fn may_hold_a_secret(line: &str) -> bool {
    let of_address = |(_, rest): (&str, &str)| {
        let user = rest.split_once('@').map(|(user, _)| user);
        user.is_some_and(|user| user.contains(':')) || rest.contains("password=")
    };
    line.contains("skd_") || line.split_once("://").is_some_and(of_address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str, byte: usize) -> Fault {
        let text = Text {
            file: Path::new("a.toml"),
            text,
        };
        text.fault(&(byte..byte), "odd".into(), "mend it".into())
    }

    #[test]
    fn a_column_counts_characters() {
        let fault = fault("x\nä = \"ö\" y\n", 12);
        assert_eq!(fault.to_string(), "a.toml:2:9: odd; mend it");
        let shown = "a.toml:2:9: odd; mend it\n    ä = \"ö\" y\n            ^";
        assert_eq!(format!("{fault:#}"), shown);
    }

    #[test]
    fn the_end_of_the_file_has_a_place() {
        assert_eq!(fault("x\r\nyz", 5).place.at, Some((2, 3)));
        assert_eq!(fault("", 0).place.at, Some((1, 1)));
    }

    #[test]
    fn a_line_with_a_token_is_not_shown() {
        assert_eq!(fault("enroll-token = \"skd_enr_abc\"", 3).line, None);
    }

    #[test]
    fn faults_come_by_place_and_once() {
        let (a, b) = (fault("x\ny", 2), fault("x\ny", 0));
        let faults = Faults::sorted(vec![a.clone(), b, a]).unwrap();
        let text = "a.toml:1:1: odd; mend it\na.toml:2:1: odd; mend it";
        assert_eq!(faults.to_string(), text);
    }
}
