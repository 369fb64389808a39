//! Collects faults while the file's shape is given its meaning, and checks single values.
//!
//! A value that is at fault is left out (`None`) and the checking goes on, so that one run names
//! every fault. Nothing here changes anything; files are only looked at.

use super::duration::{self, parse_duration, show_duration};
use super::fault::{Fault, Faults, Text};
use super::raw;
use super::recover::Cuts;
use super::url::{UrlError, parse_url};
use super::{Env, suggest};
use serde_spanned::Spanned;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

/// What is needed to check a file, and the faults so far.
pub(super) struct Check<'a> {
    pub(super) text: Text<'a>,
    pub(super) faults: Vec<Fault>,
    pub(super) cut: Cuts,
    pub(super) env: Env<'a>,
}

impl Check<'_> {
    /// Notes a fault.
    pub(super) fn fault(&mut self, at: &Range<usize>, what: impl Display, todo: impl Display) {
        if !self.cut.guessed(self.text.line_of(at.start)) {
            let fault = self.text.fault(at, what.to_string(), todo.to_string());
            self.faults.push(fault);
        }
    }

    /// Notes that `key` is missing in `table`, but where it was there and had a fault of its own.
    pub(super) fn missing(&mut self, table: &Range<usize>, key: &str, what: &str, todo: &str) {
        if !self.cut.had(table, key) {
            // The file's own table has no place; its fault stands at the beginning.
            let at = if table.start > self.text.text.len() {
                0..0
            } else {
                table.clone()
            };
            self.fault(&at, what, todo);
        }
    }

    /// The configuration, if there is no fault.
    pub(super) fn finish<T>(self, config: Option<T>) -> Result<T, Faults> {
        match (Faults::sorted(self.faults), config) {
            (None, Some(config)) => Ok(config),
            (Some(faults), _) => Err(faults),
            (None, None) => Err(Faults::of_file(
                self.text.file,
                "not understood",
                "write it anew from the example",
            )),
        }
    }

    /// A duration within `range`, or `default` where none is given.
    pub(super) fn duration(
        &mut self,
        value: &raw::Text,
        key: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let Some(value) = value else {
            return Some(default);
        };
        let text = value.get_ref();
        match parse_duration(text) {
            Ok(duration) if range.contains(&duration) => Some(duration),
            Ok(_) | Err(duration::DurationError::TooLong) => {
                let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
                let what = format!("\"{key}\" cannot be {text}");
                self.fault(&value.span(), what, format!("give {least} to {most}"));
                None
            }
            Err(error @ duration::DurationError::Form) => {
                let todo = match duration::meant(text) {
                    Some(meant) => format!("did you mean \"{meant}\""),
                    None => "write one number and one unit: 30s, 5m, 12h or 7d".to_owned(),
                };
                self.fault(&value.span(), format!("\"{text}\" is {error}"), todo);
                None
            }
        }
    }

    /// An absolute path, or `default` where none is given.
    pub(super) fn path_or(&mut self, value: &raw::Text, default: &str) -> Option<PathBuf> {
        match value {
            Some(value) => self.absolute(value),
            None => Some(PathBuf::from(default)),
        }
    }

    /// An absolute path, or none where none is given; `Err` is a fault that is noted.
    pub(super) fn path(&mut self, value: &raw::Text) -> Result<Option<PathBuf>, ()> {
        match value {
            Some(value) => self.absolute(value).map(Some).ok_or(()),
            None => Ok(None),
        }
    }

    /// A path from the root, without `..`.
    pub(super) fn absolute(&mut self, value: &Spanned<String>) -> Option<PathBuf> {
        let (text, at) = (value.get_ref(), value.span());
        let path = PathBuf::from(text);
        if text.is_empty() {
            self.fault(&at, "an empty path", "name a file, or remove the key");
        } else if text.starts_with('~') || text.contains('$') {
            let what = format!("\"{text}\" is not expanded");
            self.fault(&at, what, "write the path from / in full");
        } else if text.contains(|c: char| c.is_control()) {
            self.fault(&at, "a control character in a path", "remove it");
        } else if !path.is_absolute() || text.split('/').any(|part| part == "..") {
            let what = format!("\"{text}\" is not an absolute path");
            self.fault(&at, what, "write the path from / on, without \"..\"");
        } else {
            return Some(path);
        }
        None
    }

    /// A path that must be a plain file by now: the daemon cannot run without it.
    pub(super) fn existing(&mut self, value: &Spanned<String>) -> Option<PathBuf> {
        let path = self.absolute(value)?;
        let (what, todo) = match std::fs::metadata(&path) {
            Ok(about) if about.is_file() => return Some(path),
            Ok(_) => ("is not a plain file".to_owned(), "name a file"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (
                "does not exist".to_owned(),
                "put the file there, or correct the path",
            ),
            Err(error) => (reason(&error), "let this user read it, or correct the path"),
        };
        self.fault(&value.span(), format!("{} {what}", path.display()), todo);
        None
    }

    /// A path whose directory must be there by now, the file itself need not.
    pub(super) fn in_a_directory(&mut self, value: &Spanned<String>) -> Option<PathBuf> {
        let path = self.absolute(value)?;
        let directory = path.parent().unwrap_or(&path);
        if directory.is_dir() {
            return Some(path);
        }
        let what = format!("the directory {} does not exist", directory.display());
        self.fault(&value.span(), what, "make it, or correct the path");
        None
    }

    /// An address of a service.
    pub(super) fn url(&mut self, value: &Spanned<String>) -> Option<String> {
        let text = value.get_ref();
        match parse_url(text) {
            Ok(url) => return Some(url),
            Err(error) => self.url_fault(value, error),
        }
        None
    }

    /// Notes what is wrong with an address.
    pub(super) fn url_fault(&mut self, value: &Spanned<String>, error: UrlError) {
        let text = value.get_ref();
        let todo = match error {
            UrlError::Scheme => "write https://HOST",
            UrlError::Plaintext => "write https; plain http goes to loopback only",
            UrlError::User => "remove the user; credentials come from files",
            UrlError::Query => "remove what follows the path",
            UrlError::Secret => "put it into a header from a file: http.headers",
            UrlError::Fragment => "remove the \"#\" and what follows",
            UrlError::Form => "write https://HOST, https://HOST:PORT or https://HOST/PATH",
        };
        // An address with a user may hold a password.
        let what = match error {
            UrlError::User | UrlError::Secret => error.to_string(),
            // A query may hold more than its writer knows.
            _ => match text.split_once('?') {
                Some((address, _)) => format!("\"{address}?…\" is {error}"),
                None => format!("\"{text}\" is {error}"),
            },
        };
        self.fault(&value.span(), what, todo);
    }

    /// One of the words of `choices`, or the first where none is given.
    pub(super) fn choice<T: Copy>(
        &mut self,
        value: &raw::Text,
        key: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let Some(value) = value else {
            return choices.first().map(|(_, choice)| *choice);
        };
        let text = value.get_ref();
        let found = choices.iter().find(|(word, _)| word == text);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let what = format!("\"{key}\" cannot be \"{text}\"");
            let todo = match suggest::nearest(text, &words) {
                Some(near) => format!("did you mean \"{near}\""),
                None => format!("give \"{}\"", words.join("\" or \"")),
            };
            self.fault(&value.span(), what, todo);
        }
        found.map(|(_, choice)| *choice)
    }
}

/// The system's words for an error, in our voice.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        std::io::ErrorKind::NotADirectory => "lies below something that is a file".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => format!("cannot be read ({error})"),
    }
}
