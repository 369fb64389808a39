//! Faults of TOML itself, all of them, in words that say what to write instead.
//!
//! Knows no key and no table: only what the parser says, and the mistakes that its words hide
//! (text without quotes, a list without an end).

use super::fault::{Fault, Text};
use super::recover::MAX_FAULTS;
use std::collections::BTreeSet;
use std::ops::Range;
use toml::de::DeTable;

/// What the parser says of a key or a table that is there twice.
const DUPLICATE: &str = "duplicate key";

/// Notes every fault of syntax and gives the text with those lines blank, so that the parser comes
/// to what is below them; none when the lines below cannot be told to belong to one table.
pub(super) fn blank_faulty_lines(
    text: Text<'_>,
    faults: &mut Vec<Fault>,
    lines: &mut BTreeSet<usize>,
) -> Option<String> {
    let mut source = text.text.to_owned();
    loop {
        let (_, errors) = DeTable::parse_recoverable(&source);
        if let Some(at) = open_list(text, &errors) {
            let todo = "write ] at its end".to_owned();
            let span = at..at + 1;
            faults.push(text.fault(&span, "a list without an end".to_owned(), todo));
            lines.insert(text.line_of(at));
            return None;
        }
        let mut found = BTreeSet::new();
        let mut lost = faults.len() >= MAX_FAULTS;
        for error in errors.iter().take(MAX_FAULTS) {
            let span = error.span().unwrap_or(0..0);
            let line = text.line_of(span.start);
            if lines.contains(&line) {
                continue;
            }
            faults.push(syntax(text, &span, error.message()));
            found.insert(line);
            // After a broken header every key below seems to be another table's, and after the
            // first line of a list its other lines seem to be keys.
            let content = text.line_text(span.start).trim();
            let header = content.starts_with('[') && error.message() != DUPLICATE;
            let opens = content.matches(['[', '{']).count() > content.matches([']', '}']).count();
            lost |= header || opens || content.contains("\"\"\"") || content.contains("'''");
        }
        if lost {
            lines.append(&mut found);
            return None;
        }
        if found.is_empty() {
            return Some(source);
        }
        // The same number of bytes, so that places stay true.
        source = source
            .split_inclusive('\n')
            .enumerate()
            .map(|(n, line)| match found.contains(&(n + 1)) {
                true if !line.trim_start().starts_with('[') => blank(line),
                _ => line.to_owned(),
            })
            .collect();
        lines.append(&mut found);
    }
}

/// Where the list begins that the parser finds no end of: it takes every line below for an item.
fn open_list(text: Text<'_>, errors: &[toml::de::Error]) -> Option<usize> {
    let open = |error: &toml::de::Error| error.message().starts_with("unclosed array,");
    if !errors.iter().any(open) {
        return None;
    }
    let first = errors
        .iter()
        .filter_map(toml::de::Error::span)
        .map(|span| span.start)
        .min()?;
    let before = text.text.get(..first)?;
    before
        .rfind("= [")
        .or_else(|| before.rfind("=["))
        .and_then(|at| {
            let list = before.get(at..)?;
            (!list.contains(']') || list.contains('\n')).then_some(at + list.find('[')?)
        })
}

fn blank(line: &str) -> String {
    let end = if line.ends_with('\n') { "\n" } else { "" };
    " ".repeat(line.len() - end.len()) + end
}

/// A fault of TOML itself.
fn syntax(text: Text<'_>, span: &Range<usize>, message: &str) -> Fault {
    let value = text.text.get(span.clone()).unwrap_or("");
    let bare = bare_word(text.line_text(span.start));
    let (what, todo) = if message == DUPLICATE {
        let what = format!("\"{value}\" is given twice");
        (what, "keep one of the two".to_owned())
    } else if message.starts_with("string values must be quoted") {
        let value = value.trim_matches(['“', '”', '‘', '’', '\'', '"']);
        (
            "text without quotes".to_owned(),
            format!("write \"{value}\""),
        )
    } else if let Some(word) = bare {
        (
            "text without quotes".to_owned(),
            format!("write \"{word}\""),
        )
    } else {
        match message.split_once(", expected ") {
            Some((what, wanted)) => (what.to_owned(), format!("TOML wants {wanted} here")),
            None => (message.to_owned(), "correct it to be TOML".to_owned()),
        }
    };
    text.fault(span, what, todo)
}

/// The value of `key = value` where it is a word without quotes: the parser takes `info` for the
/// beginning of `inf`.
fn bare_word(line: &str) -> Option<&str> {
    let (_, value) = line.split_once('=')?;
    let value = value.split('#').next().unwrap_or(value).trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:%~@".contains(c);
    let begins = value.starts_with(|c: char| c.is_ascii_alphabetic());
    (begins && value.chars().all(plain)).then_some(value)
}
