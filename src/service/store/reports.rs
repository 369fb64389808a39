//! What heartbeats leave behind: an instance's status, its device, and when keys were used.

use super::db;
use super::db::{Connection, TransactionBehavior, params};
use super::{Commit, Kinds, Store, StoreError, millis, postgres, time_opt};
use crate::sys::clock;
use jiff::{SignedDuration, Timestamp};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A use is written when it is this much later than the one before.
pub(in crate::service) const USED_STEP: SignedDuration = SignedDuration::from_secs(60);

/// How long a report waits for others.
const GATHER: Duration = Duration::from_millis(50);

/// As many parts of the time are kept free for others as one takes to write reports.
const SHARE: u32 = 4;

/// How long until those are tried again that the database did not take.
const RETRY: Duration = Duration::from_secs(1);

/// What a heartbeat leaves behind.
#[derive(Debug, Clone)]
pub(in crate::service) struct Report {
    /// Which instance.
    pub(in crate::service) instance: i64,
    /// When it spoke.
    pub(in crate::service) at: Timestamp,
    /// It says something that it did not say before.
    pub(in crate::service) is_news: bool,
    /// It said that it stops.
    pub(in crate::service) stopped: bool,
    /// In how many seconds it was told to speak again.
    pub(in crate::service) next_in: u32,
    /// Its status, JSON, cut.
    pub(in crate::service) status: String,
    /// Its device, JSON, cut; `None`: as it was.
    pub(in crate::service) device: Option<String>,
    /// Key id to milliseconds from save to proof, JSON.
    pub(in crate::service) proved: String,
}

/// What the store last heard of an instance.
#[derive(Debug, Clone)]
pub(in crate::service) struct Seen {
    /// Which instance.
    pub(in crate::service) instance: i64,
    /// When it last spoke.
    pub(in crate::service) at: Option<Timestamp>,
    /// It said that it stops.
    pub(in crate::service) stopped: bool,
    /// In how many seconds it was told to speak again.
    pub(in crate::service) next_in: u32,
    /// Its last status, JSON.
    pub(in crate::service) status: Option<String>,
    /// Its device, JSON.
    pub(in crate::service) device: Option<String>,
    /// Key id to milliseconds from save to proof, JSON.
    pub(in crate::service) proved: String,
}

/// Reports that wait to be written, the latest of each instance.
#[derive(Default)]
pub(super) struct Reports(Mutex<Waiting>, tokio::sync::Mutex<()>);

#[derive(Default)]
struct Waiting {
    of: HashMap<i64, Report>,
    /// Accounts of which there is news for other replicas.
    tell: HashSet<i64>,
    /// A task is there to write them.
    under_way: bool,
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A report is put in or taken out whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts these in where there is no later one; gives whether somebody has to see to it.
    fn put(&self, reports: Vec<Report>) -> bool {
        let mut waiting = self.lock();
        for report in reports {
            match waiting.of.entry(report.instance) {
                Entry::Vacant(place) => {
                    place.insert(report);
                }
                Entry::Occupied(mut place) => {
                    let kept = place.get_mut();
                    let (old, new) = if report.at < kept.at {
                        (report, kept.clone())
                    } else {
                        (kept.clone(), report)
                    };
                    let device = new.device.or(old.device);
                    *kept = Report { device, ..new };
                }
            }
        }
        !std::mem::replace(&mut waiting.under_way, true)
    }

    fn take(&self) -> Vec<Report> {
        self.lock().of.drain().map(|(_, report)| report).collect()
    }

    /// Whether nothing waits; then nobody sees to it any more.
    fn rest(&self) -> bool {
        let mut waiting = self.lock();
        waiting.under_way = !waiting.of.is_empty();
        !waiting.under_way
    }
}

impl Store {
    /// Keeps what a heartbeat said, in a moment: all that come within it share one transaction. A
    /// heartbeat need not be durable, the next one says it again.
    pub(in crate::service) fn report_soon(&self, account: i64, report: Report) {
        if self.shared && report.is_news {
            self.reports.lock().tell.insert(account);
        }
        if !self.reports.put(vec![report]) {
            return;
        }
        let store = self.clone();
        tokio::spawn(async move {
            let mut took = Duration::ZERO;
            loop {
                // A disk that is slow does not have saves and lookups wait for heartbeats.
                tokio::time::sleep(GATHER.max(took * SHARE)).await;
                let began = clock::monotonic();
                let written = store.write_reports().await;
                took = clock::monotonic().saturating_sub(began).min(RETRY);
                if let Err(error) = written {
                    tracing::debug!(%error, "reports of instances");
                    tokio::time::sleep(RETRY).await;
                } else if store.reports.rest() {
                    return;
                }
            }
        });
    }

    /// Writes the reports that wait, now.
    pub(in crate::service) async fn write_reports(&self) -> Result<(), StoreError> {
        // What another has taken out is written when this returns.
        let _turn = self.reports.1.lock().await;
        // Whose report comes in between is told once more.
        let tell = self.reports.lock().tell.clone();
        let reports = self.reports.take();
        if reports.is_empty() {
            return Ok(());
        }
        let kept = reports.clone();
        let written = self.call(move |db| write(db, &reports)).await;
        if written.is_err() {
            // Whoever has called sees to it, or the next report brings somebody who does.
            let first = self.reports.put(kept);
            self.reports.lock().under_way = !first;
        } else {
            for account in tell {
                self.reports.lock().tell.remove(&account);
                (self.committed)(Commit::of(account, Kinds::INSTANCES));
            }
        }
        written
    }

    /// The ids of all instances, where there are fewer than this; else `None`.
    pub(in crate::service) async fn instances_below(
        &self,
        most: usize,
    ) -> Result<Option<HashSet<i64>>, StoreError> {
        self.call(move |db| {
            let count: i64 = db.query_row("SELECT count(*) FROM instances", [], |r| r.get(0))?;
            if usize::try_from(count).unwrap_or(usize::MAX) >= most {
                return Ok(None);
            }
            let ids = db
                .prepare("SELECT id FROM instances")?
                .query_map([], |row| row.get(0))?
                .collect::<db::Result<_>>()?;
            Ok(Some(ids))
        })
        .await
    }

    /// Notes when keys of the account were used, by their ids: the latest counts, and what is
    /// hardly later than what is known is not written.
    pub(in crate::service) async fn used_keys(
        &self,
        account: i64,
        used: Vec<(i64, Timestamp)>,
    ) -> Result<(), StoreError> {
        self.call(move |db| {
            let step = i64::try_from(USED_STEP.as_millis()).unwrap_or(i64::MAX);
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(account))?;
            for &(key, at) in &used {
                tx.prepare_cached(
                    "UPDATE ssh_keys SET last_used_at = ?3 WHERE id = ?1 AND account = ?2
                        AND (last_used_at IS NULL OR last_used_at < CAST(?3 AS BIGINT) - CAST(?4 AS BIGINT))",
                )?
                .execute([key, account, millis(at), step])?;
            }
            Ok(tx.commit()?)
        })
        .await
    }
}

/// What was last heard of every instance.
pub(super) fn all_seen(db: &Connection) -> db::Result<Vec<Seen>> {
    db.prepare(
        "SELECT id, last_seen, stopped, next_in, status, device, proved FROM instances
         WHERE last_seen IS NOT NULL",
    )?
    .query_map([], seen_row)?
    .collect()
}

pub(super) fn seen_row(row: &db::Row<'_>) -> db::Result<Seen> {
    Ok(Seen {
        instance: row.get("id")?,
        at: time_opt(row, "last_seen")?,
        stopped: row.get("stopped")?,
        next_in: u32::try_from(row.get::<_, i64>("next_in")?).unwrap_or(0),
        status: row.get("status")?,
        device: row.get("device")?,
        proved: row.get("proved")?,
    })
}

/// The database while a power cut may take back what is committed, as a whole, but not what is
/// committed after it (SQLite, "PRAGMA synchronous": NORMAL with a write-ahead log). The end of it
/// is the end of that.
struct Relaxed<'a>(&'a mut Connection);

impl<'a> Relaxed<'a> {
    fn begin(db: &'a mut Connection) -> db::Result<Self> {
        let relaxed = Self(db);
        relaxed.0.execute_batch("PRAGMA synchronous = NORMAL")?;
        Ok(relaxed)
    }
}

impl Drop for Relaxed<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.execute_batch("PRAGMA synchronous = FULL") {
            tracing::error!(%error, "the database does not sync every change any more");
        }
    }
}

fn write(db: &mut Connection, reports: &[Report]) -> Result<(), StoreError> {
    if db.postgres().is_some() {
        return postgres::write_reports(db, reports);
    }
    let relaxed = Relaxed::begin(db)?;
    let tx = relaxed
        .0
        .transaction_with_behavior(TransactionBehavior::Immediate)?;
    for report in reports {
        tx.prepare_cached(
            "UPDATE instances SET last_seen = ?2, stopped = ?3, status = ?4, proved = ?5,
                                  device = coalesce(?6, device), next_in = ?7
             WHERE id = ?1",
        )?
        .execute(params![
            report.instance,
            millis(report.at),
            report.stopped,
            report.status,
            report.proved,
            report.device,
            i64::from(report.next_in)
        ])?;
    }
    Ok(tx.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(at: i64, device: Option<&str>) -> Report {
        Report {
            is_news: true,
            next_in: 30,
            instance: 1,
            at: Timestamp::from_millisecond(at).unwrap(),
            stopped: false,
            status: format!("at {at}"),
            device: device.map(str::to_owned),
            proved: "{}".to_owned(),
        }
    }

    #[test]
    fn only_reports_are_not_synced_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut db = super::super::sqlite::open(&dir.path().join("a.db"))
            .unwrap()
            .into();
        let level = |db: &Connection| {
            let level = db.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0));
            level.unwrap()
        };
        write(&mut db, &[report(1, None)]).unwrap();
        assert_eq!(level(&db), 2);
        db.execute_batch("PRAGMA foreign_keys = OFF; DROP TABLE instances")
            .unwrap();
        assert!(write(&mut db, &[report(2, None)]).is_err());
        assert_eq!(level(&db), 2);
        let relaxed = Relaxed::begin(&mut db).unwrap();
        assert_eq!(level(relaxed.0), 1);
        drop(relaxed);
        assert_eq!(level(&db), 2);
    }

    #[test]
    fn the_latest_report_waits_with_what_only_an_earlier_one_said() {
        let reports = Reports::default();
        assert!(reports.put(vec![report(1, Some("box"))]));
        assert!(!reports.put(vec![report(3, None)]));
        // One that could not be written comes back late.
        assert!(!reports.put(vec![report(2, None)]));
        let waiting = reports.take();
        let [one] = &waiting[..] else {
            panic!("{waiting:?}");
        };
        assert_eq!(one.status, "at 3");
        assert_eq!(one.device.as_deref(), Some("box"));
        assert!(reports.rest());
        assert!(reports.put(vec![report(4, None)]));
        assert!(!reports.rest());
    }
}
