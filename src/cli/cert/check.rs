//! A certificate that came, before anything uses it: over our key, for whom it is said to be, in
//! time, by a CA of the account.
//!
//! Refuses to mend: what is wrong with one is said, and it is dropped.

use super::mark::{SKEW, is_account};
use crate::keys::PublicKey;
use crate::trust::{Certificate, CertificateFault, Role};
use crate::wire::{Cas, UserCertificate};
use jiff::Timestamp;

/// Why one is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckFault {
    /// sshd would not take it.
    #[error("{0}")]
    NotGood(#[from] CertificateFault),
    /// It would be good for nothing here.
    #[error("it is over another key than the one that was sent")]
    OtherKey,
    /// The answer says one thing, and the certificate another.
    #[error("its {0} is not what the service says")]
    Differs(&'static str),
    /// It does not name one account, and nobody else.
    #[error("it names others than one account")]
    Principals,
}

/// The CAs of a list that can be read.
pub(super) fn keys_of(lines: &[String]) -> Vec<PublicKey> {
    let key = |line: &String| PublicKey::parse_text(line).ok().map(|(key, _)| key);
    lines.iter().filter_map(key).collect()
}

/// Reads and judges it. The clocks may differ by some minutes: sshd's is the one that counts.
pub(super) fn checked(
    answer: &UserCertificate,
    key: &PublicKey,
    cas: &Cas,
    now: Timestamp,
) -> Result<Certificate, CheckFault> {
    let certificate = Certificate::parse(&answer.certificate)?;
    if certificate.key() != key {
        return Err(CheckFault::OtherKey);
    }
    let [principal] = certificate.principals() else {
        return Err(CheckFault::Principals);
    };
    if !is_account(principal) {
        return Err(CheckFault::Principals);
    }
    let same = [
        ("serial", certificate.serial() == answer.serial),
        ("key ID", certificate.key_id() == answer.key_id),
        ("principal", certificate.principals() == answer.principals),
        (
            "end",
            certificate.valid_before().as_second() == answer.valid_before.as_second(),
        ),
    ];
    if let Some((what, _)) = same.iter().find(|(_, same)| !same) {
        return Err(CheckFault::Differs(what));
    }
    let begins = certificate.valid_after();
    let at = match begins.checked_sub(SKEW) {
        Ok(early) if early <= now => now.max(begins),
        _ => now,
    };
    certificate.judge(Role::User, &keys_of(&cas.user_ca), at, principal)?;
    Ok(certificate)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, ca, certificate_text, key};
    use super::*;
    use crate::trust::Signer;

    fn answer(principal: &str) -> UserCertificate {
        UserCertificate {
            certificate: certificate_text(principal, 0, 900),
            serial: 12,
            key_id: "7/0/3".to_owned(),
            principals: vec![principal.to_owned()],
            valid_after: at(0),
            valid_before: at(900),
        }
    }

    fn cas(ca: &Signer) -> Cas {
        Cas {
            user_ca: vec!["no key".to_owned(), ca.public().to_string()],
            ..Cas::default()
        }
    }

    #[test]
    fn a_good_one_is_taken_also_by_a_clock_that_is_slow() {
        for second in [-299, 0, 899] {
            let got = checked(
                &answer("account:7"),
                &key().public(),
                &cas(&ca()),
                at(second),
            );
            assert_eq!(got.unwrap().serial(), 12);
        }
    }

    #[test]
    fn one_that_is_not_what_was_asked_for_is_dropped() {
        let said = |answer: &UserCertificate, key: &PublicKey, cas: &Cas, second| {
            let fault = checked(answer, key, cas, at(second)).unwrap_err();
            fault.to_string()
        };
        let (good, key, ours) = (answer("account:7"), key().public(), cas(&ca()));
        let stranger = Signer::from_seed(&[9; 32]);
        for (text, words) in [
            (said(&good, &stranger.public(), &ours, 1), "another key"),
            (said(&good, &key, &cas(&stranger), 1), "not trusted here"),
            (said(&good, &key, &Cas::default(), 1), "not trusted here"),
            (said(&good, &key, &ours, 900), "it was good until"),
            (said(&good, &key, &ours, -301), "not good before"),
            (said(&answer("root"), &key, &ours, 1), "names others"),
            (
                said(
                    &UserCertificate {
                        serial: 13,
                        ..good.clone()
                    },
                    &key,
                    &ours,
                    1,
                ),
                "serial",
            ),
            (
                said(
                    &UserCertificate {
                        principals: vec!["account:8".to_owned()],
                        ..good.clone()
                    },
                    &key,
                    &ours,
                    1,
                ),
                "principal",
            ),
            (
                said(
                    &UserCertificate {
                        valid_before: at(901),
                        ..good.clone()
                    },
                    &key,
                    &ours,
                    1,
                ),
                "end",
            ),
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let broken = UserCertificate {
            certificate: good.certificate.replace("AAAA", "AAAB"),
            ..good
        };
        assert!(checked(&broken, &key, &ours, at(1)).is_err());
    }
}
