//! What heartbeats leave behind, written in one statement however many they are.

use super::super::reports::Report;
use super::super::{StoreError, db, millis};
use super::{Connection, TransactionBehavior};
use serde_json::json;
use std::collections::HashSet;

/// Of two replicas that heard an instance the later word stands. Gives those that another change
/// holds: they are written one by one, so that nobody ever waits for two rows.
const WRITE: &str = "
    WITH said AS (
        SELECT * FROM json_to_recordset(CAST(CAST(?1 AS TEXT) AS JSON)) AS said
            (id BIGINT, at BIGINT, stopped BIGINT, next_in BIGINT, status TEXT, proved TEXT,
             device TEXT)
    ), free AS (
        SELECT i.id FROM instances i JOIN said ON said.id = i.id
        FOR NO KEY UPDATE OF i SKIP LOCKED
    ), written AS (
        UPDATE instances i SET last_seen = said.at, stopped = said.stopped,
            next_in = said.next_in, status = said.status,
            proved = said.proved, device = coalesce(said.device, i.device)
        FROM said JOIN free ON free.id = said.id
        WHERE i.id = said.id AND (i.last_seen IS NULL OR i.last_seen <= said.at)
    )
    SELECT i.id FROM instances i JOIN said ON said.id = i.id
    WHERE i.id NOT IN (SELECT id FROM free)";

/// Reports of one statement.
const MOST: usize = 1_000;

/// Writes reports; a power cut may take the last of them back.
pub(in super::super) fn write(db: &mut Connection, reports: &[Report]) -> Result<(), StoreError> {
    for some in reports.chunks(MOST) {
        let held = put(db, WRITE, some)?;
        for report in some.iter().filter(|report| held.contains(&report.instance)) {
            put(
                db,
                &WRITE.replace(" SKIP LOCKED", ""),
                std::slice::from_ref(report),
            )?;
        }
    }
    Ok(())
}

/// Gives the instances whose rows are held.
fn put(db: &mut Connection, sql: &str, reports: &[Report]) -> Result<HashSet<i64>, StoreError> {
    let rows: Vec<_> = reports
        .iter()
        .map(|report| {
            json!({"id": report.instance, "at": millis(report.at),
                "stopped": i64::from(report.stopped), "next_in": report.next_in, "status": report.status,
                "proved": report.proved, "device": report.device})
        })
        .collect();
    // JSON in text has its own NULs escaped.
    let rows = serde_json::Value::from(rows).to_string();
    let tx = db.transaction_with_behavior(TransactionBehavior::Loose)?;
    let held = tx
        .prepare_cached(sql)?
        .query_map([rows], |row| row.get(0))?
        .collect::<db::Result<_>>()?;
    tx.commit()?;
    Ok(held)
}
