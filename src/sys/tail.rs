//! A file that grows, read from where one left off: whole lines, over rotation (another inode at the
//! path) and truncation.
//!
//! Refuses to wait: what is no plain file is an error, never a place to hang.

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Longest line that is read whole; of a longer one nothing is.
pub const MAX_LINE: usize = 64 * 1024;
/// How much of a file that was never read before is read.
const MAX_PAST: u64 = 16 * 1024 * 1024;
/// Rotations that one look follows.
const MAX_TURNS: usize = 4;

/// Splits what comes in pieces into lines.
#[derive(Debug, Default)]
pub struct Lines {
    part: Vec<u8>,
    skips: bool,
}

impl Lines {
    /// Takes a piece; `each` hears every line that it ends, without the newline.
    pub fn push(&mut self, mut piece: &[u8], each: &mut dyn FnMut(&[u8])) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = piece.split_at(end);
            piece = rest.get(1..).unwrap_or_default();
            if self.part.len() + line.len() > MAX_LINE {
                self.skips = true;
            }
            if !std::mem::take(&mut self.skips) {
                if self.part.is_empty() {
                    each(line);
                } else {
                    self.part.extend_from_slice(line);
                    each(&self.part);
                }
            }
            self.part.clear();
        }
        if self.part.len() + piece.len() > MAX_LINE {
            self.skips = true;
            self.part.clear();
        }
        if !self.skips {
            self.part.extend_from_slice(piece);
        }
    }

    /// Bytes of a line that has no end yet.
    fn open(&self) -> usize {
        self.part.len()
    }
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    device: u64,
    inode: u64,
    offset: u64,
}

/// A file that grows.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    from: Option<Place>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    device: u64,
    inode: u64,
    /// Where the next read begins.
    offset: u64,
    lines: Lines,
}

impl Tail {
    /// Reads on `from` there; without it, from the end of the past that is worth reading.
    #[must_use]
    pub fn new(path: PathBuf, from: Option<Place>) -> Self {
        Self {
            path,
            from,
            open: None,
        }
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What has been read: the end of the last whole line.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match &self.open {
            None => self.from,
            Some(open) => Some(Place {
                device: open.device,
                inode: open.inode,
                offset: open.offset.saturating_sub(open.lines.open() as u64),
            }),
        }
    }

    /// Reads all lines that came since.
    ///
    /// # Errors
    /// There is no such file, or it is none that can be read; the next call tries again.
    pub fn read(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        for _ in 0..MAX_TURNS {
            if self.open.is_none() {
                self.begin(each)?;
            }
            let Some(open) = &mut self.open else { break };
            open.read(each)?;
            let (device, inode) = (open.device, open.inode);
            match std::fs::metadata(&self.path) {
                Ok(now) if (now.dev(), now.ino()) == (device, inode) => break,
                // Rotated: whoever writes may go on in the old one until the new one is there.
                Err(fault) if fault.kind() == io::ErrorKind::NotFound => break,
                _ => {
                    open.read(each)?;
                    self.from = self.place();
                    self.open = None;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut open = Open::try_new(&self.path)?;
        match self.from {
            Some(from) if from.is_of(&open) => open.offset = from.offset,
            Some(from) => {
                // It was rotated while we were away: the rest of the old one first.
                let mut old = self.path.clone().into_os_string();
                old.push(".1");
                if let Ok(mut old) = Open::try_new(Path::new(&old))
                    && from.is_of(&old)
                {
                    old.offset = from.offset;
                    old.read(each)?;
                }
            }
            None => {
                let length = open.file.metadata()?.len();
                open.offset = length.saturating_sub(MAX_PAST);
            }
        }
        self.open = Some(open);
        Ok(())
    }
}

impl Place {
    fn is_of(self, open: &Open) -> bool {
        (self.device, self.inode) == (open.device, open.inode)
    }
}

impl Open {
    fn try_new(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
            .open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a plain file",
            ));
        }
        Ok(Self {
            file,
            device: about.dev(),
            inode: about.ino(),
            offset: 0,
            lines: Lines::default(),
        })
    }

    fn read(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        if self.file.metadata()?.len() < self.offset {
            self.offset = 0;
            self.lines = Lines::default();
        }
        self.file.seek(SeekFrom::Start(self.offset))?;
        let mut room = vec![0; 32 * 1024];
        loop {
            let count = self.file.read(&mut room)?;
            if count == 0 {
                return Ok(());
            }
            self.offset += count as u64;
            self.lines.push(room.get(..count).unwrap_or_default(), each);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn lines(tail: &mut Tail) -> Vec<String> {
        let mut all = Vec::new();
        tail.read(&mut |line| all.push(String::from_utf8_lossy(line).into_owned()))
            .unwrap();
        all
    }

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(path);
        file.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn rotate(path: &Path) {
        let old = path.with_extension("log.1");
        let moved = std::process::Command::new("mv").arg(path).arg(old).status();
        assert!(moved.unwrap().success());
    }

    #[test]
    fn a_file_is_followed_over_rotation_truncation_and_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.log");
        let mut tail = Tail::new(path.clone(), None);
        assert!(tail.read(&mut |_| ()).is_err());
        append(&path, "one\ntwo\nthr");
        assert_eq!(lines(&mut tail), ["one", "two"]);
        assert!(lines(&mut tail).is_empty());
        append(&path, "ee\nfour\nfi");
        // Another run goes on at the last whole line.
        let mut again = Tail::new(path.clone(), tail.place());
        assert_eq!(lines(&mut again), ["three", "four"]);
        assert_eq!(lines(&mut tail), ["three", "four"]);
        rotate(&path);
        append(&path.with_extension("log.1"), "ve\nsix\n");
        append(&path, "seven\n");
        assert_eq!(lines(&mut tail), ["five", "six", "seven"]);
        // It was rotated while nobody looked.
        let mut away = Tail::new(path.clone(), again.place());
        assert_eq!(lines(&mut away), ["five", "six", "seven"]);
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        append(&path, "8\n");
        assert_eq!(lines(&mut tail), ["8"]);
    }

    #[test]
    fn a_line_without_an_end_costs_that_line() {
        let mut split = Lines::default();
        let mut all = Vec::new();
        let mut each = |line: &[u8]| all.push(line.len());
        split.push(&vec![b'x'; MAX_LINE], &mut each);
        split.push(b"yy\nnext\n", &mut each);
        split.push(&vec![b'x'; MAX_LINE], &mut each);
        split.push(b"\n\n", &mut each);
        assert_eq!(all, [4, MAX_LINE, 0]);
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert!(Tail::new(path, None).read(&mut |_| ()).is_err());
    }
}
