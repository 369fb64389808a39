//! Turns of method `own-file` that are not those of a block: taking the file away, and whether its
//! user can come to it.

use super::job::{Job, Stop};
use crate::config::Method;
use crate::keys::{AuthorizedKeys, Line, LineKind, PublicKey, read_line};
use crate::sinks::SinkError;
use crate::sinks::own_file::{impassable, remove};
use crate::sync::{Code, Desired, Finding, Owned, TargetReport, is_own, unplan};
use std::sync::atomic::Ordering;

/// Takes the file away, where it is ours.
pub(super) fn undo(job: &Job) -> TargetReport {
    let mut report = job.report(&Desired::default());
    if job.overtaken.load(Ordering::Relaxed) {
        return job.stopped_after(report, Stop::Sink(SinkError::Overtaken));
    }
    let is_ours = |bytes: &[u8]| is_own(bytes, &job.owned);
    let removed = match remove(&job.path, job.owner, job.random, is_ours) {
        Ok(removed) => removed,
        Err(fault) => return job.stopped_after(report, Stop::Sink(fault)),
    };
    report.owned = Owned::default();
    report.written = removed.is_some();
    report.removed = removed.map_or_else(Vec::new, keys_in);
    let nothing = AuthorizedKeys::parse(Vec::new());
    match unplan(&nothing, &Owned::default()) {
        Ok(plan) => report.settle(&nothing, &plan, &[]),
        Err(why) => return job.stopped_after(report, Stop::Held(why)),
    }
    report
}

/// That sshd cannot open the file: it does so as the user.
pub(super) fn is_out_of_reach(job: &Job) -> Option<Finding> {
    let bar = Some(job).filter(|job| job.method == Method::OwnFile);
    let bar = bar.and_then(|job| impassable(&job.path, job.owner))?;
    let (user, bar, about) = (&job.user, bar.display(), job.path.display().to_string());
    let text = format!(
        "{bar} does not let user {user} pass, and sshd reads the file as {user}; chmod 0755 it"
    );
    Some(Finding::new(Code::UnsafePath, about, text))
}

fn keys_in(bytes: Vec<u8>) -> Vec<PublicKey> {
    let file = AuthorizedKeys::parse(bytes);
    let entries = file.lines().iter();
    let entries = entries.filter(|line| matches!(line.kind, LineKind::Entry { .. }));
    let key = |line| match read_line(file.text(line).trim_ascii_end()) {
        Line::Entry(entry) => PublicKey::try_from(entry.key).ok(),
        _ => None,
    };
    entries.filter_map(key).collect()
}
