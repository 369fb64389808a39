//! Which probes are asked about, and what sshd's answers to them amount to.

use super::*;
use crate::sinks::proof::Unknown;
use crate::trust::Signer;

fn now() -> Timestamp {
    "2026-11-22T19:00:00Z".parse().unwrap()
}

fn ca(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

fn probe(seed: u8, account: i64, revoked_by: Option<u64>, made: Timestamp) -> Probe {
    let certificate = ca(seed).probe(account, revoked_by, made, &[rand::random(); 32]);
    Probe {
        certificate: certificate.unwrap(),
        revoked_by,
    }
}

fn in_force(cas: &[u8], krl: Option<u64>) -> InForce {
    InForce {
        account: 3,
        cas: cas.iter().map(|seed| ca(*seed).public()).collect(),
        krl,
    }
}

fn both(seed: u8, version: u64) -> [Probe; 2] {
    [
        probe(seed, 3, None, now()),
        probe(seed, 3, Some(version), now()),
    ]
}

#[test]
fn probes_of_another_account_ca_or_time_are_asked_about_by_nobody() {
    let of_one = in_force(&[1], Some(7));
    let checked = |probes: &[Probe]| Checked::of(probes, &of_one, now());
    let whole = checked(&both(1, 7)).unwrap();
    assert!(whole.serves(&of_one, now()));
    assert_eq!(whole.questions(true).1.len(), 1);
    assert!(checked(&both(2, 7)).is_none());
    assert!(checked(&[probe(1, 4, None, now())]).is_none());
    let early = now() - SignedDuration::from_mins(11);
    assert!(checked(&[probe(1, 3, None, early)]).is_none());
    // What says that it is revoked and is not, and the reverse.
    let [live, dead] = both(1, 7);
    let swapped = [
        Probe {
            revoked_by: Some(7),
            ..live.clone()
        },
        Probe {
            revoked_by: None,
            ..dead.clone()
        },
    ];
    assert!(checked(&swapped).is_none());
    // That the list refuses it must be all that tells it from the other.
    let other_time = probe(1, 3, Some(7), now() - SignedDuration::from_mins(1));
    let apart = checked(&[live.clone(), other_time]).unwrap();
    assert_eq!(apart.questions(true).1.len(), 0);
    assert!(!apart.serves(&of_one, now()));
    // Every CA that is trusted wants one.
    let two = in_force(&[1, 2], Some(7));
    assert!(Checked::of(&[live, dead], &two, now()).is_none());
}

#[test]
fn probes_are_used_again_while_they_are_in_time_and_of_what_is_in_force() {
    let of = in_force(&[1], Some(7));
    let checked = Checked::of(&both(1, 7), &of, now()).unwrap();
    let after = |minutes| now() + SignedDuration::from_mins(minutes);
    assert!(checked.serves(&of, after(8)) && !checked.serves(&of, after(9)));
    assert!(!checked.serves(&in_force(&[1], Some(8)), now()));
    assert!(!checked.serves(&in_force(&[1, 2], Some(7)), now()));
    let none = in_force(&[1], None);
    let live = Checked::of(&[probe(1, 3, None, now())], &none, now()).unwrap();
    assert!(live.serves(&none, now()));
    assert!(!Checked::default().serves(&none, now()));
}

#[test]
fn the_revoked_probe_of_another_list_is_never_asked_about() {
    let checked = Checked::of(&both(1, 8), &in_force(&[1], Some(7)), now()).unwrap();
    let (here, gone) = checked.questions(true);
    assert_eq!((here.len(), gone.len()), (1, 0));
    let outcome = Outcome {
        accepted: vec![here[0].fingerprint()],
        ..Outcome::default()
    };
    let word = checked.word(&outcome, &gone, now());
    assert_eq!(word.accepted, [ca(1).public().fingerprint()]);
    assert!(!word.refuses && word.is_passing && word.still_accepted.is_empty());
    assert_eq!(word.unknown, Some("other-probes"));
}

#[test]
fn sshds_answers_are_those_of_the_ca() {
    let probes = [both(1, 7), both(2, 7)].concat();
    let checked = Checked::of(&probes, &in_force(&[1, 2], Some(7)), now()).unwrap();
    let (here, gone) = checked.questions(true);
    let of = |asked: &[Asked]| asked.iter().map(Asked::fingerprint).collect::<Vec<_>>();
    let (here, gone_ids) = (of(&here), of(&gone));
    let mut outcome = Outcome {
        accepted: here,
        refused: gone_ids.clone(),
        ..Outcome::default()
    };
    let word = checked.word(&outcome, &gone, now());
    assert!(word.refuses && word.unknown.is_none() && !word.is_passing);
    assert_eq!(word.accepted.len(), 2);
    // sshd would refuse the second one's revoked probe in any case.
    let mut untrusted = outcome.clone();
    untrusted.not_accepted = vec![untrusted.accepted.pop().unwrap()];
    assert!(!checked.word(&untrusted, &gone, now()).refuses);
    outcome.still_accepted = vec![outcome.refused.pop().unwrap()];
    outcome.not_accepted = vec![outcome.accepted.pop().unwrap()];
    let word = checked.word(&outcome, &gone, now());
    let second = [ca(2).public().fingerprint()];
    assert!(!word.refuses);
    assert_eq!(word.still_accepted, second);
    assert_eq!(word.not_accepted, second);
    // One that nothing can be said of is not refused.
    outcome.still_accepted.clear();
    outcome.unknown = vec![(gone_ids[1], Unknown::Budget)];
    let word = checked.word(&outcome, &gone, now());
    assert!(!word.refuses && word.is_passing);
    assert_eq!(word.unknown, Some("budget"));
    // Of the others the first is enough.
    let (_, one) = checked.questions(false);
    assert!(checked.word(&outcome, &one, now()).refuses);
}
