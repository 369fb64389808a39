//! What a certificate is called, in an agent and in a file, so that it is known again without
//! asking anybody: by whom it was got, and how much of its life is left.
//!
//! `sshkeyd account:ID ADDRESS TAG`. Refuses to take a certificate for ours that is not called so.

use crate::cli::remote::Asker;
use crate::trust::{Certificate, is_principal};
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// The first word.
const OURS: &str = "sshkeyd";

/// What the clocks here and at the service may differ by.
pub(super) const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// The name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// `account:ID`.
    pub(super) principal: String,
    /// Who asked whom for it.
    pub(super) asker: Asker,
}

impl Mark {
    /// Reads it; none where it is somebody else's comment.
    pub(super) fn parse(comment: &str) -> Option<Self> {
        let mut words = comment.split(' ');
        let (ours, principal, url, tag, end) = (
            words.next()?,
            words.next()?,
            words.next()?,
            words.next()?,
            words.next(),
        );
        (ours == OURS && is_account(principal) && end.is_none()).then(|| Self {
            principal: principal.to_owned(),
            asker: Asker {
                url: url.to_owned(),
                tag: tag.to_owned(),
            },
        })
    }

    /// Whether this one takes the other's place: of the same account at the same service.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        self.principal == other.principal && self.asker.url == other.asker.url
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Asker { url, tag } = &self.asker;
        write!(f, "{OURS} {} {url} {tag}", self.principal)
    }
}

/// Whether a principal is that of an account: `account:ID`.
pub(super) fn is_account(principal: &str) -> bool {
    let id = principal.strip_prefix("account:");
    is_principal(principal)
        && id.is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()))
}

/// A certificate that is there.
#[derive(Debug, Clone)]
pub(super) struct Present {
    pub(super) certificate: Certificate,
    pub(super) mark: Mark,
}

impl Present {
    /// Ours, as its name says, if this is who would ask; it also has to name the account.
    pub(super) fn of(certificate: Certificate, comment: &str, asker: &Asker) -> Option<Self> {
        let mark = Mark::parse(comment).filter(|mark| mark.asker == *asker)?;
        let named = certificate.principals().contains(&mark.principal);
        named.then_some(Self { certificate, mark })
    }

    /// Whether it can be used now.
    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        let begins = self.certificate.valid_after().checked_sub(SKEW);
        begins.is_ok_and(|begins| begins <= now) && now < self.certificate.valid_before()
    }

    /// Whether it is time for another one: no more than a third of its life is left, or none.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let (after, before) = (
            self.certificate.valid_after(),
            self.certificate.valid_before(),
        );
        let life = before.duration_since(after);
        !self.is_good(now) || before.duration_since(now) <= life / 3
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asker, at, certificate};
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written_and_no_other_is_ours() {
        let mark = Mark {
            principal: "account:7".to_owned(),
            asker: asker(),
        };
        let text = mark.to_string();
        assert_eq!(text, "sshkeyd account:7 https://keys.example.com 0badcafe");
        assert_eq!(Mark::parse(&text), Some(mark.clone()));
        for other in [
            "",
            "alice@laptop",
            "sshkeyd",
            "sshkeyd account:7 https://keys.example.com",
            "sshkeyd account:7 https://keys.example.com 0badcafe more",
            "sshkeyd account:x https://keys.example.com 0badcafe",
            "sshkeyd root https://keys.example.com 0badcafe",
            " sshkeyd account:7 https://keys.example.com 0badcafe",
        ] {
            assert_eq!(Mark::parse(other), None, "{other}");
        }
        let of = |text: &str| Mark::parse(text).unwrap();
        assert!(mark.replaces(&of("sshkeyd account:7 https://keys.example.com 11111111")));
        assert!(!mark.replaces(&of("sshkeyd account:8 https://keys.example.com 0badcafe")));
        assert!(!mark.replaces(&of(
            "sshkeyd account:7 https://keys.example.com.evil 0badcafe"
        )));
    }

    #[test]
    fn the_last_third_of_a_life_is_when_another_one_is_due() {
        let name = "sshkeyd account:7 https://keys.example.com 0badcafe";
        let present = Present::of(certificate("account:7", 0, 900), name, &asker()).unwrap();
        for (second, good, due) in [
            (-301, false, true),
            (0, true, false),
            (599, true, false),
            (600, true, true),
            (899, true, true),
            (900, false, true),
        ] {
            let now = at(second);
            assert_eq!(
                (present.is_good(now), present.is_due(now)),
                (good, due),
                "{second}"
            );
        }
    }

    #[test]
    fn a_certificate_of_another_login_or_account_is_none() {
        let certificate = || certificate("account:7", 0, 900);
        for name in [
            "sshkeyd account:7 https://keys.example.com 11111111",
            "sshkeyd account:7 https://other.example.com 0badcafe",
            "sshkeyd account:8 https://keys.example.com 0badcafe",
        ] {
            assert!(Present::of(certificate(), name, &asker()).is_none());
        }
    }
}
