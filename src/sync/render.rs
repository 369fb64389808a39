//! From a key to its two lines, and from a plan to a file's bytes.

use super::plan::Plan;
use crate::keys::{AuthorizedKeys, EXPIRY_SINCE, EXPIRY_TIME, ListedKey, SshdVersion, printable};
use jiff::tz::TimeZone;

/// What the sshd that will read the file understands.
#[derive(Debug, Clone)]
pub struct Dialect {
    /// Its version, where it is known.
    pub sshd: Option<SshdVersion>,
    /// The time zone that it runs in.
    pub zone: TimeZone,
}

impl Dialect {
    /// Whether sshd can be told when a key ends; an unknown one is taken for one that can.
    pub(super) fn knows_expiry(&self) -> bool {
        self.sshd.is_none_or(|sshd| sshd >= EXPIRY_SINCE.0)
    }
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            sshd: None,
            zone: TimeZone::UTC,
        }
    }
}

/// The bytes that a file is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileWrite {
    /// All of them.
    pub bytes: Vec<u8>,
}

/// Carries a plan out on the bytes it was made for. Every line that the plan does not name is
/// copied byte for byte.
#[must_use]
pub fn render(current: &AuthorizedKeys, plan: &Plan) -> FileWrite {
    let mut bytes = Vec::with_capacity(current.bytes().len() + plan.block.len() + 1);
    let mut back = plan.put_back.iter().peekable();
    let mut foreign = 0;
    for (at, line) in current.lines().iter().enumerate() {
        if at == plan.span.start {
            push_lines(&mut bytes, &plan.block);
        }
        if plan.span.contains(&at) || plan.drop.contains(&at) {
            continue;
        }
        while let Some(line) = back.next_if(|line| line.above <= foreign) {
            push_lines(&mut bytes, line.line.as_bytes());
        }
        push_lines(&mut bytes, current.text(line));
        foreign += 1;
    }
    if plan.span.start >= current.lines().len() {
        push_lines(&mut bytes, &plan.block);
    }
    for line in back {
        push_lines(&mut bytes, line.line.as_bytes());
    }
    FileWrite { bytes }
}

/// Appends whole lines; a last line without newline gets one first, or two keys would become one.
fn push_lines(bytes: &mut Vec<u8>, lines: &[u8]) {
    if !lines.is_empty() && bytes.last().is_some_and(|last| *last != b'\n') {
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(lines);
}

/// The comment line above a key: `# account key 7 "laptop", saved 2026-11-22`.
pub(super) fn head(source: &str, key: &ListedKey) -> Vec<u8> {
    let name = printable(&key.name).replace('"', "'");
    let saved = key.saved_at.map_or_else(String::new, |at| {
        format!(", saved {}", at.strftime("%Y-%m-%d"))
    });
    // An id may be a file's name, and a file's name may hold a line break.
    let id = printable(&key.id);
    format!("# {source} key {id} \"{name}\"{saved}").into_bytes()
}

/// The line of a key: options, type, blob, name.
///
/// # Errors
/// In words, when this sshd does not know an option: it would refuse the key, and without the
/// option the key would open more than its owner meant.
pub(super) fn line(key: &ListedKey, dialect: &Dialect) -> Result<Vec<u8>, String> {
    let mut options = key.options.clone();
    if let Some((option, since)) = dialect.sshd.and_then(|sshd| options.newer_than(sshd)) {
        let sshd = dialect.sshd.unwrap_or(since);
        return Err(format!(
            "option {option} needs OpenSSH {since}, and sshd here is {sshd}"
        ));
    }
    if let Some(end) = key.expires_at.filter(|_| !options.has(EXPIRY_TIME)) {
        // An sshd that does not know the suffix refuses the key at once: a lock-out. So `Z` is
        // written only where the version is known, and nothing at all where the option is not.
        let (_, since_z) = EXPIRY_SINCE;
        match dialect.sshd {
            _ if !dialect.knows_expiry() => {}
            Some(sshd) if sshd >= since_z => {
                let text = end.strftime("%Y%m%d%H%M%SZ").to_string();
                options = options.with(EXPIRY_TIME, &text);
            }
            _ => {
                let local = end.to_zoned(dialect.zone.clone());
                let text = local.strftime("%Y%m%d%H%M%S").to_string();
                options = options.with(EXPIRY_TIME, &text);
            }
        }
    }
    let mut text = String::new();
    if !options.is_empty() {
        text.push_str(&options.to_string());
        text.push(' ');
    }
    text.push_str(&key.key.to_string());
    let name = printable(&key.name);
    if !name.is_empty() {
        text.push(' ');
        text.push_str(&name);
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::testing::key;
    use super::*;

    fn written(sshd: Option<SshdVersion>) -> String {
        let mut key = key(1);
        key.expires_at = Some("2026-12-01T08:00:00Z".parse().unwrap());
        let zone = TimeZone::fixed(jiff::tz::offset(9));
        String::from_utf8(line(&key, &Dialect { sshd, zone }).unwrap()).unwrap()
    }

    #[test]
    fn an_expiry_is_written_as_the_sshd_there_reads_it() {
        let begins = |sshd, text| {
            let line = written(sshd);
            assert!(line.starts_with(text), "{line}");
        };
        begins(
            Some(SshdVersion(9, 1)),
            "expiry-time=\"20261201080000Z\" ssh-ed25519 ",
        );
        begins(
            Some(SshdVersion(9, 0)),
            "expiry-time=\"20261201170000\" ssh-ed25519 ",
        );
        begins(None, "expiry-time=\"20261201170000\" ssh-ed25519 ");
        begins(Some(SshdVersion(7, 6)), "ssh-ed25519 ");
    }

    #[test]
    fn an_option_that_this_sshd_does_not_know_costs_the_key() {
        let mut key = key(1);
        key.options = crate::keys::Options::parse("verify-required").unwrap();
        let old = Dialect {
            sshd: Some(SshdVersion(8, 2)),
            ..Dialect::default()
        };
        assert!(line(&key, &old).unwrap_err().contains("verify-required"));
        assert!(line(&key, &Dialect::default()).is_ok());
    }

    #[test]
    fn a_name_cannot_leave_its_line() {
        let mut key = key(1);
        key.name = "a\nssh-ed25519 AAAA evil\r\"".into();
        key.id = "/etc/keys/b\nssh-ed25519 AAAA evil.pub:1".into();
        assert!(!line(&key, &Dialect::default()).unwrap().contains(&b'\n'));
        let head = head("account", &key);
        assert!(!head.contains(&b'\n'));
        assert_eq!(head.iter().filter(|b| **b == b'"').count(), 2);
    }
}
