//! Live SSH sessions: which key opened which, and ending exactly those.
//!
//! A session is a process of sshd, known by its number and its start, that holds a TCP connection;
//! the key is what sshd's own log says of it (design.md decision 12). Owns what may be believed of
//! a log, and the order in which a session is ended. Refuses to decide which sessions end.

pub mod accepted;
mod by_certificate;
mod ending;
mod journal;
mod log_file;
mod map;
mod process;
pub mod socket;

pub use ending::{Ended, end};
pub use map::{Live, Map, Wanted};
pub use process::unbound;

use crate::config::AuthLog;
use crate::sys::tail::Place;
use accepted::Login;
use journal::Journal;
use log_file::LogFile;
use process::{Seen, look};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A login that a log tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The process that said so, or that the line says it is of.
    pub pid: u32,
    /// When that process was started, where whoever heard it looked.
    pub start: Option<u64>,
    /// What it said.
    pub login: Login,
    /// How long ago, where it is known.
    pub age: Option<Duration>,
    /// Whether the kernel says who said it.
    pub proved: bool,
}

/// How far a log was read, to go on there after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The journal's own mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// In a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
    /// Which log it is a place in.
    #[serde(default)]
    of: String,
}

/// Where sshd's word is heard.
#[derive(Debug)]
pub struct AuthLogReader {
    reader: Reader,
    of: String,
}

#[derive(Debug)]
enum Reader {
    Journal(Journal),
    File(LogFile),
    /// Why there is none.
    None(String),
}

impl AuthLogReader {
    /// The log that the configuration names, from where it was left off.
    #[must_use]
    pub fn new(log: &AuthLog, state_dir: &Path, from: &Position) -> Self {
        let (of, journal) = match log {
            AuthLog::Auto => ("journal".to_owned(), Some(journal::is_here())),
            AuthLog::Journal => ("journal".to_owned(), Some(true)),
            AuthLog::File(path) => (path.display().to_string(), None),
            AuthLog::SyslogSocket => ("syslog-socket".to_owned(), None),
        };
        let from = Some(from).filter(|from| from.of == of).cloned();
        let from = from.unwrap_or_default();
        let reader = match (log, journal) {
            (_, Some(true)) => Reader::Journal(Journal::new(from.cursor)),
            (AuthLog::File(path), _) => Reader::File(LogFile::syslog(path.clone(), from.place)),
            (AuthLog::SyslogSocket, _) => {
                Reader::File(LogFile::heard(socket::file(state_dir), from.place))
            }
            _ => Reader::None("there is no journal here, and auth-log names no other".to_owned()),
        };
        Self { reader, of }
    }

    /// Nothing can be read, and why.
    #[must_use]
    pub fn none(why: &str) -> Self {
        Self {
            reader: Reader::None(why.to_owned()),
            of: String::new(),
        }
    }

    /// Waits until there may be more to read; for ever where nothing can be read. Safe to cancel.
    pub async fn changed(&mut self) {
        match &mut self.reader {
            Reader::Journal(journal) => journal.changed().await,
            Reader::File(file) => file.changed().await,
            Reader::None(_) => std::future::pending().await,
        }
    }

    /// What came since the last call; the first time, what came before.
    pub async fn read(&mut self) -> Vec<Report> {
        match &mut self.reader {
            Reader::Journal(journal) => journal.read().await,
            Reader::File(file) => file.read().await,
            Reader::None(_) => Vec::new(),
        }
    }

    /// As [`Self::read`], and nothing that was said before the call is left out.
    pub async fn catch_up(&mut self) -> Vec<Report> {
        match &mut self.reader {
            Reader::Journal(journal) => journal.catch_up().await,
            Reader::File(file) => file.read().await,
            Reader::None(_) => Vec::new(),
        }
    }

    /// Why nothing can be told, if so.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match &self.reader {
            Reader::Journal(journal) => journal.trouble(),
            Reader::File(file) => file.trouble(),
            Reader::None(why) => Some(why.clone()),
        }
    }

    /// How far it was read.
    #[must_use]
    pub fn position(&self) -> Position {
        let (cursor, place) = match &self.reader {
            Reader::Journal(journal) => (journal.cursor(), None),
            Reader::File(file) => (None, file.place()),
            Reader::None(_) => (None, None),
        };
        let of = self.of.clone();
        Position { cursor, place, of }
    }
}

/// Whether a path ends in the name of a program of sshd that logs in.
fn is_sshd(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| accepted::PROGRAMS.contains(&name))
}

/// Believes a report as far as the process and its connection bear it out.
#[must_use]
pub fn bind(map: &mut Map, report: Report) -> bool {
    map.take(report, look)
}

/// Lets go of sessions that are over; true when there were some.
pub fn forget_ended(map: &mut Map) -> bool {
    map.keep(|live| {
        let seen = look(live.process.pid, live.login.from);
        seen == Some(Seen::of(live))
    })
}

/// A program's path by its usual places.
fn first_there(paths: &[&str]) -> Option<PathBuf> {
    let there = paths.iter().map(PathBuf::from);
    there.into_iter().find(|path| path.exists())
}
