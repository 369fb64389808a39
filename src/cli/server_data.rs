//! `sshkeyd server backup`, `restore`, `export`, `import` and `rotate-signer`: what is done to the
//! service's data.
//!
//! Owns the words; the service folder does the work. What is not in a copy is said each time.

use super::exit::{Exit, Failed};
use super::output::Output;
use crate::config::ServerConfig;
use crate::service::{self, BackupError};
use crate::sys::clock;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Copies the database into the file.
pub(super) fn backup(config: &ServerConfig, file: &Path, out: &mut Output) -> anyhow::Result<Exit> {
    service::backup(config, file).map_err(failed)?;
    out.line(&format!(
        "{}: a copy of {}",
        file.display(),
        config.database
    ));
    let secrets = config.secrets_dir.display();
    out.note(&format!(
        "{secrets} is NOT in it: keep a copy of that directory, too, apart from this one. Without it \
         agents hold what they have and take nothing from a restored service"
    ));
    Ok(Exit::Done)
}

/// Makes the file the database.
pub(super) fn restore(
    config: &ServerConfig,
    file: &Path,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let restored = service::restore(config, file, clock::now()).map_err(failed)?;
    let database = &config.database;
    let (accounts, sessions) = (restored.accounts, restored.sessions);
    out.line(&format!(
        "{database}: {accounts} accounts, each above every revision before"
    ));
    if let Some(kept) = restored.kept {
        out.line(&format!(
            "the database that was there is now {}",
            kept.display()
        ));
    }
    out.note(&format!(
        "keys that were deleted after the copy was made are back, and those saved after it are gone: \
         look at `sshkeyd audit` of the old database; {sessions} sessions of people were ended"
    ));
    Ok(Exit::Done)
}

/// Lifts what the database's own tools brought back.
pub(super) fn lift(config: &ServerConfig, out: &mut Output) -> anyhow::Result<Exit> {
    let lifted = service::lift(config, clock::now()).map_err(failed)?;
    let (database, accounts) = (&config.database, lifted.accounts);
    out.line(&format!(
        "{database}: {accounts} accounts, each above every revision before"
    ));
    out.note(&format!(
        "keys that were deleted after the copy was made are back, and those saved after it are gone; \
         {} sessions of people were ended",
        lifted.sessions
    ));
    Ok(Exit::Done)
}

/// Writes all that the database holds into the file, or to stdout.
pub(super) fn export(config: &ServerConfig, file: &Path, out: &mut Output) -> anyhow::Result<Exit> {
    let secrets = config.secrets_dir.display();
    let moved = if file == Path::new("-") {
        let moved = service::export_to(config, &mut Raw(out)).map_err(failed)?;
        if out.is_lost() {
            return Err(Failed::new(Exit::NotDone, "stdout: not all of it was read").into());
        }
        moved
    } else {
        service::export(config, file).map_err(failed)?
    };
    out.note(&format!(
        "{}: {} rows of {}",
        file.display(),
        moved.rows,
        config.database
    ));
    out.note(&format!(
        "{secrets} is NOT in it, and what is sealed opens with it alone: copy that directory, too, \
         before the import"
    ));
    Ok(Exit::Done)
}

/// Fills an empty database with what was exported, from a file or stdin.
pub(super) fn import(
    config: &ServerConfig,
    file: &Path,
    lift: bool,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let mut from: Box<dyn Read + Send> = match file == Path::new("-") {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(file).map_err(|error| {
            Failed::new(Exit::Unavailable, format!("{}: {error}", file.display()))
        })?),
    };
    let now = lift.then(clock::now);
    let moved = service::import(config, &mut *from, file, now).map_err(failed)?;
    let database = &config.database;
    out.line(&format!("{database}: {} rows", moved.rows));
    match moved.lifted {
        Some(lifted) => out.note(&format!(
            "{} accounts are above every revision before, and {} sessions of people were ended",
            lifted.accounts, lifted.sessions
        )),
        None => out.note(
            "revisions go on where they were: that is right only if the old service has not run since \
             the export; had it, import again with --lift into an empty database",
        ),
    }
    Ok(Exit::Done)
}

/// Stdout, as what is written to.
struct Raw<'a>(&'a mut Output);

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.raw(bytes);
        match self.0.is_lost() {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes a new snapshot signer, which waits for the service to take it in.
pub(super) fn rotate_signer(
    config: &ServerConfig,
    compromised: bool,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let rotated = service::rotate_signer(config, compromised).map_err(super::server::failed)?;
    out.line(&format!("{} follows {}", rotated.new, rotated.old));
    out.note(
        "reload the service to have it in force (systemctl reload sshkeyd-server, or HUP), and keep a \
         new copy of secrets-dir",
    );
    if compromised {
        out.note(
            "from then on agents keep the keys that they have and take no list (signer-unknown), until \
             each has a new token: sshkeyd instances create",
        );
    }
    Ok(Exit::Done)
}

fn failed(error: BackupError) -> Failed {
    let exit = match &error {
        BackupError::InUse(_)
        | BackupError::Itself(_)
        | BackupError::Server(_)
        | BackupError::Refused(_)
        | BackupError::Damaged { .. } => Exit::NotDone,
        _ => Exit::Unavailable,
    };
    Failed::new(exit, error)
}
