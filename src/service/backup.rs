//! A copy of the database while it is in use, and a database out of a copy.
//!
//! A copy appears under its name whole or not at all, 0600. A restore has the database alone, keeps
//! the old one under another name, and lifts every account above now, so that agents take what is
//! older than what they have seen. Neither touches `secrets-dir`.

use super::store::{CopyError, StoreError, copies};
use crate::config::{Database, ServerConfig};
use crate::sys::database_file::{self, Held};
use jiff::Timestamp;
use std::io;
use std::path::{Path, PathBuf};

/// What a restore has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Where the database is that was there before; `None`: there was none.
    pub kept: Option<PathBuf>,
    /// Accounts, each with a new revision.
    pub accounts: u64,
    /// Sessions of people that were ended.
    pub sessions: u64,
}

/// Why there is no copy, or no restored database; what was there stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The service, or another command, uses the database.
    #[error("{}: in use; stop the service first", .0.display())]
    InUse(PathBuf),
    /// The database is a server's, which has its own tools.
    #[error("{0}")]
    Server(&'static str),
    /// The copy would take the place of the database.
    #[error("{}: the database itself; name another file", .0.display())]
    Itself(PathBuf),
    /// The file is not what it should be.
    #[error("{path}: {what}", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Something else is to be done first.
    #[error("{0}")]
    Refused(String),
    /// The system says no.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The database cannot.
    #[error(transparent)]
    Store(Box<dyn std::error::Error + Send + Sync>),
}

impl BackupError {
    fn of(path: &Path) -> impl Fn(CopyError) -> Self {
        move |error| match error {
            CopyError::Damaged(what) => Self::Damaged {
                path: path.to_owned(),
                what,
            },
            CopyError::Refused(what) => Self::Refused(what),
            CopyError::Io(source) => Self::file(path)(source),
            CopyError::Store(error) => Self::Store(Box::new(error)),
        }
    }

    pub(super) fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::File {
            path: path.to_owned(),
            source,
        }
    }
}

/// Copies the database into `file`, in the place of what is there. The service may run.
///
/// # Errors
/// [`BackupError`]; `file` is as it was.
pub fn backup(config: &ServerConfig, file: &Path) -> Result<(), BackupError> {
    let database = file_of(
        &config.database,
        "the database is PostgreSQL; copy it with pg_dump --format=custom",
    )?;
    std::fs::metadata(database).map_err(BackupError::file(database))?;
    let parts = ["", "-wal", "-shm", ".lock"].map(|end| with_end(database, end));
    if parts.iter().any(|part| database_file::same(part, file)) {
        return Err(BackupError::Itself(file.to_owned()));
    }
    let new = New::make(file)?;
    copies::copy(database, &new.0).map_err(BackupError::of(database))?;
    database_file::put_over(&new.0, file).map_err(BackupError::file(file))
}

/// Makes `file` the database. Nobody may use it meanwhile.
///
/// # Errors
/// [`BackupError`]; the database is as it was.
pub fn restore(
    config: &ServerConfig,
    file: &Path,
    now: Timestamp,
) -> Result<Restored, BackupError> {
    let database = file_of(
        &config.database,
        "the database is PostgreSQL; stop the replicas, bring it back with pg_restore, then run \
         `sshkeyd server restore --lift`",
    )?;
    let _alone = Held::alone(database).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => BackupError::InUse(database.to_owned()),
        _ => BackupError::file(database)(error),
    })?;
    std::fs::metadata(file).map_err(BackupError::file(file))?;
    if database_file::same(file, database) {
        return Err(BackupError::Itself(file.to_owned()));
    }
    let new = New::make(database)?;
    copies::copy(file, &new.0).map_err(BackupError::of(file))?;

    let kept = with_end(
        database,
        &format!(".before-{}", now.strftime("%Y%m%dT%H%M%S%3fZ")),
    );
    let was_there = database.exists();
    let given_out = match was_there.then(|| copies::given_out(database)) {
        None => None,
        Some(Ok(given_out)) => Some(given_out),
        Some(Err(CopyError::Store(StoreError::Busy))) => {
            return Err(BackupError::InUse(database.to_owned()));
        }
        // Damaged: what it has given out nobody knows. It is kept, with the log that belongs to it.
        Some(Err(_)) => {
            let log = with_end(database, "-wal");
            let kept = with_end(&kept, "-wal");
            database_file::move_aside(&log, &kept).map_err(BackupError::file(&log))?;
            None
        }
    };
    let lifted =
        copies::make_current(&new.0, given_out.as_ref(), now).map_err(BackupError::of(file))?;
    if was_there {
        database_file::keep_as(database, &kept).map_err(BackupError::file(&kept))?;
    }
    database_file::put_over(&new.0, database).map_err(BackupError::file(database))?;
    Ok(Restored {
        kept: was_there.then_some(kept),
        accounts: lifted.accounts,
        sessions: lifted.sessions,
    })
}

/// Makes a database that its own tools brought back the one of now, as [`restore`] does. Replicas
/// may run: they take it as a change of every account.
///
/// # Errors
/// [`BackupError`]; the database is as it was.
pub fn lift(config: &ServerConfig, now: Timestamp) -> Result<Restored, BackupError> {
    let Database::Postgres(database) = &config.database else {
        return Err(BackupError::Server(
            "the database is a file; `sshkeyd server restore FILE` lifts what it brings back",
        ));
    };
    let lifted = copies::lift(database, now).map_err(|e| BackupError::Store(Box::new(e)))?;
    Ok(Restored {
        kept: None,
        accounts: lifted.accounts,
        sessions: lifted.sessions,
    })
}

fn file_of<'a>(database: &'a Database, what: &'static str) -> Result<&'a Path, BackupError> {
    database.file().ok_or(BackupError::Server(what))
}

/// A file on its way, gone when it does not arrive.
pub(super) struct New(PathBuf);

impl New {
    pub(super) fn make(place: &Path) -> Result<Self, BackupError> {
        let path = database_file::beside(place);
        database_file::make(&path).map_err(BackupError::file(&path))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for New {
    fn drop(&mut self) {
        // Under this name nothing is left of one that has arrived.
        for end in ["", "-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(with_end(&self.0, end));
        }
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests;
