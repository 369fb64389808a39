//! A log file, watched: syslog's own, whose lines anybody could have written, or the one in which
//! `sshkeyd syslog-socket` keeps what sshd said.

use super::Report;
use super::accepted::{parse_line, parse_message};
use super::socket::Heard;
use crate::sys::clock;
use crate::sys::tail::{Place, Tail};
use crate::sys::watch::{Watch, watch};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A burst of lines is one, and waits for no more than this.
const QUIET: Duration = Duration::from_millis(5);
const MOST: Duration = Duration::from_millis(50);
/// Where a file cannot be watched it is looked at this often.
const UNWATCHED: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct LogFile {
    tail: Tail,
    /// Whether it is the file of `sshkeyd syslog-socket`.
    heard: bool,
    watch: Option<Watch>,
    fault: Option<String>,
    /// Whether what was there at the beginning has been read.
    follows: bool,
}

impl LogFile {
    /// A log file of syslog.
    pub(super) fn syslog(path: PathBuf, from: Option<Place>) -> Self {
        Self::new(path, from, false)
    }

    /// The file of `sshkeyd syslog-socket`.
    pub(super) fn heard(path: PathBuf, from: Option<Place>) -> Self {
        Self::new(path, from, true)
    }

    fn new(path: PathBuf, from: Option<Place>, heard: bool) -> Self {
        Self {
            tail: Tail::new(path, from),
            heard,
            watch: None,
            fault: None,
            follows: false,
        }
    }

    pub(super) async fn changed(&mut self) {
        match &mut self.watch {
            Some(watch) if !watch.is_stuck() => watch.changed().await,
            _ => tokio::time::sleep(UNWATCHED).await,
        }
    }

    pub(super) async fn read(&mut self) -> Vec<Report> {
        if self.watch.is_none() {
            // Watched first and read after it: nothing that comes between is missed.
            self.watch = watch(vec![self.tail.path().to_owned()], QUIET, MOST)
                .await
                .ok();
        }
        let mut reports = Vec::new();
        let (heard, follows) = (self.heard, self.follows);
        let mut each = |line: &[u8]| {
            let line = String::from_utf8_lossy(line);
            let report = if heard {
                Heard::parse(&line).map(Heard::report)
            } else {
                syslog(&line, follows)
            };
            reports.extend(report);
        };
        self.fault = match self.tail.read(&mut each) {
            Ok(()) => None,
            Err(fault) if heard && fault.kind() == io::ErrorKind::NotFound => {
                Some("sshkeyd syslog-socket has not been started".to_owned())
            }
            Err(fault) => Some(format!("{}: {fault}", self.tail.path().display())),
        };
        self.follows |= self.fault.is_none();
        reports
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.fault.clone()
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.tail.place()
    }
}

/// A line that came just now is of now, whatever zone its writer believes in.
fn syslog(line: &str, just_now: bool) -> Option<Report> {
    let line = parse_line(line)?;
    let login = parse_message(line.message)?;
    let now = clock::now();
    let said = line.at.and_then(|at| at.time(&clock::zone(), now));
    let age = said.and_then(|said| Duration::try_from(now.duration_since(said)).ok());
    Some(Report {
        pid: line.pid,
        start: None,
        login,
        age: age.filter(|_| !just_now),
        proved: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_past_has_an_age_and_one_of_now_has_none() {
        let at = clock::now().checked_sub(jiff::SignedDuration::from_secs(100));
        let line = format!(
            "{} host sshd[7]: Accepted password for al from 192.0.2.1 port 5 ssh2",
            at.unwrap()
        );
        let age = syslog(&line, false).unwrap().age.unwrap();
        assert!((99..103).contains(&age.as_secs()), "{age:?}");
        let now = syslog(&line, true).unwrap();
        assert_eq!((now.pid, now.age, now.proved), (7, None, false));
    }
}
