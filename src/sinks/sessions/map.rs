//! The map from a live session to its key: sshd's first word about a process, and nobody's second.
//!
//! No I/O: what the kernel says of a process is asked through an argument. A word that the kernel
//! vouches for is never changed by a later one; where only a file says so, a second word that
//! differs makes the session one that cannot be told.

use super::Report;
use super::accepted::Login;
use super::process::Seen;
use crate::keys::{Fingerprint, printable};
use crate::sys::clock;
use crate::sys::processes::{Process, ticks};
use crate::wire;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// Most sessions that are kept.
const MAX_SESSIONS: usize = 16 * 1024;
/// Most second words about one that are kept.
const MAX_RIVALS: usize = 8;
/// What a log's times may be off: whole seconds.
const SLACK: Duration = Duration::from_secs(2);

/// One live session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// sshd's process: the connection's monitor, or for root the connection itself.
    pub process: Process,
    /// Its socket's inode.
    pub(super) inode: u64,
    /// What sshd said.
    pub login: Login,
    /// The key of an earlier part of the same login.
    #[serde(default)]
    earlier: Option<Login>,
    /// When it was said, since the boot.
    pub began: Duration,
    /// Nobody but a file says so.
    pub unproved: bool,
    /// What else that file says of the same process.
    #[serde(default)]
    rivals: Vec<Login>,
    /// What it is used for.
    #[serde(skip)]
    pub kind: Option<String>,
}

/// Sessions that are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Opened by this key,
    pub key: Option<Fingerprint>,
    /// or by the certificate of this serial,
    pub serial: Option<u64>,
    /// or of this ID,
    pub key_id: Option<String>,
    /// or by any at all,
    #[serde(default)]
    pub any_certificate: bool,
    /// of one of these CAs;
    #[serde(default)]
    pub cas: BTreeSet<Fingerprint>,
    /// as this local user, if one is named;
    pub user: Option<String>,
    /// logged in before this, since the boot.
    pub before: Duration,
}

/// All live sessions that a log told of.
#[derive(Debug, Default)]
pub struct Map {
    live: BTreeMap<Process, Live>,
}

impl Live {
    /// Whether it cannot be told which key opened it.
    #[must_use]
    pub fn is_contested(&self) -> bool {
        !self.rivals.is_empty()
    }

    /// In wire's words.
    #[must_use]
    pub fn to_wire(&self, now: Timestamp, since_boot: Duration) -> wire::Session {
        let age = SignedDuration::try_from(since_boot.saturating_sub(self.began));
        let since = age.ok().and_then(|age| now.checked_sub(age).ok());
        let Process { pid, start } = self.process;
        let told = Some(&self.login).filter(|_| !self.is_contested());
        let certificate = told.and_then(|login| login.certificate.as_ref());
        wire::Session {
            id: format!("{pid}-{start}"),
            user: printable(&self.login.user),
            from: self.login.from.to_string(),
            since: since.unwrap_or(now),
            fingerprint: told.and_then(|l| l.key).map(|key| key.to_string()),
            certificate: certificate.map(|certificate| wire::SessionCertificate {
                key_id: printable(&certificate.key_id),
                serial: certificate.serial,
                ca: printable(&certificate.ca),
            }),
            pid,
            kind: self.kind.clone(),
            unproved: self.unproved,
        }
    }

    pub(super) fn logins(&self) -> impl Iterator<Item = &Login> {
        [&self.login].into_iter().chain(&self.earlier)
    }
}

impl Wanted {
    fn is(&self, login: &Login) -> bool {
        let user = self.user.as_ref().is_none_or(|user| *user == login.user);
        let key = self.key.is_some() && self.key == login.key;
        let certificate = login.certificate.as_ref();
        user && (key || certificate.is_some_and(|one| self.is_certificate(one)))
    }

    /// Whether this session is meant, beyond doubt.
    #[must_use]
    pub fn means(&self, live: &Live) -> bool {
        !live.is_contested() && live.began < self.before && live.logins().any(|l| self.is(l))
    }

    /// Whether this session may be meant, and nobody can tell.
    #[must_use]
    pub fn may_mean(&self, live: &Live) -> bool {
        let all = live.logins().chain(&live.rivals);
        live.is_contested() && live.began < self.before && all.into_iter().any(|l| self.is(l))
    }
}

impl Map {
    /// The sessions of a run before, as far as they are still there.
    pub fn bring_back(&mut self, all: Vec<Live>) {
        let all = all.into_iter().take(MAX_SESSIONS);
        self.live.extend(all.map(|live| (live.process, live)));
    }

    /// Takes a report where the process that it names is a session's, and holds the connection that
    /// it names. True when anything changed.
    pub(super) fn take(
        &mut self,
        report: Report,
        look: impl FnOnce(u32, SocketAddr) -> Option<Seen>,
    ) -> bool {
        let now = clock::since_boot();
        let Some(seen) = look(report.pid, report.login.from) else {
            return false;
        };
        // The line is of the process that has the number now, not of one that had it before.
        let age = now.saturating_sub(ticks(seen.process.start));
        let older = |said: Duration| said > age + SLACK;
        if report
            .start
            .is_some_and(|start| start != seen.process.start)
            || report.age.is_some_and(older)
        {
            return false;
        }
        let began = now.saturating_sub(report.age.unwrap_or_default().min(age));
        if let Some(live) = self.live.get_mut(&seen.process) {
            return again(live, report, began);
        }
        if self.live.len() >= MAX_SESSIONS {
            return false;
        }
        let live = Live {
            process: seen.process,
            inode: seen.inode,
            login: report.login,
            earlier: None,
            began,
            unproved: !report.proved,
            rivals: Vec::new(),
            kind: None,
        };
        self.live.insert(seen.process, live);
        true
    }

    /// Keeps those of which it is true; whether any went.
    pub(super) fn keep(&mut self, still: impl Fn(&Live) -> bool) -> bool {
        let before = self.live.len();
        self.live.retain(|_, live| still(live));
        self.live.len() < before
    }

    /// Takes one out.
    pub fn remove(&mut self, process: Process) -> bool {
        self.live.remove(&process).is_some()
    }

    /// Every session, also those of which only a part of the login is done.
    pub fn all(&self) -> impl Iterator<Item = &Live> {
        self.live.values()
    }

    /// Sessions that are logged in.
    pub fn logged_in(&self) -> impl Iterator<Item = &Live> {
        self.live.values().filter(|live| !live.login.partial)
    }

    /// Looks up anew what each is used for; true when that changed.
    pub fn look_at_kinds(&mut self) -> bool {
        let all = crate::sys::processes::all();
        let mut changed = false;
        for live in self.live.values_mut() {
            let kind = super::process::kind(live.process, &all);
            changed |= kind != live.kind;
            live.kind = kind;
        }
        changed
    }
}

/// A further word about a session.
fn again(live: &mut Live, report: Report, began: Duration) -> bool {
    let login = report.login;
    if login == live.login || live.earlier.as_ref() == Some(&login) {
        let proves = live.unproved && report.proved;
        live.unproved &= !proves;
        return proves;
    }
    if live.login.partial && !login.partial && login.user == live.login.user {
        live.earlier = Some(std::mem::replace(&mut live.login, login));
        if live.login.key.is_none() {
            live.login.key = live.earlier.as_ref().and_then(|earlier| earlier.key);
            live.login.certificate = live.earlier.as_ref().and_then(|e| e.certificate.clone());
        }
        live.began = began;
        return true;
    }
    if live.unproved && live.rivals.len() < MAX_RIVALS && !live.rivals.contains(&login) {
        live.rivals.push(login);
        return true;
    }
    false
}

#[cfg(test)]
mod tests;
