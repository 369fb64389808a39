//! An authorized_keys file with our block in it (interface.md, "The block").
//!
//! Owns where the block begins and ends, and which bytes are somebody else's. Never changes a byte:
//! `sync` plans what changes, and renders it.

use super::{Fingerprint, Line, read_line};
use std::ops::Range;
use std::sync::Arc;

/// The first words of the line that opens the block.
pub const BEGIN: &str = "BEGIN sshkeyd";
/// The first words of the line that closes it.
pub const END: &str = "END sshkeyd";

/// A file's bytes, and what each line of them is.
#[derive(Debug, Clone, Default)]
pub struct AuthorizedKeys {
    bytes: Arc<Vec<u8>>,
    lines: Vec<FileLine>,
}

/// One line: where it stands, its newline included, and what it is.
#[derive(Debug, Clone)]
pub struct FileLine {
    span: Range<usize>,
    /// What it is.
    pub kind: LineKind,
}

/// What a line is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineKind {
    /// Blank, a comment, or a line that sshd passes over.
    Other,
    /// A key.
    Entry {
        /// The key's fingerprint.
        fingerprint: Fingerprint,
        /// True when no options stand before it.
        plain: bool,
    },
    /// The opening marker, with the other agent's name where it carries one.
    Begin {
        /// `id=XXXX`.
        id: Option<String>,
    },
    /// The closing marker.
    End,
}

/// What there is of our block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// No marker at all.
    None,
    /// One opening marker and, below it, one closing marker: these lines, markers included.
    Whole(Range<usize>),
    /// A whole block that carries another agent's name.
    Another {
        /// That name.
        id: String,
    },
    /// Markers that do not pair up.
    Damaged,
}

impl AuthorizedKeys {
    /// Reads a file's bytes, which may be somebody else's too. Nothing in them is an error.
    #[must_use]
    pub fn parse(bytes: impl Into<Arc<Vec<u8>>>) -> Self {
        let bytes = bytes.into();
        // Room for them at once: a vector that grows takes twice that, and leaves holes.
        let breaks = bytes.iter().filter(|byte| **byte == b'\n').count();
        let mut lines = Vec::with_capacity(breaks + 1);
        let mut start = 0;
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let end = start + part.len();
            lines.push(FileLine {
                span: start..end,
                kind: kind_of(part.strip_suffix(b"\n").unwrap_or(part)),
            });
            start = end;
        }
        Self { bytes, lines }
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its lines, in order.
    #[must_use]
    pub fn lines(&self) -> &[FileLine] {
        &self.lines
    }

    /// The bytes of one line, its newline included.
    #[must_use]
    pub fn text(&self, line: &FileLine) -> &[u8] {
        self.bytes.get(line.span.clone()).unwrap_or_default()
    }

    /// The bytes of lines that follow each other.
    #[must_use]
    pub fn text_of(&self, lines: Range<usize>) -> &[u8] {
        match self.lines.get(lines).unwrap_or_default() {
            [] => None,
            [first, .., last] => self.bytes.get(first.span.start..last.span.end),
            [line] => self.bytes.get(line.span.clone()),
        }
        .unwrap_or_default()
    }

    /// What there is of our block.
    #[must_use]
    pub fn block(&self) -> Block {
        let mut markers = self
            .lines
            .iter()
            .enumerate()
            .filter(|(_, line)| matches!(line.kind, LineKind::Begin { .. } | LineKind::End));
        let (first, second, third) = (markers.next(), markers.next(), markers.next());
        match (first, second, third) {
            (None, _, _) => Block::None,
            (Some((begin, open)), Some((end, close)), None) => match (&open.kind, &close.kind) {
                (LineKind::Begin { id: None }, LineKind::End) => Block::Whole(begin..end + 1),
                (LineKind::Begin { id: Some(id) }, LineKind::End) => {
                    Block::Another { id: id.clone() }
                }
                _ => Block::Damaged,
            },
            // A whole block of another's beside other markers is still another's.
            _ => self
                .another()
                .map_or(Block::Damaged, |id| Block::Another { id }),
        }
    }

    /// The name of an opening marker that carries one and is closed by the next marker.
    fn another(&self) -> Option<String> {
        let kinds = || self.lines.iter().map(|line| &line.kind);
        let mut markers = kinds().filter(|k| matches!(k, LineKind::Begin { .. } | LineKind::End));
        let mut open = None;
        markers.find_map(|kind| match kind {
            LineKind::Begin { id } => {
                open.clone_from(id);
                None
            }
            _ => open.take(),
        })
    }

    /// Every line outside the block that holds this key, counted from 1.
    pub fn places_of(&self, key: Fingerprint) -> impl Iterator<Item = usize> + '_ {
        self.lines
            .iter()
            .enumerate()
            .filter(move |(_, line)| {
                matches!(line.kind, LineKind::Entry { fingerprint, .. } if fingerprint == key)
            })
            .map(|(at, _)| at + 1)
    }

    /// Every key that stands outside the block, in order.
    pub fn foreign(&self) -> impl Iterator<Item = Fingerprint> + '_ {
        let block = match self.block() {
            Block::Whole(range) => range,
            _ => 0..0,
        };
        let lines = self.lines.iter().enumerate();
        lines.filter_map(move |(at, line)| match line.kind {
            LineKind::Entry { fingerprint, .. } if !block.contains(&at) => Some(fingerprint),
            _ => None,
        })
    }
}

fn kind_of(line: &[u8]) -> LineKind {
    match read_line(line) {
        Line::Entry(entry) => LineKind::Entry {
            fingerprint: entry.key.fingerprint(),
            plain: entry.options.is_none(),
        },
        Line::Comment(text) => marker(text).unwrap_or(LineKind::Other),
        Line::Blank | Line::Unreadable(_) => LineKind::Other,
    }
}

/// Markers are known by the first two words after the mark; people may have re-worded the rest.
fn marker(comment: &[u8]) -> Option<LineKind> {
    let text = std::str::from_utf8(comment).ok()?;
    let mut words = text.split_ascii_whitespace();
    let (first, second) = (words.next()?, words.next()?);
    if second != "sshkeyd" {
        return None;
    }
    match first {
        "BEGIN" => Some(LineKind::Begin {
            id: words
                .next()
                .and_then(|word| word.strip_prefix("id="))
                .map(str::to_owned),
        }),
        "END" => Some(LineKind::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

    fn block(text: &str) -> Block {
        AuthorizedKeys::parse(text.as_bytes().to_vec()).block()
    }

    #[test]
    fn a_block_is_known_by_two_words() {
        assert_eq!(block(""), Block::None);
        assert_eq!(
            block("a\n#BEGIN sshkeyd\nb\n # END sshkeyd - yes\nc"),
            Block::Whole(1..4)
        );
        assert_eq!(
            block("# BEGIN sshkeyd id=ab12 - x\n# END sshkeyd\n"),
            Block::Another { id: "ab12".into() }
        );
        // Taking its markers away would make its keys nobody's.
        assert_eq!(
            block("#BEGIN sshkeyd\n#END sshkeyd\n#BEGIN sshkeyd id=x\n#END sshkeyd\n"),
            Block::Another { id: "x".into() }
        );
    }

    #[test]
    fn markers_that_do_not_pair_up_are_damage() {
        for text in [
            "# BEGIN sshkeyd\n",
            "# END sshkeyd\n",
            "# END sshkeyd\n# BEGIN sshkeyd\n",
            "# BEGIN sshkeyd\n# BEGIN sshkeyd\n# END sshkeyd\n",
            "# BEGIN sshkeyd\n# END sshkeyd\n# END sshkeyd\n",
        ] {
            assert_eq!(block(text), Block::Damaged, "{text:?}");
        }
    }

    #[test]
    fn lines_outside_the_block_are_somebody_elses() {
        let text = format!("{KEY}\n# BEGIN sshkeyd\n{KEY}\n# END sshkeyd\nno-pty {KEY}");
        let file = AuthorizedKeys::parse(text.clone().into_bytes());
        assert_eq!(file.foreign().count(), 2);
        let LineKind::Entry { fingerprint, plain } = file.lines()[4].kind else {
            panic!("no entry")
        };
        assert!(!plain);
        assert_eq!(file.places_of(fingerprint).collect::<Vec<_>>(), [1, 3, 5]);
        let again: Vec<u8> = file
            .lines()
            .iter()
            .flat_map(|l| file.text(l))
            .copied()
            .collect();
        assert_eq!(again, text.as_bytes());
    }
}
