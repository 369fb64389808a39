//! The programs that `/install` hands out: one an architecture, out of `install-dir`, and for this
//! machine's own architecture the one that is running.
//!
//! A file is read when it is asked for, in pieces, and never held in memory; its SHA-256 is kept
//! for as long as the file is the same. Refuses any name but those of [`ARCHITECTURES`].

use super::crowd::{Crowd, Place};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// As `uname -m` names them.
pub(super) const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// Downloads at a time; half of them is left to others, whoever reads slowly.
const AT_ONCE: usize = 64;
const PER_ADDRESS: usize = AT_ONCE / 2;

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// This program's file, also when its name has become another's (proc(5)).
const OWN: &str = "/proc/self/exe";

/// All programs.
pub(super) struct Programs {
    dir: Option<PathBuf>,
    digests: Mutex<HashMap<PathBuf, (Stamp, String)>>,
    places: Arc<Semaphore>,
    crowd: Arc<Crowd>,
}

/// What tells a file from the one that it was: device, inode, length, and the times in nanoseconds.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

/// Why there is no program.
#[derive(Debug)]
pub(super) enum NoProgram {
    /// There is none for that architecture.
    Unknown,
    /// As many are being downloaded as may.
    Busy,
    /// It cannot be read.
    Fault(io::Error),
}

impl Programs {
    /// Out of this directory, if there is one.
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        Self {
            dir,
            digests: Mutex::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            crowd: Arc::new(Crowd::of(PER_ADDRESS)),
        }
    }

    /// The architectures that there is a program for, each with its SHA-256 in hex.
    ///
    /// # Errors
    /// A program that is there cannot be read.
    pub(super) async fn digests(&self) -> io::Result<Vec<(&'static str, String)>> {
        let mut found = Vec::new();
        let mut known = self.digests.lock().await;
        for arch in ARCHITECTURES {
            let Some((path, file)) = self.open(arch).await? else {
                continue;
            };
            let stamp = stamp(&file.metadata()?);
            let digest = match known.get(&path) {
                Some((same, digest)) if *same == stamp => digest.clone(),
                _ => {
                    let digest = blocking(move || digest(file)).await?;
                    known.insert(path, (stamp, digest.clone()));
                    digest
                }
            };
            found.push((arch, digest));
        }
        Ok(found)
    }

    /// One program, on its way to this address, as far as that is known.
    ///
    /// # Errors
    /// [`NoProgram`].
    pub(super) async fn download(
        &self,
        arch: &str,
        address: Option<IpAddr>,
    ) -> Result<Download, NoProgram> {
        let known = ARCHITECTURES.into_iter().find(|known| *known == arch);
        let arch = known.ok_or(NoProgram::Unknown)?;
        let of_address = match address {
            Some(address) => Some(self.crowd.take(address).ok_or(NoProgram::Busy)?),
            None => None,
        };
        let places = self.places.clone();
        let place = places.try_acquire_owned().map_err(|_| NoProgram::Busy)?;
        let found = self.open(arch).await.map_err(NoProgram::Fault)?;
        let (_, file) = found.ok_or(NoProgram::Unknown)?;
        let left = file.metadata().map_err(NoProgram::Fault)?.len();
        Ok(Download {
            reading: Reading::Waits(file),
            left,
            _places: (place, of_address),
        })
    }

    async fn open(&self, arch: &'static str) -> io::Result<Option<(PathBuf, File)>> {
        let in_dir = self.dir.as_ref().map(|dir| dir.join(file_name(arch)));
        let own = (arch == std::env::consts::ARCH).then(|| PathBuf::from(OWN));
        blocking(move || {
            for path in in_dir.into_iter().chain(own) {
                if let Some(file) = open(&path)? {
                    return Ok(Some((path, file)));
                }
            }
            Ok(None)
        })
        .await
    }
}

/// As `/install` and `install-dir` name it.
pub(super) fn file_name(arch: &str) -> String {
    format!("sshkeyd-{arch}")
}

/// A plain file; `None`: there is nothing of that name.
fn open(path: &Path) -> io::Result<Option<File>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.metadata()?.is_file() {
        true => Ok(Some(file)),
        false => Err(io::Error::other("not a plain file")),
    }
}

fn stamp(about: &Metadata) -> Stamp {
    (
        about.dev(),
        about.ino(),
        about.len(),
        about.mtime(),
        about.mtime_nsec(),
        about.ctime(),
        about.ctime_nsec(),
    )
}

fn digest(mut file: File) -> io::Result<String> {
    let (mut digest, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        digest.update(piece.get(..read).unwrap_or_default());
    }
    let digest = digest.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(job).await;
    done.unwrap_or_else(|lost| Err(io::Error::other(lost)))
}

/// The body of an answer: a file of a length that is known.
pub(super) struct Download {
    reading: Reading,
    left: u64,
    _places: (OwnedSemaphorePermit, Option<Place>),
}

enum Reading {
    Waits(File),
    Reads(JoinHandle<io::Result<(File, Bytes)>>),
    Over,
}

impl Body for Download {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            match std::mem::replace(&mut self.reading, Reading::Over) {
                Reading::Waits(_) if self.left == 0 => return Poll::Ready(None),
                Reading::Waits(file) => {
                    let most = self.left.min(PIECE as u64);
                    let job = move || piece(file, most);
                    self.reading = Reading::Reads(tokio::task::spawn_blocking(job));
                }
                Reading::Reads(mut job) => {
                    let Poll::Ready(read) = Pin::new(&mut job).poll(context) else {
                        self.reading = Reading::Reads(job);
                        return Poll::Pending;
                    };
                    let read = read.unwrap_or_else(|lost| Err(io::Error::other(lost)));
                    let (file, piece) = match read {
                        Ok(read) => read,
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    };
                    self.left = self.left.saturating_sub(piece.len() as u64);
                    self.reading = Reading::Waits(file);
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Reading::Over => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The next piece; a file that has become shorter cuts the answer off.
fn piece(mut file: File, most: u64) -> io::Result<(File, Bytes)> {
    let mut piece = vec![0; usize::try_from(most).unwrap_or(PIECE)];
    let read = file.read(&mut piece)?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    piece.truncate(read);
    Ok((file, piece.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_leaves_places_to_others() {
        let dir = tempfile::tempdir().unwrap();
        for arch in ARCHITECTURES {
            let made = File::create_new(dir.path().join(file_name(arch)));
            io::Write::write_all(&mut made.unwrap(), b"program").unwrap();
        }
        let programs = Programs::new(Some(dir.path().to_owned()));
        let [slow, other] = ["203.0.113.9", "203.0.113.8"].map(|ip| ip.parse().ok());
        let mut all = Vec::new();
        for _ in 0..PER_ADDRESS {
            all.push(programs.download("x86_64", slow).await.unwrap());
        }
        let busy = programs.download("aarch64", slow).await;
        assert!(matches!(busy, Err(NoProgram::Busy)));
        assert!(programs.download("x86_64", other).await.is_ok());
        all.pop();
        assert!(programs.download("aarch64", slow).await.is_ok());
    }
}
