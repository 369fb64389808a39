//! One line of an authorized_keys file, read as sshd reads it.
//!
//! Mirrors `auth_check_authkey_line` (OpenSSH `auth2-pubkeyfile.c`), `sshkey_read` (`sshkey.c`) and
//! `sshkey_advance_past_options` (`auth-options.c`): leading blanks are passed over, options end at
//! the first blank outside quotes, a quote may be escaped inside them, a comment is the rest.

use super::{KeyError, RawKey};

/// What a line is to sshd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line<'a> {
    /// Nothing but blanks.
    Blank,
    /// A line whose first mark is `#`; what follows the mark.
    Comment(&'a [u8]),
    /// A key that sshd would compare with the one that is offered.
    Entry(Entry<'a>),
    /// A line that sshd passes over with a word in its log.
    Unreadable(LineFault),
}

/// The parts of a key line, as they stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What stands before the key type, verbatim.
    pub options: Option<&'a [u8]>,
    /// The key.
    pub key: RawKey,
    /// What follows the blob, without the blanks around it.
    pub comment: &'a [u8],
}

/// Why sshd would pass over a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// A quote that is opened in the options and never closed.
    #[error("a quote in the options is not closed")]
    OpenQuote,
    /// Options, and no key after them.
    #[error("no key after the options")]
    NoKey,
    /// The words are no key.
    #[error("{0}")]
    Key(#[from] KeyError),
}

/// Reads one line, given without its newline. sshd holds lines as C strings, so what follows a NUL
/// is not seen here either.
#[must_use]
pub fn read_line(line: &[u8]) -> Line<'_> {
    let line = line.split(|b| *b == 0).next().unwrap_or_default();
    let line = skip_blanks(line);
    match line.first() {
        None | Some(b'\n' | b'\r') => return Line::Blank,
        Some(b'#') => return Line::Comment(line.get(1..).unwrap_or_default()),
        Some(_) => {}
    }
    if let Ok((key, comment)) = read_key(line) {
        return Line::Entry(Entry {
            options: None,
            key,
            comment,
        });
    }
    let Some(end) = options_end(line) else {
        return Line::Unreadable(LineFault::OpenQuote);
    };
    let (options, rest) = line.split_at(end);
    let rest = skip_blanks(rest);
    if rest.is_empty() {
        return Line::Unreadable(LineFault::NoKey);
    }
    match read_key(rest) {
        Ok((key, comment)) => Line::Entry(Entry {
            options: Some(options),
            key,
            comment,
        }),
        Err(fault) => Line::Unreadable(fault.into()),
    }
}

/// `type blank blob [blank comment]`.
fn read_key(text: &[u8]) -> Result<(RawKey, &[u8]), KeyError> {
    let (key_type, rest) = split_word(text);
    let (blob, rest) = split_word(skip_blanks(rest));
    if blob.is_empty() {
        return Err(KeyError::NotAKey);
    }
    Ok((
        RawKey::from_words(key_type, blob)?,
        skip_blanks(rest).trim_ascii_end(),
    ))
}

/// Where the options end: the first blank outside quotes. `None` when a quote stays open.
fn options_end(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut bytes = line.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b' ' | b'\t' if !quoted => return Some(at),
            b'\\' if line.get(at + 1) == Some(&b'"') => {
                bytes.next();
            }
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
    (!quoted).then_some(line.len())
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let at = text.iter().position(|b| *b != b' ' && *b != b'\t');
    at.and_then(|at| text.get(at..)).unwrap_or_default()
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|b| *b == b' ' || *b == b'\t');
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

    fn entry(line: &str) -> (Option<String>, String) {
        match read_line(line.as_bytes()) {
            Line::Entry(entry) => (
                entry
                    .options
                    .map(|o| String::from_utf8_lossy(o).into_owned()),
                String::from_utf8_lossy(entry.comment).into_owned(),
            ),
            other => panic!("{line:?} read as {other:?}"),
        }
    }

    #[test]
    fn blanks_and_tabs_stand_anywhere_between_the_fields() {
        let spread = format!(" \t{} \t a  b \r", KEY.replace(' ', " \t"));
        assert_eq!(entry(&spread), (None, "a  b".into()));
    }

    #[test]
    fn a_quoted_space_does_not_end_the_options() {
        for options in [
            r#"command="echo hi #x""#,
            r#"command="say \"hi there\"",no-pty"#,
            "no-pty",
            r#"environment="A=b c",restrict"#,
        ] {
            let line = format!("{options} {KEY} c");
            assert_eq!(entry(&line), (Some(options.to_owned()), "c".into()));
        }
    }

    #[test]
    fn only_a_leading_mark_begins_a_comment() {
        assert_eq!(entry(&format!("{KEY} bob #2")), (None, "bob #2".into()));
        assert_eq!(read_line(b"  # hi"), Line::Comment(b" hi"));
        assert_eq!(read_line(b" \t"), Line::Blank);
        assert_eq!(read_line(b"\r"), Line::Blank);
    }

    #[test]
    fn what_sshd_passes_over_is_named() {
        let fault = |line: &str| match read_line(line.as_bytes()) {
            Line::Unreadable(fault) => fault,
            other => panic!("{other:?}"),
        };
        assert_eq!(fault(&format!("command=\"x {KEY}")), LineFault::OpenQuote);
        assert_eq!(fault("no-pty"), LineFault::NoKey);
        assert!(matches!(fault("hello world again"), LineFault::Key(_)));
    }

    #[test]
    fn a_line_ends_at_a_nul_as_it_does_for_sshd() {
        assert_eq!(entry(&format!("{KEY} a\0b")), (None, "a".into()));
    }
}
