//! What ought to happen, as values: decide, plan, render; when to ask again; what to report.
//!
//! Pure: no I/O, no clock, no async, no logging. Time, randomness and sshd's version come in as
//! arguments, so that every decision that can lock a person out is tested without a machine.

mod diff;
mod drift;
mod health;
mod index;
mod plan;
mod policy;
mod render;
mod renewal;
mod report;
mod schedule;
#[cfg(test)]
mod testing;

pub use diff::{Action, Change, diff};
pub use drift::{Drift, Trace};
pub use health::{Code, Conditions, Finding, News, Standing, Weight};
pub use index::{IndexPlan, plan_index, unplan_index};
pub use plan::{
    Adopted, Desired, HoldReason, Owned, Plan, RevokedLine, Wanted, WantedKey, is_own, plan,
    plan_own, unplan,
};
pub use policy::{Admission, Agreement, Decision, View, admit, decide};
pub use render::{Dialect, FileWrite, render};
pub use renewal::Life;
pub use report::{MAX_FOREIGN, Settled, TargetReport, Trouble};
pub use schedule::{Backoff, RETRY_WITHIN, jittered, retry_within};
