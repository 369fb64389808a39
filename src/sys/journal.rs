//! systemd's journal, spoken to in its own protocol: systemd-journald.service(8), and "Native
//! Journal Protocol" of systemd's documentation.
//!
//! Owns the socket and the form of a datagram. An entry that the journal does not take is the
//! caller's again, for stderr. Nothing ever waits for the journal.

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use rustix::fs::fstat;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::net::UnixDatagram;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest value of a field, in bytes. An entry then fits one datagram, whatever it says.
const MAX_VALUE: usize = 8 * 1024;
/// Most fields of an entry.
const MAX_FIELDS: usize = 16;

/// The journal.
#[derive(Debug)]
pub struct Journal(UnixDatagram);

/// One entry, as it is put together.
#[derive(Debug, Default)]
pub struct Entry {
    bytes: Vec<u8>,
    fields: usize,
}

impl Journal {
    /// The journal, where stderr is its: `JOURNAL_STREAM` names stderr's device and inode
    /// (systemd.exec(5)). A variable that was inherited beside another stderr does not.
    #[must_use]
    pub fn of(stderr: impl AsFd, stream: Option<&str>) -> Option<Self> {
        let (device, inode) = stream?.split_once(':')?;
        let stderr = fstat(stderr).ok()?;
        let same = device.parse() == Ok(stderr.st_dev) && inode.parse() == Ok(stderr.st_ino);
        if !same {
            return None;
        }
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(SOCKET).ok()?;
        // A journal that does not read must not hold up keys.
        socket.set_nonblocking(true).ok()?;
        Some(Self(socket))
    }

    /// Sends an entry.
    ///
    /// # Errors
    /// The journal is gone, or does not keep up.
    pub fn send(&self, entry: &Entry) -> io::Result<()> {
        let sent = self.0.send(&entry.bytes);
        // It was restarted: its socket is another one.
        if sent.is_err() {
            self.0.connect(SOCKET)?;
            self.0.send(&entry.bytes)?;
        }
        Ok(())
    }
}

/// A line for stderr, where that is the journal's stream. It is lost where the journal does not read:
/// whoever waits for it there holds up keys.
///
/// # Errors
/// What the system says; nothing was waited for.
pub fn say(stderr: impl AsFd, line: &str) -> io::Result<()> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match send(stderr.as_fd().as_raw_fd(), line.as_bytes(), flags) {
        Ok(_) => Ok(()),
        // A file by the stream's number: it does not wait.
        Err(Errno::ENOTSOCK) => Ok(rustix::io::write(stderr, line.as_bytes()).map(|_| ())?),
        Err(fault) => Err(fault.into()),
    }
}

impl Entry {
    /// Adds a field. `name` is made of capitals, digits and `_`; what else is in it becomes `_`.
    pub fn field(&mut self, name: &str, value: &str) {
        if self.fields >= MAX_FIELDS {
            return;
        }
        self.fields += 1;
        let clean = |c: char| match c.to_ascii_uppercase() {
            c @ ('A'..='Z' | '0'..='9') => c,
            _ => '_',
        };
        let name: String = name.chars().map(clean).collect();
        let mut end = value.len().min(MAX_VALUE);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let value = value.get(..end).unwrap_or_default();
        self.bytes.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            // With its length before it no value can begin a field of its own.
            self.bytes.push(b'\n');
            let length = value.len() as u64;
            self.bytes.extend_from_slice(&length.to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_begin_a_field_of_its_own() {
        let mut entry = Entry::default();
        entry.field("local-user", "root");
        entry.field("MESSAGE", "a\nPRIORITY=0");
        let mut wanted = b"LOCAL_USER=root\nMESSAGE\n".to_vec();
        wanted.extend_from_slice(&12_u64.to_le_bytes());
        wanted.extend_from_slice(b"a\nPRIORITY=0\n");
        assert_eq!(entry.bytes, wanted);
    }

    #[test]
    fn a_journal_that_does_not_read_is_not_waited_for() {
        let (stderr, journal) = std::os::unix::net::UnixStream::pair().unwrap();
        let line = "x".repeat(4096);
        let fault = (0..100_000)
            .find_map(|_| say(&stderr, &line).err())
            .unwrap();
        assert_eq!(fault.kind(), io::ErrorKind::WouldBlock);
        drop(journal);
        assert_eq!(
            say(&stderr, "x").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn an_entry_has_an_end_whatever_is_said() {
        let mut entry = Entry::default();
        for _ in 0..100 {
            entry.field("X", &"ü".repeat(MAX_VALUE));
        }
        assert!(entry.bytes.len() <= MAX_FIELDS * (MAX_VALUE + 16));
    }

    #[test]
    fn another_stderr_than_the_journals_is_left_alone() {
        for stream in [None, Some("1:1"), Some("x"), Some("")] {
            assert!(Journal::of(io::stdin(), stream).is_none(), "{stream:?}");
        }
    }
}
