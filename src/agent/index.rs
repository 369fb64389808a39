//! Turns of method `command`: the path of a key where the file is an index.
//!
//! Nobody else writes there, so nothing of others is kept and one write settles it. An empty plan
//! stops before the disk, as in `cycle.rs`.

use super::job::Job;
use crate::sinks::{IndexFile, IndexRead, SinkError};
use crate::sync::{Desired, Plan, TargetReport, plan_index, unplan_index};
use std::sync::atomic::Ordering;

/// Makes the index read as it ought to.
pub(super) fn keep(job: &Job, desired: &Desired) -> TargetReport {
    reported(job, desired, |report| {
        let file = IndexFile::open(&job.path, job.owner.uid)?;
        let read = file.read()?;
        let next = plan_index(read.on_disk.as_deref(), &read.known, desired, job.owner.uid)?;
        report.drift = job
            .left
            .as_ref()
            .and_then(|left| left.drift(&next.plan.found));
        if !next.plan.is_empty() {
            if job.overtaken.load(Ordering::Relaxed) {
                return Err(SinkError::Overtaken);
            }
            if next.only_adds {
                file.replace(&read, &next.bytes, job.random)?;
            } else {
                file.replace_both(&next.bytes, job.random)?;
            }
            report.wrote(&next.plan);
        }
        report.settle_index(&next.bytes, &next.plan);
        Ok(())
    })
}

/// What would make the index read as it ought to; writes nothing.
///
/// # Errors
/// What the turn itself would stop for.
pub(super) fn planned(job: &Job, desired: &Desired) -> Result<Plan, SinkError> {
    let read = match IndexFile::look(&job.path, job.owner.uid)? {
        Some(file) => file.read()?,
        None => IndexRead::default(),
    };
    let next = plan_index(read.on_disk.as_deref(), &read.known, desired, job.owner.uid)?;
    Ok(next.plan)
}

/// Takes the index away.
pub(super) fn undo(job: &Job) -> TargetReport {
    reported(job, &Desired::default(), |report| {
        let file = IndexFile::look(&job.path, job.owner.uid)?;
        let read = match &file {
            Some(file) => file.read()?,
            None => IndexRead::default(),
        };
        let plan = unplan_index(read.is_there, &read.known);
        if let Some(file) = file.filter(|_| !plan.is_empty()) {
            if job.overtaken.load(Ordering::Relaxed) {
                return Err(SinkError::Overtaken);
            }
            file.remove()?;
            report.wrote(&plan);
        }
        report.settle_index(&[], &plan);
        Ok(())
    })
}

fn reported(
    job: &Job,
    desired: &Desired,
    work: impl FnOnce(&mut TargetReport) -> Result<(), SinkError>,
) -> TargetReport {
    let mut report = job.report(desired);
    match work(&mut report) {
        Ok(()) => report,
        Err(fault) => job.stopped_after(report, fault.into()),
    }
}
