//! SSH certificates (PROTOCOL.certkeys): made for users and hosts, and judged as sshd and ssh would.
//!
//! Never without a principal (CVE-2024-7594), never with a critical option that the other side may
//! not know, never by a signature that OpenSSH does not take from a CA. Pure: time, serials and
//! randomness are arguments.

mod issue;
mod judge;
mod limits;
mod probe;
mod shown;
#[cfg(test)]
mod tests;

pub use issue::{IssueError, NewCertificate};
pub use judge::{Certificate, CertificateFault};
pub use limits::{Limits, LimitsError};
pub use probe::{ProbeFault, account_principal, probe_key, probe_key_id};

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A user's key.
    User,
    /// A host's key.
    Host,
}

/// The most principals of a certificate: `SSHKEY_CERT_MAX_PRINCIPALS` in OpenSSH's sshkey.h.
pub const MAX_PRINCIPALS: usize = 256;

/// Whether a name may stand as a principal: sshd compares it whole, a list is cut at commas and an
/// AuthorizedPrincipalsFile at blanks and lines.
#[must_use]
pub fn is_principal(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 256
        && name
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b",\"'#*?!\\".contains(&b))
}
