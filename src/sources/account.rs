//! The account key service as a source: a query that waits, judged, kept, in force.
//!
//! One path for fetch, poll and subscription: a blocking query with the ETag of what is held. Every
//! answer passes `judge`; a list is on the disk, with its floor and its signers, before anybody
//! hears of it.

mod handover;
mod keep;
mod krl;
mod orders;
mod report;
mod session;
mod window;

use super::enrolment::Enroller;
use super::identity::HostMarks;
use super::judge::{Pins, Refusal, judge};
use super::last_good::LastGood;
use super::state::Publisher;
use super::trust::HeldKrl;
use crate::client::{Api, ClientError, Fetched, Http, HttpOptions};
use crate::config::{AccountSource, Source, credential};
use crate::keys::PublicKey;
use crate::sys::clock;
use crate::trust::Floor;
use crate::wire::SignedSnapshot;
use jiff::SignedDuration;
use krl::KrlFetch;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
pub use window::Window;

/// How long a query is held: protocol.md section 4.
const HOLD: Duration = Duration::from_secs(300);
/// A query that ends without news this much before its time was let go: the service stops, or
/// another query took its place. All its agents come back now, so they spread.
const LET_GO: Duration = Duration::from_secs(5);
/// Waits after failures.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const MOST_WAIT: Duration = Duration::from_secs(60);
/// No fresh word for this long is a condition.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// Clocks further apart than this are a condition.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(5);

/// A session with the service, for heartbeats.
#[derive(Clone)]
pub struct Session {
    /// Typed calls with the session key.
    pub api: Api,
    /// The agent's run id.
    pub run: String,
    /// Which instance this is.
    pub instance: i64,
    /// Of which account.
    pub account: i64,
    /// Over how long to spread where all have to come back.
    pub window: Window,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session(instance {})", self.instance)
    }
}

pub(super) struct AccountTask {
    name: String,
    http: Http,
    urls: Vec<String>,
    at: usize,
    /// Where heartbeats go by now.
    told_at: usize,
    run: String,
    enroller: Enroller,
    /// Whether this run of the task has a session key that the service was not seen to refuse.
    signed_in: bool,
    held: Option<LastGood>,
    /// The newest revocation list that is here.
    krl: Option<Arc<HeldKrl>>,
    krl_fetch: KrlFetch,
    /// Whether anybody here wants what a list says of certificates.
    certificates: bool,
    path: PathBuf,
    etag: Option<String>,
    /// By the monotonic clock, when the service last gave a fresh word.
    fresh_at: Duration,
    clock_ahead: Option<SignedDuration>,
    /// Signers that those known here have handed over to, while a list of theirs is asked for.
    led_to: Option<Vec<PublicKey>>,
    /// Rounds over all replicas that brought nothing, in a row.
    failures: u32,
    /// Replicas of this round that gave no answer; only a query that was held ends a round well, so
    /// that replicas which all answer once and then hang up are not asked in a circle.
    failed_now: usize,
    /// Whether the last attempt failed.
    failing: bool,
    /// Answers in a row that came at once and brought nothing.
    idle: u32,
    /// Over how long to spread where all have to come back.
    window: Window,
    publisher: Publisher,
    tell_session: watch::Sender<Option<Session>>,
}

/// What one step came to.
enum Step {
    /// Ask again at once.
    Again,
    /// Ask again after this long, unless somebody asks before.
    Wait(Duration),
    /// Nothing more will come: the instance was removed.
    Over,
}

impl AccountTask {
    pub(super) fn try_new(
        source: &Source,
        settings: &AccountSource,
        state_dir: &Path,
        (run, certificates): (&str, bool),
        publisher: Publisher,
        tell_session: watch::Sender<Option<Session>>,
    ) -> Result<Self, ClientError> {
        let disk = |what: &str, fault: std::io::Error| ClientError::Setup {
            what: format!("{what} in {}: {fault}", state_dir.display()),
        };
        let http = Http::try_new(&HttpOptions {
            ca_file: settings.ca_file.clone(),
            proxy: settings.proxy,
            user_agent: super::USER_AGENT.to_owned(),
            one_shot: false,
        })?;
        let env = |name: &str| std::env::var_os(name);
        let host = HostMarks::read(&env);
        let mut settings = settings.clone();
        settings.enroll_token_file = settings
            .enroll_token_file
            .or_else(|| credential(&env, "enroll-token"));
        let enroller = Enroller::load(&source.name, &settings, state_dir, run, host)
            .map_err(|fault| disk("the enrolment", fault))?;
        let path = super::last_good_path(state_dir, &source.name);
        let held = LastGood::load_or_set_aside(&path)
            .map_err(|fault| disk("the last good list", fault))?;
        let mut task = Self {
            name: source.name.clone(),
            http,
            urls: settings.urls,
            at: 0,
            told_at: 0,
            run: run.to_owned(),
            enroller,
            signed_in: true,
            held: None,
            krl: None,
            krl_fetch: KrlFetch::default(),
            certificates,
            path,
            etag: None,
            fresh_at: clock::monotonic(),
            clock_ahead: None,
            led_to: None,
            failures: 0,
            failed_now: 0,
            failing: false,
            idle: 0,
            window: Window::default(),
            publisher,
            tell_session,
        };
        task.bring_back(held);
        Ok(task)
    }

    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<oneshot::Sender<()>>) {
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            // After a failure the first good answer is news, and must not wait for another.
            let hold = if waiting.is_empty() && self.etag.is_some() && !self.failing {
                HOLD
            } else {
                Duration::ZERO
            };
            let step = match self.signed_in_api().await {
                Err(trouble) => self.troubled(trouble),
                Ok(api) => {
                    self.fetch_krl(&api);
                    let etag = self.etag.clone();
                    // Only the query itself may be cut off; what it brought is always carried out.
                    let fetched = tokio::select! {
                        fetched = fetch(&api, etag.as_deref(), &self.run, hold) => fetched,
                        got = self.krl_fetch.got_or_due(), if !hold.is_zero() => {
                            self.take_krl(got).await;
                            continue;
                        }
                        ask = asks.recv(), if !hold.is_zero() => {
                            let Some(ask) = ask else { return };
                            waiting.push(ask);
                            continue;
                        }
                    };
                    self.take(fetched).await
                }
            };
            if !waiting.is_empty() {
                self.krl_soon().await;
            }
            for done in waiting.drain(..) {
                let _ = done.send(());
            }
            let wait = match step {
                Step::Again => continue,
                Step::Wait(wait) => Some(wait),
                Step::Over => None,
            };
            let over = sleep(wait);
            tokio::pin!(over);
            loop {
                tokio::select! {
                    () = &mut over => break,
                    got = self.krl_fetch.got() => self.take_krl(got).await,
                    ask = asks.recv() => {
                        let Some(ask) = ask else { return };
                        waiting.push(ask);
                        break;
                    }
                }
            }
        }
    }

    /// What becomes of an answer.
    async fn take(&mut self, fetched: (Duration, Result<Fetched, ClientError>)) -> Step {
        let (left, fetched) = fetched;
        if fetched.is_ok() && !self.failing {
            self.failed_now = 0;
        }
        match fetched {
            Ok(Fetched::Unchanged { date, retry_within }) => {
                self.heard(date);
                self.window.named(retry_within, left <= LET_GO);
                self.settled(false);
                if left > LET_GO {
                    return self.brought_nothing();
                }
                self.idle = 0;
                Step::Again
            }
            Ok(Fetched::New {
                snapshot,
                etag,
                date,
                retry_within,
            }) => {
                self.heard(date);
                self.window.named(retry_within, false);
                self.take_snapshot(snapshot, etag).await
            }
            Err(fault @ ClientError::Unauthorized(_)) => {
                self.signed_in = false;
                self.tell_session.send_replace(None);
                // Renewing takes one more round; a service that goes on refusing is a condition.
                if self.failures > 0 {
                    return self.failed(&fault);
                }
                self.failures = 1;
                self.failing = true;
                Step::Again
            }
            Err(ClientError::Conflict(problem)) if problem.code == "clone" => {
                self.tell_session.send_replace(None);
                self.enroller
                    .is_clone("another machine runs with this one's identity".to_owned());
                self.failures += 1;
                self.failing = true;
                Step::Again
            }
            Err(fault) => self.lost(&fault),
        }
    }

    async fn take_snapshot(&mut self, snapshot: SignedSnapshot, etag: Option<String>) -> Step {
        let Some(kept) = self.enroller.kept() else {
            return Step::Again;
        };
        let held = self.held.as_ref().and_then(|held| held.signed.as_ref());
        // What another enrolment was told says nothing about this one.
        let signed = held.filter(|signed| signed.account == kept.account);
        let signers = self.signers(signed.filter(|signed| signed.instance == kept.instance));
        let floor = signed
            .map(|signed| signed.floor.clone())
            .filter(|floor| floor.revision >= kept.floor)
            .unwrap_or(Floor {
                revision: kept.floor,
                digest: None,
            });
        let pins = Pins {
            account: kept.account,
            instance: kept.instance,
            signers: &signers,
            floor: &floor,
        };
        let (account, instance) = (kept.account, kept.instance);
        let judged = match judge(snapshot, &pins) {
            Ok(judged) => judged,
            Err(refusal) => {
                if matches!(refusal, Refusal::Signer(_))
                    && let Some(step) = self.ask_who_signs(signers).await
                {
                    return step;
                }
                self.publisher.publish(|state| {
                    state.live = false;
                    state.last_error = Some(refusal.to_string());
                    state.findings = vec![refusal.finding(&state.name)];
                });
                self.next_replica();
                return self.wait_for_another(None);
            }
        };
        self.led_to = None;
        let (revision, orders) = self.orders(&judged);
        let step = self.keep(judged, account, instance, etag).await;
        self.tell_orders(revision, orders);
        step
    }
}

/// An answer, and how much of the time that it may be held was left.
async fn fetch(
    api: &Api,
    etag: Option<&str>,
    run: &str,
    hold: Duration,
) -> (Duration, Result<Fetched, ClientError>) {
    let began = clock::monotonic();
    let fetched = api.snapshot(etag, hold, run).await;
    let held = clock::monotonic().saturating_sub(began);
    (hold.saturating_sub(held), fetched)
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
