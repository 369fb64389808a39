//! What ought to happen, as values: decide, plan, render; when to ask again; what to report.
//!
//! Pure: no I/O, no clock, no async, no logging. Time, randomness and sshd's version come in as
//! arguments, so that every decision that can lock a person out is tested without a machine.

mod health;
mod plan;
mod policy;
mod render;
mod report;
mod schedule;
#[cfg(test)]
mod testing;

pub use health::{Code, Conditions, Finding, Standing, Weight};
pub use plan::{Adopted, Desired, HoldReason, Owned, Plan, WantedKey, plan, unplan};
pub use policy::{Admission, Agreement, Decision, View, admit, decide};
pub use render::{Dialect, FileWrite, render};
pub use report::{Settled, TargetReport, Trouble};
pub use schedule::{Backoff, jittered};
