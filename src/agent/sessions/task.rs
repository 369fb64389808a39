//! The task that knows live sessions: reads sshd's log, watches each session's process, ends what it
//! is told to. Nothing wakes it while there is no login and no end.

mod certificates;
mod orders;

use super::book::{Book, OrderId};
use super::certificates::Trusted;
use crate::config::{AgentConfig, AuthLog, EndOnRevoke};
use crate::sinks::sessions::{
    AuthLogReader, Live, Map, Position, Report, Wanted, bind, forget_ended, socket,
};
use crate::sync::{Code, Finding};
use crate::sys::processes::{Held, Process, boot_id, stat};
use crate::sys::{clock, private_file};
use crate::wire::{self, OrderResult};
use certificates::{Cas, Certificates};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// What a new session is used for shows a moment after its login.
const KINDS: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_secs(2),
    Duration::from_secs(15),
];
/// Where the kernel cannot say when a process ends, it is looked at this often.
const LOOK: Duration = Duration::from_secs(2);

/// What the loop is told.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) sessions: Vec<wire::Session>,
    pub(super) findings: Vec<Finding>,
    pub(super) results: Vec<(OrderId, OrderResult)>,
}

/// What the loop tells.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// End these, once for this id; or say that the configuration refuses.
    Order {
        id: OrderId,
        wanted: Wanted,
        refused: bool,
    },
    /// Keys went: these are to end in a moment, and by the next run where this one is cut off.
    Going(Vec<(OrderId, Wanted)>),
    /// The moment is over: end these.
    Went { id: OrderId, wanted: Wanted },
    /// What of a source's certificates is in force.
    Trusts(Trusted),
    /// This instance is no more a part of this source: its certificates open nothing any more.
    Left { id: OrderId, source: String },
    /// The service has heard these results.
    Heard(Vec<OrderId>),
    /// Finish.
    Stop,
}

/// What is kept over a restart: `state-dir/sessions.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    boot: String,
    position: Position,
    live: Vec<Live>,
    #[serde(default)]
    cas: Cas,
}

pub(super) struct Task {
    report: bool,
    /// Nothing is to be done: that nothing is known is no trouble.
    off: bool,
    log: AuthLogReader,
    map: Map,
    book: Option<Book>,
    path: PathBuf,
    state_dir: PathBuf,
    syslog_socket: bool,
    tell: watch::Sender<Arc<View>>,
    asked: mpsc::Receiver<Command>,
    ends: JoinSet<Process>,
    watched: BTreeSet<Process>,
    looks: Vec<Instant>,
    /// Orders that could not be kept, and when they are tried again.
    again: Vec<(Instant, Command)>,
    /// Orders of a moment ago, with when they were carried out, since the boot.
    late: Vec<(Wanted, Duration)>,
    left: Option<Finding>,
    fault: Option<Finding>,
    certificates: Certificates,
}

impl Task {
    pub(super) async fn load(
        config: &AgentConfig,
        tell: watch::Sender<Arc<View>>,
        asked: mpsc::Receiver<Command>,
    ) -> Self {
        let path = config.state_dir.join("sessions.json");
        let kept = read(&path)
            .filter(|kept| kept.boot == boot_id())
            .unwrap_or_default();
        let mut map = Map::default();
        map.bring_back(kept.live);
        forget_ended(&mut map);
        let fault = |fault: io::Error| {
            let about = config.state_dir.display().to_string();
            Finding::new(Code::StateFailed, about, format!("orders: {fault}"))
        };
        let (book, fault) = match Book::load(&config.state_dir) {
            Ok(book) => (Some(book), None),
            // Without it an order could be carried out twice: none is.
            Err(error) => (None, Some(fault(error))),
        };
        let sessions = &config.sessions;
        let log = if sessions.is_off() {
            AuthLogReader::none("sessions are neither told of nor ended")
        } else if config.unprivileged {
            AuthLogReader::none("sshd's processes are root's, and this agent is unprivileged")
        } else {
            AuthLogReader::new(&sessions.auth_log, &config.state_dir, &kept.position)
        };
        Self {
            report: sessions.report,
            off: sessions.is_off(),
            log,
            map,
            book,
            path,
            state_dir: config.state_dir.clone(),
            syslog_socket: sessions.auth_log == AuthLog::SyslogSocket,
            tell,
            asked,
            ends: JoinSet::new(),
            watched: BTreeSet::new(),
            looks: Vec::new(),
            again: Vec::new(),
            late: Vec::new(),
            left: None,
            fault,
            certificates: Certificates::new(
                kept.cas,
                sessions.end_on_revoke == EndOnRevoke::Always,
            ),
        }
    }

    pub(super) async fn run(mut self) {
        let past = self.log.read().await;
        self.take(past).await;
        self.changed();
        self.finish_what_was_begun().await;
        self.publish();
        loop {
            let again = self.again.iter().map(|(at, _)| at);
            let over = self.next_over();
            let look = self.looks.iter().chain(again).chain(&over).min().copied();
            tokio::select! {
                () = self.log.changed() => {
                    let before = self.log.trouble();
                    let reports = self.log.read().await;
                    if self.take(reports).await || before != self.log.trouble() {
                        self.changed();
                    }
                    self.publish();
                }
                Some(ended) = self.ends.join_next() => {
                    if let Ok(process) = ended {
                        self.watched.remove(&process);
                        if self.map.remove(process) {
                            self.changed();
                        }
                    }
                    self.publish();
                }
                command = self.asked.recv() => match command {
                    None | Some(Command::Stop) => break,
                    Some(command) => {
                        self.obey(command).await;
                        self.publish();
                    }
                },
                () = wake_at(look) => {
                    let now = Instant::now();
                    self.looks.retain(|at| *at > now);
                    self.map.look_at_kinds();
                    self.end_over().await;
                    let (due, later) = self.again.drain(..).partition(|(at, _)| *at <= now);
                    self.again = later;
                    let due: Vec<(Instant, Command)> = due;
                    for (_, command) in due {
                        self.obey(command).await;
                    }
                    self.publish();
                }
            }
        }
        self.save();
    }

    /// Believes what can be believed; true when a session is new.
    async fn take(&mut self, reports: Vec<Report>) -> bool {
        let mut new = false;
        for report in reports {
            new |= bind(&mut self.map, report);
        }
        if new {
            let now = Instant::now();
            self.looks = KINDS.iter().map(|wait| now + *wait).collect();
            self.map.look_at_kinds();
            self.watch_all();
            self.end_late().await;
            self.end_revoked().await;
        }
        new
    }

    fn watch_all(&mut self) {
        let all: Vec<Process> = self.map.all().map(|live| live.process).collect();
        for process in all {
            if self.watched.insert(process) {
                self.ends.spawn(ended(process));
            }
        }
    }

    /// A session came or went.
    fn changed(&mut self) {
        self.watch_all();
        self.save();
    }

    fn save(&mut self) {
        let kept = Kept {
            boot: boot_id(),
            position: self.log.position(),
            live: self.map.all().cloned().collect(),
            cas: self.certificates.cas.clone(),
        };
        let saved = serde_json::to_vec(&kept)
            .map_err(io::Error::from)
            .and_then(|bytes| private_file::replace(&self.path, &bytes));
        if let Err(fault) = saved {
            tracing::debug!(%fault, "sessions could not be kept");
        }
    }

    fn publish(&mut self) {
        let (now, since_boot) = (clock::now(), clock::since_boot());
        let trouble = self.log.trouble().or_else(|| {
            let down = self.syslog_socket && !socket::is_up(&self.state_dir);
            down.then(|| "sshkeyd syslog-socket does not run".to_owned())
        });
        let trouble = trouble.filter(|_| !self.off);
        let not_mapped = trouble.map(|why| Finding::new(Code::SessionsNotMapped, "sessions", why));
        let findings = [not_mapped, self.left.clone(), self.fault.clone()];
        let mut sessions: Vec<_> = match self.report {
            true => self
                .map
                .logged_in()
                .map(|l| l.to_wire(now, since_boot))
                .collect(),
            false => Vec::new(),
        };
        sessions.sort_by(|a: &wire::Session, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        let book = self.book.as_ref();
        let view = View {
            sessions,
            findings: findings.into_iter().flatten().collect(),
            results: book.map(Book::results).unwrap_or_default(),
        };
        self.tell.send_if_modified(|held| {
            let ids = |view: &View| -> Vec<_> {
                let of = |s: &wire::Session| (s.id.clone(), s.kind.clone(), s.fingerprint.clone());
                view.sessions.iter().map(of).collect()
            };
            let news = ids(held) != ids(&view)
                || held.findings != view.findings
                || held.results != view.results;
            if news {
                *held = Arc::new(view);
            }
            news
        });
    }
}

fn read(path: &Path) -> Option<Kept> {
    let bytes = private_file::read(path).ok().flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// Waits for the end of a process.
async fn ended(process: Process) -> Process {
    match Held::open(process) {
        Ok(held) if held.ended().await.is_ok() => return process,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return process,
        _ => {}
    }
    while stat(process.pid).is_some_and(|stat| stat.process == process) {
        sleep(LOOK).await;
    }
    process
}

async fn wake_at(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
