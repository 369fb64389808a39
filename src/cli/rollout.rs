//! How far a key has come, or the end of a deleted key's sessions: shown as a table, and waited for.
//!
//! Owns when a wait is over (interface.md section 1, `--wait`): every live instance has `proved`
//! the key, or has `written` it and says why no proof can be had; of a key that was deleted with its
//! sessions, every live instance has said what became of them, and of one that was revoked, whether
//! its revocation list is in force. Refuses to count an instance that
//! has not spoken as one that has; those that are not live are counted, not waited for.

mod list;

use super::exit::{Exit, Failed};
use super::output::Output;
use super::remote::Remote;
use crate::client::ClientError;
use crate::wire::{
    InstanceState, OrderOutcome, Rollout, RolloutEnd, RolloutInstance, RolloutState,
};
use std::time::Duration;

/// How long one query is held: short enough to pass any proxy.
const HOLD: Duration = Duration::from_secs(25);
/// Between two queries, for a service that does not hold them.
const PAUSE: Duration = Duration::from_millis(50);
/// After a query that gave no answer.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The instances that a wait is about, by whether they have said what they can say.
struct Standing<'a> {
    settled: Vec<&'a RolloutInstance>,
    others: Vec<&'a RolloutInstance>,
    not_live: usize,
    /// It is about the sessions of a key that was deleted.
    ending: bool,
}

/// What a wait came to.
pub(super) struct Waited {
    /// The last picture.
    pub(super) rollout: Rollout,
    /// Whether every instance waited for has settled.
    pub(super) settled: bool,
}

/// Where it stands on the instances of `only`, or on all where that names none.
fn standing<'a>(rollout: &'a Rollout, only: &[i64]) -> Standing<'a> {
    let mut standing = Standing {
        settled: Vec::new(),
        others: Vec::new(),
        not_live: 0,
        ending: rollout.end_sessions.is_some(),
    };
    for instance in &rollout.instances {
        let live = instance.instance_state == InstanceState::Live;
        match only.is_empty() {
            false if !only.contains(&instance.instance) => continue,
            true if !live => standing.not_live += 1,
            _ if live && has_settled(instance, standing.ending) => standing.settled.push(instance),
            _ => standing.others.push(instance),
        }
    }
    standing
}

fn has_settled(instance: &RolloutInstance, ending: bool) -> bool {
    if ending {
        return instance.end_sessions.is_some() && list::has_settled(instance);
    }
    match instance.state {
        RolloutState::Proved => true,
        RolloutState::Written => instance.why.is_some(),
        RolloutState::Wanted | RolloutState::Refused => false,
    }
}

/// Waits until the key has settled, `within` at the longest, and shows how it goes.
///
/// # Errors
/// An answer that more waiting does not change, no answer at all in that time, or an `only` that
/// names no instance.
pub(super) async fn wait(
    remote: &Remote,
    id: i64,
    within: Duration,
    only: &[i64],
    out: &mut Output,
) -> Result<Waited, Failed> {
    let mut progress = out.progress();
    let mut last: Option<Rollout> = None;
    let mut etag: Option<String> = None;
    let mut trouble = ClientError::Timeout;
    let watch = async {
        loop {
            // A tag that names nothing: the first picture comes at once.
            let known = etag.as_deref().unwrap_or("\"\"");
            let pause = match remote.rollout_after(id, known, HOLD).await {
                Ok(None) => PAUSE,
                Ok(Some((rollout, tag))) => {
                    etag = tag;
                    let now = standing(&rollout, only);
                    let done = now.others.is_empty();
                    let settled = now.settled.len() as u64;
                    let total = settled + now.others.len() as u64;
                    let nobody = only.iter().find(|id| !is_there(&rollout, **id));
                    let nobody = nobody.map(|id| no_such_instance(*id));
                    progress.show(out, settled, total, &summary(&now));
                    last = Some(rollout);
                    match nobody {
                        Some(failed) => return Err(failed),
                        None if done => return Ok(()),
                        None => PAUSE,
                    }
                }
                Err(error) if may_pass(&error) => {
                    let pause = error.retry_after().unwrap_or(BACK_OFF).max(BACK_OFF);
                    trouble = error;
                    pause
                }
                Err(error) => return Err(remote.explained(error)),
            };
            tokio::time::sleep(pause).await;
        }
    };
    let ended = tokio::time::timeout(within, watch).await;
    progress.end(out);
    let settled = ended.is_ok();
    ended.unwrap_or(Ok(()))?;
    match last {
        Some(rollout) => Ok(Waited { rollout, settled }),
        None => Err(remote.explained(trouble)),
    }
}

fn may_pass(error: &ClientError) -> bool {
    super::exit::exit_of_client(error) == Exit::Unavailable
}

fn is_there(rollout: &Rollout, id: i64) -> bool {
    rollout.instances.iter().any(|i| i.instance == id)
}

fn no_such_instance(id: i64) -> Failed {
    let text = format!("instance {id} is not to hold this key; see `sshkeyd instances show {id}`");
    Failed::new(Exit::NotDone, text)
}

fn summary(standing: &Standing<'_>) -> String {
    if standing.ending {
        return summary_of_end(standing);
    }
    let count = |state| standing.settled.iter().filter(|i| i.state == state).count();
    let (proved, written) = (count(RolloutState::Proved), count(RolloutState::Written));
    let all = standing.settled.len() + standing.others.len();
    let text = format!("proved on {proved} of {all}");
    counted(text, standing, written, "written without proof")
}

fn summary_of_end(standing: &Standing<'_>) -> String {
    let ends = || standing.settled.iter().filter_map(|i| i.end_sessions);
    let ended: u64 = ends().map(|end| u64::from(end.ended)).sum();
    let sessions = if ended == 1 { "session" } else { "sessions" };
    let (answered, all) = (
        standing.settled.len(),
        standing.settled.len() + standing.others.len(),
    );
    let text = format!("{ended} {sessions} ended, {answered} of {all} have answered");
    let not_done = ends().filter(|end| !is_done(end)).count();
    counted(text, standing, not_done, "could not end all")
}

/// Adds what there is of numbers that are no good news.
fn counted(mut text: String, standing: &Standing<'_>, number: usize, words: &str) -> String {
    for (number, words) in [
        (number, words),
        (standing.others.len(), "to come"),
        (standing.not_live, "not live"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {number} {words}"));
        }
    }
    text
}

/// Whether no session by the key is left there, as far as the instance says.
fn is_done(end: &RolloutEnd) -> bool {
    matches!(end.outcome, OrderOutcome::Ended | OrderOutcome::None) && end.left == 0
}

/// What came of a wait for the end of a key's sessions, instance by instance. True: all who were
/// waited for have answered, and none of them has such a session left.
pub(super) fn show_ended(waited: &Waited, out: &mut Output) -> bool {
    let standing = standing(&waited.rollout, &[]);
    out.line(&summary(&standing));
    let mut done = waited.settled;
    for instance in &standing.settled {
        let Some(end) = &instance.end_sessions else {
            continue;
        };
        let text = format!(
            "{}: {}{}",
            named(instance),
            words_of_end(end),
            list::words(instance)
        );
        if is_done(end) {
            out.line(&text);
        } else {
            done = false;
            out.error(&text);
        }
    }
    for instance in &standing.others {
        out.error(&match &instance.end_sessions {
            Some(end) => format!(
                "{}: {}{}",
                named(instance),
                words_of_end(end),
                list::words(instance)
            ),
            None => format!("{}: has not answered yet", named(instance)),
        });
    }
    list::show_missing(&waited.rollout, out);
    done
}

/// What became of the sessions, in words.
fn words_of_end(end: &RolloutEnd) -> String {
    let sessions = |n: u32| format!("{n} session{}", if n == 1 { "" } else { "s" });
    let mut text = match end.outcome {
        OrderOutcome::Ended => format!("{} ended", sessions(end.ended)),
        OrderOutcome::None => "no session of it".to_owned(),
        OrderOutcome::NotMapped => {
            "cannot tell whose key opened a session here; see its conditions".to_owned()
        }
        OrderOutcome::RefusedHere => {
            "ends no sessions; its configuration says end-on-revoke = \"never\"".to_owned()
        }
    };
    if end.left > 0 {
        text.push_str(&format!(", {} still there", sessions(end.left)));
    }
    text
}

/// What came of a wait, for a person: the numbers, why there is no proof, and who is missing.
pub(super) fn show_end(waited: &Waited, only: &[i64], out: &mut Output) {
    let standing = standing(&waited.rollout, only);
    out.line(&summary(&standing));
    for instance in &standing.settled {
        if instance.state == RolloutState::Written {
            out.line(&format!("{}: {}", named(instance), words(instance)));
        }
    }
    for instance in &standing.others {
        out.error(&format!("{}: {}", named(instance), words(instance)));
    }
}

/// Every instance, for a person.
pub(super) fn show(rollout: &Rollout, out: &mut Output) {
    let row = |i: &RolloutInstance| {
        let seen = state_word(i.instance_state).to_owned();
        [i.instance.to_string(), i.label.clone(), seen]
    };
    if let Some(order) = rollout.end_sessions {
        let row = |i: &RolloutInstance| {
            let [id, label, seen] = row(i);
            let answer = i.end_sessions.as_ref().map(words_of_end);
            [
                id,
                label,
                seen,
                format!("{}{}", words_of_deleted(i), list::words(i)),
                answer.unwrap_or_default(),
            ]
        };
        let rows: Vec<[String; 5]> = rollout.instances.iter().map(row).collect();
        out.table(["ID", "LABEL", "INSTANCE", "KEY", "SESSIONS"], &rows);
        let asked = order.asked_at;
        out.line(&format!("deleted {asked:.0}; its sessions were to end"));
        out.line(&summary(&standing(rollout, &[])));
        return;
    }
    let row = |i: &RolloutInstance| {
        let [id, label, seen] = row(i);
        [id, label, seen, words(i)]
    };
    let rows: Vec<[String; 4]> = rollout.instances.iter().map(row).collect();
    out.table(["ID", "LABEL", "INSTANCE", "KEY"], &rows);
    let counts = rollout.counts;
    out.line(&format!(
        "{} in all: {} live ({} proved, {} written, {} wanted, {} refused), {} not live",
        counts.total,
        counts.live,
        counts.proved,
        counts.written,
        counts.wanted,
        counts.refused,
        counts.offline
    ));
}

fn named(instance: &RolloutInstance) -> String {
    format!("instance {} \"{}\"", instance.instance, instance.label)
}

/// Where the key stands on one instance, in words.
fn words(instance: &RolloutInstance) -> String {
    let why = instance.why.as_deref();
    let mut text = match (instance.state, why) {
        (RolloutState::Wanted, _) => "wanted".to_owned(),
        (RolloutState::Written, None) => "written, no proof yet".to_owned(),
        (RolloutState::Written, Some(why)) => format!("written, no proof: {why}"),
        (RolloutState::Proved, _) => match instance.proved_after_ms {
            Some(ms) => format!("proved, {ms} ms after the save"),
            None => "proved".to_owned(),
        },
        (RolloutState::Refused, None) => "refused".to_owned(),
        (RolloutState::Refused, Some(why)) => format!("refused: {why}"),
    };
    if let Some(since) = instance.offline_since {
        text.push_str(&format!("; offline since {since:.0}"));
    }
    text
}

/// Where a deleted key stands on one instance, in words.
fn words_of_deleted(instance: &RolloutInstance) -> String {
    let mut text = match (instance.state, instance.why.as_deref()) {
        (RolloutState::Refused, why) => why.unwrap_or("deleted").to_owned(),
        (RolloutState::Wanted, _) => "not reported yet".to_owned(),
        (RolloutState::Written | RolloutState::Proved, None) => "still there".to_owned(),
        (RolloutState::Written | RolloutState::Proved, Some(why)) => format!("still there: {why}"),
    };
    if let Some(since) = instance.offline_since {
        text.push_str(&format!("; offline since {since:.0}"));
    }
    text
}

/// The interface's word for how lately an instance was heard.
pub(super) fn state_word(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Live => "live",
        InstanceState::Stale => "stale",
        InstanceState::Offline => "offline",
        InstanceState::Never => "never",
        InstanceState::Removing => "removing",
    }
}

#[cfg(test)]
mod tests;
