//! Who listens at an address: the sockets, the process, its command line and its unit; proc(5).
//!
//! Sends one signal, SIGHUP, and only to a process that was looked at again just before. Where
//! this process may not look into another (a narrow set of capabilities), nothing is found, and
//! that is no error.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs::{File, read_dir, read_link};
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Most bytes that are read of one file of proc(5).
const MAX_PROC: u64 = 4 * 1024 * 1024;
/// `TCP_LISTEN` in the kernel's tables.
const LISTEN: &str = "0A";

/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its number.
    pub pid: i32,
    /// Its command line, as `/proc/PID/cmdline` has it; a process may have written over its own.
    pub command: Vec<String>,
    /// The systemd unit that its control group is named after.
    pub unit: Option<String>,
    /// Another program holds the listening socket too: systemd, for a socket unit.
    pub is_shared: bool,
    name: String,
    started: String,
}

impl Listener {
    /// The process of this number, where it is root's, or ours, and its program has this name.
    #[must_use]
    pub fn of_pid(pid: i32, name: &str) -> Option<Self> {
        let place = PathBuf::from(format!("/proc/{pid}"));
        let owner = std::fs::metadata(&place).ok()?.uid();
        if owner != 0 && owner != super::users::current_uid() {
            return None;
        }
        if text_of(&place.join("comm"))?.trim_end() != name || is_disguised(&place, name) {
            return None;
        }
        let command = text_of(&place.join("cmdline"))?;
        let command = command.split('\0').filter(|word| !word.is_empty());
        Some(Self {
            pid,
            command: command.map(str::to_owned).collect(),
            unit: text_of(&place.join("cgroup")).and_then(|text| unit_in(&text)),
            is_shared: false,
            name: name.to_owned(),
            started: start_of(pid)?,
        })
    }

    /// Sends SIGHUP.
    ///
    /// # Errors
    /// It is gone, or kill(2) says no.
    pub fn hang_up(&self) -> io::Result<()> {
        // A number may have become another's; nothing can pass between this look and the signal
        // but an exit and 4 million starts.
        let again = Self::of_pid(self.pid, &self.name);
        if again.is_none_or(|again| again.started != self.started) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(kill(Pid::from_raw(self.pid), Signal::SIGHUP)?)
    }
}

/// Inodes of the sockets that take connections for this address, in this network namespace.
#[must_use]
pub fn sockets(address: SocketAddr) -> BTreeSet<u64> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let tables = tables.iter().filter_map(|table| text_of(Path::new(table)));
    tables
        .flat_map(|table| listening(&table, address))
        .collect()
}

/// The process named `name` that takes connections for this address; the oldest of several.
#[must_use]
pub fn find(address: SocketAddr, name: &str) -> Option<Listener> {
    let links = links(address);
    if links.is_empty() {
        return None;
    }
    let pids = read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut holders: Vec<i32> = pids
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| holds(*pid, &links))
        .collect();
    holders.sort_unstable();
    let mut found = holders
        .iter()
        .find_map(|pid| Listener::of_pid(*pid, name))?;
    found.is_shared = holders
        .iter()
        .any(|pid| Listener::of_pid(*pid, name).is_none());
    Some(found)
}

/// Whether the first process takes connections for this address: systemd, for a socket unit.
#[must_use]
pub fn is_held_by_init(address: SocketAddr) -> bool {
    holds(1, &links(address))
}

/// Whether systemd is the init of this machine; sd_booted(3).
#[must_use]
pub fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// A program of root's that somebody else gave this name: a link to a program with the set-user-ID
/// bit is enough for that, its command line is then his, and so is a socket that it was born with.
fn is_disguised(place: &Path, name: &str) -> bool {
    let exe = place.join("exe");
    // Where it may not be seen, neither may sockets: then a PidFile, which is root's, led here.
    let Ok(program) = read_link(&exe) else {
        return false;
    };
    let program = program.to_string_lossy().into_owned();
    let program = program.strip_suffix(" (deleted)").unwrap_or(&program);
    let is_setuid = std::fs::metadata(&exe).is_ok_and(|about| about.mode() & 0o6000 != 0);
    is_setuid
        || Path::new(program)
            .file_name()
            .is_none_or(|file| file != name)
}

/// What the descriptors of those who take connections for this address name.
fn links(address: SocketAddr) -> BTreeSet<PathBuf> {
    let name = |inode| PathBuf::from(format!("socket:[{inode}]"));
    sockets(address).into_iter().map(name).collect()
}

fn holds(pid: i32, links: &BTreeSet<PathBuf>) -> bool {
    let Ok(open) = read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    open.filter_map(Result::ok)
        .filter_map(|entry| read_link(entry.path()).ok())
        .any(|link| links.contains(&link))
}

/// Inodes of the listening sockets of one of the kernel's tables.
fn listening(table: &str, wanted: SocketAddr) -> Vec<u64> {
    let inode = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (ip, port) = fields.nth(1)?.split_once(':')?;
        let state = fields.nth(1)?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let ip = ip_of(ip)?;
        let takes = ip == wanted.ip()
            || ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            || (ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && wanted.is_ipv4());
        let is_it = state == LISTEN && port == wanted.port() && takes;
        is_it.then(|| fields.nth(5)?.parse().ok()).flatten()
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// An address as the kernel prints it: words of 32 bits in the machine's own order.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = hex.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            let bytes: [u8; 16] = words.try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// The unit in `/proc/PID/cgroup`: the last part of the path of systemd's hierarchy.
fn unit_in(cgroup: &str) -> Option<String> {
    let of_systemd = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    let path = cgroup.lines().find(of_systemd)?.rsplit(':').next()?;
    let unit = path.rsplit('/').next()?;
    unit.ends_with(".service").then(|| unit.to_owned())
}

/// When it began, in the kernel's ticks: field 22 of `/proc/PID/stat`, behind a name that may hold
/// blanks and brackets.
fn start_of(pid: i32) -> Option<String> {
    let stat = text_of(&PathBuf::from(format!("/proc/{pid}/stat")))?;
    let behind = stat.rsplit_once(')')?.1;
    behind.split_ascii_whitespace().nth(19).map(str::to_owned)
}

fn text_of(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(MAX_PROC)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listener_is_known_by_its_socket_and_its_program() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(sockets(address).len(), 1);
        let us = i32::try_from(std::process::id()).unwrap();
        assert!(holds(us, &links(address)) && !is_held_by_init(address));
        assert_eq!(find(address, "no-such-program"), None);
        drop(listener);
        assert!(sockets(address).is_empty());
    }

    #[test]
    fn a_program_under_a_borrowed_name_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let start = |program: &Path| {
            let mut command = std::process::Command::new(program);
            command.arg("1000").spawn().unwrap()
        };
        let link = dir.path().join("sshd");
        std::os::unix::fs::symlink("/bin/sleep", &link).unwrap();
        let copy = dir.path().join("named");
        std::fs::copy("/bin/sleep", &copy).unwrap();
        for (program, name, is_it) in [(&link, "sshd", false), (&copy, "named", true)] {
            let mut child = start(program);
            let pid = i32::try_from(child.id()).unwrap();
            let comm = PathBuf::from(format!("/proc/{pid}/comm"));
            // Between fork and exec it has our name.
            while text_of(&comm).is_some_and(|text| text.trim_end() != name) {
                std::thread::yield_now();
            }
            assert_eq!(Listener::of_pid(pid, name).is_some(), is_it, "{name}");
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(Listener::of_pid(pid, name), None);
        }
    }

    #[test]
    fn the_kernels_tables_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 x\n\
            \x20  1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 x\n\
            \x20  2: 0100007F:0016 0100007F:8888 01 00000000:00000000 00:00000000 00000000     0        0 13 1 x\n";
        if cfg!(target_endian = "little") {
            assert_eq!(listening(table, "127.0.0.1:22".parse().unwrap()), [11, 12]);
            assert_eq!(listening(table, "127.0.0.2:22".parse().unwrap()), [12]);
        }
        assert!(listening(table, "[::1]:22".parse().unwrap()).is_empty());
        assert_eq!(
            ip_of("00000000000000000000000000000000"),
            Some(Ipv6Addr::UNSPECIFIED.into())
        );
    }

    #[test]
    fn a_unit_is_read_from_either_kind_of_hierarchy() {
        let unit = Some("ssh.service".to_owned());
        assert_eq!(unit_in("0::/system.slice/ssh.service\n"), unit);
        assert_eq!(
            unit_in("3:cpu:/x.service\n1:name=systemd:/system.slice/ssh.service\n"),
            unit
        );
        assert_eq!(unit_in("0::/user.slice/session-3.scope\n"), None);
        assert_eq!(unit_in("0::/\n"), None);
    }
}
