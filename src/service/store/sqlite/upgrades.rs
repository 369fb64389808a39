//! From every earlier version: each with rows in every table, made by the SQL of that version.

use super::super::{AnySession, Committed, Store};
use super::*;
use crate::config::Database;
use jiff::Timestamp;
use rusqlite::types::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What version 1 kept: two accounts, an instance in each state of its life.
const ROWS_1: &str = "
    INSERT INTO accounts VALUES (1, 'Alice@example.com', 'alice@example.com', '$argon2id$a', 1790000000007, 1790000000007, 1790000000000);
    INSERT INTO accounts VALUES (4, 'b@example.com', 'b@example.com', NULL, 5, 5, 5);
    INSERT INTO api_keys VALUES (1, 1, h(01), 1790000000000);
    INSERT INTO api_keys VALUES (7, 4, h(07), 5);
    INSERT INTO ssh_keys (id, account, name, public_key, fingerprint, options, created_at, expires_at, revision)
        VALUES (1, 1, 'laptop', 'ssh-ed25519 AAAA1', 'SHA256:1', 'no-pty', 1790000000001, NULL, 1790000000001),
               (9, 1, 'old', 'ssh-ed25519 AAAA9', 'SHA256:9', '', 1790000000002, 1890000000000, 1790000000007);
    INSERT INTO instances (id, account, label, created_at) VALUES (1, 1, 'never', 1790000000003);
    INSERT INTO instances (id, account, label, created_at, hostname, identity_key, run, last_seen, stopped, status, proved)
        VALUES (2, 1, 'web', 1790000000003, 'web.example', 'ssh-ed25519 AAAAi', h(02), 1790000000009, 1, '{\"version\":\"0.1.0\"}', '{\"1\":250}');
    INSERT INTO instances (id, account, label, created_at, identity_key, removal_keys, removal_told_at)
        VALUES (3, 4, 'goes', 6, 'ssh-ed25519 AAAAj', 1, 1790000000009);
    INSERT INTO superseded_runs VALUES (1, 2, h(03));
    INSERT INTO enrolments VALUES (h(04), 1, 1790086400000, NULL);
    INSERT INTO enrolments VALUES (h(05), 2, 1790086400000, 'ssh-ed25519 AAAAi');
    INSERT INTO used_nonces VALUES (2, h(06), 1790000060000);
    INSERT INTO agent_sessions VALUES (3, 2, h(08), 1);
    INSERT INTO agent_sessions VALUES (5, 2, h(09), 0);
    INSERT INTO agent_sessions VALUES (6, 3, h(0a), 1);
";

/// What version 2 kept beside that.
const ROWS_2: &str = "
    INSERT INTO revoked_keys VALUES (1, 'SHA256:r', 'ssh-ed25519 AAAAr', 1790000000004);
";

/// What version 3 kept beside that.
const ROWS_3: &str = "
    INSERT INTO orders VALUES (1, 1, 2, 'SHA256:2', 1790000000005, 1790000000005, 1790604800000, NULL);
    INSERT INTO order_results VALUES (1, 2, 'ended', 2, 0, 1790000000008);
    UPDATE ssh_keys SET last_used_at = 1790000000006 WHERE id = 1;
    UPDATE instances SET device = '{\"hostname\":\"web\"}', removal_sessions = 0 WHERE id = 2;
    UPDATE instances SET removal_sessions = 1 WHERE id = 3;
";

/// What version 4 kept beside that.
const ROWS_4: &str = "
    INSERT INTO sessions (id, account, kind, hash, used, name, created_at, last_seen, expires_at)
        VALUES (7, 1, 'cli', h(0b), 1, 'laptop', 1790000000000, 1790000000005, 1790604800000);
    INSERT INTO attachments VALUES (2, 9, 0);
    INSERT INTO backup_codes VALUES (1, h(0c), NULL);
    INSERT INTO idempotent_creates VALUES (1, 'ssh-keys', h(0d), x'00', 1790086400000);
    INSERT INTO audit (account, at, action, outcome, by_kind, by_id, by_name, address, about, detail, request)
        VALUES (1, 1790000000001, 'ssh-key.add', 'done', 'api-key', 1, 'first', '203.0.113.9', 1, '{}', 'r');
";

/// What version 5 kept beside that.
const ROWS_5: &str = "
    INSERT INTO signer_sets VALUES (1, '[\"ssh-ed25519 AAAAs\"]', 1790000000000, NULL, NULL);
    INSERT INTO sealing VALUES (1, h(0e));
";

/// What version 6 kept beside that.
const ROWS_6: &str = "
    INSERT INTO cas VALUES (3, 1, 'user', 'ssh-ed25519 AAAAca', h(0e), 'signing', 1790000000000);
    INSERT INTO certificates
        VALUES (9, 1, 3, 'alice', 'SHA256:a', 1, NULL, 1, NULL, 1790000000, 1790003600, NULL);
    INSERT INTO revoked_key_ids VALUES (1, 'bob', 1790000000000, 1790003600000);
    INSERT INTO host_keys VALUES (1, 'SHA256:h', 'ssh-ed25519', 'ssh-ed25519 AAAAh', 'approved',
        1790000000000, NULL, NULL, NULL, NULL, NULL, NULL);
    INSERT INTO revoked_host_keys
        VALUES (1, 1, 'SHA256:g', 'ssh-ed25519 AAAAg', '[]', 1790003600000);
";

/// What version 7 kept beside that: a column, and no table.
const ROWS_7: &str = "";

/// `h(08)` is 31 zeros and an eight.
fn with_hashes(rows: &str) -> String {
    let hash = |rows: String, n: u8| {
        rows.replace(
            &format!("h({n:02x})"),
            &format!("x'{}{n:02x}'", "00".repeat(31)),
        )
    };
    (1..=14).fold(rows.to_owned(), hash)
}

/// Columns of each table.
fn tables(db: &Connection) -> BTreeMap<String, Vec<String>> {
    let mut columns = db
        .prepare(
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name, c.cid",
        )
        .unwrap();
    let rows = columns
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        let (table, column) = row.unwrap();
        tables.entry(table).or_default().push(column);
    }
    tables
}

/// All rows of these columns.
fn rows(db: &Connection, table: &str, columns: &[String]) -> Vec<String> {
    let sql = format!("SELECT {} FROM {table}", columns.join(", "));
    let mut query = db.prepare(&sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        let values = (0..columns.len()).map(|at| row.get::<_, Value>(at));
        Ok(format!(
            "{:?}",
            values.collect::<rusqlite::Result<Vec<_>>>()?
        ))
    };
    let mut rows: Vec<_> = query
        .query_map([], row)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    rows.sort();
    rows
}

/// A database of that version, with a row in every table.
fn of_version(version: usize, path: &Path) -> BTreeMap<String, (Vec<String>, Vec<String>)> {
    let mut db = Connection::open(path).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.pragma_update(None, "foreign_keys", true).unwrap();
    for (step, rows) in [ROWS_1, ROWS_2, ROWS_3, ROWS_4, ROWS_5, ROWS_6, ROWS_7][..version]
        .iter()
        .enumerate()
    {
        migrate(&mut db, &STEPS[..=step]).unwrap();
        db.execute_batch(&with_hashes(rows)).unwrap();
    }
    let kept = tables(&db).into_iter().map(|(table, columns)| {
        let rows = rows(&db, &table, &columns);
        assert!(!rows.is_empty(), "version {version}: no row in {table}");
        (table, (columns, rows))
    });
    kept.collect()
}

#[tokio::test]
async fn nothing_is_lost_on_the_way_from_any_earlier_version() {
    for version in 1..STEPS.len() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let before = of_version(version, &path);
        let committed: Committed = Arc::new(|_| {});
        let (store, seen) = Store::open(&Database::Sqlite(path.clone()), committed).unwrap();

        let db = Connection::open(&path).unwrap();
        for (table, (columns, kept)) in &before {
            if table == "agent_sessions" {
                continue;
            }
            let now = rows(&db, table, columns);
            if table == "accounts" && (2..6).contains(&version) {
                // It revoked a key: its list has another content now, and so another revision.
                let lifted = kept[0].replace(
                    "Integer(1790000000007), Integer(",
                    "Integer(1790000000008), Integer(",
                );
                assert_ne!(lifted, kept[0]);
                assert_eq!(now, [lifted, kept[1].clone()], "version {version}");
            } else {
                assert_eq!(now, *kept, "version {version}: {table}");
            }
        }
        let sound: String = db
            .query_row("PRAGMA integrity_check", [], |r| r.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
        let dangling = db
            .prepare("PRAGMA foreign_key_check")
            .unwrap()
            .exists([])
            .unwrap();
        assert!(!dangling);

        let mut known: Vec<_> = seen
            .iter()
            .map(|seen| (seen.instance, seen.stopped))
            .collect();
        known.sort_unstable();
        assert!(known.contains(&(2, true)), "{known:?}");
        let now = Timestamp::from_millisecond(1_790_000_010_000).unwrap();
        let hash = |last: u8| {
            let mut hash = [0; 32];
            hash[31] = last;
            hash
        };
        // Both keys of the enrolled instance: the one in use, and the one that was not used yet,
        // whose first use ends the other.
        for key in [8, 9] {
            let session = store.session(hash(key), now).await.unwrap();
            let Some(AnySession::Agent(agent)) = session else {
                panic!("version {version}: {session:?}");
            };
            assert_eq!((agent.instance, agent.account, agent.ended), (2, 1, false));
            assert_eq!(agent.run, Some(hash(2)));
        }
        assert_eq!(store.session(hash(8), now).await.unwrap(), None);
        // A key of before may do all that it could.
        let key = store.api_key(hash(1), now).await.unwrap().unwrap();
        assert_eq!((key.account, key.expires_at), (1, None));
        assert_eq!(key.rights, "{\"api\":{}}");
        let trust = store.keys_and_krl(1, None).await.unwrap();
        let expected = (version >= 2).then_some(1_790_000_000_008);
        assert_eq!(trust.0.trust.krl_version, expected);
        assert_eq!(trust.1.is_some(), version >= 2);
        // A number that was given out is not given out again.
        let next: i64 = db
            .query_row(
                "SELECT seq FROM sqlite_sequence WHERE name = 'ssh_keys'",
                [],
                |r| r.get(0),
            )
            .unwrap();
        assert_eq!(next, 9);
        let sessions: i64 = db
            .query_row(
                "SELECT seq FROM sqlite_sequence WHERE name = 'sessions'",
                [],
                |r| r.get(0),
            )
            .unwrap();
        assert_eq!(sessions, if version < 4 { 6 } else { 7 });
    }
}

#[test]
fn every_earlier_version_is_tried() {
    // A step that is new wants rows of the version before it above.
    assert_eq!(STEPS.len(), 8);
}
