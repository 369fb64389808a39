//! Rows of host keys, read.

use super::super::db;
use super::super::db::{Connection, OptionalExtension as _, Row, params};
use super::super::time;
use crate::wire::HostKeyState;
use jiff::Timestamp;

/// A host key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct HostKeyRow {
    /// `ssh-ed25519` …
    pub(in crate::service) key_type: String,
    /// `SHA256:…`.
    pub(in crate::service) fingerprint: String,
    /// Canonical.
    pub(in crate::service) public_key: String,
    /// The owner's word.
    pub(in crate::service) state: HostKeyState,
    /// Since when.
    pub(in crate::service) since: Timestamp,
    /// Another instance of the account with this key.
    pub(in crate::service) also_on: Option<i64>,
    /// The certificate that it was last given.
    pub(in crate::service) given: Option<GivenRow>,
}

/// A host certificate as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct GivenRow {
    /// Its serial.
    pub(in crate::service) serial: u64,
    /// Its line.
    pub(in crate::service) certificate: String,
    /// Its principals.
    pub(in crate::service) names: Vec<String>,
    /// The CA that signed it.
    pub(in crate::service) ca: i64,
    /// Good from then on.
    pub(in crate::service) valid_after: Timestamp,
    /// Good until then.
    pub(in crate::service) valid_before: Timestamp,
}

/// What an agent's keys are to the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct HostKeysSeen {
    /// What the owner calls the instance.
    pub(in crate::service) label: String,
    /// No other instance of the account has that label, however it is written.
    pub(in crate::service) label_is_unique: bool,
    /// The keys, as they were asked about.
    pub(in crate::service) keys: Vec<HostKeyRow>,
    /// Certificates that the instance was given within a day.
    pub(in crate::service) lately: i64,
}

/// A host key that is to be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct RevokedHostKeyRow {
    /// Whose it was.
    pub(in crate::service) instance: i64,
    /// Canonical.
    pub(in crate::service) public_key: String,
    /// Names of its certificates.
    pub(in crate::service) names: Vec<String>,
    /// When the last of them ends.
    pub(in crate::service) until: Timestamp,
}

/// Another instance of the account that has this key.
pub(super) fn also_on(
    db: &Connection,
    account: i64,
    instance: i64,
    fingerprint: &str,
) -> db::Result<Option<i64>> {
    db.prepare_cached(
        "SELECT i.id FROM host_keys h JOIN instances i ON i.id = h.instance
         WHERE h.fingerprint = ?3 AND i.account = ?1 AND i.id <> ?2 AND i.removal_keys IS NULL
           AND h.state <> 'refused' ORDER BY i.id LIMIT 1",
    )?
    .query_row(params![account, instance, fingerprint], |row| row.get(0))
    .optional()
}

/// An instance's host keys, by type and age.
pub(super) fn keys_of(db: &Connection, account: i64, instance: i64) -> db::Result<Vec<HostKeyRow>> {
    let mut rows = db
        .prepare_cached(
            "SELECT h.* FROM host_keys h JOIN instances i ON i.id = h.instance
             WHERE h.instance = ?1 AND i.account = ?2
             ORDER BY h.key_type, h.state, h.since, h.fingerprint",
        )?
        .query_map([instance, account], host_key_row)?
        .collect::<db::Result<Vec<_>>>()?;
    for row in &mut rows {
        if row.state != HostKeyState::Refused {
            row.also_on = also_on(db, account, instance, &row.fingerprint)?;
        }
    }
    Ok(rows)
}

fn host_key_row(row: &Row<'_>) -> db::Result<HostKeyRow> {
    let state: String = row.get("state")?;
    let given = match row.get::<_, Option<String>>("certificate")? {
        None => None,
        Some(certificate) => Some(GivenRow {
            serial: row.get::<_, i64>("serial")?.unsigned_abs(),
            certificate,
            names: names(row)?,
            ca: row.get("ca")?,
            valid_after: time(row, "valid_after")?,
            valid_before: time(row, "valid_before")?,
        }),
    };
    Ok(HostKeyRow {
        key_type: row.get("key_type")?,
        fingerprint: row.get("fingerprint")?,
        public_key: row.get("public_key")?,
        state: match state.as_str() {
            "approved" => HostKeyState::Approved,
            "waiting" => HostKeyState::Waiting,
            // The table takes no other word; a refused one gets nothing.
            _ => HostKeyState::Refused,
        },
        since: time(row, "since")?,
        also_on: None,
        given,
    })
}

/// Reads column `names`, which only we write.
pub(super) fn names(row: &Row<'_>) -> db::Result<Vec<String>> {
    let text: String = row.get("names")?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

/// A state as its column has it.
pub(super) fn word(state: HostKeyState) -> &'static str {
    match state {
        HostKeyState::Approved => "approved",
        HostKeyState::Waiting => "waiting",
        HostKeyState::Refused => "refused",
    }
}
