//! sshd's own words about a login: `Accepted publickey for U from A port P ssh2: TYPE SHA256:…`
//! (OpenSSH auth.c `auth_log`, auth2-pubkey.c), in what syslog(3) puts around them.
//!
//! Text alone: whether it may be believed is for whoever knows where it came from. Takes OpenSSH 8.0
//! to 10, `sshd` and `sshd-session`, RFC 3164 and ISO 8601 times. Nothing that a client may choose,
//! a name or a certificate's ID, can pass for another part of the line.

use crate::keys::Fingerprint;
use crate::wire::SessionCertificate;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Programs whose word it is.
pub(super) const PROGRAMS: [&str; 2] = ["sshd", "sshd-session"];
/// Longest name or certificate ID that is kept, in bytes (protocol.md section 4).
const MAX_WORD: usize = 256;
/// Words between the time and the message: a host, busybox's facility, the program.
const MAX_WORDS: usize = 3;

/// A login, as sshd says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The local user.
    pub user: String,
    /// The other end of the connection.
    pub from: SocketAddr,
    /// The key; `None` where the login had none, or its hash is another than SHA-256.
    pub key: Option<Fingerprint>,
    /// The certificate that holds the key, if it was one.
    pub certificate: Option<SessionCertificate>,
    /// sshd takes the key and asks for more: `AuthenticationMethods` of several parts.
    pub partial: bool,
}

/// A line of a log, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// When it was said, where the line tells.
    pub at: Option<Said>,
    /// The process that it says it is of.
    pub pid: u32,
    /// The message.
    pub message: &'a str,
}

/// A time as a log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// ISO 8601, with its zone.
    At(Timestamp),
    /// RFC 3164: no year, and the zone of whoever wrote it.
    Local(DateTime),
}

impl Said {
    /// The time, for somebody who reads it `now` in `zone`: RFC 3164's is of the last year in which
    /// it is not in the future.
    #[must_use]
    pub fn time(self, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
        let local = match self {
            Self::At(at) => return Some(at),
            Self::Local(local) => local,
        };
        let this = now.to_zoned(zone.clone()).year();
        let latest = now.checked_add(SignedDuration::from_hours(24)).ok()?;
        // 29 February is at most eight years away.
        (0..=9)
            .map(|back| this + 1 - back)
            .filter_map(|year| local.with().year(year).build().ok())
            .filter_map(|time| time.to_zoned(zone.clone()).ok())
            .map(|time| time.timestamp())
            .find(|time| *time <= latest)
    }
}

/// Takes a line of sshd apart: of a log file, or a datagram of syslog(3), which names no host. `None`
/// for anybody else's.
#[must_use]
pub fn parse_line(line: &str) -> Option<LogLine<'_>> {
    let line = line.trim_end_matches(['\n', '\r', '\0']);
    let line = match line.strip_prefix('<') {
        Some(rest) => {
            rest.split_once('>')
                .filter(|(n, _)| n.parse::<u16>().is_ok())?
                .1
        }
        None => line,
    };
    let (at, mut rest) = parse_time(line)?;
    for _ in 0..MAX_WORDS {
        let (word, after) = rest.split_once(' ')?;
        if let Some(tag) = word.strip_suffix(':') {
            // Whose message it is, and the end of what syslog puts before it.
            let (program, pid) = tag.strip_suffix(']')?.split_once('[')?;
            let program = program.rsplit('/').next()?;
            return PROGRAMS.contains(&program).then_some(LogLine {
                at,
                pid: number(pid)?,
                message: after,
            });
        }
        rest = after.trim_start_matches(' ');
    }
    None
}

fn parse_time(line: &str) -> Option<(Option<Said>, &str)> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (first, rest) = line.split_once(' ')?;
    let Some(month) = MONTHS.iter().position(|month| *month == first) else {
        let at = first.parse::<Timestamp>().ok()?;
        return Some((Some(Said::At(at)), rest.trim_start_matches(' ')));
    };
    let (day, rest) = rest.trim_start_matches(' ').split_once(' ')?;
    let (time, rest) = rest.trim_start_matches(' ').split_once(' ')?;
    let mut parts = time.splitn(3, ':').map(|part| part.parse::<i8>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let month = i8::try_from(month).ok()? + 1;
    // A year that has every day.
    let local = DateTime::new(2024, month, day.parse().ok()?, hour, minute, second, 0);
    let said = local.ok().map(Said::Local);
    Some((said, rest.trim_start_matches(' ')))
}

/// Takes sshd's message apart; `None` when it is not of a login.
///
/// The user's name cannot hold the `:` of passwd(5), so the first ` ssh2: ` ends what sshd says of
/// the connection; that is read from its right end. What comes after holds a certificate's ID, which
/// may be anything; it is read from both ends.
#[must_use]
pub fn parse_message(message: &str) -> Option<Login> {
    let (partial, rest) = match message.strip_prefix("Accepted ") {
        Some(rest) => (false, rest),
        None => (true, message.strip_prefix("Partial ")?),
    };
    let (head, credential) = match rest.split_once(" ssh2: ") {
        Some((head, credential)) => (head, credential),
        None => (rest.strip_suffix(" ssh2")?, ""),
    };
    let (head, port) = head.rsplit_once(" port ")?;
    let (head, address) = head.rsplit_once(" from ")?;
    let (method, user) = head.split_once(" for ")?;
    if method.is_empty() || method.contains(' ') || user.is_empty() {
        return None;
    }
    // `fe80::1%eth0`: the kernel's table has the address without the link.
    let address = address
        .split_once('%')
        .map_or(address, |(address, _)| address);
    let address: IpAddr = address.parse().ok()?;
    let port = number(port).and_then(|port| u16::try_from(port).ok())?;
    let (key, certificate) = match method {
        "publickey" => parse_key(credential)?,
        // A hostbased line names a key too, and it is the host's.
        _ => (None, None),
    };
    Some(Login {
        user: word(user),
        from: SocketAddr::new(address.to_canonical(), port),
        key,
        certificate,
        partial,
    })
}

/// `TYPE FP`, `TYPE-CERT FP ID … (serial N) CA TYPE FP`, or the same without the key's own
/// fingerprint (before 8.0).
fn parse_key(text: &str) -> Option<(Option<Fingerprint>, Option<SessionCertificate>)> {
    let (_, rest) = text.split_once(' ')?;
    let (key, rest) = match rest.strip_prefix("ID ") {
        Some(_) => (None, rest),
        None => {
            let (key, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            (key.trim_end_matches(',').parse().ok(), rest)
        }
    };
    let Some(rest) = rest.strip_prefix("ID ") else {
        return Some((key, None));
    };
    let (id, rest) = rest.rsplit_once(" (serial ")?;
    let (serial, ca) = rest.split_once(") CA ")?;
    let (_, ca) = ca.split_once(' ')?;
    let ca = ca.split_once(',').map_or(ca, |(ca, _)| ca);
    let certificate = SessionCertificate {
        key_id: word(id),
        serial: serial.parse().ok()?,
        ca: word(ca),
    };
    Some((key, Some(certificate)))
}

/// Digits alone: `parse` would take a sign.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A word as it was before sshd wrote it for a log: strnvis(3), `\\` and `\ooo`.
fn word(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        };
        let (byte, left) = match (first, after) {
            (b'\\', [b'\\', left @ ..]) => (b'\\', left),
            (b'\\', [a, b, c, left @ ..]) => {
                octal(&[*a, *b, *c]).map_or((b'\\', after), |byte| (byte, left))
            }
            (byte, left) => (*byte, left),
        };
        bytes.push(byte);
        rest = left;
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    while text.len() > MAX_WORD {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests;
