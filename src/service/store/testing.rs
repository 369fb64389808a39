//! Databases for tests: of SQLite in a test's own directory; of PostgreSQL where
//! `SSHKEYD_TEST_POSTGRES` names the directory of a server's socket, one database a test.
//!
//! `tests/run` has every test of the service done on both.

use super::db::{Connection, Result, params};
use super::{Hash, StoreError, postgres, sqlite};
use crate::config::{Database, Postgres};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Databases that were made, and the directories of the tests that use them.
static MADE: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());

/// The database of this directory, made if there is none yet. Where a test has put SQLite's file
/// there itself it is that.
pub(in crate::service) fn database(dir: &Path) -> Database {
    if dir.join("a.db").exists() {
        return Database::Sqlite(dir.join("a.db"));
    }
    match std::env::var_os("SSHKEYD_TEST_POSTGRES") {
        Some(socket) => Database::Postgres(on_server(&socket.into_string().unwrap(), dir)),
        None => Database::Sqlite(dir.join("a.db")),
    }
}

/// Whether the tests are on PostgreSQL this time.
pub(in crate::service) fn is_postgres() -> bool {
    std::env::var_os("SSHKEYD_TEST_POSTGRES").is_some()
}

/// Looks at, or changes, what the database of this directory holds.
pub(in crate::service) fn with<T: Send>(
    dir: &Path,
    job: impl FnOnce(&mut Connection) -> Result<T> + Send,
) -> Result<T> {
    match database(dir) {
        Database::Sqlite(path) => job(&mut sqlite::open(&path).unwrap().into()),
        Database::Postgres(database) => apart(&database, job),
    }
}

/// All that the database holds, as it holds it and, of bytes on a server, in hexadecimal too.
pub(in crate::service) fn contents(dir: &Path) -> Vec<Vec<u8>> {
    let Database::Postgres(database) = database(dir) else {
        let files = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.is_file());
        return files.map(|path| std::fs::read(path).unwrap()).collect();
    };
    let tables = "SELECT CAST(table_name AS TEXT) FROM information_schema.tables
                  WHERE table_schema = 'public'";
    let rows = apart(&database, |db| {
        let mut tables = db.prepare(tables)?;
        let tables = tables.query_map([], |row| row.get::<_, String>(0))?;
        let mut rows = Vec::new();
        for table in tables {
            let sql = format!("SELECT CAST(t AS TEXT) FROM {} t", table?);
            let mut all = db.prepare(&sql)?;
            for row in all.query_map([], |row| row.get::<_, String>(0))? {
                rows.push(row?);
            }
        }
        Ok(rows)
    });
    rows.unwrap().into_iter().map(String::into_bytes).collect()
}

/// An API key of this account.
pub(in crate::service) fn add_api_key(dir: &Path, account: i64, hash: Hash, rights: &str) {
    let insert = "INSERT INTO api_keys (account, hash, name, rights, created_at)
                  VALUES (?1, ?2, 'n', ?3, 0)";
    with(dir, |db| db.execute(insert, params![account, hash, rights])).unwrap();
}

/// The same of one on a server.
pub(in crate::service) fn apart<T: Send>(
    database: &Postgres,
    job: impl FnOnce(&mut Connection) -> Result<T> + Send,
) -> Result<T> {
    let way = postgres::way(database).unwrap();
    postgres::apart(way, |db| Ok::<_, StoreError>(job(db))).unwrap()
}

fn on_server(socket: &str, dir: &Path) -> Postgres {
    let of_name = |name: &str| Postgres {
        hosts: vec![(socket.to_owned(), 5432)],
        user: Some("sshkeyd".to_owned()),
        name: name.to_owned(),
        tls: false,
        ca_file: None,
        password_file: None,
        connections: 3,
    };
    let name: String = dir
        .to_str()
        .unwrap()
        .bytes()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name = format!("t{}", &name[name.len().saturating_sub(60)..]);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if made.iter().all(|(_, had)| *had != name) {
        let over: Vec<String> = made
            .extract_if(.., |(dir, _)| !dir.exists())
            .map(|(_, name)| name)
            .collect();
        apart(&of_name("postgres"), |db| {
            for gone in over {
                db.execute_batch(&format!("DROP DATABASE {gone} WITH (FORCE)"))?;
            }
            db.execute_batch(&format!("CREATE DATABASE {name}"))
        })
        .unwrap();
        made.push((dir.to_owned(), name.clone()));
    }
    of_name(&name)
}
