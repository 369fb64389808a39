//! Being /dev/log where nothing is: keeps what sshd itself said, for the agent to read, and drops
//! the rest. The agent's `auth-log = "syslog-socket"`.
//!
//! Whoever calls syslog(3) waits for its reader, so this one never waits: neither for the agent, who
//! may be down, nor for the disk (a thread writes, from a queue whose oldest go). A line counts only
//! where the kernel says that root's sshd sent it, under its own number.

use super::accepted::{Login, parse_line, parse_message};
use super::{Report, is_sshd};
use crate::sys::clock;
use crate::sys::datagrams::{Datagrams, Sender};
use crate::sys::lock::{Lock, LockError};
use crate::sys::private_file;
use crate::sys::processes::{self, Process};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Longest datagram that is read; sshd's own are at most 1 KiB.
const MAX_DATAGRAM: usize = 8 * 1024;
/// Most lines that wait for the disk.
const MAX_QUEUED: usize = 1024;
/// The file is made anew with what is still of use when it is longer.
const MAX_FILE: u64 = 1024 * 1024;

/// What sshd said, with who it was: a line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    boot: String,
    /// Who said it.
    process: Process,
    /// Since the boot.
    at: Duration,
    login: Login,
}

/// Where it is kept.
#[must_use]
pub fn file(state_dir: &Path) -> PathBuf {
    directory(state_dir).join("heard")
}

fn directory(state_dir: &Path) -> PathBuf {
    // Two levels down: the agent's own sweep of leftovers must not take what is being written here.
    state_dir.join("syslog/kept")
}

/// Whether somebody is /dev/log for this state directory.
#[must_use]
pub fn is_up(state_dir: &Path) -> bool {
    // Not by taking its lock: it may be about to.
    let number = std::fs::read_to_string(directory(state_dir).join("lock")).ok();
    let pid = number.and_then(|number| number.trim().parse().ok());
    let name = |pid| processes::program(pid)?.file_name().map(ToOwned::to_owned);
    pid.is_some_and(|pid| name(pid).is_some() && name(pid) == name(std::process::id()))
}

impl Heard {
    /// A line of the file; `None` where it is of another boot.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line)
            .ok()
            .filter(Self::is_of_this_boot)
    }

    /// As a report.
    #[must_use]
    pub fn report(self) -> Report {
        Report {
            pid: self.process.pid,
            start: Some(self.process.start),
            age: Some(clock::since_boot().saturating_sub(self.at)),
            login: self.login,
            proved: true,
        }
    }

    fn is_of_this_boot(&self) -> bool {
        static BOOT: OnceLock<String> = OnceLock::new();
        self.boot == *BOOT.get_or_init(processes::boot_id)
    }

    /// What a datagram says, where its sender may say so.
    fn judge(datagram: &[u8], sender: Sender) -> Option<Self> {
        let text = String::from_utf8_lossy(datagram);
        let line = parse_line(&text)?;
        let login = parse_message(line.message)?;
        if sender.uid != 0 || sender.pid != line.pid {
            return None;
        }
        let before = processes::stat(sender.pid)?.process;
        let sshd = is_sshd(&processes::program(sender.pid)?);
        (sshd && processes::stat(sender.pid)?.process == before).then(|| Self {
            boot: processes::boot_id(),
            process: before,
            at: clock::since_boot(),
            login,
        })
    }
}

/// The socket at its place, until this is dropped.
#[derive(Debug)]
pub struct SyslogSocket {
    datagrams: Datagrams,
    kept: Kept,
    lock: Lock,
}

/// Why nobody is /dev/log.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another has this state directory.
    #[error("{}: {source}", .directory.display())]
    Locked {
        /// Which.
        directory: PathBuf,
        /// By whom.
        source: LockError,
    },
    /// The place is somebody's.
    #[error("{}: somebody else's; stop what listens there, or read its log: auth-log", .0.display())]
    Taken(PathBuf),
    /// The system's own refusal.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

impl SyslogSocket {
    /// Takes the place at `path`.
    ///
    /// # Errors
    /// [`SocketError`]; nothing was changed where something stands there.
    pub fn try_new(state_dir: &Path, path: &Path) -> Result<Self, SocketError> {
        let directory = directory(state_dir);
        let lock = Lock::try_take(&directory).map_err(|source| SocketError::Locked {
            directory: directory.clone(),
            source,
        })?;
        let fault = |path: &Path, source| SocketError::Io {
            path: path.to_owned(),
            source,
        };
        let mark = directory.join("socket");
        let made = private_file::read(&mark).map_err(|f| fault(&mark, f))?;
        let made = made.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let datagrams = Datagrams::bind(path, made).map_err(|f| match f.kind() {
            io::ErrorKind::AddrInUse => SocketError::Taken(path.to_owned()),
            _ => fault(path, f),
        })?;
        let made = serde_json::to_vec(&datagrams.made).unwrap_or_default();
        private_file::replace(&mark, &made).map_err(|f| fault(&mark, f))?;
        let kept = Kept {
            file: file(state_dir),
        };
        kept.make_anew().map_err(|f| fault(&kept.file, f))?;
        Ok(Self {
            datagrams,
            kept,
            lock,
        })
    }

    /// Gives the place up: whoever calls syslog(3) finds nobody instead of waiting, and the agent
    /// sees that nobody is there, whose number our own may be next.
    pub fn let_go(&self) {
        self.datagrams.let_go();
        self.lock.take_back_number();
    }

    /// Reads for ever.
    ///
    /// # Errors
    /// The socket cannot be read any more.
    pub fn run(&self) -> io::Result<()> {
        let queue = Arc::new(Queue::default());
        let (from, kept) = (Arc::clone(&queue), self.kept.clone());
        std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || {
                loop {
                    let heard = from.pop();
                    if let Err(fault) = kept.append(&heard) {
                        tracing::error!(%fault, "a login could not be kept");
                    }
                }
            })?;
        let mut room = vec![0; MAX_DATAGRAM];
        loop {
            let (datagram, sender) = match self.datagrams.receive(&mut room) {
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
                got => got?,
            };
            if let Some(heard) = sender.and_then(|sender| Heard::judge(datagram, sender)) {
                queue.push(heard);
            }
        }
    }
}

impl Drop for SyslogSocket {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Lines on their way to the disk.
#[derive(Debug, Default)]
struct Queue {
    lines: Mutex<VecDeque<Heard>>,
    come: Condvar,
}

impl Queue {
    fn push(&self, heard: Heard) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= MAX_QUEUED {
            lines.pop_front();
        }
        lines.push_back(heard);
        self.come.notify_one();
    }

    fn pop(&self) -> Heard {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match lines.pop_front() {
                Some(heard) => return heard,
                None => {
                    let waits = self.come.wait(lines);
                    lines = waits.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// The file.
#[derive(Debug, Clone)]
struct Kept {
    file: PathBuf,
}

impl Kept {
    fn append(&self, heard: &Heard) -> io::Result<()> {
        let mut line = serde_json::to_vec(heard)?;
        line.push(b'\n');
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.file)?;
        if file.metadata()?.len() > MAX_FILE {
            self.make_anew()?;
            file = OpenOptions::new().append(true).open(&self.file)?;
        }
        file.write_all(&line)
    }

    /// Keeps what processes that are still there have said.
    fn make_anew(&self) -> io::Result<()> {
        let old = private_file::read(&self.file)?;
        let old = old.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let mut new = String::new();
        for line in old.iter().flat_map(|old| old.lines()) {
            let of_use = |heard: &Heard| {
                let now = processes::stat(heard.process.pid);
                now.is_some_and(|stat| stat.process == heard.process)
            };
            if Heard::parse(line).is_some_and(|heard| of_use(&heard)) {
                new.push_str(line);
                new.push('\n');
            }
        }
        private_file::replace(&self.file, new.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "Accepted password for al from 192.0.2.1 port 5 ssh2";

    fn datagram(pid: u32) -> Vec<u8> {
        format!("<38>Nov  2 19:00:00 sshd[{pid}]: {LINE}").into_bytes()
    }

    #[test]
    fn nobody_but_roots_sshd_is_believed() {
        let pid = std::process::id();
        // This process is root's at best, and never sshd.
        let ours = Sender { pid, uid: 0 };
        assert_eq!(Heard::judge(&datagram(pid), ours), None);
        let user = Sender { pid, uid: 1000 };
        assert_eq!(Heard::judge(&datagram(pid), user), None);
        let another = Sender {
            pid: pid + 1,
            uid: 0,
        };
        assert_eq!(Heard::judge(&datagram(pid), another), None);
    }

    #[test]
    fn the_file_stays_small_and_keeps_who_is_still_there() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept {
            file: file(dir.path()),
        };
        kept.make_anew().unwrap();
        let us = processes::stat(std::process::id()).unwrap().process;
        let heard = |process| Heard {
            boot: processes::boot_id(),
            process,
            at: clock::since_boot(),
            login: parse_message(LINE).unwrap(),
        };
        let gone = Process { start: 1, ..us };
        let another_boot = Heard {
            boot: "x".into(),
            ..heard(us)
        };
        for heard in [heard(us), heard(gone), another_boot] {
            kept.append(&heard).unwrap();
        }
        kept.make_anew().unwrap();
        let text = std::fs::read_to_string(&kept.file).unwrap();
        let left: Vec<_> = text.lines().map(Heard::parse).collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].as_ref().unwrap().process, us);
        for _ in 0..MAX_FILE / 200 {
            kept.append(&heard(gone)).unwrap();
        }
        assert!(std::fs::metadata(&kept.file).unwrap().len() <= MAX_FILE + 4096);
    }

    #[test]
    fn the_queue_lets_its_oldest_go() {
        let queue = Queue::default();
        for start in 0..MAX_QUEUED as u64 + 2 {
            queue.push(Heard {
                boot: String::new(),
                process: Process { pid: 1, start },
                at: Duration::ZERO,
                login: parse_message(LINE).unwrap(),
            });
        }
        assert_eq!(queue.pop().process.start, 2);
    }

    #[test]
    fn two_are_not_started_and_a_killed_ones_place_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let first = SyslogSocket::try_new(dir.path(), &path).unwrap();
        assert!(is_up(dir.path()));
        let second = SyslogSocket::try_new(dir.path(), &path).unwrap_err();
        assert!(matches!(second, SocketError::Locked { .. }), "{second}");
        let other = dir.path().join("other");
        let taken = SyslogSocket::try_new(&other, &path).unwrap_err();
        assert!(matches!(taken, SocketError::Taken(_)), "{taken}");
        drop(first);
        assert!(!path.exists() && !is_up(dir.path()));
        drop(SyslogSocket::try_new(dir.path(), &path).unwrap());
    }
}
