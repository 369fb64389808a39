//! From sshd's answers to what may be said: pure.
//!
//! A refusal proves something only while something else shows that the user can log in at all:
//! sshd answers alike for a key it does not know and for a user it would never let in (OpenSSH
//! `auth2.c`, `input_userauth_request`).

use super::{Asked, Question, Sshd};
use crate::keys::Fingerprint;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// What sshd said of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It asked for a signature.
    Accepted,
    /// USERAUTH_FAILURE, with `publickey` still on offer.
    Refused,
    /// Nothing that says anything.
    Unknown(Unknown),
}

/// Answers, each key once.
#[derive(Debug, Default)]
pub(super) struct Answers(HashMap<Fingerprint, Answer>);

impl Answers {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn note(&mut self, asked: &Asked, answer: Answer) {
        self.0.insert(asked.fingerprint(), answer);
    }

    pub(super) fn of(&self, asked: &Asked) -> Option<Answer> {
        self.0.get(&asked.fingerprint()).copied()
    }

    pub(super) fn any_accepted(&self) -> bool {
        self.0.values().any(|a| *a == Answer::Accepted)
    }
}

/// What a proof showed. Every key that was asked about stands in exactly one list.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Expected, and sshd takes them.
    pub accepted: Vec<Fingerprint>,
    /// Expected to be gone, and sshd refuses them though the user can log in.
    pub refused: Vec<Fingerprint>,
    /// Expected to be gone, and sshd takes them all the same.
    pub still_accepted: Vec<Fingerprint>,
    /// Expected, and sshd refuses them though the user can log in and nothing explains it.
    pub not_accepted: Vec<Fingerprint>,
    /// Nothing can be said, with the reason.
    pub unknown: Vec<(Fingerprint, Unknown)>,
    /// sshd's identification string, where a connection with a known host key came about.
    pub banner: Option<String>,
}

impl Outcome {
    /// Whether sshd took any key of the user: then the user can log in.
    #[must_use]
    pub fn can_log_in(&self) -> bool {
        !self.accepted.is_empty() || !self.still_accepted.is_empty()
    }

    /// Whether the whole proof ended on a server whose host key is not one of sshd's.
    #[must_use]
    pub fn is_wrong_host(&self) -> bool {
        self.unknown.iter().any(|(_, w)| *w == Unknown::WrongHost)
    }
}

/// Why nothing can be said about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Unknown {
    /// Nothing listens there, or nothing that speaks SSH.
    NoSshd,
    /// The connection ended before the answer.
    Disconnected,
    /// No answer within the limits.
    Timeout,
    /// The server's host key is none of sshd's: somebody else listens there.
    WrongHost,
    /// No host key of sshd is known, so no server can be believed.
    HostKeyUnknown,
    /// No key exchange, cipher or MAC in common.
    NoCommonAlgorithm,
    /// The key has a `from=` option, or the certificate a `source-address`, and the query comes from loopback.
    FromOption,
    /// The key has expired, or the certificate is not in its time.
    Expired,
    /// sshd's configuration leaves out the certificate's algorithm, or its CA's.
    Algorithm,
    /// Refused, and nothing shows that the user can log in at all.
    UserCannotLogIn,
    /// sshd wants more than one method (AuthenticationMethods).
    SeveralMethods,
    /// sshd does not offer `publickey` to this user.
    PublickeyNotOffered,
    /// The key is of a type that the probe cannot offer.
    UnsupportedKey,
    /// The refusals of this minute are used up.
    Budget,
    /// An answer that fits nothing that was asked.
    OddAnswer,
}

impl Unknown {
    /// The stable word for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NoSshd => "no-sshd",
            Self::Disconnected => "disconnected",
            Self::Timeout => "timeout",
            Self::WrongHost => "wrong-host",
            Self::HostKeyUnknown => "host-key-unknown",
            Self::NoCommonAlgorithm => "no-common-algorithm",
            Self::FromOption => "from-option",
            Self::Expired => "expired",
            Self::Algorithm => "algorithm-not-accepted",
            Self::UserCannotLogIn => "user-cannot-log-in",
            Self::SeveralMethods => "several-methods",
            Self::PublickeyNotOffered => "publickey-not-offered",
            Self::UnsupportedKey => "unsupported-key",
            Self::Budget => "budget",
            Self::OddAnswer => "odd-answer",
        }
    }

    /// Whether asking again later, with nothing changed, may well bring an answer.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(
            self,
            Self::NoSshd | Self::Disconnected | Self::Timeout | Self::Budget
        )
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Weighs the answers. A key in both lists counts as expected.
pub(super) fn judge(
    sshd: &Sshd,
    question: &Question<'_>,
    answers: &Answers,
    banner: Option<String>,
) -> Outcome {
    let evidence = question.can_log_in || answers.any_accepted();
    let mut outcome = Outcome {
        banner,
        ..Outcome::default()
    };
    let mut seen = HashSet::new();
    for asked in question.expect_accepted {
        let key = asked.fingerprint();
        if !seen.insert(key) {
            continue;
        }
        if asked.expired {
            outcome.unknown.push((key, Unknown::Expired));
            continue;
        }
        match answers.of(asked) {
            Some(Answer::Accepted) if sshd.several_methods => {
                outcome.unknown.push((key, Unknown::SeveralMethods));
            }
            Some(Answer::Accepted) => outcome.accepted.push(key),
            Some(Answer::Unknown(Unknown::Budget) | Answer::Refused) if asked.has_from => {
                outcome.unknown.push((key, Unknown::FromOption));
            }
            Some(Answer::Refused) => match unproved(sshd, asked, evidence) {
                Some(why) => outcome.unknown.push((key, why)),
                None => outcome.not_accepted.push(key),
            },
            Some(Answer::Unknown(why)) => outcome.unknown.push((key, why)),
            None => outcome.unknown.push((key, Unknown::OddAnswer)),
        }
    }
    for asked in question.expect_refused {
        let key = asked.fingerprint();
        if !seen.insert(key) {
            continue;
        }
        match answers.of(asked) {
            Some(Answer::Accepted) => outcome.still_accepted.push(key),
            Some(Answer::Refused) if asked.has_from => {
                outcome.unknown.push((key, Unknown::FromOption));
            }
            Some(Answer::Refused) if asked.expired => outcome.unknown.push((key, Unknown::Expired)),
            Some(Answer::Refused) => match unproved(sshd, asked, evidence) {
                Some(why) => outcome.unknown.push((key, why)),
                None => outcome.refused.push(key),
            },
            Some(Answer::Unknown(why)) => outcome.unknown.push((key, why)),
            None => outcome.unknown.push((key, Unknown::OddAnswer)),
        }
    }
    outcome
}

/// Why a refusal shows nothing; `None` where it does.
fn unproved(sshd: &Sshd, asked: &Asked, evidence: bool) -> Option<Unknown> {
    if sshd.several_methods {
        Some(Unknown::SeveralMethods)
    } else if asked.is_ruled_out(&sshd.algorithms) {
        Some(Unknown::Algorithm)
    } else if evidence {
        None
    } else {
        Some(Unknown::UserCannotLogIn)
    }
}

#[cfg(test)]
mod tests;
