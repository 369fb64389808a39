//! A program that goes on and on, and whose lines are heard as they come: `journalctl -f`.
//!
//! As [`super::command`]: no shell, no stdin, an environment of our own, killed with all its group
//! when this is dropped. Nothing polls.

use super::command::{CommandError, environment};
use super::tail::Lines;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::net::unix::pipe::Receiver;

/// A program that runs.
#[derive(Debug)]
pub struct Followed {
    child: Child,
    output: Receiver,
    lines: Lines,
}

impl Followed {
    /// Starts one.
    ///
    /// # Errors
    /// [`CommandError::Missing`] where there is no such program; what the system says.
    pub fn start(program: &Path, args: &[impl AsRef<OsStr>]) -> Result<Self, CommandError> {
        let mut child = environment(&mut Command::new(program))
            .args(args)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => CommandError::Missing(error),
                _ => CommandError::Io(error),
            })?;
        let output = child.stdout.take().map(OwnedFd::from);
        let output = output.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(Self {
            child,
            output: Receiver::from_owned_fd(output)?,
            lines: Lines::default(),
        })
    }

    /// Waits for more of its output, or its end. Safe to cancel.
    ///
    /// # Errors
    /// What epoll(7) says.
    pub async fn ready(&self) -> io::Result<()> {
        self.output.readable().await
    }

    /// Reads what is there; false when it has ended.
    ///
    /// # Errors
    /// What read(2) says.
    pub fn read(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let mut room = vec![0; 16 * 1024];
        loop {
            match self.output.try_read(&mut room) {
                Ok(0) => return Ok(false),
                Ok(count) => self.lines.push(room.get(..count).unwrap_or_default(), each),
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(fault) => return Err(fault),
            }
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It has not been waited for: its number is still its own.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_heard_as_they_come_and_the_end_too() {
        let args = ["-c", "echo one; printf two; sleep 0.05; echo; exit 3"];
        let mut followed = Followed::start(Path::new("/bin/sh"), &args).unwrap();
        let mut all: Vec<String> = Vec::new();
        loop {
            followed.ready().await.unwrap();
            let mut each = |line: &[u8]| all.push(String::from_utf8(line.to_vec()).unwrap());
            if !followed.read(&mut each).unwrap() {
                break;
            }
        }
        assert_eq!(all, ["one", "two"]);
    }

    #[tokio::test]
    async fn it_is_killed_with_its_children_when_nobody_follows() {
        let args = ["-c", "sleep 1000 & echo $!; wait"];
        let mut followed = Followed::start(Path::new("/bin/sh"), &args).unwrap();
        let mut child = String::new();
        while child.is_empty() {
            followed.ready().await.unwrap();
            let mut each = |line: &[u8]| child = String::from_utf8(line.to_vec()).unwrap();
            assert!(followed.read(&mut each).unwrap());
        }
        drop(followed);
        let pid: u32 = child.parse().unwrap();
        let gone = async {
            while super::super::processes::stat(pid).is_some() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        let gone = tokio::time::timeout(std::time::Duration::from_secs(10), gone).await;
        assert!(gone.is_ok(), "the child lives on");
    }
}
