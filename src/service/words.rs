//! Text that others wrote and that people will read: names, labels, what instances say.
//!
//! A name is refused when it is not plain; an instance's words are cut and cleaned, because its
//! tenant is no one to argue with (protocol.md section 5).

use serde_json::Value;

/// Longest string that an instance may say, in bytes.
const SAID: usize = 256;

/// Characters of a name or a label.
pub(super) const NAME: usize = 128;

/// Whether text may stand as a name: short, and nothing in it steers a terminal or turns text
/// around.
pub(super) fn is_plain(text: &str) -> bool {
    text.chars().count() <= NAME && !text.chars().any(steers)
}

/// What an instance said, without what steers, cut at 256 bytes and marked with `…`.
pub(super) fn said(text: &str) -> String {
    let mut out: String = text.chars().filter(|c| !steers(*c)).collect();
    if out.len() > SAID {
        let mut end = SAID - '…'.len_utf8();
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
        out.push('…');
    }
    out
}

/// Does that to every string of a JSON value.
pub(super) fn clean(value: &mut Value) {
    match value {
        Value::String(text) => *text = said(text),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Control characters, line and paragraph separators, and what changes the direction of text.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_at_a_character_and_marked() {
        assert_eq!(said("a\u{1b}[2J\nb\u{202e}"), "a[2Jb");
        assert_eq!(said(&"x".repeat(256)), "x".repeat(256));
        let cut = said(&"é".repeat(200));
        assert!(cut.len() <= 256 && cut.ends_with("é…"));
    }

    #[test]
    fn a_name_is_short_and_plain() {
        assert!(is_plain("Alice's laptop, é"));
        assert!(is_plain(&"é".repeat(128)));
        assert!(!is_plain(&"x".repeat(129)));
        assert!(!is_plain("a\nb"));
        assert!(!is_plain("a\u{202e}b"));
    }
}
