//! One row, of either engine, and how a column of it is named.

use super::{Error, FromSql, Result, Value, sqlite};

/// One row.
pub(in crate::service) enum Row<'a> {
    /// SQLite's.
    Sqlite(&'a rusqlite::Row<'a>),
    /// PostgreSQL's.
    Postgres(&'a tokio_postgres::Row),
}

/// How a column is named: by its name, or by its place from 0 on.
pub(in crate::service) trait Column: Copy {
    /// In a row of SQLite's.
    fn of_sqlite<'a>(self, row: &'a rusqlite::Row<'_>) -> Option<Value<'a>>;
    /// In a row of PostgreSQL's.
    fn of_postgres(self, row: &tokio_postgres::Row) -> Option<Value<'_>>;
    /// For a person.
    fn shown(self) -> String;
}

impl Column for &str {
    fn of_sqlite<'a>(self, row: &'a rusqlite::Row<'_>) -> Option<Value<'a>> {
        sqlite::value(row.get_ref(self).ok()?)
    }

    fn of_postgres(self, row: &tokio_postgres::Row) -> Option<Value<'_>> {
        row.try_get(self).ok()
    }

    fn shown(self) -> String {
        self.to_owned()
    }
}

impl Column for usize {
    fn of_sqlite<'a>(self, row: &'a rusqlite::Row<'_>) -> Option<Value<'a>> {
        sqlite::value(row.get_ref(self).ok()?)
    }

    fn of_postgres(self, row: &tokio_postgres::Row) -> Option<Value<'_>> {
        row.try_get(self).ok()
    }

    fn shown(self) -> String {
        self.to_string()
    }
}

impl Row<'_> {
    /// A column's value.
    ///
    /// # Errors
    /// [`Error::Column`]: there is none of that name, or it is of another kind.
    pub(in crate::service) fn get<C: Column, T: FromSql>(&self, column: C) -> Result<T> {
        let value = match self {
            Self::Sqlite(row) => column.of_sqlite(row),
            Self::Postgres(row) => column.of_postgres(row),
        };
        value
            .and_then(T::of)
            .ok_or_else(|| Error::Column(column.shown()))
    }
}
