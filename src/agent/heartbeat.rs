//! What the service hears of us: at once when something changed, else when it said it is due.

use super::sessions::Feed;
use crate::client::ClientError;
use crate::sources::Session;
use crate::sync::Backoff;
use crate::wire::{HeartbeatRequest, Status};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// A body may have 64 KiB (protocol.md section 4); the rest is room for what stands around.
const MAX_STATUS: usize = 56 * 1024;
/// Sessions that are told of (protocol.md section 4).
const MAX_SESSIONS: usize = 200;
/// Conditions in one, the heaviest first, and bytes of each text (protocol.md section 4).
const MAX_CONDITIONS: usize = 64;
const MAX_TEXT: usize = 256;
/// What stands where a text was cut.
const CUT: &str = "…";
/// The service's word on when the next is due counts within these.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(3600);
/// Changes closer together than this go together.
const TOGETHER: Duration = Duration::from_millis(5);
/// The last word of a clean stop.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Sends heartbeats for as long as it is polled.
pub(super) async fn beat(
    mut session: watch::Receiver<Option<Session>>,
    mut status: watch::Receiver<Arc<Status>>,
    mut feed: Feed,
    interval: Duration,
) {
    let backoff = Backoff::new(LEAST, interval.max(LEAST));
    let mut failures = 0;
    loop {
        let Ok(now) = session.wait_for(Option::is_some).await.map(|s| s.clone()) else {
            return;
        };
        let Some(now) = now else { continue };
        let mut body = request(&now, &status.borrow_and_update(), false);
        feed.add_to(&mut body);
        let answered = tokio::select! {
            answered = now.api.heartbeat(&body) => answered,
            // Its replica may be gone, and hang: the new session's is asked instead.
            changed = session.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let wait = match answered {
            Ok(answer) => {
                failures = 0;
                feed.heard(&body.orders).await;
                Duration::from_secs(answer.next_in).clamp(LEAST, MOST)
            }
            Err(fault) => {
                // The source's own query says the same, and is the one that is reported.
                tracing::debug!(%fault, "heartbeat");
                failures += 1;
                let spread = backoff.within(now.window.get());
                spread.wait(failures, fault.retry_after(), rand::random())
            }
        };
        let due = Instant::now() + wait;
        tokio::select! {
            () = sleep_until(due) => {}
            changed = status.changed(), if failures == 0 => {
                if changed.is_err() {
                    return;
                }
                sleep(TOGETHER).await;
            }
            () = feed.changed(), if failures == 0 => {}
            changed = session.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Says that the agent stops, where the service can be reached soon.
pub(super) async fn last_word(session: Option<Session>, status: &Status) {
    let Some(session) = session else { return };
    let body = request(&session, status, true);
    let said = timeout(LAST_WORD, session.api.heartbeat(&body)).await;
    if let Ok(Err(fault)) = said {
        tracing::debug!(%fault, "last heartbeat");
    }
}

/// One heartbeat now; for `agent --once`.
pub(super) async fn once(session: &Session, status: &Status) -> Result<(), ClientError> {
    let body = request(session, status, false);
    session.api.heartbeat(&body).await.map(|_| ())
}

fn request(session: &Session, status: &Status, stopping: bool) -> HeartbeatRequest {
    HeartbeatRequest {
        run: session.run.clone(),
        status: shortened(status),
        stopping,
        device: None,
        orders: Vec::new(),
    }
}

/// Counts bytes and keeps none of them.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How long a status is as JSON.
fn length(status: &Status) -> usize {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, status).map_or(0, |()| length.0)
}

/// A status that fits: what says a thing twice goes first, then the ends of long lists.
fn shortened(status: &Status) -> Status {
    let mut status = status.clone();
    status.sessions.truncate(MAX_SESSIONS);
    if length(&status) <= MAX_STATUS {
        return status;
    }
    status.conditions.truncate(MAX_CONDITIONS);
    for condition in &mut status.conditions {
        for text in [&mut condition.about, &mut condition.text] {
            cut(text);
        }
    }
    for source in &mut status.sources {
        source.last_error.iter_mut().for_each(cut);
    }
    for target in &mut status.targets {
        if let Some(proof) = &target.proof {
            let said: std::collections::HashSet<_> = proof
                .accepted
                .iter()
                .chain(proof.unknown.iter().map(|unknown| &unknown.fingerprint))
                .collect();
            target.managed.retain(|key| !said.contains(key));
        }
    }
    let mut most = 512;
    while length(&status) > MAX_STATUS && most > 0 {
        status.sessions.truncate(most / 2);
        for source in &mut status.sources {
            source.rejected.truncate(most / 8);
        }
        for target in &mut status.targets {
            target.managed.truncate(most);
            target.foreign_keys.truncate(most / 4);
            target.rejected.truncate(most / 8);
            if let Some(proof) = &mut target.proof {
                proof.accepted.truncate(most);
                proof.refused.truncate(most / 2);
                proof.unknown.truncate(most / 2);
                proof.still_accepted.truncate(most / 2);
            }
        }
        most /= 2;
    }
    // A word that is never taken would have this instance pass for one that is off.
    while length(&status) > MAX_STATUS && !(status.targets.is_empty() && status.sources.is_empty())
    {
        let half = |count: usize| count / 2;
        status.targets.truncate(half(status.targets.len()));
        status.sources.truncate(half(status.sources.len()));
    }
    status
}

/// Cuts what is too long, and marks it.
fn cut(text: &mut String) {
    if text.len() <= MAX_TEXT {
        return;
    }
    let mut end = MAX_TEXT - CUT.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(CUT);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Condition, Proof, Severity, State, TargetStatus, UnknownProof};

    fn status(keys: usize) -> Status {
        let key = |n: usize| format!("SHA256:{n:043}");
        Status {
            version: "0".into(),
            instance: None,
            state: State::Ok,
            sources: Vec::new(),
            targets: vec![TargetStatus {
                user: "root".into(),
                path: "/root/.ssh/authorized_keys".into(),
                method: "block".into(),
                managed: (0..keys).map(key).collect(),
                foreign: 0,
                foreign_keys: Vec::new(),
                revision: None,
                applied_at: None,
                digest: None,
                rejected: Vec::new(),
                proof: Some(Proof {
                    accepted: (0..keys.min(200)).map(key).collect(),
                    unknown: (200..keys.min(256))
                        .map(|n| UnknownProof {
                            fingerprint: key(n),
                            why: "from-option".into(),
                        })
                        .collect(),
                    ..Proof::default()
                }),
            }],
            certificates: None,
            sessions: Vec::new(),
            conditions: Vec::new(),
        }
    }

    #[test]
    fn many_targets_in_trouble_are_cut_too() {
        let mut long = status(10);
        let target = long.targets[0].clone();
        long.targets = vec![target; 500];
        let condition = |n: usize| Condition {
            code: "write-failed".into(),
            severity: Severity::Error,
            since: jiff::Timestamp::UNIX_EPOCH,
            about: format!("/home/{n}/.ssh/authorized_keys"),
            text: "ü".repeat(1000),
            todo: "see the text".into(),
        };
        long.conditions = (0..500).map(condition).collect();
        let short = shortened(&long);
        assert!(serde_json::to_vec(&short).unwrap().len() <= MAX_STATUS);
        assert_eq!(short.conditions.len(), MAX_CONDITIONS);
        let text = &short.conditions[0].text;
        assert!(text.len() <= MAX_TEXT && text.ends_with(CUT), "{text}");
        assert!(!short.targets.is_empty());
    }

    #[test]
    fn a_long_status_is_cut_to_what_the_service_takes() {
        assert_eq!(shortened(&status(100)), status(100));
        for keys in [1000, 20_000] {
            let short = shortened(&status(keys));
            assert!(serde_json::to_vec(&short).unwrap().len() <= MAX_STATUS);
            let target = &short.targets[0];
            assert!(!target.managed.is_empty());
            assert!(
                target
                    .proof
                    .as_ref()
                    .is_some_and(|p| p.accepted.len() > 100)
            );
        }
    }
}
