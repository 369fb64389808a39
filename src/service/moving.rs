//! The whole service in one file, to move it from one database engine to the other.
//!
//! JSON, a line each: a head (tables, columns, numbers given out, the MAC by which the database
//! knows its `secrets-dir`), the rows, bytes as base64, and an end with counts and the SHA-256 of
//! all before it. What is sealed stays sealed. Refuses a file of which a byte is missing or another,
//! a database that anyone has used, and a `secrets-dir` that does not open what is sealed.

mod read;
mod write;

use super::backup::{BackupError, New, Restored};
use super::secrets;
use super::store::{CopyError, Hash, Lifted, Steps, moving as rows};
use crate::config::{Database, ServerConfig};
use crate::sys::database_file::{self, Held};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

/// What the first line begins with.
const FORMAT: &str = "sshkeyd export";
/// The form of all lines.
const VERSION: u32 = 1;

/// Bytes of a line: ten times the longest that a row can be.
const LINE: u64 = 64 * 1024 * 1024;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadLine {
    format: String,
    version: u32,
    /// Of sshkeyd.
    program: String,
    schema: Steps,
    /// The sealing key's MAC, base64.
    sealed_by: Option<String>,
    tables: Vec<rows::Table>,
    numbers: BTreeMap<String, i64>,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    rows: BTreeMap<String, u64>,
    /// Of all lines before, hexadecimal.
    sha256: String,
}

/// How much was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Rows of all tables.
    pub rows: u64,
    /// What was lifted, where that was asked for.
    pub lifted: Option<Restored>,
}

/// Writes all that the database holds into `file`, in the place of what is there, 0600, whole or
/// not at all. The service may run; what it does meanwhile is not in it.
///
/// # Errors
/// [`BackupError`]; `file` is as it was.
pub fn export(config: &ServerConfig, file: &Path) -> Result<Moved, BackupError> {
    if let Some(database) = config.database.file()
        && database_file::same(database, file)
    {
        return Err(BackupError::Itself(file.to_owned()));
    }
    let new = New::make(file)?;
    let opened = std::fs::OpenOptions::new().write(true).open(new.path());
    let mut to = opened.map_err(BackupError::file(new.path()))?;
    let moved = export_to(config, &mut to)?;
    database_file::put_over(new.path(), file).map_err(BackupError::file(file))?;
    Ok(moved)
}

/// The same, to whoever reads it; without the end line it is not whole.
///
/// # Errors
/// [`BackupError`].
pub fn export_to(
    config: &ServerConfig,
    to: &mut (impl Write + Send),
) -> Result<Moved, BackupError> {
    // A database that was never served does not know its key yet, and may hold what it sealed.
    let tag = secrets::tag_in(&config.secrets_dir);
    let tag = tag.map_err(|error| BackupError::Store(Box::new(error)))?;
    let mut lines = write::Lines::new(BufWriter::new(to), tag);
    let dumped = match &config.database {
        Database::Sqlite(path) => rows::dump_file(path, &mut lines),
        Database::Postgres(database) => rows::dump_server(database, &mut lines),
    };
    let whole = dumped.and_then(|()| Ok(lines.end()?));
    let rows = whole.map_err(|error| of(&config.database, error))?;
    Ok(Moved { rows, lifted: None })
}

/// Fills the database, which must be empty, with what was exported. With `lift`, every account is
/// lifted above that moment, as after a restore: for when the old service went on meanwhile.
///
/// # Errors
/// [`BackupError`]; nothing of it is in the database.
pub fn import(
    config: &ServerConfig,
    from: &mut (dyn Read + Send),
    name: &Path,
    lift: Option<Timestamp>,
) -> Result<Moved, BackupError> {
    let of_file = |error| match error {
        CopyError::Damaged(what) => BackupError::Damaged {
            path: name.to_owned(),
            what,
        },
        CopyError::Io(source) => BackupError::file(name)(source),
        error => of(&config.database, error),
    };
    let mut lines = read::Lines::begin(from).map_err(of_file)?;
    fits(config, lines.tag())?;
    let lifted = match &config.database {
        Database::Sqlite(path) => fill_file(path, &mut lines, lift, of_file)?,
        Database::Postgres(database) => {
            rows::fill_server(database, &mut lines, lift).map_err(of_file)?
        }
    };
    Ok(Moved {
        rows: lines.rows(),
        lifted: lifted.map(|lifted| Restored {
            kept: None,
            accounts: lifted.accounts,
            sessions: lifted.sessions,
        }),
    })
}

fn fill_file(
    path: &Path,
    lines: &mut read::Lines<'_>,
    lift: Option<Timestamp>,
    of_file: impl Fn(CopyError) -> BackupError,
) -> Result<Option<Lifted>, BackupError> {
    let _alone = Held::alone(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => BackupError::InUse(path.to_owned()),
        _ => BackupError::file(path)(error),
    })?;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(BackupError::file(path)(error)),
        Ok(_) => {
            return Err(BackupError::Refused(format!(
                "{}: the database is not empty: there is a file already; an import makes a new one",
                path.display()
            )));
        }
    }
    let new = New::make(path)?;
    let lifted = rows::fill_file(new.path(), lines, lift).map_err(of_file)?;
    database_file::put_over(new.path(), path).map_err(BackupError::file(path))?;
    Ok(lifted)
}

/// Whether `secrets-dir` opens what is sealed in the file; it is not made here.
fn fits(config: &ServerConfig, tag: Option<Hash>) -> Result<(), BackupError> {
    let Some(tag) = tag else { return Ok(()) };
    let dir = &config.secrets_dir;
    let here = secrets::tag_in(dir).map_err(|error| BackupError::Store(Box::new(error)))?;
    let what = match here {
        Some(here) if here == tag => return Ok(()),
        Some(_) => "is that of another database",
        None => "holds no sealing key",
    };
    Err(BackupError::Refused(format!(
        "{}: {what}; copy the whole secrets-dir of the service that was exported, then import",
        dir.display()
    )))
}

fn of(database: &Database, error: CopyError) -> BackupError {
    match error {
        CopyError::Damaged(what) | CopyError::Refused(what) => {
            BackupError::Refused(format!("{database}: {what}"))
        }
        CopyError::Io(error) => BackupError::Refused(format!("the export: {error}")),
        CopyError::Store(error) => BackupError::Store(Box::new(error)),
    }
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
