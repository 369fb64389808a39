//! What an account's instances are to trust, and what they are to refuse: read in the transaction
//! that reads the account's keys, so that one revision has one content.
//!
//! The revocation list is not kept: it is made of what is revoked and could still be good. Nothing
//! in it depends on when it is read.

use super::account_acts::is_disabled;
use super::cas::cas_of;
use super::db;
use super::db::{Connection, params};
use super::revision;
use super::ssh_keys::revoked_of;
use crate::keys::PublicKey;
use crate::trust::{Krl, Role, probe_key, probe_key_id};

/// What an account's instances are to trust, as of one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::service) struct Trust {
    /// User CAs, the one that signs first; none of an account that is disabled.
    pub(in crate::service) user_ca: Vec<String>,
    /// The number of the revocation list; `None` where the account has no user CA and revoked no
    /// key.
    pub(in crate::service) krl_version: Option<u64>,
}

/// Reads that.
pub(super) fn trust_of(db: &Connection, account: i64) -> db::Result<Trust> {
    let cas = cas_of(db, account, Role::User)?;
    let has_list = !cas.is_empty()
        || db
            .prepare_cached("SELECT 1 FROM revoked_keys WHERE account = ?1 LIMIT 1")?
            .exists([account])?;
    let krl_version = match has_list {
        true => Some(numbers(db, account)?.version),
        false => None,
    };
    Ok(Trust {
        user_ca: match is_disabled(db, account)? {
            true => Vec::new(),
            false => cas.into_iter().map(|ca| ca.public_key).collect(),
        },
        krl_version,
    })
}

/// The revocation list, whole.
pub(super) fn krl_of(db: &Connection, account: i64) -> db::Result<Krl> {
    let numbers = numbers(db, account)?;
    let version = numbers.version;
    let mut krl = Krl {
        version,
        // Revisions are times, in milliseconds, as far as clocks go forward.
        generated_at: version / 1_000,
        comment: format!("account {account}"),
        ..Krl::default()
    };
    let revoked = revoked_of(db, account)?;
    // Nobody logs in by a probe, and with the good one refused nothing could be proved any more.
    let probe = probe_key().fingerprint();
    krl.sha256 = revoked
        .iter()
        .filter_map(|(fingerprint, _)| fingerprint.parse().ok())
        .filter(|fingerprint| *fingerprint != probe)
        .collect();
    let key_ids: Vec<Vec<u8>> = db
        .prepare_cached("SELECT key_id FROM revoked_key_ids WHERE account = ?1 AND key_id <> ?2")?
        .query_map(params![account, probe_key_id(account, None)], |row| {
            row.get::<_, String>(0).map(String::into_bytes)
        })?
        .collect::<db::Result<_>>()?;
    let probe = probe_key_id(account, Some(version)).into_bytes();
    let mut serials = db.prepare_cached(
        "SELECT serial FROM certificates WHERE ca = ?1 AND revoked_at IS NOT NULL ORDER BY serial",
    )?;
    for ca in cas_of(db, account, Role::User)? {
        // The table holds nothing but canonical keys.
        let Ok((key, _)) = PublicKey::parse_text(&ca.public_key) else {
            continue;
        };
        let of_ca = krl.of_ca(&key);
        of_ca.key_ids.extend(key_ids.iter().cloned());
        of_ca.key_ids.insert(probe.clone());
        if let Some(below) = numbers.serials_below {
            of_ca.serials.insert_range(1..=below);
        }
        let mut rows = serials.query(params![ca.id])?;
        while let Some(row) = rows.next()? {
            of_ca.serials.insert(revision(&row, "serial")?);
        }
    }
    Ok(krl)
}

struct Numbers {
    version: u64,
    serials_below: Option<u64>,
}

fn numbers(db: &Connection, account: i64) -> db::Result<Numbers> {
    db.prepare_cached("SELECT krl_version, serials_below FROM accounts WHERE id = ?1")?
        .query_row([account], |row| {
            let below: Option<i64> = row.get("serials_below")?;
            Ok(Numbers {
                version: revision(row, "krl_version")?,
                serials_below: below.and_then(|below| u64::try_from(below).ok()),
            })
        })
}
