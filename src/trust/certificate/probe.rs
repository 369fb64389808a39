//! Probes: certificates over a key that nobody has the private half of, so that sshd can be asked
//! whether it trusts a CA, and whether a revocation list is in force, by somebody who can log in
//! with neither answer.
//!
//! Two of each CA: one that nothing revokes, and one that the list of one number revokes by its key
//! ID. sshd that takes the first and refuses the second has that list.

use super::{Certificate, CertificateFault, IssueError, Limits, NewCertificate, Role};
use crate::keys::{Fingerprint, PublicKey};
use crate::trust::Signer;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

/// The text whose SHA-256 is the key's point: of those that count up, the first that is one on the
/// curve. So nobody made it from a private half.
const TEXT: &str = "sshkeyd probe key 0";

/// Half of a probe's time: before and after it is made, since clocks differ.
const LIFE: SignedDuration = SignedDuration::from_mins(10);

/// No certificate of a person or a host ever gets this serial: those are numbered from 1 up.
const SERIAL: u64 = u64::MAX;

/// What it would run, could anyone log in by it.
const COMMAND: &str = "/bin/false";

/// The key that all probes are over.
#[must_use]
pub fn probe_key() -> PublicKey {
    let point = Sha256::digest(TEXT);
    let mut point_bytes = [0; 32];
    point_bytes.copy_from_slice(&point);
    let key = ssh_key::public::Ed25519PublicKey(point_bytes);
    let line = ssh_key::PublicKey::from(key).to_openssh();
    let line = line.expect("an Ed25519 key encodes");
    let (key, _) = PublicKey::parse_text(&line).expect("an Ed25519 key is one we would write");
    key
}

/// The key ID of a probe: `ACCOUNT/probe/live`, or `ACCOUNT/probe/VERSION` of the one that the
/// revocation list of that number revokes, and no other list.
#[must_use]
pub fn probe_key_id(account: i64, revoked_by: Option<u64>) -> String {
    match revoked_by {
        None => format!("{account}/probe/live"),
        Some(version) => format!("{account}/probe/{version}"),
    }
}

/// The principal of every user certificate of an account.
#[must_use]
pub fn account_principal(account: i64) -> String {
    format!("account:{account}")
}

/// Why a certificate is no probe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeFault {
    /// It is no good as a certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateFault),
    /// Over another key: somebody may have its private half.
    #[error("it is over the key {0}, which is not that of probes")]
    Key(Fingerprint),
    /// Its key ID or its serial is not that of this probe.
    #[error("it is \"{0}\" of serial {1}, which is not the probe that was asked for")]
    Other(String, u64),
}

impl Signer {
    /// Makes a probe for an account.
    ///
    /// # Errors
    /// [`IssueError::Validity`] for a time that has no neighbours.
    pub fn probe(
        &self,
        account: i64,
        revoked_by: Option<u64>,
        now: Timestamp,
        nonce: &[u8; 32],
    ) -> Result<String, IssueError> {
        let around = |span| now.checked_add(span).map_err(|_| IssueError::Validity);
        self.certify(
            &NewCertificate {
                role: Role::User,
                key: &probe_key(),
                serial: SERIAL,
                key_id: &probe_key_id(account, revoked_by),
                principals: &[account_principal(account)],
                valid_after: around(-LIFE)?,
                valid_before: around(LIFE)?,
                limits: &Limits::command(COMMAND),
            },
            nonce,
        )
    }
}

impl Certificate {
    /// Reads a probe of an account: made by one of these CAs, which come from its signed list, and
    /// what it says it is. Ask sshd about nothing else.
    ///
    /// # Errors
    /// [`ProbeFault`].
    pub fn parse_probe(
        line: &str,
        cas: &[PublicKey],
        account: i64,
        revoked_by: Option<u64>,
        at: Timestamp,
    ) -> Result<Self, ProbeFault> {
        let probe = Self::parse(line)?;
        if *probe.key() != probe_key() {
            return Err(ProbeFault::Key(probe.key().fingerprint()));
        }
        if probe.key_id() != probe_key_id(account, revoked_by) || probe.serial() != SERIAL {
            return Err(ProbeFault::Other(
                crate::keys::printable(probe.key_id()),
                probe.serial(),
            ));
        }
        probe.judge(Role::User, cas, at, &account_principal(account))?;
        Ok(probe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-11-22T19:00:00Z".parse().unwrap()
    }

    #[test]
    fn the_key_is_the_one_that_every_version_knows() {
        let line =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICuTm65bHI8txR82Vnsd34Pe9GvKHZFXdHU4JoFAT6bK";
        assert_eq!(probe_key().to_string(), line);
    }

    #[test]
    fn a_probe_is_taken_for_what_it_is_and_for_nothing_else() {
        let ca = Signer::from_seed(&[1; 32]);
        let cas = [ca.public()];
        let read = |line: &str, account, revoked_by, at| {
            Certificate::parse_probe(line, &cas, account, revoked_by, at).map(drop)
        };
        for revoked_by in [None, Some(7)] {
            let line = ca.probe(3, revoked_by, at(), &[2; 32]).unwrap();
            assert_eq!(read(&line, 3, revoked_by, at()), Ok(()));
            for (account, other) in [(4, revoked_by), (3, Some(8))] {
                let refused = read(&line, account, other, at());
                assert!(matches!(refused, Err(ProbeFault::Other(..))), "{refused:?}");
            }
            let late = read(&line, 3, revoked_by, at() + SignedDuration::from_mins(11));
            let over = ProbeFault::Certificate(CertificateFault::Over(at() + LIFE));
            assert_eq!(late, Err(over));
            let stranger = Signer::from_seed(&[9; 32]);
            let line = stranger.probe(3, revoked_by, at(), &[2; 32]).unwrap();
            let refused = read(&line, 3, revoked_by, at());
            let of = CertificateFault::Ca(stranger.public().fingerprint());
            assert_eq!(refused, Err(ProbeFault::Certificate(of)));
        }
        let key = Signer::from_seed(&[5; 32]).public();
        let line = ca.certify(
            &NewCertificate {
                role: Role::User,
                key: &key,
                serial: SERIAL,
                key_id: "3/probe/live",
                principals: &[account_principal(3)],
                valid_after: at(),
                valid_before: at() + LIFE,
                limits: &Limits::none(),
            },
            &[2; 32],
        );
        let refused = read(&line.unwrap(), 3, None, at());
        assert_eq!(refused, Err(ProbeFault::Key(key.fingerprint())));
    }
}
