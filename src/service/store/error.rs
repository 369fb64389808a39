//! Why the store has no answer, by what the caller does next.

use super::db;
use std::path::PathBuf;

/// Why the store has no answer. Variants are what the caller does next.
#[derive(Debug, thiserror::Error)]
pub(in crate::service) enum StoreError {
    /// Try again: too much is asked of it, or another process holds the database.
    #[error("the database is busy")]
    Busy,
    /// Try again: nothing was changed, for another change came between.
    #[error("the database is busy: {0}")]
    Conflict(#[source] db::Error),
    /// Try again later: its server is not there, or serves nobody now. Nothing was changed.
    #[error("database: {0}")]
    Unavailable(#[source] db::Error),
    /// A person makes room.
    #[error("the database's disk is full")]
    Full,
    /// A person looks.
    #[error("database: {0}")]
    Fault(#[source] db::Error),
    /// The database is of a newer sshkeyd.
    #[error("database: its schema is version {0}, made by a newer sshkeyd; run that one")]
    Newer(i64),
    /// The database's file cannot be opened or made.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another replica has put other signers in force, and this one does not have them yet.
    #[error(
        "lists are signed by others now; bring secrets-dir to what it is on the other replicas"
    )]
    Signers,
    /// There is no thread to be had.
    #[error("database: {0}")]
    Thread(#[source] std::io::Error),
    /// The thread is gone, or the job panicked.
    #[error("database: the request was lost")]
    Lost,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        db::Error::from(error).into()
    }
}

impl From<db::Error> for StoreError {
    fn from(error: db::Error) -> Self {
        use db::postgres::Kind;
        use rusqlite::ErrorCode;
        match &error {
            db::Error::Sqlite(said) => match said.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
                Some(ErrorCode::DiskFull) => Self::Full,
                // The index of the log could not grow: sqlite.org/rescode.html, "ioerr_shmsize".
                _ if is_no_room(said) => Self::Full,
                _ => Self::Fault(error),
            },
            db::Error::Postgres(said) => match said.kind() {
                Kind::Away => Self::Unavailable(error),
                Kind::Busy => Self::Busy,
                Kind::Again | Kind::Stale => Self::Conflict(error),
                Kind::Full => Self::Full,
                Kind::Unknown | Kind::Other => Self::Fault(error),
            },
            _ => Self::Fault(error),
        }
    }
}

fn is_no_room(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}
