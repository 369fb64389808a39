//! One connection to PostgreSQL, for one thread of the store's own.
//!
//! It connects when it is first needed and again when it is lost, with a pause that grows. Nothing
//! waits without an end: connecting, a statement, a lock and an idle transaction each have theirs.
//! A connection that is found dead before anything of a job was sent is made anew; what was sent
//! and not answered is never sent again. A change takes the lock of its [`TransactionBehavior`]
//! with its first words, at READ COMMITTED: each later statement sees all that those before it in
//! that turn have committed, as on SQLite's one writer.

mod fault;
mod link;
mod value;

pub(in crate::service) use fault::{Fault, Kind};
pub(in crate::service::store) use link::{Link, Way};

use super::{TransactionBehavior, Value};
use crate::sys::clock;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

/// How long an answer is waited for: longer than the server itself takes (`link::SETTINGS`), so
/// that only one that is gone is given up.
const ANSWER: Duration = Duration::from_secs(25);

/// The same where the schema is brought up to date, and nobody is served yet.
const STEP: Duration = Duration::from_secs(11 * 60);

/// After so long without a word a connection is asked whether it is there still.
const IDLE: Duration = Duration::from_secs(20);

/// How long it has for that.
const THERE: Duration = Duration::from_secs(2);

/// Pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The two keys of an advisory lock: whose turn it is. The first is this program's.
const ALL: i32 = 0x7373_686b;
const ONE: i32 = 0x7373_686c;

/// Where a transaction stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stand {
    None,
    Open,
    /// A statement of it went wrong: nothing of it will be kept.
    Failed,
}

/// The connection, and what is needed to make it anew.
pub(in crate::service) struct Session {
    way: Arc<Way>,
    runtime: Runtime,
    link: RefCell<Option<Link>>,
    stand: Cell<Stand>,
    changed: Cell<u64>,
    /// How long an answer is waited for.
    patience: Cell<Duration>,
    /// When it was last spoken to; when connecting is tried again, and the pause after that.
    spoke: Cell<Duration>,
    again: Cell<(Duration, Duration)>,
}

impl Session {
    /// Not connected yet.
    ///
    /// # Errors
    /// What the system says of a runtime that is not to be had.
    pub(in crate::service::store) fn try_new(way: Arc<Way>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            way,
            runtime,
            link: RefCell::new(None),
            stand: Cell::new(Stand::None),
            changed: Cell::new(0),
            patience: Cell::new(ANSWER),
            spoke: Cell::default(),
            again: Cell::new((Duration::ZERO, FIRST_PAUSE)),
        })
    }

    /// Waits for answers as long as steps of the schema may take.
    pub(in crate::service::store) fn be_patient(&self) {
        self.patience.set(STEP);
    }

    /// Waits on this thread.
    pub(in crate::service::store) fn pause(&self, time: Duration) {
        self.runtime
            .block_on(async { tokio::time::sleep(time).await });
    }

    /// What the session said when it connected (`SHOW`).
    pub(in crate::service::store) fn show(&self, setting: &str) -> Result<String, Fault> {
        let rows = self.query(&format!("SHOW {setting}"), &[])?;
        let row = rows.first().ok_or_else(Fault::gone)?;
        row.try_get(0).map_err(Fault::from)
    }

    pub(super) fn changes(&self) -> u64 {
        self.changed.get()
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, Fault> {
        let statement = self.ready(sql)?;
        let changed =
            self.say(async |link| link.client.execute(&statement, &dynamic(values)).await)?;
        self.changed.set(changed);
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(super) fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        let rows = match self.query_once(sql, values) {
            // What only reads may be asked again.
            Err(fault) if fault.is_cut() && self.is_alone() && is_reading(sql) => {
                self.query_once(sql, values)
            }
            rows => rows,
        }?;
        self.changed.set(rows.len() as u64);
        Ok(rows)
    }

    fn query_once(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        let statement = self.ready(sql)?;
        self.say(async |link| link.client.query(&statement, &dynamic(values)).await)
    }

    /// Whether what is said now is in no transaction.
    fn is_alone(&self) -> bool {
        self.stand.get() == Stand::None
    }

    pub(super) fn batch(&self, sql: &str) -> Result<(), Fault> {
        self.ensure()?;
        self.say(async |link| link.client.batch_execute(sql).await)
    }

    pub(super) fn begin_reading(&self) -> Result<(), Fault> {
        self.open("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    }

    pub(super) fn begin(&self, turn: TransactionBehavior) -> Result<(), Fault> {
        let account = match turn {
            TransactionBehavior::Loose => {
                return self.open(
                    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = off",
                );
            }
            TransactionBehavior::Immediate => None,
            TransactionBehavior::Account(account) => Some(account),
            // An instance is one account's for good; one that is gone is nobody's.
            TransactionBehavior::Instance(instance) => {
                let sql = "SELECT account FROM instances WHERE id = ?1";
                let rows = self.query(sql, &[Value::Integer(instance)])?;
                let account = rows.first().map(|row| row.try_get(0)).transpose()?;
                Some(account.unwrap_or(0))
            }
        };
        // All wait for those that have an account's turn, and they for all. The lock goes with the
        // transaction, after what it did can be seen.
        self.open(&match account {
            None => format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({ALL}, 0)"
            ),
            Some(account) => {
                // Accounts that share a number wait for each other.
                let number = i32::from_be_bytes(low(account));
                format!(
                    "BEGIN ISOLATION LEVEL READ COMMITTED; \
                     SELECT pg_advisory_xact_lock_shared({ALL}, 0); \
                     SELECT pg_advisory_xact_lock({ONE}, {number})"
                )
            }
        })
    }

    /// Begins; on a new connection where the old one ends right now, for nothing was done yet.
    fn open(&self, sql: &str) -> Result<(), Fault> {
        match self.open_once(sql) {
            Err(fault) if fault.is_cut() => self.open_once(sql),
            begun => begun,
        }
    }

    fn open_once(&self, sql: &str) -> Result<(), Fault> {
        self.ensure()?;
        self.stand.set(Stand::Open);
        let begun = self.say(async |link| link.client.batch_execute(sql).await);
        if begun.is_err() {
            self.roll_back();
        }
        begun
    }

    pub(super) fn commit(&self) -> Result<(), Fault> {
        if self.stand.get() != Stand::Open {
            self.roll_back();
            return Err(Fault::rolled_back());
        }
        let done = self.say(async |link| link.client.batch_execute("COMMIT").await);
        match done {
            Ok(()) => {
                self.stand.set(Stand::None);
                Ok(())
            }
            // Whether it was kept nobody can say: it is not done again.
            Err(fault) if fault.kind() == Kind::Away => {
                self.roll_back();
                Err(fault.unknown())
            }
            Err(fault) => {
                self.roll_back();
                Err(fault)
            }
        }
    }

    pub(super) fn roll_back(&self) {
        if self.stand.replace(Stand::None) == Stand::None {
            return;
        }
        let undone = self.say(async |link| link.client.batch_execute("ROLLBACK").await);
        if undone.is_err() {
            // The server rolls back what a connection leaves.
            self.let_go();
        }
        self.stand.set(Stand::None);
    }

    /// A statement that is ready; made ready once a connection.
    fn ready(&self, sql: &str) -> Result<Statement, Fault> {
        self.ensure()?;
        if let Some(link) = &*self.link.borrow()
            && let Some(statement) = link.statements.borrow().get(sql)
        {
            return Ok(statement.clone());
        }
        let theirs = value::translated(sql);
        let prepare = || self.say(async |link| link.client.prepare(&theirs).await);
        let statement = match prepare() {
            Err(fault) if fault.is_cut() && self.is_alone() => {
                self.ensure()?;
                prepare()
            }
            statement => statement,
        }?;
        if let Some(link) = &*self.link.borrow() {
            link.keep(sql, &statement);
        }
        Ok(statement)
    }

    /// Says something, and waits for the answer.
    fn say<T>(
        &self,
        what: impl AsyncFnOnce(&Link) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Fault> {
        let said = match &*self.link.borrow() {
            None => Err(Fault::gone()),
            Some(link) => self.wait(self.patience.get(), what(link)),
        };
        self.spoke.set(clock::monotonic());
        if let Err(fault) = &said {
            if self.stand.get() == Stand::Open {
                self.stand.set(Stand::Failed);
            }
            match fault.kind() {
                Kind::Away => self.let_go(),
                // Another replica has changed the schema: statements of before are no good.
                Kind::Stale => self.link.borrow().iter().for_each(Link::forget),
                _ => {}
            }
        }
        said
    }

    fn wait<T>(
        &self,
        most: Duration,
        what: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Fault> {
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(most, what).await });
        match answer {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Fault::silent()),
        }
    }

    /// Sees to it that there is a connection, as far as that can be known. In a transaction it is
    /// the one that it began on or none.
    fn ensure(&self) -> Result<(), Fault> {
        if self.stand.get() != Stand::None {
            return Ok(());
        }
        if self.is_alive() {
            return Ok(());
        }
        self.let_go();
        let (at, pause) = self.again.get();
        if clock::monotonic() < at {
            return Err(Fault::gone());
        }
        match self.runtime.block_on(self.way.connect()) {
            Ok(link) => {
                *self.link.borrow_mut() = Some(link);
                self.again.set((Duration::ZERO, FIRST_PAUSE));
                self.spoke.set(clock::monotonic());
                Ok(())
            }
            Err(fault) => {
                let next = pause.mul_f64(rand::random_range(0.5..1.0));
                let longer = (pause * 2).min(LONGEST_PAUSE);
                self.again.set((clock::monotonic() + next, longer));
                Err(fault)
            }
        }
    }

    fn is_alive(&self) -> bool {
        let link = self.link.borrow();
        let Some(link) = &*link else {
            return false;
        };
        // What has come in meanwhile is read first: the end, perhaps.
        self.runtime.block_on(async {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        });
        if link.client.is_closed() {
            return false;
        }
        if clock::monotonic().saturating_sub(self.spoke.get()) < IDLE {
            return true;
        }
        let there = self.wait(THERE, link.client.check_connection());
        self.spoke.set(clock::monotonic());
        there.is_ok()
    }

    fn let_go(&self) {
        *self.link.borrow_mut() = None;
    }
}

fn is_reading(sql: &str) -> bool {
    sql.trim_start().starts_with("SELECT")
}

fn low(account: i64) -> [u8; 4] {
    let [.., a, b, c, d] = account.to_be_bytes();
    [a, b, c, d]
}

fn dynamic<'a>(values: &'a [Value<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values
        .iter()
        .map(|value| value as &(dyn ToSql + Sync))
        .collect()
}
