//! The journal: journalctl(1) follows it, and its trusted fields (systemd.journal-fields(7)) say who
//! spoke. What a user may write stands in fields without `_`.

use super::accepted::parse_message;
use super::{Report, first_there, is_sshd};
use crate::sys::clock;
use crate::sys::command::{CommandError, Limits, run};
use crate::sys::follow::Followed;
use crate::sys::tail::Lines;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Where journalctl is.
const PROGRAMS: [&str; 2] = ["/usr/bin/journalctl", "/bin/journalctl"];
/// What it is to say.
const ARGS: [&str; 10] = [
    "--output=json",
    "--output-fields=MESSAGE,_PID,_UID,_EXE",
    "--no-pager",
    "--quiet",
    "--boot",
    "--grep=^(Accepted|Partial) ",
    "--case-sensitive=true",
    "_UID=0",
    "_COMM=sshd",
    "_COMM=sshd-session",
];
/// One look at the past: this much, and this long.
const PAST: Limits = Limits {
    output: 64 * 1024 * 1024,
    time: Duration::from_secs(30),
};
/// A journalctl that ended is started again after this, longer each time.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MOST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Journal {
    program: PathBuf,
    cursor: Option<String>,
    followed: Option<Followed>,
    wait: Duration,
    again_at: Option<Instant>,
    fault: Option<String>,
}

/// Whether there is a journal to read.
pub(super) fn is_here() -> bool {
    let kept = ["/run/log/journal", "/var/log/journal"];
    first_there(&PROGRAMS).is_some() && kept.iter().any(|path| Path::new(path).is_dir())
}

/// An entry, as far as it is asked for. journalctl writes numbers as text.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "__MONOTONIC_TIMESTAMP")]
    monotonic: String,
    #[serde(rename = "_PID")]
    pid: String,
    #[serde(rename = "_UID")]
    uid: String,
    #[serde(rename = "_EXE")]
    program: Option<PathBuf>,
    /// Text; a list of bytes where it is none.
    #[serde(rename = "MESSAGE")]
    message: serde_json::Value,
}

impl Journal {
    pub(super) fn new(cursor: Option<String>) -> Self {
        let program = first_there(&PROGRAMS);
        Self::of(
            program.unwrap_or_else(|| PROGRAMS.map(PathBuf::from)[0].clone()),
            cursor,
        )
    }

    fn of(program: PathBuf, cursor: Option<String>) -> Self {
        Self {
            program,
            cursor,
            followed: None,
            wait: AGAIN,
            again_at: None,
            fault: None,
        }
    }

    fn args(&self, more: &[&str]) -> Vec<String> {
        let after = self
            .cursor
            .iter()
            .map(|cursor| format!("--after-cursor={cursor}"));
        let all = ARGS.iter().chain(more).map(|arg| (*arg).to_owned());
        all.chain(after).collect()
    }

    pub(super) async fn changed(&mut self) {
        match (&self.followed, self.again_at) {
            (Some(followed), _) => drop(followed.ready().await),
            (None, Some(at)) => sleep_until(at).await,
            (None, None) => {}
        }
    }

    /// The past at first, and then what the one that follows it says.
    pub(super) async fn read(&mut self) -> Vec<Report> {
        let Some(followed) = &mut self.followed else {
            let past = self.catch_up().await;
            if self.fault.is_none() {
                let args = self.args(&["--follow", "--no-tail"]);
                match Followed::start(&self.program, &args) {
                    Ok(followed) => self.followed = Some(followed),
                    Err(fault) => self.failed(&fault),
                }
            }
            return past;
        };
        let mut entries = Vec::new();
        let lives = followed.read(&mut |line| entries.extend(parse(line)));
        if !matches!(lives, Ok(true)) {
            self.followed = None;
            self.again_at = Some(Instant::now() + self.wait);
            self.wait = (self.wait * 2).min(AGAIN_MOST);
        } else if !entries.is_empty() {
            self.wait = AGAIN;
        }
        self.take(entries)
    }

    pub(super) async fn catch_up(&mut self) -> Vec<Report> {
        let output = match run(&self.program, &self.args(&[]), PAST).await {
            Ok(output) => output,
            Err(fault) => {
                self.failed(&fault);
                return Vec::new();
            }
        };
        let mut entries = Vec::new();
        Lines::default().push(&output.stdout, &mut |line| entries.extend(parse(line)));
        // With --grep, 1 means that there was no such entry (journalctl(1)), and says nothing.
        if !output.status.success() && !output.stderr.is_empty() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or_default().to_owned();
            // A journal that was thrown away does not know the place any more.
            self.cursor = None;
            self.fault(format!("journalctl: {said}"));
            return self.take(entries);
        }
        self.fault = None;
        self.take(entries)
    }

    fn take(&mut self, entries: Vec<Entry>) -> Vec<Report> {
        if let Some(last) = entries.last() {
            self.cursor = Some(last.cursor.clone());
        }
        let awake = clock::awake();
        entries
            .iter()
            .filter_map(|entry| entry.report(awake))
            .collect()
    }

    fn failed(&mut self, fault: &CommandError) {
        self.fault(format!("{}: {fault}", self.program.display()));
    }

    fn fault(&mut self, text: String) {
        self.fault = Some(text);
        self.again_at = Some(Instant::now() + self.wait);
        self.wait = (self.wait * 2).min(AGAIN_MOST);
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.fault.clone()
    }

    pub(super) fn cursor(&self) -> Option<String> {
        self.cursor.clone()
    }
}

fn parse(line: &[u8]) -> Option<Entry> {
    serde_json::from_slice(line).ok()
}

impl Entry {
    /// The kernel's word for who spoke, or nothing.
    fn report(&self, awake: Duration) -> Option<Report> {
        if self.uid != "0" || !self.program.as_deref().is_some_and(is_sshd) {
            return None;
        }
        let said = Duration::from_micros(self.monotonic.parse().ok()?);
        Some(Report {
            pid: self.pid.parse().ok()?,
            start: None,
            login: parse_message(self.message.as_str()?)?,
            age: Some(awake.saturating_sub(said)),
            proved: true,
        })
    }
}

#[cfg(test)]
mod tests;
