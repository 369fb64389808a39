//! Which connection a process holds: its descriptors against the kernel's table of TCP, proc(5).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state ESTABLISHED, and CLOSE_WAIT: the peer has closed, we have not.
const LIVE: [&str; 2] = ["01", "08"];
/// Most descriptors of one process that are looked at.
const MAX_DESCRIPTORS: usize = 4096;
/// Longest table that is read, in bytes.
const MAX_TABLE: u64 = 64 * 1024 * 1024;

/// A connection that a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// The socket's inode: another one for every other socket that is open.
    pub inode: u64,
    /// Who is at the other end. An IPv4 address is one, also where the socket is IPv6's.
    pub peer: SocketAddr,
}

/// The connection of process `pid` whose other end is `peer`, if it has one. The table is that of the
/// process's own network namespace.
#[must_use]
pub fn socket_with_peer(pid: u32, peer: SocketAddr) -> Option<Socket> {
    let inodes = inodes(pid);
    if inodes.is_empty() {
        return None;
    }
    ["tcp", "tcp6"].into_iter().find_map(|table| {
        let file = File::open(format!("/proc/{pid}/net/{table}")).ok()?;
        let mut lines = BufReader::new(file.take(MAX_TABLE)).lines();
        lines
            .by_ref()
            .skip(1)
            .map_while(Result::ok)
            .find_map(|line| {
                let socket = parse(&line)?;
                (socket.peer == peer && inodes.contains(&socket.inode)).then_some(socket)
            })
    })
}

/// The sockets that a process has open.
fn inodes(pid: u32) -> BTreeSet<u64> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return BTreeSet::new();
    };
    entries
        .take(MAX_DESCRIPTORS)
        .filter_map(Result::ok)
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|link| {
            let number = link.to_str()?.strip_prefix("socket:[")?;
            number.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

/// `sl local_address rem_address st …`, the inode is the tenth word.
fn parse(line: &str) -> Option<Socket> {
    let mut words = line.split_whitespace();
    let peer = words.nth(2)?;
    if !LIVE.contains(&words.next()?) {
        return None;
    }
    Some(Socket {
        peer: address(peer)?,
        inode: words.nth(5)?.parse().ok()?,
    })
}

/// The address in the kernel's own words: groups of four bytes, each as this machine orders them.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let group = |at: usize| {
        let word = address.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    };
    let address = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(group(0)?)),
        32 => {
            let groups = [group(0)?, group(1)?, group(2)?, group(3)?].concat();
            let bytes: [u8; 16] = groups.try_into().ok()?;
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[cfg(target_endian = "little")]
    #[test]
    fn the_kernels_words_are_read() {
        let read = |text| address(text).map(|a| a.to_string());
        assert_eq!(read("0100007F:C351"), Some("127.0.0.1:50001".into()));
        let six = "B80D0120000000000000000001000000:0016";
        assert_eq!(read(six), Some("[2001:db8::1]:22".into()));
        let mapped = "0000000000000000FFFF00000100007F:0016";
        assert_eq!(read(mapped), Some("127.0.0.1:22".into()));
        for wrong in ["", "0100007F", "0100007F:", "01:0016", "é100007F:0016"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_connection_of_this_process_is_found_by_its_other_end() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(any).unwrap();
            let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (theirs, from) = listener.accept().unwrap();
            let found = socket_with_peer(std::process::id(), from).unwrap();
            assert_eq!(found.peer, ours.local_addr().unwrap());
            drop(theirs);
            let mut other = from;
            other.set_port(from.port().wrapping_add(1).max(1));
            assert_eq!(socket_with_peer(std::process::id(), other), None);
        }
        assert_eq!(socket_with_peer(0, "127.0.0.1:1".parse().unwrap()), None);
    }
}
