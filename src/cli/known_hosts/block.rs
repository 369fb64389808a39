//! Our lines in a file of a person's, between marks that name whose they are.
//!
//! Pure. Every byte outside the marks stays; two accounts have a block each.

const BEGIN: &str = "# BEGIN sshkeyd ";
const END: &str = "# END sshkeyd ";
const ADVICE: &str = " - lines up to END are replaced";

/// Marks that do not pair up; nothing is changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {0}: a mark of sshkeyd that has no other half; take the marks of this block out")]
pub(super) struct Damaged(usize);

/// The file with these lines in the block of that name; without the block where there are none.
pub(super) fn merged(old: &[u8], name: &str, lines: &[String]) -> Result<Vec<u8>, Damaged> {
    let all: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
    let (mut begin, mut end) = (None, None);
    for (at, line) in all.iter().enumerate() {
        let damaged = Err(Damaged(at + 1));
        match mark(line) {
            Some((BEGIN, of)) if of == name => match (begin, end) {
                (None, None) => begin = Some(at),
                _ => return damaged,
            },
            Some((END, of)) if of == name => match (begin, end) {
                (Some(_), None) => end = Some(at),
                _ => return damaged,
            },
            _ => {}
        }
    }
    let (before, after) = match (begin, end) {
        (Some(begin), Some(end)) => (all.get(..begin), all.get(end + 1..)),
        (Some(begin), None) => return Err(Damaged(begin + 1)),
        _ => (Some(&all[..]), None),
    };
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    let mut new = before.concat();
    if !lines.is_empty() {
        if new.last().is_some_and(|byte| *byte != b'\n') {
            new.push(b'\n');
        }
        new.extend_from_slice(format!("{BEGIN}{name}{ADVICE}\n").as_bytes());
        for line in lines {
            new.extend_from_slice(line.as_bytes());
            new.push(b'\n');
        }
        new.extend_from_slice(format!("{END}{name}\n").as_bytes());
    }
    new.extend_from_slice(&after.concat());
    Ok(new)
}

/// Whose blocks there are besides the one of that name.
pub(super) fn others(old: &[u8], name: &str) -> Vec<String> {
    let begins = old
        .split(|byte| *byte == b'\n')
        .filter_map(|line| match mark(line) {
            Some((BEGIN, of)) if of != name => Some(of.to_owned()),
            _ => None,
        });
    begins.collect()
}

/// Which mark a line is, and whose.
fn mark(line: &[u8]) -> Option<(&'static str, &str)> {
    let line = std::str::from_utf8(line).ok()?.trim_end();
    [BEGIN, END].into_iter().find_map(|mark| {
        let name = line.strip_prefix(mark)?;
        Some((mark, name.strip_suffix(ADVICE).unwrap_or(name)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "account:7 https://keys.example.com";

    fn lines(all: &[&str]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_foreign_byte_stays_where_it_is() {
        let foreign =
            b"|1|abc=|def= ssh-ed25519 AAAA\n\xff\xfe not text\nlast ssh-rsa AAAA".to_vec();
        let first = merged(&foreign, NAME, &lines(&["one"])).unwrap();
        let text = String::from_utf8_lossy(&first);
        assert!(first.starts_with(&foreign), "{text}");
        assert!(
            text.ends_with(&format!(
                "AAAA\n# BEGIN sshkeyd {NAME} - lines up to END are replaced\none\n# END sshkeyd \
                 {NAME}\n"
            )),
            "{text}"
        );
        // The same again changes nothing; more lines stand where the others did.
        let appended = [&first[..], b"later ssh-rsa AAAA\n"].concat();
        assert_eq!(merged(&appended, NAME, &lines(&["one"])).unwrap(), appended);
        let second = merged(&appended, NAME, &lines(&["two", "three"])).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&second),
            String::from_utf8_lossy(&appended).replace("one\n", "two\nthree\n")
        );
        // Without lines there is no block.
        let gone = merged(&second, NAME, &[]).unwrap();
        assert_eq!(gone, [&foreign[..], b"\nlater ssh-rsa AAAA\n"].concat());
        assert_eq!(merged(b"", NAME, &[]).unwrap(), b"");
    }

    #[test]
    fn another_accounts_block_is_its_own() {
        let other = "account:8 https://keys.example.com";
        let longer = "account:7 https://keys.example.com:8443";
        let mut file = Vec::new();
        for (name, line) in [(other, "theirs"), (longer, "elsewhere"), (NAME, "ours")] {
            file = merged(&file, name, &lines(&[line])).unwrap();
        }
        assert_eq!(others(&file, NAME), [other, longer]);
        let new = merged(&file, NAME, &lines(&["new"])).unwrap();
        assert_eq!(
            String::from_utf8(new).unwrap(),
            String::from_utf8(file).unwrap().replace("ours\n", "new\n")
        );
    }

    #[test]
    fn marks_that_do_not_pair_up_are_not_guessed_at() {
        let (begin, end) = (
            format!("# BEGIN sshkeyd {NAME}\n"),
            format!("# END sshkeyd {NAME}\n"),
        );
        for (file, line) in [
            (begin.clone(), 1),
            (format!("x\n{end}"), 2),
            (format!("{end}{begin}"), 1),
            (format!("{begin}{begin}{end}"), 2),
            (format!("{begin}{end}{begin}{end}"), 3),
        ] {
            let damaged = merged(file.as_bytes(), NAME, &lines(&["one"]));
            assert_eq!(damaged, Err(Damaged(line)), "{file}");
        }
    }
}
