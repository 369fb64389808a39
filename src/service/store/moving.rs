//! All rows of a database, one by one, in a form that is no engine's: out of one, into another.
//!
//! Owns which tables there are and in which order they can be filled; asks each engine for their
//! columns, so that a table or a column that only one side has is a refusal and never a loss.
//! Refuses to know files: rows come and go one at a time, and a dump is as of one moment.

mod catalogue;

use super::copies::{self, AHEAD, CopyError, Lifted};
use super::db::{self, Connection, FromSql, ToSql, Transaction, TransactionBehavior, Value};
use super::{Hash, StoreError, postgres, sqlite};
use crate::config::Postgres;
use catalogue::{last_number, list, number_from, numbered, tables};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::Path;

/// It has a row from its first step on.
const NEVER_EMPTY: &str = "strangers";

/// Rows that are asked of a server at a time.
const AT_A_TIME: usize = 100;

/// A table and its columns, by name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::service) struct Table {
    /// Its name.
    pub(in crate::service) name: String,
    /// In the order of a row's cells.
    pub(in crate::service) columns: Vec<String>,
}

/// What a column holds, its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) enum Cell {
    /// NULL.
    Null,
    /// A number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl FromSql for Cell {
    fn of(value: Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Integer(number) => Self::Integer(number),
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Blob(bytes) => Self::Blob(bytes.to_vec()),
        })
    }
}

impl ToSql for Cell {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Integer(number) => Value::Integer(*number),
            Self::Text(text) => Value::Text(text),
            Self::Blob(bytes) => Value::Blob(bytes),
        }
    }
}

/// The steps that each engine's schema has had; a dump goes into the like of its own only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::service) struct Steps {
    /// SQLite's.
    pub(in crate::service) sqlite: usize,
    /// PostgreSQL's.
    pub(in crate::service) postgres: usize,
}

impl Steps {
    /// Those of this program.
    pub(in crate::service) const OURS: Self = Self {
        sqlite: sqlite::STEPS.len(),
        postgres: postgres::STEPS.len(),
    };
}

/// What stands before the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct Head {
    /// In the order in which they can be filled.
    pub(in crate::service) tables: Vec<Table>,
    /// The last number that each table has given out.
    pub(in crate::service) numbers: BTreeMap<String, i64>,
    /// What the database knows its sealing key by; `None`: nothing was ever sealed.
    pub(in crate::service) tag: Option<Hash>,
}

/// Where rows go.
pub(in crate::service) trait Sink: Send {
    /// Once, before all rows.
    fn head(&mut self, head: &Head) -> Result<(), CopyError>;
    /// One row of this table.
    fn row(&mut self, table: &Table, cells: &[Cell]) -> Result<(), CopyError>;
}

/// Where rows come from.
pub(in crate::service) trait Origin: Send {
    /// Tables and numbers that it holds.
    fn head(&self) -> &Head;
    /// The next row, with its table's place in the head; `None`: that was all, and it was whole.
    fn next(&mut self) -> Result<Option<(usize, Vec<Cell>)>, CopyError>;
}

/// Gives all that SQLite's file holds; the service may run.
pub(in crate::service) fn dump_file(path: &Path, to: &mut dyn Sink) -> Result<(), CopyError> {
    let db = copies::read_only(path)?;
    copies::look_over(&db)?;
    let had: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    is_current(had, Steps::OURS.sqlite)?;
    dump(&mut Connection::from(db), to)
}

/// The same of a database on a server.
pub(in crate::service) fn dump_server(
    database: &Postgres,
    to: &mut dyn Sink,
) -> Result<(), CopyError> {
    on_server(database, |db| {
        let there = "SELECT count(*) FROM information_schema.tables
                     WHERE table_schema = current_schema() AND table_name = 'schema_version'";
        let had = match db.query_row(there, [], |row| row.get::<_, i64>(0))? {
            0 => 0,
            _ => db.query_row("SELECT version FROM schema_version", [], |row| row.get(0))?,
        };
        is_current(had, Steps::OURS.postgres)?;
        dump(db, to)
    })
}

/// Makes an empty file the database that an origin holds. Gives what `lift` lifted.
pub(in crate::service) fn fill_file(
    path: &Path,
    from: &mut dyn Origin,
    lift: Option<Timestamp>,
) -> Result<Option<Lifted>, CopyError> {
    let mut db = Connection::from(sqlite::open(path)?);
    let lifted = fill(&mut db, from, lift)?;
    let Connection::Sqlite(db) = db else {
        return Err(StoreError::Lost.into());
    };
    // One file, so that it can be put into its place whole.
    db.pragma_update(None, "journal_mode", "DELETE")?;
    copies::whole(&db)?;
    Ok(lifted)
}

/// The same of an empty database on a server, which gets its tables first.
pub(in crate::service) fn fill_server(
    database: &Postgres,
    from: &mut dyn Origin,
    lift: Option<Timestamp>,
) -> Result<Option<Lifted>, CopyError> {
    on_server(database, |db| {
        postgres::bring_up_to_date(db)?;
        fill(db, from, lift)
    })
}

/// Runs it on a thread of its own; what it says is a copy's, not the store's alone.
fn on_server<T: Send>(
    database: &Postgres,
    job: impl FnOnce(&mut Connection) -> Result<T, CopyError> + Send,
) -> Result<T, CopyError> {
    postgres::apart(postgres::way(database)?, |db| Ok(job(db)))?
}

fn is_current(had: i64, ours: usize) -> Result<(), CopyError> {
    if usize::try_from(had).is_ok_and(|had| had < ours) {
        return Err(CopyError::Refused(
            "the database is of an older sshkeyd; start this version's service on it once, which \
             brings it up to date, then export"
                .to_owned(),
        ));
    }
    match usize::try_from(had).is_ok_and(|had| had == ours) {
        true => Ok(()),
        false => Err(StoreError::Newer(had).into()),
    }
}

fn dump(db: &mut Connection, to: &mut dyn Sink) -> Result<(), CopyError> {
    let tx = db.transaction()?;
    if tx.postgres().is_some() {
        // Whoever reads the other end of a pipe may take his time.
        tx.execute_batch("SET LOCAL idle_in_transaction_session_timeout = 0")?;
    }
    let tables = tables(&tx)?;
    // The moment of all that follows is that of the first row that is read.
    let mut numbers = BTreeMap::new();
    for (table, column) in numbered(&tx)? {
        numbers.insert(table.clone(), last_number(&tx, &table, &column)?);
    }
    let tag = match tx.query_row("SELECT tag FROM sealing", [], |row| row.get::<_, Hash>(0)) {
        Ok(tag) => Some(tag),
        Err(db::Error::NoRow) => None,
        Err(error) => return Err(error.into()),
    };
    let head = Head {
        tables,
        numbers,
        tag,
    };
    to.head(&head)?;
    for table in &head.tables {
        each_row(&tx, table, |cells| to.row(table, cells))?;
    }
    Ok(())
}

/// Reads a table without ever having all of it.
fn each_row(
    tx: &Transaction<'_>,
    table: &Table,
    mut give: impl FnMut(&[Cell]) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let name = &table.name;
    let select = format!("SELECT {} FROM {name}", list(&table.columns));
    let mut pass = |sql: &str| -> Result<usize, CopyError> {
        let mut statement = tx.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let cells = (0..table.columns.len()).map(|at| row.get(at));
            give(&cells.collect::<db::Result<Vec<Cell>>>()?)?;
            count += 1;
        }
        Ok(count)
    };
    if tx.sqlite().is_some() {
        return pass(&select).map(drop);
    }
    // A cursor a table: its statement is kept ready, and so are its columns.
    tx.execute_batch(&format!("DECLARE all_{name} NO SCROLL CURSOR FOR {select}"))?;
    while pass(&format!("FETCH {AT_A_TIME} FROM all_{name}"))? == AT_A_TIME {}
    Ok(tx.execute_batch(&format!("CLOSE all_{name}"))?)
}

fn fill(
    db: &mut Connection,
    from: &mut dyn Origin,
    lift: Option<Timestamp>,
) -> Result<Option<Lifted>, CopyError> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if tx.postgres().is_some() {
        tx.execute_batch("SET LOCAL idle_in_transaction_session_timeout = 0")?;
    }
    let tables = tables(&tx)?;
    let given = &from.head().tables;
    if *given != tables {
        let differ = given.iter().chain(&tables);
        let differ = differ.filter(|table| !given.contains(table) || !tables.contains(table));
        let mut names: Vec<_> = differ.map(|table| table.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let what = format!("tables of another shape than here: {}", names.join(", "));
        return Err(CopyError::Damaged(what));
    }
    for table in tables.iter().filter(|table| table.name != NEVER_EMPTY) {
        let any = format!("SELECT 1 FROM {} LIMIT 1", table.name);
        if tx.prepare(&any)?.exists([])? {
            return Err(CopyError::Refused(format!(
                "the database is not empty: there are rows in {}; an import wants one that nobody \
                 has used",
                table.name
            )));
        }
    }
    tx.execute(&format!("DELETE FROM {NEVER_EMPTY}"), [])?;
    let counts = take_rows(&tx, &tables, from)?;
    for (table, wanted) in tables.iter().zip(counts) {
        let count = format!("SELECT count(*) FROM {}", table.name);
        let found: i64 = tx.query_row(&count, [], |row| row.get(0))?;
        if found != wanted {
            let what = format!("{wanted} rows of {} became {found}", table.name);
            return Err(CopyError::Damaged(what));
        }
    }
    for (table, column) in numbered(&tx)? {
        let last = from.head().numbers.get(&table).copied().unwrap_or(0);
        number_from(&tx, &table, &column, last)?;
    }
    let lifted = lift.map(|now| lift_here(&tx, now)).transpose()?;
    tx.commit()?;
    Ok(lifted)
}

/// Puts the rows in; gives how many each table got.
fn take_rows(
    tx: &Transaction<'_>,
    tables: &[Table],
    from: &mut dyn Origin,
) -> Result<Vec<i64>, CopyError> {
    let inserts: Vec<String> = tables.iter().map(insert).collect();
    let mut counts = vec![0i64; tables.len()];
    while let Some((at, cells)) = from.next()? {
        let (Some(sql), Some(count)) = (inserts.get(at), counts.get_mut(at)) else {
            return Err(CopyError::Damaged("a row of no table".to_owned()));
        };
        let values: Vec<&dyn ToSql> = cells.iter().map(|cell| cell as &dyn ToSql).collect();
        let done = tx
            .prepare_cached(sql)
            .and_then(|mut ready| ready.execute(&values[..]));
        done.map_err(|error| misfit(error, tables.get(at)))?;
        *count += 1;
    }
    Ok(counts)
}

fn insert(table: &Table) -> String {
    let places: Vec<String> = (1..=table.columns.len()).map(|n| format!("?{n}")).collect();
    let (columns, places) = (list(&table.columns), places.join(", "));
    format!("INSERT INTO {} ({columns}) VALUES ({places})", table.name)
}

/// A row that the engine does not take is the file's fault; a server that went away is not.
fn misfit(error: db::Error, table: Option<&Table>) -> CopyError {
    let text = error.to_string();
    match StoreError::from(error) {
        StoreError::Fault(_) => {
            let name = table.map_or("?", |table| table.name.as_str());
            CopyError::Damaged(format!("a row of {name} that does not fit: {text}"))
        }
        other => other.into(),
    }
}

fn lift_here(tx: &Transaction<'_>, now: Timestamp) -> Result<Lifted, CopyError> {
    match tx.sqlite() {
        Some(file) => copies::number(file, None)?,
        None => postgres::number_ahead(tx, AHEAD)?,
    }
    Ok(copies::lift_all(tx, None, now)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_moved_and_stands_after_those_that_its_rows_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut db = Connection::from(sqlite::open(&dir.path().join("a.db")).unwrap());
        let tx = db.transaction().unwrap();
        let order: Vec<String> = tables(&tx).unwrap().into_iter().map(|t| t.name).collect();
        assert!(order.len() > 20 && !order.contains(&"sqlite_sequence".to_owned()));
        let place = |name: &str| order.iter().position(|one| one == name).unwrap();
        let file = tx.sqlite().unwrap();
        for table in &order {
            let mut keys = file
                .prepare(&format!("PRAGMA foreign_key_list({table})"))
                .unwrap();
            let named = keys
                .query_map([], |row| row.get::<_, String>("table"))
                .unwrap();
            for named in named {
                let named = named.unwrap();
                assert!(place(&named) < place(table), "{table} before {named}");
            }
        }
    }
}
