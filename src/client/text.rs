//! Text from outside, made fit for a log line or a terminal.
//!
//! Owns one rule: a remote's words are shown as text, cut, without control characters
//! (protocol.md section 5). Refuses nothing; what cannot be shown is left out.

/// Longest text of a remote that an error carries, in bytes.
pub const MAX_REMOTE_TEXT: usize = 512;

/// `text` without control characters and without the marks that change the direction of writing,
/// cut to `max` bytes at a character's end. A line break becomes a blank.
#[must_use]
pub fn clean(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let c = if matches!(c, '\n' | '\t') { ' ' } else { c };
        if is_unprintable(c) {
            continue;
        }
        if out.len() + c.len_utf8() > max {
            break;
        }
        out.push(c);
    }
    out
}

/// Whether a terminal would act on `c` rather than show it: C0, C1, DEL, and the invisible marks
/// by which a line can be made to read otherwise than it is (Unicode TR 36, section 2.5).
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn escape_sequences_and_direction_marks_are_left_out() {
        assert_eq!(clean("a\x1b[31mb\u{9b}c\x07\u{202e}d\x7f", 99), "a[31mbcd");
        assert_eq!(clean("one\ntwo\tthree\r", 99), "one two three");
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(clean("äöü", 3), "ä");
        assert_eq!(clean("abc", 3), "abc");
        assert_eq!(clean("abc", 0), "");
    }
}
