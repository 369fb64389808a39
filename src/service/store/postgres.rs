//! PostgreSQL, for any number of replicas: its schema, its threads, its warnings.
//!
//! Each of `database-connections` threads has a connection and takes jobs from the one queue. A
//! change takes its account's turn (an advisory lock) before it reads anything, so that what it
//! decides by is what it changes: revisions are never given out twice, limits hold, a token is
//! spent once. What names no account takes the turn of all, and is then alone as every change on
//! SQLite is. Readings of more than one statement are as of one moment (REPEATABLE READ). Schema
//! steps are taken under a lock of their own, so that replicas may start together.

mod bell;
mod reports;
#[cfg(test)]
mod tests;

use super::db::postgres::{Fault, Kind, Session, Way};
use super::db::{Connection, OptionalExtension as _, TransactionBehavior};
use super::readers::Readers;
use super::{Begun, Committed, Job, Ran, Seen, StoreError, db};
use crate::config::Postgres;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

pub(super) use reports::write as write_reports;

/// The steps, oldest first; a step that was released is never edited. They are this engine's own:
/// the first is what SQLite's first five make.
pub(super) const STEPS: [&str; 4] = [
    include_str!("schema/postgres/0001.sql"),
    include_str!("schema/postgres/0002.sql"),
    include_str!("schema/postgres/0003.sql"),
    include_str!("schema/postgres/0004.sql"),
];

/// The oldest server that has all that the steps use.
const OLDEST: i64 = 140_000;

/// The lock of whoever takes steps.
const MIGRATION: i64 = 0x7373_686b_6579_6430;

/// The pause before a job is done again: about this long, then longer.
const PAUSE: Duration = Duration::from_millis(5);

/// How a connection is made; reads the CAs.
///
/// # Errors
/// [`StoreError::Fault`], with the file's name.
pub(super) fn way(database: &Postgres) -> Result<Arc<Way>, StoreError> {
    let way = Way::load(database).map_err(db::Error::from)?;
    Ok(Arc::new(way))
}

/// Runs something with a connection, on a thread of its own: a task's thread must not wait.
pub(super) fn apart<T: Send>(
    way: Arc<Way>,
    job: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send,
) -> Result<T, StoreError> {
    std::thread::scope(|scope| {
        let run = || {
            let session = Session::try_new(way).map_err(StoreError::Thread)?;
            job(&mut Connection::Postgres(Box::new(session)))
        };
        let thread = std::thread::Builder::new().spawn_scoped(scope, run);
        thread
            .map_err(StoreError::Thread)?
            .join()
            .map_err(|_| StoreError::Lost)?
    })
}

/// Brings the database up to date and starts its threads.
pub(super) fn begin(
    database: &Postgres,
    jobs: mpsc::Receiver<Job>,
    committed: Committed,
) -> Result<Begun, StoreError> {
    let way = way(database)?;
    let (warning, seen) = apart(way.clone(), open)?;
    if let Some(warning) = &warning {
        tracing::warn!(
            warning,
            "an answered save may be lost with the database's machine"
        );
    }
    let jobs = Arc::new(Mutex::new(jobs));
    for number in 0..database.connections {
        let (way, jobs) = (way.clone(), jobs.clone());
        std::thread::Builder::new()
            .name(format!("store-{number}"))
            .spawn(move || match Session::try_new(way) {
                Ok(session) => run(Connection::Postgres(Box::new(session)), &jobs),
                Err(error) => tracing::error!(%error, "a thread of the database's"),
            })
            .map_err(StoreError::Thread)?;
    }
    let committed = bell::begin(way, committed).map_err(StoreError::Thread)?;
    Ok(Begun {
        committed,
        readers: Readers::none(),
        warning,
        seen,
    })
}

/// Takes the steps, and gives what is to be said of the database, and what it last heard.
fn open(db: &mut Connection) -> Result<(Option<String>, Vec<Seen>), StoreError> {
    migrate(db, &STEPS)?;
    Ok((warning(db)?, super::reports::all_seen(db)?))
}

/// One job after another until the last handle is gone.
fn run(mut db: Connection, jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // Nothing that panics is done under this lock.
        let next = jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv();
        let Some(mut job) = next else {
            return;
        };
        let mut pause = PAUSE;
        // A job that panics rolls back by drop and loses its own answer, not the thread.
        while let Ran::Again =
            catch_unwind(AssertUnwindSafe(|| job(&mut db))).unwrap_or_else(|_| {
                tracing::error!("a database job panicked");
                Ran::Done
            })
        {
            if let Some(session) = db.postgres() {
                session.pause(pause.mul_f64(rand::random_range(0.5..1.5)));
            }
            pause *= 2;
        }
    }
}

/// Takes the steps that this database has not had; replicas that start together wait for each
/// other.
fn migrate(db: &mut Connection, steps: &[&str]) -> Result<(), StoreError> {
    let version: i64 = db.query_row(
        "SELECT CAST(current_setting('server_version_num') AS BIGINT)",
        [],
        |row| row.get(0),
    )?;
    if version < OLDEST {
        let what = format!(
            "PostgreSQL {} is too old; run 14 or later",
            version / 10_000
        );
        return Err(db::Error::from(Fault::new(Kind::Other, what)).into());
    }
    if let Some(session) = db.postgres() {
        session.be_patient();
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Loose)?;
    tx.execute_batch(&format!(
        "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = '10min';
         SET LOCAL synchronous_commit = on; SELECT pg_advisory_xact_lock({MIGRATION});
         CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)"
    ))?;
    let had: Option<i64> = tx
        .query_row("SELECT version FROM schema_version", [], |row| row.get(0))
        .optional()?;
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    let had = match had {
        Some(had) if had > known || had < 0 => return Err(StoreError::Newer(had)),
        Some(had) => had,
        None => {
            tx.execute_batch("INSERT INTO schema_version VALUES (0)")?;
            0
        }
    };
    for step in steps.iter().skip(usize::try_from(had).unwrap_or(0)) {
        tx.execute_batch(step)?;
    }
    tx.execute("UPDATE schema_version SET version = ?1", [known])?;
    Ok(tx.commit()?)
}

/// Takes the steps that this database has not had.
pub(super) fn bring_up_to_date(db: &mut Connection) -> Result<(), StoreError> {
    migrate(db, &STEPS)
}

/// Tables whose numbers the server gives out, and by which column.
pub(super) fn numbered(tx: &Connection) -> db::Result<Vec<(String, String)>> {
    tx.prepare(
        "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns
         WHERE table_schema = current_schema() AND is_identity = 'YES' ORDER BY 1",
    )?
    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}

/// Has every table's numbers go on far ahead: which were given out after the copy was made nobody
/// can say. What others knew of changes is of another time.
pub(super) fn number_ahead(tx: &Connection, by: i64) -> Result<(), StoreError> {
    for (table, column) in numbered(tx)? {
        let sequence = format!("pg_get_serial_sequence('{table}', '{column}')");
        tx.query_row(
            &format!("SELECT setval({sequence}, nextval({sequence}) + ?1)"),
            [by],
            |_| Ok(()),
        )?;
    }
    Ok(tx.execute("DELETE FROM changes", []).map(drop)?)
}

/// What whoever runs the service should know: settings by which a save that was answered may be
/// lost.
fn warning(db: &Connection) -> Result<Option<String>, StoreError> {
    let Some(session) = db.postgres() else {
        return Ok(None);
    };
    let is_off = |setting: &str| -> Result<bool, StoreError> {
        Ok(session.show(setting).map_err(db::Error::from)? == "off")
    };
    let mut off = Vec::new();
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        if is_off(setting)? {
            off.push(format!("{setting} is off"));
        }
    }
    Ok((!off.is_empty()).then(|| format!("PostgreSQL: {}", off.join(", "))))
}
