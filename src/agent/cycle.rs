//! The path of a key, as one function: what is not in [`turn`] cannot reach a user's file.
//!
//! Runs on a thread that may block, one turn at a time; a turn begun is finished. It reads no list
//! from anywhere: the lists in force come with the [`Job`].

use super::index;
use super::job::{Job, Stop};
use super::own_file;
use crate::config::Method;
use crate::keys::AuthorizedKeys;
use crate::sinks::{Carry, KeysFile, SinkError};
use crate::sync::{
    Decision, Desired, HoldReason, Owned, Plan, RevokedLine, TargetReport, decide, plan, plan_own,
    render, unplan,
};
use crate::sys::atomic_file::InPlace;

use std::sync::Arc;

/// How often a file that others write meanwhile is read again.
const TRIES: u64 = 5;
/// The same, while lines of others wait that are in no file any more.
const TRIES_WITH_LATE: u64 = 100;

/// What a turn does beside its file.
pub(super) struct Hands<'a> {
    /// Brings what the next write needs to be undone to the disk before it.
    pub(super) remember: &'a mut dyn FnMut(&Owned) -> std::io::Result<()>,
    /// Brings lines of others that the next write takes out to the disk before it.
    pub(super) set_aside: &'a mut dyn FnMut(&[RevokedLine]) -> std::io::Result<()>,
    /// What the turn before left, and what this one leaves.
    pub(super) carry: &'a mut Carry,
}

/// One target: from what its sources hold to what its file reads.
pub(super) fn turn(job: &Job, hands: Hands<'_>) -> TargetReport {
    let desired = match decide(&job.views(), job.now, &job.dialect) {
        Decision::Apply(desired) => desired,
        Decision::Hold(why) => return job.stopped(Stop::Held(why), &Desired::default()),
    };
    if job.method == Method::Command {
        return index::keep(job, &desired);
    }
    let planned = |keys: &AuthorizedKeys, owned: &Owned| planned(job, &desired, keys, owned);
    let mut report = carry_out(job, &desired, planned, hands);
    report.findings.extend(own_file::is_out_of_reach(job));
    report
}

/// What makes the file hold what is desired; also what `sshkeyd plan` shows.
pub(super) fn planned(
    job: &Job,
    desired: &Desired,
    keys: &AuthorizedKeys,
    owned: &Owned,
) -> Result<Plan, HoldReason> {
    match job.method {
        Method::OwnFile => plan_own(keys, desired, owned),
        Method::Block | Method::Command => plan(keys, desired, owned, job.adopt),
    }
}

/// One target: takes out everything that we ever wrote.
pub(super) fn undo(job: &Job, hands: Hands<'_>) -> TargetReport {
    match job.method {
        Method::Command => return index::undo(job),
        Method::OwnFile => return own_file::undo(job),
        Method::Block => {}
    }
    carry_out(job, &Desired::default(), unplan, hands)
}

fn carry_out(
    job: &Job,
    desired: &Desired,
    planned: impl Fn(&AuthorizedKeys, &Owned) -> Result<Plan, HoldReason>,
    hands: Hands<'_>,
) -> TargetReport {
    let mut report = job.report(desired);
    match write_until_settled(job, planned, hands, &mut report) {
        Ok(()) => report,
        Err(stop) => job.stopped_after(report, stop),
    }
}

fn write_until_settled(
    job: &Job,
    planned: impl Fn(&AuthorizedKeys, &Owned) -> Result<Plan, HoldReason>,
    mut hands: Hands<'_>,
    report: &mut TargetReport,
) -> Result<(), Stop> {
    let file = KeysFile::open(&job.path, &job.home, job.owner)?;
    let file = file.with_in_place(InPlace::new(job.spare.clone()), job.in_place);
    let mut file = file.until(Arc::clone(&job.overtaken));
    file.resume(std::mem::take(hands.carry));
    let done = until_settled(&mut file, job, planned, &mut hands, report);
    *hands.carry = file.hand_over();
    done
}

fn until_settled(
    file: &mut KeysFile,
    job: &Job,
    planned: impl Fn(&AuthorizedKeys, &Owned) -> Result<Plan, HoldReason>,
    hands: &mut Hands<'_>,
    report: &mut TargetReport,
) -> Result<(), Stop> {
    for attempt in 0..TRIES_WITH_LATE {
        let read = file.read()?;
        let plan = planned(&read.keys, &report.owned)?;
        if attempt == 0 {
            report.drift = job.left.as_ref().and_then(|left| left.drift(&plan.found));
        }
        if plan.is_empty() && !file.has_late() {
            report.settle(&read.keys, &plan, &job.gone);
            return Ok(());
        }
        if attempt >= TRIES && !file.has_late() {
            break;
        }
        if !plan.adopt.is_empty() {
            (hands.remember)(&report.owned.joined(&plan)).map_err(Stop::State)?;
        }
        if !plan.revoked.is_empty() {
            (hands.set_aside)(&plan.revoked).map_err(Stop::State)?;
        }
        let write = render(&read.keys, &plan);
        match file.replace(read, write, job.random.wrapping_add(attempt)) {
            Ok(()) => report.wrote(&plan),
            Err(SinkError::Changed) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Err(SinkError::Changed.into())
}
