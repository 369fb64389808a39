//! Two database engines behind one face: SQLite in the process, PostgreSQL for many replicas.
//!
//! The face has the shape of rusqlite's, and the SQL of the store is written once, in what both
//! engines take: `?1` for parameters, `RETURNING`, `IS NOT DISTINCT FROM`, times and flags as
//! BIGINT. A transaction that changes something says whose turn it takes ([`Turn`]): SQLite has one
//! writer, PostgreSQL one an account. Refuses to know what is stored: files, schema steps and
//! notices of an engine stand in that engine's own module.

pub(super) mod postgres;
mod row;
mod sqlite;

pub(in crate::service) use row::Row;

use std::ops::Deref;

/// What an engine says, or a row that is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub(in crate::service) enum Error {
    /// There is no row where one was wanted; see [`OptionalExtension`].
    #[error("no such row")]
    NoRow,
    /// A number that is none of ours.
    #[error("{0} is out of range")]
    Range(i64),
    /// A column that is missing, or of another kind.
    #[error("column {0} is not what was asked for")]
    Column(String),
    /// SQLite's word.
    #[error(transparent)]
    Sqlite(rusqlite::Error),
    /// PostgreSQL's word.
    #[error(transparent)]
    Postgres(#[from] postgres::Fault),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::QueryReturnedNoRows => Self::NoRow,
            error => Self::Sqlite(error),
        }
    }
}

/// What comes of a statement.
pub(in crate::service) type Result<T, E = Error> = std::result::Result<T, E>;

/// One value of a row, or one parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Value<'a> {
    /// NULL.
    Null,
    /// A number; flags are 0 and 1.
    Integer(i64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

/// What can stand as a parameter.
pub(in crate::service) trait ToSql {
    /// As a value.
    fn value(&self) -> Value<'_>;
}

/// What a column can be read as.
pub(in crate::service) trait FromSql: Sized {
    /// Out of a value; `None`: it is of another kind.
    fn of(value: Value<'_>) -> Option<Self>;
}

/// The parameters of a statement.
pub(in crate::service) trait Params {
    /// As values, `?1` first.
    fn values(&self) -> Vec<Value<'_>>;
}

impl Params for &[&dyn ToSql] {
    fn values(&self) -> Vec<Value<'_>> {
        self.iter().map(|one| one.value()).collect()
    }
}

impl Params for [&dyn ToSql; 0] {
    fn values(&self) -> Vec<Value<'_>> {
        Vec::new()
    }
}

macro_rules! arrays {
    ($($len:literal)*) => {$(
        impl<T: ToSql> Params for [T; $len] {
            fn values(&self) -> Vec<Value<'_>> {
                self.iter().map(ToSql::value).collect()
            }
        }
    )*};
}
arrays!(1 2 3 4);

/// Parameters of different kinds, `?1` first.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &dyn $crate::service::store::db::ToSql),*][..]
    };
}
pub(super) use params;

/// A connection to either engine.
pub(in crate::service) enum Connection {
    /// To a file.
    Sqlite(rusqlite::Connection),
    /// To a server; made anew by itself when it is lost.
    Postgres(Box<postgres::Session>),
}

/// Whose data a transaction changes: on PostgreSQL, the lock that it takes first (`postgres`). On
/// SQLite each is the whole database's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum TransactionBehavior {
    /// Anyone's: no other change is under way meanwhile.
    Immediate,
    /// This account's: no other change of it is under way meanwhile.
    Account(i64),
    /// That of this instance's account.
    Instance(i64),
    /// Nobody's: each statement stands for itself, and a power cut may take it all back.
    Loose,
}

impl Connection {
    /// Has a statement ready; kept ready for the next time.
    pub(in crate::service) fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>> {
        match self {
            Self::Sqlite(db) => Ok(Statement::Sqlite(db.prepare_cached(sql)?)),
            Self::Postgres(db) => Ok(Statement::Postgres(db, sql.to_owned())),
        }
    }

    /// Has a statement ready, once on SQLite.
    pub(in crate::service) fn prepare(&self, sql: &str) -> Result<Statement<'_>> {
        match self {
            Self::Sqlite(db) => Ok(Statement::Once(db.prepare(sql)?)),
            Self::Postgres(_) => self.prepare_cached(sql),
        }
    }

    /// The first row of what is asked for.
    pub(in crate::service) fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.prepare(sql)?.query_row(params, read)
    }

    /// Does it; gives how many rows it changed.
    pub(in crate::service) fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.prepare(sql)?.execute(params)
    }

    /// Does several things, without parameters.
    pub(in crate::service) fn execute_batch(&self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(db) => Ok(db.execute_batch(sql)?),
            Self::Postgres(db) => Ok(db.batch(sql)?),
        }
    }

    /// How many rows the last statement changed.
    pub(in crate::service) fn changes(&self) -> u64 {
        match self {
            Self::Sqlite(db) => db.changes(),
            Self::Postgres(db) => db.changes(),
        }
    }

    /// Begins to read, all as of one moment. Nothing may be changed in it.
    pub(in crate::service) fn transaction(&mut self) -> Result<Transaction<'_>> {
        match self {
            Self::Sqlite(db) => db.execute_batch("BEGIN DEFERRED")?,
            Self::Postgres(db) => db.begin_reading()?,
        }
        Ok(Transaction { db: self })
    }

    /// Begins a change. What is dropped before it is committed has changed nothing.
    pub(in crate::service) fn transaction_with_behavior(
        &mut self,
        turn: TransactionBehavior,
    ) -> Result<Transaction<'_>> {
        match self {
            Self::Sqlite(db) => db.execute_batch("BEGIN IMMEDIATE")?,
            Self::Postgres(db) => db.begin(turn)?,
        }
        Ok(Transaction { db: self })
    }

    /// SQLite's own connection, for what only that engine has.
    pub(in crate::service) fn sqlite(&self) -> Option<&rusqlite::Connection> {
        match self {
            Self::Sqlite(db) => Some(db),
            Self::Postgres(_) => None,
        }
    }

    /// PostgreSQL's own.
    pub(in crate::service) fn postgres(&self) -> Option<&postgres::Session> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(db) => Some(db),
        }
    }
}

impl From<rusqlite::Connection> for Connection {
    fn from(db: rusqlite::Connection) -> Self {
        Self::Sqlite(db)
    }
}

/// Things done together; not committed, they are undone when it is dropped.
pub(in crate::service) struct Transaction<'a> {
    db: &'a Connection,
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.db
    }
}

impl Transaction<'_> {
    /// Keeps what was done; durable when this returns.
    ///
    /// # Errors
    /// On SQLite nothing was done; on PostgreSQL see [`postgres::Fault::is_unknown`].
    pub(in crate::service) fn commit(self) -> Result<()> {
        match self.db {
            Connection::Sqlite(db) => Ok(db.execute_batch("COMMIT")?),
            Connection::Postgres(db) => Ok(db.commit()?),
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        match self.db {
            Connection::Sqlite(db) if !db.is_autocommit() => {
                // What cannot be rolled back SQLite has rolled back by itself.
                let _ = db.execute_batch("ROLLBACK");
            }
            Connection::Sqlite(_) => {}
            Connection::Postgres(db) => db.roll_back(),
        }
    }
}

/// A statement that is ready.
pub(in crate::service) enum Statement<'c> {
    /// Kept.
    Sqlite(rusqlite::CachedStatement<'c>),
    /// Not kept.
    Once(rusqlite::Statement<'c>),
    /// Made ready by the session, and kept there, at its first use.
    Postgres(&'c postgres::Session, String),
}

impl Statement<'_> {
    /// Does it; gives how many rows it changed.
    pub(in crate::service) fn execute(&mut self, params: impl Params) -> Result<usize> {
        let values = params.values();
        match self {
            Self::Sqlite(statement) => Ok(statement.execute(sqlite::bound(&values))?),
            Self::Once(statement) => Ok(statement.execute(sqlite::bound(&values))?),
            Self::Postgres(db, sql) => Ok(db.execute(sql, &values)?),
        }
    }

    /// Asks; gives the rows one by one.
    pub(in crate::service) fn query(&mut self, params: impl Params) -> Result<Rows<'_>> {
        let values = params.values();
        Ok(match self {
            Self::Sqlite(statement) => Rows::Sqlite(statement.query(sqlite::bound(&values))?),
            Self::Once(statement) => Rows::Sqlite(statement.query(sqlite::bound(&values))?),
            Self::Postgres(db, sql) => Rows::Postgres(db.query(sql, &values)?.into_iter(), None),
        })
    }

    /// The first row.
    pub(in crate::service) fn query_row<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut rows = self.query(params)?;
        let row = rows.next()?.ok_or(Error::NoRow)?;
        read(&row)
    }

    /// All rows, each as `read` reads it.
    pub(in crate::service) fn query_map<T, F: FnMut(&Row<'_>) -> Result<T>>(
        &mut self,
        params: impl Params,
        read: F,
    ) -> Result<MappedRows<'_, F>> {
        let rows = self.query(params)?;
        Ok(MappedRows { rows, read })
    }

    /// Whether there is a row.
    pub(in crate::service) fn exists(&mut self, params: impl Params) -> Result<bool> {
        Ok(self.query(params)?.next()?.is_some())
    }
}

/// Rows on their way.
pub(in crate::service) enum Rows<'s> {
    /// Read as they are asked for.
    Sqlite(rusqlite::Rows<'s>),
    /// All there; the second is the one that was given last.
    Postgres(
        std::vec::IntoIter<tokio_postgres::Row>,
        Option<tokio_postgres::Row>,
    ),
}

impl Rows<'_> {
    /// The next one.
    pub(in crate::service) fn next(&mut self) -> Result<Option<Row<'_>>> {
        match self {
            Self::Sqlite(rows) => Ok(rows.next()?.map(Row::Sqlite)),
            Self::Postgres(rows, given) => {
                *given = rows.next();
                Ok(given.as_ref().map(Row::Postgres))
            }
        }
    }
}

/// Rows, read.
pub(in crate::service) struct MappedRows<'s, F> {
    rows: Rows<'s>,
    read: F,
}

impl<T, F: FnMut(&Row<'_>) -> Result<T>> Iterator for MappedRows<'_, F> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match self.rows.next() {
            Ok(row) => Some((self.read)(&row?)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// What is not there is `None`.
pub(in crate::service) trait OptionalExtension<T> {
    /// The row; `None` where there is none.
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(row) => Ok(Some(row)),
            Err(Error::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

mod values;
