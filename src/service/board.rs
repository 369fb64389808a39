//! What is known of each instance right now: when it was heard, and its last status.
//!
//! Kept in memory, read from the store at start, written back when something changed and else once
//! a minute (protocol.md section 5); what other replicas wrote is taken in (`others`). All of it is
//! the tenant's words and counts for that instance.

mod others;
mod pace;

pub(super) use pace::HEARTBEAT;

use super::rollout;
use super::store::{Hash, KeyRow, Report, Seen, USED_STEP};
use crate::wire::{
    CertificatesStatus, Device, InstanceState, Session, State, Status, TargetStatus,
};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap, HashSet, btree_map};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A heartbeat that says nothing new is written at most this often.
const WRITE: SignedDuration = SignedDuration::from_secs(60);

/// Where other replicas read it: then each that is due is, so that an instance that lives looks so
/// to all of them (two intervals).
const WRITE_SHARED: SignedDuration = SignedDuration::from_secs(20);

/// One that says something new, this often.
const WRITE_NEWS: SignedDuration = SignedDuration::from_secs(1);

/// An instance may lift its account's revision this often: each time wakes the whole account.
const LIFT: SignedDuration = SignedDuration::from_secs(60);

/// Milliseconds from save to proof, and which save of the key's text that was, in milliseconds.
type Proved = (u64, i64);

/// All instances.
pub(super) struct Board {
    entries: Mutex<HashMap<i64, Entry>>,
    /// How often a heartbeat that says nothing new is written.
    write: SignedDuration,
    pace: Mutex<pace::Pace>,
}

#[derive(Default)]
struct Entry {
    heard: Option<Timestamp>,
    /// In how many seconds it was told to speak again, when it last did.
    next_in: u32,
    /// It last spoke to this replica.
    here: bool,
    /// When what is known of it was said: here, or as another replica wrote it.
    said: Option<Timestamp>,
    /// When it last came to this replica by itself: a stop from before that is over.
    came: Option<Timestamp>,
    held: usize,
    stopped: bool,
    status: Option<Arc<Status>>,
    device: Option<Arc<Device>>,
    /// The device is not in the store as it is here.
    device_new: bool,
    proved: BTreeMap<i64, Proved>,
    /// Since when it is known to be there: before that a key waited for the instance.
    since: Option<Timestamp>,
    /// From save to proof, milliseconds, of keys that were proved just now.
    took: Vec<u64>,
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

impl Sighting {
    /// Whether it may be there: one that is stale may still come back, and is waited for.
    pub(super) fn is_there(&self) -> bool {
        matches!(self.state, InstanceState::Live | InstanceState::Stale)
    }
}

impl Board {
    /// From what the store last heard; whether other replicas use it too.
    pub(super) fn new(seen: Vec<Seen>, shared: bool) -> Self {
        let board = Self {
            entries: Mutex::default(),
            write: if shared { WRITE_SHARED } else { WRITE },
            pace: Mutex::default(),
        };
        board.take_in(seen);
        board
    }

    /// It spoke.
    pub(super) fn heard(&self, instance: i64, now: Timestamp) {
        let mut board = self.lock();
        let entry = board.entry(instance).or_default();
        entry.heard = Some(now);
        entry.came = Some(now);
        entry.stopped = false;
    }

    /// It holds a query until the answer is dropped; `clock` says when that was.
    pub(super) fn hold(
        self: &Arc<Self>,
        instance: i64,
        run: Hash,
        clock: super::Clock,
    ) -> Presence {
        let now = clock();
        let mut board = self.lock();
        let entry = board.entry(instance).or_default();
        entry.held += 1;
        entry.stopped &= entry.ended == Some(run);
        entry.heard = Some(now);
        if entry.ended != Some(run) {
            entry.came = Some(now);
        }
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
        // Before the lock, for which every other instance waits.
        let proved = rollout::proved(keys, &status);
        let next_in = self.next_in(now);
        let mut board = self.lock();
        let entry = board.entry(instance).or_default();
        entry.heard = Some(now);
        entry.said = Some(now);
        entry.next_in = next_in;
        entry.here = true;
        entry.since.get_or_insert(now);
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
            Some(_) => self.write,
        };
        entry.proved.retain(|id, proved| {
            // By id, as the store gives them.
            let at = keys.binary_search_by_key(id, |key| key.id).ok();
            let key = at.and_then(|at| keys.get(at));
            key.is_some_and(|key| key.saved_at.as_millisecond() == proved.1)
        });
        for key in proved {
            let took = now.duration_since(key.saved_at).as_millis();
            let took = u64::try_from(took).unwrap_or(0);
            if let btree_map::Entry::Vacant(place) = entry.proved.entry(key.id) {
                place.insert((took, key.saved_at.as_millisecond()));
                if entry.since.is_some_and(|since| since <= key.saved_at) {
                    entry.took.push(took);
                }
            }
        }
        let is_news = news < self.write;
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
            is_news,
            stopped,
            next_in,
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

    /// Milliseconds from save to proof of the keys that its last report was the first to prove. A
    /// key that is older than all that is known of the instance has waited for it, and counts not.
    pub(super) fn took(&self, instance: i64) -> Vec<u64> {
        let mut board = self.lock();
        let entry = board.get_mut(&instance);
        entry
            .map(|entry| std::mem::take(&mut entry.took))
            .unwrap_or_default()
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
            proved: entry
                .map(|e| {
                    e.proved
                        .iter()
                        .map(|(id, proved)| (*id, proved.0))
                        .collect()
                })
                .unwrap_or_default(),
        }
    }

    /// The user CAs that sshd on this instance trusts, as it said last.
    pub(super) fn trusts(&self, instance: i64) -> Vec<String> {
        let board = self.lock();
        let status = board.get(&instance).and_then(|entry| entry.status.as_ref());
        let kept = status.and_then(|status| status.certificates.as_ref());
        kept.map(|kept| kept.user_ca.clone()).unwrap_or_default()
    }

    /// Of how many instances something is known.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Nothing is known of any but these, and those that hold a query.
    pub(super) fn keep(&self, instances: &HashSet<i64>) {
        let mut board = self.lock();
        board.retain(|id, entry| entry.held > 0 || instances.contains(id));
    }

    /// It is gone.
    pub(super) fn forget(&self, instance: i64) {
        self.lock().remove(&instance);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Entry>> {
        // Each change under this lock leaves an entry whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn state(&self, now: Timestamp) -> InstanceState {
        let interval = pace::within_bounds(self.next_in);
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

type Facts<'a> = (
    State,
    Option<u64>,
    &'a [TargetStatus],
    &'a [Session],
    Option<&'a CertificatesStatus>,
);

/// What makes a status news: not the conditions' wording, not when a source last answered.
fn facts(status: &Status) -> Facts<'_> {
    (
        status.state,
        revision(status),
        &status.targets,
        &status.sessions,
        status.certificates.as_ref(),
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
mod tests;
