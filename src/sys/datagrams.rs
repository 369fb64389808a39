//! A datagram socket that knows who sent: `SO_PASSCRED`, unix(7). For being /dev/log: syslog(3).
//!
//! Whoever sends waits while our queue is full, so whoever has this socket must never stop to read
//! (tried: the twelfth message blocks). Refuses to take a place where something stands that we did
//! not put there.

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, setsockopt, sockopt,
};
use rustix::fs::{AtFlags, CWD, Mode};
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// A socket at a path; the path goes when this is dropped.
#[derive(Debug)]
pub struct Datagrams {
    socket: UnixDatagram,
    path: PathBuf,
    /// Device and inode of the path: what to know it by later.
    pub made: (u64, u64),
}

/// Who sent, in the kernel's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The process's number.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

impl Datagrams {
    /// Binds `path` for all to write to. A dead socket is replaced where it is the one that was
    /// `ours` before.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`]: something else stands there, or somebody reads from it.
    pub fn bind(path: &Path, ours: Option<(u64, u64)>) -> io::Result<Self> {
        match std::fs::symlink_metadata(path) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
            Err(fault) => return Err(fault),
            Ok(old) => {
                let known = ours == Some((old.dev(), old.ino()));
                let dead = UnixDatagram::unbound()?
                    .connect(path)
                    .is_err_and(|fault| fault.kind() == io::ErrorKind::ConnectionRefused);
                if !old.file_type().is_socket() || !known || !dead {
                    return Err(io::ErrorKind::AddrInUse.into());
                }
                std::fs::remove_file(path)?;
            }
        }
        let socket = UnixDatagram::bind(path)?;
        let about = std::fs::symlink_metadata(path)?;
        let bound = Self {
            socket,
            path: path.to_owned(),
            made: (about.dev(), about.ino()),
        };
        setsockopt(&bound.socket, sockopt::PassCred, &true)?;
        rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(0o666), AtFlags::empty())?;
        Ok(bound)
    }

    /// Waits for the next datagram; gives as much of it as there is room for.
    ///
    /// # Errors
    /// What recvmsg(2) says.
    pub fn receive<'a>(&self, room: &'a mut [u8]) -> io::Result<(&'a [u8], Option<Sender>)> {
        let mut space = nix::cmsg_space!(UnixCredentials);
        let (length, sender) = {
            let mut slices = [IoSliceMut::new(room)];
            let got = recvmsg::<UnixAddr>(
                self.socket.as_raw_fd(),
                &mut slices,
                Some(&mut space),
                MsgFlags::MSG_CMSG_CLOEXEC,
            )?;
            let sender = got.cmsgs()?.find_map(|message| match message {
                ControlMessageOwned::ScmCredentials(who) => Some(Sender {
                    pid: u32::try_from(who.pid()).ok()?,
                    uid: who.uid(),
                }),
                _ => None,
            });
            (got.bytes, sender)
        };
        Ok((room.get(..length).unwrap_or_default(), sender))
    }
}

impl Datagrams {
    /// Takes the path away, where it is still ours, and takes nothing more in.
    pub fn let_go(&self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|about| (about.dev(), about.ino()) == self.made);
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_who_sent_and_a_long_one_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let bound = Datagrams::bind(&path, None).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"hello there", &path).unwrap();
        let mut room = [0; 5];
        let (text, who) = bound.receive(&mut room).unwrap();
        let us = Sender {
            pid: std::process::id(),
            uid: crate::sys::users::current_uid(),
        };
        assert_eq!((text, who), (&b"hello"[..], Some(us)));
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn another_ones_place_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let in_use = |ours| Datagrams::bind(&path, ours).map_err(|f| f.kind()).err();
        let busy = Some(io::ErrorKind::AddrInUse);
        let live = Datagrams::bind(&path, None).unwrap();
        assert_eq!((in_use(None), in_use(Some(live.made))), (busy, busy));
        drop(live);
        drop(UnixDatagram::bind(&path).unwrap());
        assert_eq!(in_use(None), busy);
        let about = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(in_use(Some((about.dev(), about.ino()))), None);
        super::super::private_file::replace(&path, b"a file").unwrap();
        assert_eq!(in_use(None), busy);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert_eq!(in_use(None), busy);
    }
}
