//! sshd's identification string: which version answers at an address (RFC 4253, section 4.2).

use super::budget::source;
use super::{Limits, probe};
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;

/// Most bytes that are read in search of the identification string: a server may say other lines
/// before it.
const MAX_BYTES: u64 = 8 * 1024;

/// The identification string of what listens at `address`, without its line end; `None` where
/// nothing listens, or what listens is no SSH server or does not speak within
/// [`Limits::STANDARD`].
pub async fn read_banner(address: SocketAddr) -> Option<String> {
    greet(address).await.map(|greeting| greeting.banner)
}

/// A connection to an SSH server that has said who it is, and has heard nothing yet.
#[derive(Debug)]
pub struct Greeting {
    banner: String,
    stream: TcpStream,
}

impl Greeting {
    /// Whether the server has neither hung up nor gone.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self.stream.try_read(&mut [0; 64]) {
            Ok(read) => read > 0,
            Err(fault) => fault.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

/// Connects and waits for the identification string; `None` as [`read_banner`].
pub async fn greet(address: SocketAddr) -> Option<Greeting> {
    let limits = Limits::STANDARD;
    let source = source(address, rand::random());
    let connecting = probe::connect(address, source);
    let mut stream = tokio::time::timeout(limits.connect, connecting)
        .await
        .ok()?
        .ok()?;
    let reading = async {
        let mut lines = BufReader::new((&mut stream).take(MAX_BYTES)).split(b'\n');
        while let Some(line) = lines.next_segment().await.ok()? {
            if line.starts_with(b"SSH-") {
                return Some(printable(&line));
            }
        }
        None
    };
    let banner = tokio::time::timeout(limits.key, reading).await.ok()??;
    Some(Greeting { banner, stream })
}

/// OpenSSH's version, major and minor, from an identification string or from what `sshd -V` prints:
/// `SSH-2.0-OpenSSH_9.2p1 Debian-2` is (9, 2). `None` for any other server.
#[must_use]
pub fn sshd_version(banner: &str) -> Option<(u32, u32)> {
    let software = match banner.strip_prefix("SSH-") {
        Some(rest) => rest.split_once('-')?.1,
        None => banner,
    };
    let (major, rest) = software.strip_prefix("OpenSSH_")?.split_once('.')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    Some((major.parse().ok()?, rest.get(..digits)?.parse().ok()?))
}

/// An identification string as it may stand on a terminal: RFC 4253 allows 255 characters.
pub(super) fn printable(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .chars()
        .filter(|c| !c.is_control())
        .take(255)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_identification_strings() {
        for (banner, version) in [
            ("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3", Some((9, 2))),
            ("SSH-2.0-OpenSSH_10.0", Some((10, 0))),
            ("SSH-1.99-OpenSSH_3.9p1", Some((3, 9))),
            ("OpenSSH_9.2, OpenSSL 3.0.19 27 Jan 2026", Some((9, 2))),
            ("SSH-2.0-OpenSSH_for_Windows_8.1", None),
            ("SSH-2.0-dropbear_2022.83", None),
            ("SSH-2.0-OpenSSH_9", None),
            ("SSH-2.0-OpenSSH_99999999999.1", None),
            ("", None),
        ] {
            assert_eq!(sshd_version(banner), version, "{banner}");
        }
    }

    #[test]
    fn a_banner_is_shown_without_control_characters() {
        assert_eq!(printable(b"SSH-2.0-x\x1b[2J\r"), "SSH-2.0-x[2J");
    }
}
