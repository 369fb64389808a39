//! The certificates' files: each replaced whole, with the one before beside it until sshd was seen
//! to show the new one.

use super::{NAMES, name_of};
use crate::sys::atomic_file::ReadError;
use crate::sys::published::{PublishError, Published};
use crate::sys::safe_path::passable_by_all;
use crate::trust::Certificate;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Below the directory of certificates.
const HOST: &str = "host";
const MAX_FILE: u64 = 32 * 1024;

/// Why a file could not be written or taken away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The directory.
    #[error(transparent)]
    Directory(#[from] PublishError),
    /// What stands there.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The directory of host certificates. Its calls block.
#[derive(Debug, Clone)]
pub struct HostFiles {
    directory: PathBuf,
}

impl HostFiles {
    /// Below the configured directory of certificates.
    #[must_use]
    pub fn new(certificates: &Path) -> Self {
        Self {
            directory: certificates.join(HOST),
        }
    }

    /// Where they stand.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of a name, as HostCertificate has it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(file_name(name))
    }

    /// The certificates that stand there, by name; what is none of ours or is damaged is left out.
    #[must_use]
    pub fn standing(&self) -> BTreeMap<&'static str, Certificate> {
        let Ok(published) = Published::open(&self.directory) else {
            return BTreeMap::new();
        };
        let read = |name: &'static str| {
            let text = text(&published, &file_name(name)).ok()??;
            let certificate = Certificate::parse(&text).ok()?;
            let is_its = name_of(certificate.key().key_type()) == Some(name);
            is_its.then_some((name, certificate))
        };
        NAMES.into_iter().filter_map(read).collect()
    }

    /// Puts a certificate under a name, durable when this returns; the one before stays beside it.
    ///
    /// # Errors
    /// [`FilesError`]: what stood there stands.
    pub fn put(&self, name: &str, line: &str) -> Result<(), FilesError> {
        if let Some(above) = self.directory.parent() {
            // What stands above that is somebody's: it is not opened to others for our sake.
            passable_by_all(above.parent().unwrap_or(above)).map_err(PublishError::from)?;
            Published::make(above)?;
        }
        let published = Published::make(&self.directory)?;
        let file = file_name(name);
        published.sweep(&file)?;
        // What is no plain file of root's is not exchanged for ours.
        published.file(&file)?;
        let before = before(name);
        Ok(published.replace(&file, Some(&before), line.as_bytes(), rand::random())?)
    }

    /// Has the one before stand again; false where there is none.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn put_back(&self, name: &str) -> Result<bool, FilesError> {
        let published = Published::make(&self.directory)?;
        let Some(old) = text(&published, &before(name))? else {
            return Ok(false);
        };
        published.replace(&file_name(name), None, old.as_bytes(), rand::random())?;
        published.remove(&[&before(name)])?;
        Ok(true)
    }

    /// The new one is seen to be good: the one before goes.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn settle(&self, name: &str) -> Result<(), FilesError> {
        let published = Published::open(&self.directory)?;
        if published.file(&before(name))?.is_some() {
            published.remove(&[&before(name)])?;
        }
        Ok(())
    }

    /// Takes a name's files away: for when no configuration in force names them.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn remove(&self, name: &str) -> Result<(), FilesError> {
        match Published::open(&self.directory) {
            Ok(published) => Ok(published.remove(&[&before(name), &file_name(name)])?),
            // Nothing there to take away.
            Err(PublishError::Way(_)) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Takes all of them away but those that are `named`, and the directories where nothing is left
    /// in them. Gives those that stay.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn remove_all(&self, named: &BTreeSet<String>) -> Result<Vec<String>, FilesError> {
        let mut left = Vec::new();
        for name in NAMES {
            let path = self.path(name).display().to_string();
            if named.contains(&path) && self.standing().contains_key(name) {
                left.push(path);
            } else {
                self.remove(name)?;
            }
        }
        for directory in [Some(self.directory.as_path()), self.directory.parent()] {
            let Some(directory) = directory else { continue };
            match std::fs::remove_dir(directory) {
                Ok(()) => {}
                Err(fault) if stays(&fault) => break,
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(left)
    }
}

/// Somebody has something in it, or it never was.
fn stays(fault: &io::Error) -> bool {
    use io::ErrorKind::{DirectoryNotEmpty, NotADirectory, NotFound, ResourceBusy};
    [DirectoryNotEmpty, NotADirectory, NotFound, ResourceBusy].contains(&fault.kind())
}

fn file_name(name: &str) -> OsString {
    format!("{name}-cert.pub").into()
}

fn before(name: &str) -> OsString {
    format!("{name}-cert.pub.before").into()
}

fn text(published: &Published, file: &std::ffi::OsStr) -> Result<Option<String>, FilesError> {
    let Some((file, _)) = published.file(file)? else {
        return Ok(None);
    };
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Limits, NewCertificate, Role, Signer};
    use jiff::Timestamp;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    const NAME: &str = "ssh_host_ed25519_key";

    fn line(serial: u64) -> String {
        let signer = Signer::from_seed(&[1; 32]);
        let new = NewCertificate {
            role: Role::Host,
            key: &signer.public(),
            serial,
            key_id: "",
            principals: &["a".to_owned()],
            valid_after: Timestamp::UNIX_EPOCH,
            valid_before: Timestamp::MAX,
            limits: &Limits::none(),
        };
        format!("{}\n", signer.certify(&new, &[3; 32]).unwrap())
    }

    #[test]
    #[ignore = "needs root; tests/run includes it"]
    fn the_one_before_comes_back_until_the_new_one_is_settled() {
        let top = tempfile::tempdir_in("/var/lib").unwrap();
        let files = HostFiles::new(&top.path().join("certificates"));
        let serial = || files.standing().get(NAME).map(Certificate::serial);
        assert_eq!(serial(), None);
        files.remove(NAME).unwrap();
        files.put(NAME, &line(1)).unwrap();
        assert!(!files.put_back(NAME).unwrap());
        files.put(NAME, &line(2)).unwrap();
        assert_eq!(serial(), Some(2));
        assert!(files.put_back(NAME).unwrap());
        assert_eq!(serial(), Some(1));
        files.put(NAME, &line(3)).unwrap();
        files.settle(NAME).unwrap();
        assert!(!files.put_back(NAME).unwrap());
        assert_eq!(serial(), Some(3));
        let about = std::fs::metadata(files.path(NAME)).unwrap();
        assert_eq!((about.uid(), about.mode() & 0o7777), (0, 0o644));

        let named = BTreeSet::from([files.path(NAME).display().to_string()]);
        assert_eq!(files.remove_all(&named).unwrap().len(), 1);
        assert_eq!(serial(), Some(3));
        assert_eq!(files.remove_all(&BTreeSet::new()).unwrap().len(), 0);
        assert!(!files.directory().parent().unwrap().exists());
        files.remove_all(&BTreeSet::new()).unwrap();
    }

    #[test]
    #[ignore = "needs root; tests/run includes it"]
    fn what_is_somebody_elses_is_neither_read_nor_replaced() {
        let top = tempfile::tempdir_in("/var/lib").unwrap();
        let files = HostFiles::new(&top.path().join("certificates"));
        files.put(NAME, &line(1)).unwrap();
        let path = files.path(NAME);
        std::fs::remove_file(&path).unwrap();
        let theirs = top.path().join("theirs");
        symlink(&theirs, &path).unwrap();
        assert!(files.standing().is_empty());
        assert!(files.put(NAME, &line(2)).is_err());
        assert!(!theirs.exists() && path.is_symlink());
        // Under another type's name it is not its certificate.
        files.put("ssh_host_rsa_key", &line(1)).unwrap();
        assert!(files.standing().is_empty());
    }
}
