//! The clocks: what time it is, and how much time has passed.
//!
//! The one place that asks; everything else is given the answer. clock_gettime(2), localtime(5).

use jiff::tz::TimeZone;
use nix::time::ClockId;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// Longest file of a time zone: the largest of tzdata is a twentieth of it.
const MAX_ZONE: u64 = 64 * 1024;

/// The time of day in whole milliseconds, as the machine believes it. May be wrong, may jump.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that asks")]
pub fn now() -> jiff::Timestamp {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// Time since the first call in this process. Never goes back, and counts the time that the
/// machine slept (`CLOCK_BOOTTIME`).
#[must_use]
pub fn monotonic() -> Duration {
    static FIRST: OnceLock<Duration> = OnceLock::new();
    let now = since_boot();
    now.saturating_sub(*FIRST.get_or_init(|| now))
}

/// The machine's time zone: what `/etc/localtime` holds, and UTC without it, as daemons that are
/// given no `TZ` have it.
#[must_use]
pub fn zone() -> TimeZone {
    zone_of(Path::new("/etc/localtime")).unwrap_or(TimeZone::UTC)
}

fn zone_of(file: &Path) -> Option<TimeZone> {
    let mut rules = Vec::new();
    let file = File::open(file).ok()?;
    file.take(MAX_ZONE).read_to_end(&mut rules).ok()?;
    TimeZone::tzif("localtime", &rules).ok()
}

/// Time since the machine was started, the time that it slept included (`CLOCK_BOOTTIME`).
#[must_use]
pub fn since_boot() -> Duration {
    let time = ClockId::CLOCK_BOOTTIME
        .now()
        .or_else(|_| ClockId::CLOCK_MONOTONIC.now())
        .expect("CLOCK_MONOTONIC is there on every Linux");
    Duration::from(time)
}

/// Time since the machine was started, without the time that it slept: the journal's clock
/// (`CLOCK_MONOTONIC`).
#[must_use]
pub fn awake() -> Duration {
    let time = ClockId::CLOCK_MONOTONIC.now();
    Duration::from(time.expect("CLOCK_MONOTONIC is there on every Linux"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_and_never_goes_back() {
        let first = monotonic();
        assert!(monotonic() >= first);
        assert!(now() > jiff::Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn a_zone_is_what_its_file_says() {
        // Nepal's, from 1986 on: UTC+5:45. RFC 8536, version 2, no transitions.
        let header = |version: u8| {
            let mut bytes = b"TZif".to_vec();
            bytes.push(version);
            bytes.extend([0; 15]);
            for count in [0u32, 0, 0, 0, 1, 6] {
                bytes.extend(count.to_be_bytes());
            }
            bytes.extend(20_700i32.to_be_bytes());
            bytes.extend(b"\0\0+0545\0");
            bytes
        };
        let rules = [header(b'2'), header(b'2'), b"\n<+0545>-5:45\n".to_vec()].concat();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, &rules).unwrap();
        let zone = zone_of(file.path()).unwrap();
        let local = zone.to_datetime(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(local.to_string(), "1970-01-01T05:45:00");
        assert!(zone_of(Path::new("/dev/null")).is_none());
        assert!(zone_of(Path::new("/no/such/file")).is_none());
    }
}
