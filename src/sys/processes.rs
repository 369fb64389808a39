//! Processes of this host: who one is, what came of it, and signals that reach nobody else: proc(5),
//! pidfd_open(2), pidfd_send_signal(2).
//!
//! A number alone names nobody, because numbers are given out again: a [`Process`] is a number and
//! the time at which it was started. Refuses to signal where the kernel has no pidfd.

mod peer;

pub use peer::{Socket, socket_with_peer};

use rustix::process::{Pid, PidfdFlags, Signal as Sig, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Longest of the small files of /proc.
const MAX_FILE: u64 = 16 * 1024;
/// Most processes that one look at all of them counts.
const MAX_PROCESSES: usize = 1 << 17;

/// One process and no other: its number and when it was started, in clock ticks since the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its start: field 22 of /proc/PID/stat.
    pub start: u64,
}

/// What /proc/PID/stat says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Who it is.
    pub process: Process,
    /// Its parent's number.
    pub parent: u32,
    /// Its program's short name; the process may have set it.
    pub name: String,
    /// `Z` when nothing is left of it but its status.
    pub state: char,
    /// Its controlling terminal, `/dev/pts/N`, if it is one of those.
    pub pts: Option<u32>,
}

/// The process of that number, as it is now; `None` when there is none, or only its status is left.
#[must_use]
pub fn stat(pid: u32) -> Option<Stat> {
    let text = small(&format!("/proc/{pid}/stat"))?;
    parse_stat(&String::from_utf8_lossy(&text)).filter(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// proc(5): the name stands in parentheses and may hold any character, a `)` too.
fn parse_stat(text: &str) -> Option<Stat> {
    let (pid, rest) = text.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let field = |n: usize| fields.get(n - 3).copied();
    let tty: u32 = field(7)?.parse::<i32>().ok()?.cast_unsigned();
    let (major, minor) = (tty >> 8 & 0xfff, tty & 0xff | tty >> 12 & 0xfff00);
    Some(Stat {
        process: Process {
            pid: pid.parse().ok()?,
            start: field(22)?.parse().ok()?,
        },
        parent: field(4)?.parse().ok()?,
        name: name.to_owned(),
        state: field(3)?.chars().next()?,
        // Unix98 pseudo-terminals have the majors 136 to 143.
        pts: (136..144)
            .contains(&major)
            .then(|| (major - 136) * 256 + minor),
    })
}

/// Every process there is.
#[must_use]
pub fn all() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .take(MAX_PROCESSES)
        .filter_map(stat)
        .collect()
}

/// Those of `all` that descend from one of `from`, parents before children.
#[must_use]
pub fn descendants(all: &[Stat], from: &[u32]) -> Vec<Stat> {
    let mut children: BTreeMap<u32, Vec<&Stat>> = BTreeMap::new();
    for stat in all {
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut seen: BTreeSet<u32> = from.iter().copied().collect();
    let (mut found, mut next): (Vec<Stat>, Vec<u32>) = (Vec::new(), from.to_vec());
    while let Some(parent) = next.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if seen.insert(child.process.pid) {
                next.push(child.process.pid);
                found.push((*child).clone());
            }
        }
    }
    found
}

/// The program that a process runs, as it was when it was started: a file that was replaced since
/// keeps its name.
#[must_use]
pub fn program(pid: u32) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let text = path.to_str()?;
    Some(text.strip_suffix(" (deleted)").unwrap_or(text).into())
}

/// The real and the effective user of a process.
#[must_use]
pub fn users_of(pid: u32) -> Option<(u32, u32)> {
    let text = small(&format!("/proc/{pid}/status"))?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut ids = line.split_whitespace().map(str::parse);
    Some((ids.next()?.ok()?, ids.next()?.ok()?))
}

/// What a process calls itself: its command line, which it may have set.
#[must_use]
pub fn title(pid: u32) -> Option<String> {
    let text = small(&format!("/proc/{pid}/cmdline"))?;
    let words = text
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    Some(words.join(" "))
}

fn small(path: &str) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_FILE).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Which boot this is: another one after every boot.
#[must_use]
pub fn boot_id() -> String {
    let text = small("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// Clock ticks of /proc as a time.
#[must_use]
pub fn ticks(ticks: u64) -> Duration {
    let a_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    let a_second = a_second.ok().flatten().and_then(|n| u64::try_from(n).ok());
    let a_second = a_second.filter(|n| *n > 0).unwrap_or(100);
    Duration::from_millis(ticks.saturating_mul(1000) / a_second)
}

/// A process that is held: whatever becomes of its number, this is still it.
#[derive(Debug)]
pub struct Held {
    /// Who it is.
    pub process: Process,
    fd: OwnedFd,
}

/// Signals that we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

impl Held {
    /// Holds a process.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it is gone, even where another has its number by now; what
    /// pidfd_open(2) says, [`io::ErrorKind::Unsupported`] before Linux 5.3.
    pub fn open(process: Process) -> io::Result<Self> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        let fd = match pidfd_open(pid.ok_or_else(gone)?, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Err(gone()),
            Err(fault) => return Err(fault.into()),
        };
        // The number was held from here on: who has it now is who is held.
        match stat(process.pid) {
            Some(stat) if stat.process == process => Ok(Self { process, fd }),
            _ => Err(gone()),
        }
    }

    /// Sends it a signal; nothing where it has ended.
    ///
    /// # Errors
    /// What pidfd_send_signal(2) says.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let signal = match signal {
            Signal::Terminate => Sig::TERM,
            Signal::Kill => Sig::KILL,
        };
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        stat(self.process.pid).is_none_or(|stat| stat.process != self.process)
    }

    /// Waits until it has ended. Nothing wakes before.
    ///
    /// # Errors
    /// It cannot be waited for.
    #[expect(
        deprecated,
        reason = "the descriptor is owned, and what stands in its place is unsafe"
    )]
    pub async fn ended(&self) -> io::Result<()> {
        let fd = AsyncFd::with_interest(self.fd.try_clone()?, Interest::READABLE)?;
        fd.readable().await.map(drop)
    }
}

/// Writes to the terminal `/dev/pts/NUMBER` without ever waiting for it, where it is `owner`'s.
///
/// # Errors
/// It is not his, is gone, or takes nothing now.
pub fn tell(pts: u32, owner: u32, text: &str) -> io::Result<()> {
    let flags =
        nix::fcntl::OFlag::O_NOCTTY | nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOFOLLOW;
    let mut terminal = OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits())
        .open(format!("/dev/pts/{pts}"))?;
    let about = terminal.metadata()?;
    if !about.file_type().is_char_device() || about.uid() != owner {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    terminal.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests;
