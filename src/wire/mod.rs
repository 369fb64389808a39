//! Bodies that agent, service and people's tools exchange: one file a body, serde and nothing else.
//!
//! Owns the JSON shapes of interface.md sections 3 and 4 (snake_case, RFC 3339 times, unknown fields
//! tolerated so that neighbours of other versions can talk). Refuses to decide anything: agent and
//! service convert these to their own types at the door.

mod account;
mod account_session;
mod agent;
mod api_key;
mod audit;
mod certificate;
mod doctor;
mod handover;
mod heartbeat;
mod instance;
mod plan;
mod problem;
mod rollout;
mod session;
mod snapshot;
mod ssh_key;
mod status;

pub use account::{
    Account, AccountKey, LoginAnswer, LoginDevice, LoginRequest, PasswordChange, PasswordGiven,
    SignUpRequest, TotpBegun, TotpConfirm, TotpConfirmed, TotpStatus,
};
pub use account_session::{AccountSession, SessionDevice};
pub use agent::{
    EnrollAnswer, EnrollRequest, NonceAnswer, RenewAnswer, RenewRequest, renewal_message,
};
pub use api_key::{ApiKey, ApiKeySecret, EditApiKey, NewApiKey};
pub use audit::{AuditBy, AuditItem, Event};
pub use certificate::{
    Ca, CaRole, CaState, Cas, CertificatesStatus, HostCertificate, HostCertificateStatus,
    HostCertificatesAnswer, HostCertificatesRequest, KrlRef, NewUserCertificate, Probe, Probes,
    RevokeCertificates, RotateCa, UserCertificate,
};
pub use doctor::{Doctor, DoctorFinding, DoctorReport, Level};
pub use handover::{HANDOVER_NAMESPACE, Handover, HandoverPayload};
pub use heartbeat::{HeartbeatAnswer, HeartbeatRequest};
pub use instance::{
    ApproveHostKey, Attachment, CloneSeen, EditInstance, HostKey, HostKeyState, Instance,
    InstanceState, NewInstance, NewInstanceAnswer, RevokedHostKey,
};
pub use plan::{Plan, PlanAction, PlanSource, PlannedKey, TargetPlan};
pub use problem::Problem;
pub use rollout::{
    Rollout, RolloutCounts, RolloutEnd, RolloutInstance, RolloutKrl, RolloutOrder, RolloutState,
};
pub use session::{Device, EndSessions, OrderOutcome, OrderResult, Session, SessionCertificate};
pub use snapshot::{NAMESPACE, Payload, Removed, Revoked, SignedSnapshot, SnapshotKey};
pub use ssh_key::{EditSshKey, KeyScope, NewSshKey, SshKey};
pub use status::{
    Condition, Proof, RejectedKey, Severity, SourceKind, SourceState, SourceStatus, State, Status,
    TargetStatus, UnknownProof,
};

use serde::{Deserialize, Serialize};

/// A page of a listing: `{"items": […], "next": null}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
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

/// A field that may be missing, null, or there: missing leaves a value as it is, null takes it out.
mod double_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Option<Option<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value
            .as_ref()
            .and_then(Option::as_ref)
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
}
