//! What sshd's answers amount to: accepted, refused, or unknown with its reason.

use super::*;
use crate::keys::PublicKey;
use crate::sinks::proof::Algorithms;

fn key(seed: u8) -> PublicKey {
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&[seed; 32]);
    let text = ssh_key::PublicKey::from(pair.public).to_openssh().unwrap();
    PublicKey::parse_text(&text).unwrap().0
}

fn sshd() -> Sshd {
    Sshd {
        address: "127.0.0.1:22".parse().unwrap(),
        host_keys: vec![],
        max_auth_tries: 6,
        several_methods: false,
        algorithms: Algorithms::default(),
    }
}

fn answers(said: &[(u8, Answer)]) -> Answers {
    let mut answers = Answers::new();
    for (seed, answer) in said {
        answers.note(&plain(*seed), *answer);
    }
    answers
}

fn plain(seed: u8) -> Asked {
    Asked::plain(key(seed))
}

#[test]
fn a_refusal_counts_while_another_key_is_accepted() {
    let (here, gone) = ([plain(1)], [plain(2)]);
    let question = Question {
        expect_accepted: &here,
        expect_refused: &gone,
        ..Question::default()
    };
    let said = answers(&[(1, Answer::Accepted), (2, Answer::Refused)]);
    let outcome = judge(&sshd(), &question, &said, None);
    assert_eq!(outcome.accepted, [key(1).fingerprint()]);
    assert_eq!(outcome.refused, [key(2).fingerprint()]);
    assert!(outcome.can_log_in());
}

#[test]
fn a_refusal_alone_says_nothing() {
    let gone = [plain(2)];
    let mut question = Question {
        expect_refused: &gone,
        ..Question::default()
    };
    let said = answers(&[(2, Answer::Refused)]);
    let outcome = judge(&sshd(), &question, &said, None);
    let fingerprint = key(2).fingerprint();
    assert_eq!(outcome.unknown, [(fingerprint, Unknown::UserCannotLogIn)]);
    question.can_log_in = true;
    let outcome = judge(&sshd(), &question, &said, None);
    assert_eq!(outcome.refused, [fingerprint]);
}

#[test]
fn a_witness_counts_and_is_not_reported() {
    let (gone, witnesses) = ([plain(2)], [key(3)]);
    let question = Question {
        expect_refused: &gone,
        witnesses: &witnesses,
        ..Question::default()
    };
    let said = answers(&[(2, Answer::Refused), (3, Answer::Accepted)]);
    let outcome = judge(&sshd(), &question, &said, None);
    assert_eq!(outcome.refused, [key(2).fingerprint()]);
    assert!(outcome.accepted.is_empty() && outcome.unknown.is_empty());
}

#[test]
fn a_missing_key_is_not_accepted_unless_its_line_explains_it() {
    let mut here = [plain(1), plain(2), plain(3), plain(4)];
    here[2].has_from = true;
    here[3].expired = true;
    let question = Question {
        expect_accepted: &here,
        ..Question::default()
    };
    let said = answers(&[
        (1, Answer::Accepted),
        (2, Answer::Refused),
        (3, Answer::Refused),
    ]);
    let outcome = judge(&sshd(), &question, &said, None);
    assert_eq!(outcome.not_accepted, [key(2).fingerprint()]);
    assert_eq!(
        outcome.unknown,
        [
            (key(3).fingerprint(), Unknown::FromOption),
            (key(4).fingerprint(), Unknown::Expired),
        ]
    );
}

#[test]
fn with_several_methods_only_a_key_that_stayed_is_said() {
    let (here, gone) = ([plain(1)], [plain(2), plain(3)]);
    let question = Question {
        expect_accepted: &here,
        expect_refused: &gone,
        ..Question::default()
    };
    let sshd = Sshd {
        several_methods: true,
        ..sshd()
    };
    let said = answers(&[
        (1, Answer::Accepted),
        (2, Answer::Refused),
        (3, Answer::Accepted),
    ]);
    let outcome = judge(&sshd, &question, &said, None);
    assert_eq!(
        outcome.unknown,
        [
            (key(1).fingerprint(), Unknown::SeveralMethods),
            (key(2).fingerprint(), Unknown::SeveralMethods),
        ]
    );
    assert_eq!(outcome.still_accepted, [key(3).fingerprint()]);
}

#[test]
fn every_key_stands_in_one_list() {
    let (here, gone) = ([plain(1), plain(1)], [plain(1), plain(2), plain(2)]);
    let question = Question {
        expect_accepted: &here,
        expect_refused: &gone,
        ..Question::default()
    };
    let said = answers(&[(1, Answer::Accepted), (2, Answer::Refused)]);
    let outcome = judge(&sshd(), &question, &said, None);
    assert_eq!(outcome.accepted.len(), 1);
    assert_eq!(outcome.refused.len(), 1);
    assert!(outcome.still_accepted.is_empty());
}

/// A certificate over `key(9)`, good for an hour of a day in 2026.
fn certificate(key_id: &str, hour: &str) -> Asked {
    use crate::trust::{Certificate, Limits, NewCertificate, Role, Signer};
    let after: jiff::Timestamp = format!("2026-11-22T{hour}:00:00Z").parse().unwrap();
    let made = Signer::from_seed(&[1; 32]).certify(
        &NewCertificate {
            role: Role::User,
            key: &key(9),
            serial: 5,
            key_id,
            principals: &["account:7".to_owned()],
            valid_after: after,
            valid_before: after + jiff::SignedDuration::from_hours(1),
            limits: &Limits::none(),
        },
        &[3; 32],
    );
    let read = Certificate::parse(&made.unwrap()).unwrap();
    let now = "2026-11-22T19:30:00Z".parse().unwrap();
    Asked::certificate(&read, now).unwrap()
}

#[test]
fn certificates_over_one_key_are_told_apart_and_from_the_key_itself() {
    let here = [certificate("7/probe/live", "19")];
    let gone = [certificate("7/probe/4", "19"), plain(9)];
    let question = Question {
        expect_accepted: &here,
        expect_refused: &gone,
        ..Question::default()
    };
    let mut said = Answers::new();
    said.note(&here[0], Answer::Accepted);
    said.note(&gone[0], Answer::Refused);
    said.note(&gone[1], Answer::Accepted);
    let outcome = judge(&sshd(), &question, &said, None);
    assert_eq!(outcome.accepted, [here[0].fingerprint()]);
    assert_eq!(outcome.refused, [gone[0].fingerprint()]);
    assert_eq!(outcome.still_accepted, [key(9).fingerprint()]);
}

#[test]
fn what_explains_that_a_certificate_is_refused_is_the_reason_that_is_given() {
    let why = |asked: Asked, settings: &str| {
        let (here, gone) = ([asked.clone()], [asked]);
        let settings = crate::sinks::sshd::Settings::parse(settings);
        let sshd = Sshd {
            algorithms: crate::sinks::proof::EffectiveConfig::of(&settings).algorithms,
            ..sshd()
        };
        let mut said = Answers::new();
        said.note(&here[0], Answer::Refused);
        let judged = |question: Question<'_>| judge(&sshd, &question, &said, None);
        let of = |here, gone| Question {
            expect_accepted: here,
            expect_refused: gone,
            can_log_in: true,
            ..Question::default()
        };
        let (live, dead) = (judged(of(&here, &[])), judged(of(&[], &gone)));
        assert_eq!(live.unknown, dead.unknown);
        live.unknown.first().map(|(_, why)| *why)
    };
    let good = || certificate("k", "19");
    assert_eq!(why(good(), ""), None);
    assert_eq!(why(certificate("k", "18"), ""), Some(Unknown::Expired));
    assert_eq!(why(certificate("k", "20"), ""), Some(Unknown::Expired));
    for settings in [
        "pubkeyacceptedalgorithms ssh-ed25519",
        "casignaturealgorithms rsa-sha2-512",
    ] {
        assert_eq!(why(good(), settings), Some(Unknown::Algorithm));
    }
    let mut from = good();
    from.has_from = true;
    assert_eq!(why(from, ""), Some(Unknown::FromOption));
}
