//! What an engine says of its own tables: which there are, their columns, the numbers given out.

use super::super::copies::CopyError;
use super::super::db::{self, Transaction};
use super::super::postgres;
use super::Table;
use rusqlite::OptionalExtension as _;
use std::collections::BTreeMap;

/// Tables that rows of others name, before those; the rest follows by name.
const FIRST: [&str; 7] = [
    "accounts",
    "instances",
    "ssh_keys",
    "api_keys",
    "orders",
    "cas",
    "certificates",
];

/// What an engine keeps for itself: which steps it has had, what it has numbered, and what replicas
/// have heard of changes.
const OF_ENGINES: [&str; 3] = ["schema_version", "changes", "guesses"];

/// Columns, as a statement names them.
pub(super) fn list(columns: &[String]) -> String {
    let quoted: Vec<String> = columns.iter().map(|name| format!("\"{name}\"")).collect();
    quoted.join(", ")
}

/// All tables but the engine's own.
pub(super) fn tables(tx: &Transaction<'_>) -> Result<Vec<Table>, CopyError> {
    let sql = match tx.sqlite() {
        Some(_) => {
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
             WHERE t.type = 'table'"
        }
        None => {
            "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT)
             FROM information_schema.columns WHERE table_schema = current_schema()"
        }
    };
    let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut statement = tx.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (table, column): (String, String) = (row.get(0)?, row.get(1)?);
        columns.entry(table).or_default().push(column);
    }
    columns.retain(|name, _| !name.starts_with("sqlite_") && !OF_ENGINES.contains(&name.as_str()));
    columns.values_mut().for_each(|columns| columns.sort());
    let mut tables: Vec<Table> = columns
        .into_iter()
        .map(|(name, columns)| Table { name, columns })
        .collect();
    // Stable: the others stay by name.
    tables.sort_by_key(|table| {
        let place = FIRST.iter().position(|first| *first == table.name);
        place.unwrap_or(FIRST.len())
    });
    Ok(tables)
}

/// Tables whose numbers are given out by the engine, and by which column.
pub(super) fn numbered(tx: &Transaction<'_>) -> Result<Vec<(String, String)>, CopyError> {
    if tx.postgres().is_some() {
        return Ok(postgres::numbered(tx)?);
    }
    let sql = "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
               WHERE t.type = 'table' AND t.sql LIKE '%AUTOINCREMENT%' AND c.pk = 1 ORDER BY 1";
    let mut statement = tx.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<db::Result<_>>()?)
}

/// The last number that was given out; never less.
pub(super) fn last_number(
    tx: &Transaction<'_>,
    table: &str,
    column: &str,
) -> Result<i64, CopyError> {
    let Some(file) = tx.sqlite() else {
        let sql = format!(
            "SELECT coalesce(pg_sequence_last_value(CAST(
                 pg_get_serial_sequence('{table}', '{column}') AS regclass)), 0)"
        );
        return Ok(tx.query_row(&sql, [], |row| row.get(0))?);
    };
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
    let last = file.query_row(sql, [table], |row| row.get(0)).optional()?;
    Ok(last.unwrap_or(0))
}

/// Numbers go on above `last`, and above each that is there.
pub(super) fn number_from(
    tx: &Transaction<'_>,
    table: &str,
    column: &str,
    last: i64,
) -> Result<(), CopyError> {
    let there = format!("SELECT coalesce(max({column}), 0) FROM {table}");
    let there: i64 = tx.query_row(&there, [], |row| row.get(0))?;
    let last = last.max(there);
    let Some(file) = tx.sqlite() else {
        if last > 0 {
            let sequence = format!("pg_get_serial_sequence('{table}', '{column}')");
            tx.query_row(
                &format!("SELECT setval({sequence}, ?1)"),
                [last],
                |_| Ok(()),
            )?;
        }
        return Ok(());
    };
    file.execute("DELETE FROM sqlite_sequence WHERE name = ?1", [table])?;
    if last > 0 {
        let insert = "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)";
        file.execute(insert, rusqlite::params![table, last])?;
    }
    Ok(())
}
