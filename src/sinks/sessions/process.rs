//! What the kernel says of a process of sshd: that it is one, root's, and whose connection it holds.

use super::map::Live;
use super::{accepted, is_sshd};
use crate::sys::processes::{self, Process, Stat, descendants, socket_with_peer};
use std::net::SocketAddr;

/// A process of sshd with the connection that a line names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) process: Process,
    /// Its socket.
    pub(super) inode: u64,
}

impl Seen {
    /// What a session is to look like.
    pub(super) fn of(live: &Live) -> Self {
        Self {
            process: live.process,
            inode: live.inode,
        }
    }
}

/// The process of that number, if it is root's, runs sshd, and holds the connection from there.
pub(super) fn look(pid: u32, from: SocketAddr) -> Option<Seen> {
    let before = processes::stat(pid)?;
    if !is_sshd(&processes::program(pid)?) || processes::users_of(pid)? != (0, 0) {
        return None;
    }
    let socket = socket_with_peer(pid, from)?;
    // All of it was of one process.
    let after = processes::stat(pid)?;
    (before.process == after.process).then_some(Seen {
        process: after.process,
        inode: socket.inode,
    })
}

/// What a session is used for, as far as sshd's titles say: `pty`, `sftp`, `exec`, `forward`.
pub(super) fn kind(process: Process, all: &[Stat]) -> Option<String> {
    let below = descendants(all, &[process.pid]);
    let mut titles: Vec<String> = Vec::new();
    for pid in [process.pid]
        .into_iter()
        .chain(below.iter().map(|s| s.process.pid))
    {
        let title = processes::title(pid).unwrap_or_default();
        let of_sshd = accepted::PROGRAMS
            .iter()
            .any(|program| title.starts_with(&format!("{program}: ")));
        if of_sshd && !title.ends_with(" [priv]") {
            titles.push(title);
        }
    }
    let has = |what: &str| titles.iter().any(|title| title.contains(what));
    let sftp = below.iter().any(|stat| stat.name == "sftp-server");
    let kind = if titles.is_empty() {
        return None;
    } else if has("@pts/") || has("@tty") {
        "pty"
    } else if sftp || has("@internal-sftp") {
        "sftp"
    } else if has("@") {
        "exec"
    } else {
        "forward"
    };
    Some(kind.to_owned())
}

/// Connections of sshd that are logged in and that no session of `known` is: nobody heard who they
/// are.
#[must_use]
pub fn unbound<'a>(known: impl IntoIterator<Item = &'a Live>) -> Vec<Process> {
    let known: Vec<Process> = known.into_iter().map(|live| live.process).collect();
    let all = processes::all();
    let sshd = |stat: &&Stat| processes::program(stat.process.pid).is_some_and(|p| is_sshd(&p));
    let titled = |stat: &Stat| (stat.parent, stat.process, said(stat.process.pid));
    let sshds: Vec<_> = all.iter().filter(sshd).map(titled).collect();
    let found = sshds.iter().filter(|(parent, process, title)| {
        let monitored = |(_, other, title): &(_, Process, String)| {
            other.pid == *parent && title.ends_with(MONITOR)
        };
        if processes::users_of(process.pid) != Some((0, 0)) || sshds.iter().any(monitored) {
            return false;
        }
        let session =
            |(parent, _, title): &(u32, _, String)| *parent == process.pid && names(title);
        names(title) || title.ends_with(MONITOR) && sshds.iter().any(session)
    });
    found
        .map(|(_, process, _)| *process)
        .filter(|process| !known.contains(process))
        .collect()
}

/// The end of a monitor's title, before the login and after it.
const MONITOR: &str = " [priv]";

/// What a process of sshd says of itself, without its program's name.
fn said(pid: u32) -> String {
    let title = processes::title(pid).unwrap_or_default();
    let of = |program: &&str| title.strip_prefix(program)?.strip_prefix(": ");
    let said = accepted::PROGRAMS.iter().find_map(of);
    said.unwrap_or_default().to_owned()
}

/// Whether a title is of somebody's session: `al`, `al@notty`, `al@pts/0`. `[accepted]`, `al [net]`
/// and `al [pam]` are not logged in, `/usr/sbin/sshd -D [listener] …` is nobody.
fn names(title: &str) -> bool {
    !title.is_empty() && !title.starts_with(['[', '/']) && !title.ends_with(']')
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_title_names_somebody_who_is_logged_in() {
        for title in ["al", "al@notty", "al@pts/0,pts/1", "al@internal-sftp"] {
            assert!(names(title), "{title}");
        }
        for title in [
            "",
            "[accepted]",
            "[net]",
            "al [net]",
            "al [pam]",
            "al [preauth]",
            "al [priv]",
            "unknown [priv]",
            "/usr/sbin/sshd -D [listener] 0 of 10-100 startups",
        ] {
            assert!(!names(title), "{title}");
        }
    }
}
