//! Who set a keyword, and whether the drop-in is read: sshd_config(5) and its Includes, as text.
//!
//! Says where to look and why; what is in force is sshd's to say (`sshd -T`). Reads what
//! `servconf.c` reads: keywords in any case, `=` or blanks, Include with glob(7) patterns, the
//! Match of a file ending with that file. Files, their size and their depth are limited.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Where a relative Include is looked for.
const SSH_DIR: &str = "/etc/ssh";
/// `SERVCONF_MAX_DEPTH` of OpenSSH.
const MAX_DEPTH: usize = 16;
/// Most files that are read in all, and most names that one pattern stands for.
const MAX_FILES: usize = 512;
/// Most bytes of one file.
const MAX_BYTES: u64 = 1024 * 1024;

/// A keyword where it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `FILE:LINE`.
    pub(super) at: String,
    /// In lower case.
    pub(super) keyword: String,
    pub(super) value: String,
    /// Below a Match.
    pub(super) is_matched: bool,
    /// It is read before the drop-in would be: its value counts, not ours.
    pub(super) is_above: bool,
}

/// Whether the drop-in is read, as far as the text shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// No Include names it.
    Never,
    /// Only below the Match at this place.
    BelowMatch(String),
    /// By the Include at this place.
    Read(String),
}

/// Everything that is set in files other than the drop-in.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) places: Vec<Place>,
    pub(super) reach: Reach,
}

impl Survey {
    pub(super) fn of(config: &Path, drop_in: &Path) -> Self {
        let mut reading = Reading {
            drop_in,
            files: 0,
            is_above: true,
            survey: Self {
                places: Vec::new(),
                reach: Reach::Never,
            },
        };
        reading.file(config, None, 0);
        reading.survey
    }

    /// Where a keyword is set, those places first that hold for everybody.
    pub(super) fn of_keyword(&self, keyword: &str) -> impl Iterator<Item = &Place> {
        let keyword = keyword.to_ascii_lowercase();
        let of = move |place: &&Place| place.keyword == keyword;
        let mut places: Vec<_> = self.places.iter().filter(of).collect();
        places.sort_by_key(|place| place.is_matched);
        places.into_iter()
    }
}

struct Reading<'a> {
    drop_in: &'a Path,
    files: usize,
    is_above: bool,
    survey: Survey,
}

impl Reading<'_> {
    fn file(&mut self, path: &Path, below: Option<&str>, depth: usize) {
        if depth > MAX_DEPTH || self.files >= MAX_FILES || self.is_drop_in(path) {
            return;
        }
        self.files += 1;
        let Some(text) = text_of(path) else {
            return;
        };
        let mut below = below.map(str::to_owned);
        for (line, number) in text.lines().zip(1..) {
            let Some((keyword, value)) = setting(line) else {
                continue;
            };
            let at = format!("{}:{number}", path.display());
            match keyword.as_str() {
                "match" => below = Some(at),
                "include" => self.include(&value, &at, below.as_deref(), depth),
                _ => self.survey.places.push(Place {
                    at,
                    keyword,
                    value,
                    is_matched: below.is_some(),
                    is_above: self.is_above,
                }),
            }
        }
    }

    fn include(&mut self, patterns: &str, at: &str, below: Option<&str>, depth: usize) {
        for pattern in split_words(patterns) {
            let pattern = Path::new(SSH_DIR).join(pattern);
            let files = files_of(&pattern);
            let is_covered =
                covers(&pattern, self.drop_in) || files.iter().any(|file| self.is_drop_in(file));
            if is_covered && !matches!(self.survey.reach, Reach::Read(_)) {
                self.survey.reach = match below {
                    Some(place) => Reach::BelowMatch(place.to_owned()),
                    None => Reach::Read(at.to_owned()),
                };
            }
            let passes = is_covered && below.is_none();
            for file in files {
                // sshd reads what a pattern stands for by name.
                self.is_above &= !(passes && *file >= *self.drop_in);
                self.file(&file, below, depth + 1);
            }
            self.is_above &= !passes;
        }
    }

    /// By its name, or by what a link on the way comes to.
    fn is_drop_in(&self, path: &Path) -> bool {
        path == self.drop_in
            || std::fs::canonicalize(path)
                .is_ok_and(|path| std::fs::canonicalize(self.drop_in).is_ok_and(|d| d == path))
    }
}

/// Keyword, in lower case, and the rest of a line.
fn setting(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=');
    let (keyword, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    let value = rest.strip_prefix('=').unwrap_or(rest).trim();
    let keyword = keyword.trim_matches('"').to_ascii_lowercase();
    Some((keyword, value.to_owned()))
}

/// Words of a line; a word in double quotes may hold blanks.
fn split_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted && word.is_empty() => break,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn text_of(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    // A fifo would be waited for.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a pattern stands for this path, be it there or not.
fn covers(pattern: &Path, path: &Path) -> bool {
    let (mut patterns, mut names) = (pattern.components(), path.components());
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) => {
                let pattern = pattern.as_os_str().as_encoded_bytes();
                if !is_like(pattern, name.as_os_str().as_encoded_bytes()) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// The files that a pattern stands for, in the order in which sshd reads them.
fn files_of(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.components().skip(1) {
        let part = part.as_os_str();
        let is_plain = !part.as_encoded_bytes().iter().any(|b| b"*?[".contains(b));
        let mut next = Vec::new();
        for dir in found {
            if is_plain {
                next.push(dir.join(part));
            } else if let Ok(entries) = std::fs::read_dir(&dir) {
                let names = entries
                    .filter_map(Result::ok)
                    .map(|entry| entry.file_name());
                let like = |name: &std::ffi::OsString| {
                    is_like(part.as_encoded_bytes(), name.as_encoded_bytes())
                };
                next.extend(names.filter(like).map(|name| dir.join(name)));
            }
        }
        next.sort();
        next.truncate(MAX_FILES);
        found = next;
    }
    found.retain(|path| path.is_file());
    found
}

/// One part of a path against one part of a pattern, as glob(3) has it: `*`, `?`, `[…]`; a dot in
/// front stands for itself only.
fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    // The last star seen: what follows it, and how much of the name it has taken.
    let (mut rest, mut left) = (pattern, name);
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match (rest.split_first(), left.split_first()) {
            (Some((b'*', after)), _) => {
                star = Some((after, left));
                rest = after;
                continue;
            }
            (None, None) => return true,
            (Some((b'[', after)), Some((byte, tail))) => in_set(after, *byte).map(|r| (r, tail)),
            (Some((b'?', after)), Some((_, tail))) => Some((after, tail)),
            (Some((b'\\', after)), Some((byte, tail))) => {
                let escaped = after.split_first().filter(|(literal, _)| *literal == byte);
                escaped.map(|(_, after)| (after, tail))
            }
            (Some((literal, after)), Some((byte, tail))) => {
                (literal == byte).then_some((after, tail))
            }
            (Some(_), None) | (None, Some(_)) => None,
        };
        (rest, left) = match (step, star) {
            (Some(step), _) => step,
            (None, Some((after, taken))) => {
                let Some((_, tail)) = taken.split_first() else {
                    return false;
                };
                star = Some((after, tail));
                (after, tail)
            }
            (None, None) => return false,
        };
    }
}

/// What follows a set that has this byte in it; `[` itself has been taken.
fn in_set(set: &[u8], byte: u8) -> Option<&[u8]> {
    let negated = matches!(set.first(), Some(b'!' | b'^'));
    let set = if negated { set.get(1..)? } else { set };
    // A bracket in front belongs to the set.
    let end = set.iter().skip(1).position(|b| *b == b']')? + 1;
    let (members, after) = set.split_at_checked(end)?;
    let mut found = false;
    let mut at = members;
    while let Some((first, rest)) = at.split_first() {
        at = rest;
        if let [b'-', last, beyond @ ..] = rest {
            found |= (*first..=*last).contains(&byte);
            at = beyond;
        } else {
            found |= *first == byte;
        }
    }
    (found != negated).then(|| after.get(1..)).flatten()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets files up by path")]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_glob() {
        for (pattern, name, like) in [
            ("*.conf", "30-sshkeyd.conf", true),
            ("*.conf", ".conf", false),
            (".*", ".x", true),
            ("*", "a", true),
            ("*a*b", "xxaxxb", true),
            ("*a*b", "xxaxxbc", false),
            ("?0-[a-s]*", "30-sshkeyd.conf", true),
            ("?0-[!a-s]*", "30-sshkeyd.conf", false),
            ("[]x]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("", "a", false),
            ("a**", "a", true),
        ] {
            assert_eq!(
                is_like(pattern.as_bytes(), name.as_bytes()),
                like,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn places_and_includes_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(at(name), text).unwrap();
        std::fs::create_dir(at("d")).unwrap();
        write("d/10.conf", "Match user x\n  authorizedkeysfile=none\n");
        write("d/20.conf", "\n \"RevokedKeys\" /krl # why\n");
        let drop_in = at("d/30.conf");
        let include = format!("Include \"{}/d/*.conf\"\n", dir.path().display());
        write(
            "main",
            &format!("# Port 1\nPORT 2\n{include}AuthorizedKeysFile /a\n"),
        );
        let survey = Survey::of(&at("main"), &drop_in);
        let said: Vec<_> = survey
            .of_keyword("AuthorizedKeysFile")
            .map(|p| &p.value)
            .collect();
        assert_eq!(said, ["/a", "none"]);
        let revoked = survey.of_keyword("revokedkeys").next().unwrap();
        assert!(!revoked.is_matched, "the Match ends with its file");
        assert_eq!(revoked.at, format!("{}:2", at("d/20.conf").display()));
        let above = |keyword: &str| survey.of_keyword(keyword).map(|p| p.is_above).next();
        assert_eq!(
            (above("revokedkeys"), above("port")),
            (Some(true), Some(true))
        );
        assert_eq!(above("authorizedkeysfile"), Some(false));
        assert_eq!(
            survey.reach,
            Reach::Read(format!("{}:3", at("main").display()))
        );

        write("main", &format!("Match all\n{include}"));
        let below = format!("{}:1", at("main").display());
        assert_eq!(
            Survey::of(&at("main"), &drop_in).reach,
            Reach::BelowMatch(below)
        );
        write("main", "");
        assert_eq!(Survey::of(&at("main"), &drop_in).reach, Reach::Never);
    }
}
