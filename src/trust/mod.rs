//! What is believed, and why: signatures over snapshots and renewals, the signers that are pinned,
//! and the floor below which no revision is taken.
//!
//! Pure: no I/O, no clock, no async, no logging. Obeys protocol.md sections 1 and 2 and OpenSSH's
//! PROTOCOL.sshsig.

mod floor;
mod krl;
mod signature;

pub use floor::{Floor, FloorFault, Standing};
pub use krl::{CertificateRef, Krl, KrlError, MAX_KRL, RevokedCertificates, Serials};
pub use signature::{AGENT_NAMESPACE, SignatureError, Signer, claimed_signer, verify, verify_any};
