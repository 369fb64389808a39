//! A file that is in memory alone: memfd_create(2). Another program of ours can read it by a path,
//! and no disk is written.

use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

/// The file; gone when it is dropped.
#[derive(Debug)]
pub struct MemoryFile(File);

impl MemoryFile {
    /// A file with these bytes.
    ///
    /// # Errors
    /// What memfd_create(2) and write(2) say.
    pub fn try_new(bytes: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create("sshkeyd", MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        Ok(Self(file))
    }

    /// Where this process's programs find it, for as long as it is held.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_reads_it_from_its_beginning() {
        let file = MemoryFile::try_new(b"here\n").unwrap();
        let read = std::process::Command::new("cat").arg(file.path()).output();
        assert_eq!(read.unwrap().stdout, b"here\n");
    }
}
