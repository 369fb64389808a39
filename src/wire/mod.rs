//! Bodies that agent, service and people's tools exchange: one file a body, serde and nothing else.
//!
//! Owns the JSON shapes of interface.md sections 3 and 4 (snake_case, RFC 3339 times, unknown fields
//! tolerated so that neighbours of other versions can talk). Refuses to decide anything: agent and
//! service convert these to their own types at the door.

mod agent;
mod doctor;
mod heartbeat;
mod instance;
mod plan;
mod problem;
mod rollout;
mod session;
mod snapshot;
mod ssh_key;
mod status;

pub use agent::{
    EnrollAnswer, EnrollRequest, NonceAnswer, RenewAnswer, RenewRequest, renewal_message,
};
pub use doctor::{Doctor, DoctorFinding, DoctorReport, Level};
pub use heartbeat::{HeartbeatAnswer, HeartbeatRequest};
pub use instance::{Instance, InstanceState, NewInstance, NewInstanceAnswer};
pub use plan::{Plan, PlanAction, PlanSource, PlannedKey, TargetPlan};
pub use problem::Problem;
pub use rollout::{
    Rollout, RolloutCounts, RolloutEnd, RolloutInstance, RolloutOrder, RolloutState,
};
pub use session::{Device, EndSessions, OrderOutcome, OrderResult, Session, SessionCertificate};
pub use snapshot::{NAMESPACE, Payload, Removed, Revoked, SignedSnapshot, SnapshotKey};
pub use ssh_key::{NewSshKey, SshKey};
pub use status::{
    Condition, Proof, RejectedKey, Severity, SourceKind, SourceState, SourceStatus, State, Status,
    TargetStatus, UnknownProof,
};

use serde::{Deserialize, Serialize};

/// A page of a listing: `{"items": […], "next": null}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    #[serde(default)]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// All rows on one page.
    #[must_use]
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}
