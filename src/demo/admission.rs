//! Which keys an authorized_keys text lets in, for the demo's server.
//!
//! Obeys sshd(8), AUTHORIZED_KEYS FILE FORMAT, for lines with and without options; `expiry-time` is
//! honoured. Refuses more than sshd does: a line with an option that could refuse a login and that
//! is not understood here (`from=`, `cert-authority`, …) lets nobody in.

use crate::keys::RawKey;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Options that only narrow what a session may do; the demo's sessions can do nothing anyway.
const HARMLESS: [&str; 17] = [
    "agent-forwarding",
    "command",
    "environment",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-x11-forwarding",
    "permitlisten",
    "permitopen",
    "port-forwarding",
    "pty",
    "restrict",
    "tunnel",
    "user-rc",
    "x11-forwarding",
];

/// Whether a line of `text` lets the key with this blob in at `now`.
#[must_use]
pub fn admits(text: &[u8], blob: &[u8], now: Timestamp) -> bool {
    text.split(|b| *b == b'\n')
        .filter_map(entry)
        .any(|(options, key)| key.blob() == blob && are_met(options, now))
}

/// The options and the key of a line; OpenSSH `auth2-pubkeyfile.c`, `auth_check_authkey_line`:
/// first a key is looked for, then one behind options.
fn entry(line: &[u8]) -> Option<(&[u8], RawKey)> {
    let line = trim(line);
    if line.is_empty() || line.starts_with(b"#") {
        return None;
    }
    if let Some(key) = key(line) {
        return Some((b"", key));
    }
    let (options, rest) = line.split_at_checked(options_end(line))?;
    Some((options, key(trim(rest))?))
}

fn key(text: &[u8]) -> Option<RawKey> {
    let mut words = text
        .split(|b| matches!(b, b' ' | b'\t'))
        .filter(|w| !w.is_empty());
    RawKey::from_words(words.next()?, words.next()?).ok()
}

fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// Options end at the first blank outside quotes; `\"` does not end them.
fn options_end(line: &[u8]) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in line.iter().enumerate() {
        match byte {
            b' ' | b'\t' if !quoted => return at,
            b'"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = *byte == b'\\' && !escaped;
    }
    line.len()
}

fn are_met(options: &[u8], now: Timestamp) -> bool {
    let Ok(options) = std::str::from_utf8(options) else {
        return false;
    };
    let mut quoted = false;
    let mut escaped = false;
    options
        .split(|c| {
            let comma = c == ',' && !quoted;
            if c == '"' && !escaped {
                quoted = !quoted;
            }
            escaped = c == '\\' && !escaped;
            comma
        })
        .filter(|option| !option.is_empty())
        .all(|option| is_met(option, now))
}

fn is_met(option: &str, now: Timestamp) -> bool {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let name = name.to_ascii_lowercase();
    if name == "expiry-time" {
        return expiry(value.trim_matches('"')).is_some_and(|at| now <= at);
    }
    HARMLESS.contains(&name.as_str())
}

/// `YYYYMMDD[Z]` or `YYYYMMDDHHMM[SS][Z]`; without `Z` in the zone of the system.
fn expiry(value: &str) -> Option<Timestamp> {
    let (digits, zone) = match value.strip_suffix('Z') {
        Some(digits) => (digits, TimeZone::UTC),
        None => (value, crate::sys::clock::zone()),
    };
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| match digits.get(from..to) {
        Some(text) => text.parse::<i8>().ok(),
        None => Some(0),
    };
    let year = digits.get(..4)?.parse().ok()?;
    let time = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let civil = DateTime::new(year, part(4, 6)?, part(6, 8)?, time.0, time.1, time.2, 0).ok()?;
    Some(civil.to_zoned(zone).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB3h0GyFq6ysaCqcQKD2iDEhyHtRUwQ4xfdJiGBHdcMX";

    fn lets_in(text: &str) -> bool {
        let mut words = KEY.split(' ').map(str::as_bytes);
        let key = RawKey::from_words(words.next().unwrap(), words.next().unwrap()).unwrap();
        let now = "2026-11-22T19:00:00Z".parse().unwrap();
        admits(text.as_bytes(), key.blob(), now)
    }

    #[test]
    fn a_line_with_the_key_lets_it_in() {
        assert!(lets_in(&format!("# BEGIN\n{KEY} alice@laptop\n# END\n")));
        assert!(lets_in(&format!("garbage\n \t{KEY}")));
        assert!(lets_in(&format!(
            "command=\"a \\\" # b, c\",no-pty {KEY} x\r\n"
        )));
    }

    #[test]
    fn what_is_no_line_with_the_key_does_not() {
        assert!(!lets_in(""));
        assert!(!lets_in(&format!("# {KEY}")));
        assert!(!lets_in("ssh-ed25519 AAAA"));
        assert!(!lets_in(&format!("command=\"x {KEY}")));
    }

    #[test]
    fn options_that_could_refuse_do() {
        for option in [
            "from=\"192.0.2.1\"",
            "cert-authority",
            "no-such-option",
            "verify-required",
        ] {
            assert!(!lets_in(&format!("{option} {KEY}")), "{option}");
        }
    }

    #[test]
    fn an_expired_line_lets_nobody_in() {
        for (time, open) in [
            ("20261122190000Z", true),
            ("202611221900Z", true),
            ("20261123Z", true),
            ("20261122185959Z", false),
            ("20261122Z", false),
            ("20261301Z", false),
            ("tomorrow", false),
            ("2026112219000", false),
        ] {
            let line = format!("expiry-time=\"{time}\" {KEY}");
            assert_eq!(lets_in(&line), open, "{time}");
        }
        assert!(lets_in(&format!(
            "expiry-time=\"20200101Z\" {KEY}\nexpiry-time=\"20990101Z\",restrict {KEY}"
        )));
    }
}
