//! What is known of each instance right now: when it was heard, and its last status.
//!
//! Kept in memory, read from the store at start, written back when something changed and else once
//! a minute (protocol.md section 5). All of it is the tenant's words and counts for that instance.

use super::rollout;
use super::store::{Hash, KeyRow, Report, Seen, USED_STEP};
use crate::wire::{Device, InstanceState, Session, State, Status, TargetStatus};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What agents are told: seconds between heartbeats.
pub(super) const HEARTBEAT: u32 = 30;

/// A heartbeat that says nothing new is written at most this often.
const WRITE: SignedDuration = SignedDuration::from_secs(60);

/// One that says something new, this often.
const WRITE_NEWS: SignedDuration = SignedDuration::from_secs(1);

/// An instance may lift its account's revision this often: each time wakes the whole account.
const LIFT: SignedDuration = SignedDuration::from_secs(60);

/// All instances.
#[derive(Default)]
pub(super) struct Board(Mutex<HashMap<i64, Entry>>);

#[derive(Default)]
struct Entry {
    heard: Option<Timestamp>,
    held: usize,
    stopped: bool,
    status: Option<Arc<Status>>,
    device: Option<Arc<Device>>,
    /// The device is not in the store as it is here.
    device_new: bool,
    proved: BTreeMap<i64, u64>,
    /// Key id to the latest use that this instance's sessions were last passed on with.
    used: BTreeMap<i64, Timestamp>,
    written: Option<(Timestamp, bool, Arc<Status>)>,
    lifted: Option<Timestamp>,
    /// The run that said it stops. What it sent before may come in after that: it stays stopped.
    ended: Option<Hash>,
}

/// How an instance looks.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    /// How lately it was heard.
    pub(super) state: InstanceState,
    /// When it was last heard.
    pub(super) last_seen: Option<Timestamp>,
    /// Its last status.
    pub(super) status: Option<Arc<Status>>,
    /// The machine that it is on.
    pub(super) device: Option<Arc<Device>>,
    /// Key id to milliseconds from save to proof.
    pub(super) proved: BTreeMap<i64, u64>,
}

impl Board {
    /// From what the store last heard.
    pub(super) fn new(seen: Vec<Seen>) -> Self {
        let entries = seen.into_iter().map(|seen| {
            // Written by an older sshkeyd, it may not be readable: the next heartbeat says it anew.
            let status = seen.status.and_then(|s| serde_json::from_str(&s).ok());
            let device = seen.device.and_then(|d| serde_json::from_str(&d).ok());
            let entry = Entry {
                heard: seen.at,
                stopped: seen.stopped,
                status: status.map(Arc::new),
                device: device.map(Arc::new),
                proved: serde_json::from_str(&seen.proved).unwrap_or_default(),
                ..Entry::default()
            };
            (seen.instance, entry)
        });
        Self(Mutex::new(entries.collect()))
    }

    /// It spoke.
    pub(super) fn heard(&self, instance: i64, now: Timestamp) {
        let mut board = self.lock();
        let entry = board.entry(instance).or_default();
        entry.heard = Some(now);
        entry.stopped = false;
    }

    /// It holds a query until the answer is dropped; `clock` says when that was.
    pub(super) fn hold(
        self: &Arc<Self>,
        instance: i64,
        run: Hash,
        clock: super::Clock,
    ) -> Presence {
        let mut board = self.lock();
        let entry = board.entry(instance).or_default();
        entry.held += 1;
        entry.stopped &= entry.ended == Some(run);
        entry.heard = Some(clock());
        drop(board);
        Presence {
            board: self.clone(),
            instance,
            clock,
        }
    }

    /// Takes in a status, and the device where it is said. Gives what is to be written, if
    /// something is.
    pub(super) fn report(
        &self,
        (instance, run): (i64, Hash),
        (status, device): (Status, Option<Device>),
        stopped: bool,
        keys: &[KeyRow],
        now: Timestamp,
    ) -> Option<Report> {
        let mut board = self.lock();
        let entry = board.entry(instance).or_default();
        entry.heard = Some(now);
        let stopped = stopped || entry.ended == Some(run);
        entry.stopped = stopped;
        entry.ended = stopped.then_some(run);
        let device = device.filter(|device| entry.device.as_deref() != Some(device));
        if let Some(device) = device {
            entry.device = Some(Arc::new(device));
            entry.device_new = true;
        }
        let news = match &entry.written {
            None => SignedDuration::ZERO,
            Some((_, was, _)) if *was != stopped => SignedDuration::ZERO,
            Some(_) if entry.device_new => WRITE_NEWS,
            Some((_, _, was)) if facts(was) != facts(&status) => WRITE_NEWS,
            Some(_) => WRITE,
        };
        entry
            .proved
            .retain(|id, _| keys.iter().any(|key| key.id == *id));
        for key in keys {
            if rollout::is_proved(key, &status) {
                let took = now.duration_since(key.created_at).as_millis();
                entry
                    .proved
                    .entry(key.id)
                    .or_insert_with(|| u64::try_from(took).unwrap_or(0));
            }
        }
        let status = Arc::new(status);
        entry.status = Some(status.clone());
        let waited = |at: Timestamp| now.duration_since(at).abs() >= news;
        if !entry.written.as_ref().is_none_or(|(at, ..)| waited(*at)) {
            return None;
        }
        entry.written = Some((now, stopped, status.clone()));
        let device = entry.device.clone().filter(|_| entry.device_new);
        entry.device_new = false;
        Some(Report {
            instance,
            at: now,
            stopped,
            status: serde_json::to_string(&*status).ok()?,
            device: device.and_then(|device| serde_json::to_string(&*device).ok()),
            proved: serde_json::to_string(&entry.proved).ok()?,
        })
    }

    /// When the account's keys were used, by what this instance says of its sessions: key id and
    /// time, where it is news. Never later than now; text that names no key counts for nothing.
    pub(super) fn used(
        &self,
        instance: i64,
        sessions: &[Session],
        keys: &[KeyRow],
        now: Timestamp,
    ) -> Vec<(i64, Timestamp)> {
        let mut latest: HashMap<&str, Timestamp> = HashMap::new();
        for session in sessions {
            if let Some(fingerprint) = &session.fingerprint {
                let at = latest.entry(fingerprint).or_insert(Timestamp::MIN);
                *at = session.since.min(now).max(*at);
            }
        }
        let of_key = |key: &KeyRow| Some((key.id, *latest.get(key.fingerprint.as_str())?));
        let seen: BTreeMap<i64, Timestamp> = keys.iter().filter_map(of_key).collect();
        let mut board = self.lock();
        let entry = board.entry(instance).or_default();
        // What is hardly later stays as it was passed on, so that small steps add up.
        let hardly = |before: &Timestamp, at: Timestamp| at.duration_since(*before) <= USED_STEP;
        let mut news = Vec::new();
        let mut used = BTreeMap::new();
        for (key, at) in seen {
            match entry.used.get(&key) {
                Some(before) if hardly(before, at) => used.insert(key, *before),
                _ => {
                    news.push((key, at));
                    used.insert(key, at)
                }
            };
        }
        entry.used = used;
        news
    }

    /// Whether this instance may lift its account's revision now; if so, not again for a minute.
    pub(super) fn may_lift(&self, instance: i64, now: Timestamp) -> bool {
        let mut board = self.lock();
        let entry = board.entry(instance).or_default();
        let waited = |at: Timestamp| now.duration_since(at).abs() >= LIFT;
        let may = entry.lifted.is_none_or(waited);
        if may {
            entry.lifted = Some(now);
        }
        may
    }

    /// How these instances look; `enrolled` of each says whether an agent ever enrolled.
    pub(super) fn look(&self, instance: i64, enrolled: bool, now: Timestamp) -> Sighting {
        let board = self.lock();
        let entry = board.get(&instance).filter(|_| enrolled);
        Sighting {
            state: entry.map_or(InstanceState::Never, |entry| entry.state(now)),
            last_seen: entry.and_then(|e| if e.held > 0 { Some(now) } else { e.heard }),
            status: entry.and_then(|e| e.status.clone()),
            device: entry.and_then(|e| e.device.clone()),
            proved: entry.map(|e| e.proved.clone()).unwrap_or_default(),
        }
    }

    /// It is gone.
    pub(super) fn forget(&self, instance: i64) {
        self.lock().remove(&instance);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Entry>> {
        // Each change under this lock leaves an entry whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn state(&self, now: Timestamp) -> InstanceState {
        let interval = SignedDuration::from_secs(i64::from(HEARTBEAT));
        // A clock that has stepped back says nothing of how long ago a later time was.
        let silent = self.heard.map(|at| now.duration_since(at).abs());
        match silent {
            _ if self.stopped => InstanceState::Offline,
            _ if self.held > 0 => InstanceState::Live,
            Some(silent) if silent <= interval * 2 => InstanceState::Live,
            Some(silent) if silent <= interval * 10 => InstanceState::Stale,
            _ => InstanceState::Offline,
        }
    }
}

/// What makes a status news: not the conditions' wording, not when a source last answered.
fn facts(status: &Status) -> (State, Option<u64>, &[TargetStatus], &[Session]) {
    (
        status.state,
        revision(status),
        &status.targets,
        &status.sessions,
    )
}

/// The revision that an instance says it holds.
pub(super) fn revision(status: &Status) -> Option<u64> {
    status.sources.iter().filter_map(|s| s.revision).max()
}

/// A query that is held.
pub(super) struct Presence {
    board: Arc<Board>,
    instance: i64,
    clock: super::Clock,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let now = (self.clock)();
        if let Some(entry) = self.board.lock().get_mut(&self.instance) {
            entry.held = entry.held.saturating_sub(1);
            if !entry.stopped {
                entry.heard = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).unwrap()
    }

    fn status(state: State) -> Status {
        Status {
            version: "0".to_owned(),
            instance: None,
            state,
            sources: Vec::new(),
            targets: Vec::new(),
            certificates: None,
            sessions: Vec::new(),
            conditions: Vec::new(),
        }
    }

    #[test]
    fn an_instance_fades_from_live_to_offline_and_a_clean_stop_says_so_at_once() {
        let board = Board::default();
        let state = |s| board.look(1, true, at(s)).state;
        assert_eq!(state(0), InstanceState::Never);
        board.heard(1, at(1_000));
        assert_eq!(state(1_060), InstanceState::Live);
        assert_eq!(state(1_061), InstanceState::Stale);
        assert_eq!(state(1_300), InstanceState::Stale);
        assert_eq!(state(1_301), InstanceState::Offline);
        assert_eq!(state(500), InstanceState::Offline);
        board.report(
            (1, [1; 32]),
            (status(State::Ok), None),
            true,
            &[],
            at(2_000),
        );
        assert_eq!(state(2_000), InstanceState::Offline);
        board.heard(1, at(2_001));
        assert_eq!(state(2_001), InstanceState::Live);
    }

    #[test]
    fn a_held_query_is_life_until_it_ends_but_not_after_a_stop() {
        let board = Arc::new(Board::default());
        let held = board.hold(1, [1; 32], Arc::new(|| at(5_000)));
        assert_eq!(board.look(1, true, at(90_000)).state, InstanceState::Live);
        board.report(
            (1, [1; 32]),
            (status(State::Ok), None),
            true,
            &[],
            at(5_000),
        );
        drop(held);
        assert_eq!(board.look(1, true, at(5_000)).state, InstanceState::Offline);
        let late = board.hold(1, [1; 32], Arc::new(|| at(5_001)));
        assert_eq!(board.look(1, true, at(5_001)).state, InstanceState::Offline);
        drop(late);
        board.report(
            (1, [1; 32]),
            (status(State::Ok), None),
            false,
            &[],
            at(5_001),
        );
        assert_eq!(board.look(1, true, at(5_001)).state, InstanceState::Offline);
        let _next = board.hold(1, [2; 32], Arc::new(|| at(5_002)));
        assert_eq!(board.look(1, true, at(5_002)).state, InstanceState::Live);
    }

    #[test]
    fn news_is_written_at_once_and_the_rest_once_a_minute() {
        let board = Board::default();
        let report = |state, stop, s| {
            board
                .report((1, [1; 32]), (status(state), None), stop, &[], at(s))
                .is_some()
        };
        assert!(report(State::Ok, false, 100));
        assert!(!report(State::Ok, false, 130));
        assert!(report(State::Ok, false, 160));
        assert!(!report(State::Degraded, false, 160));
        assert!(report(State::Degraded, false, 161));
        assert!(report(State::Degraded, true, 161));
    }
}
