//! What is believed, and why: signatures over snapshots and renewals, the floor below which no
//! revision is taken; certificates and revocation lists.
//!
//! Pure: no I/O, no clock, no async, no logging. Obeys protocol.md sections 1 and 2 and OpenSSH's
//! PROTOCOL.sshsig.

mod certificate;
mod floor;
mod krl;
mod signature;

pub use certificate::{
    Certificate, CertificateFault, IssueError, Limits, LimitsError, MAX_PRINCIPALS, NewCertificate,
    ProbeFault, Role, account_principal, is_principal, probe_key, probe_key_id,
};
pub use floor::{Floor, FloorFault, Standing};
pub use krl::{
    CertificateRef, Krl, KrlError, MAX_KRL, RevokedCertificates, SeenCertificate, Serials,
};
pub use signature::{AGENT_NAMESPACE, SignatureError, Signer, claimed_signer, verify, verify_any};
