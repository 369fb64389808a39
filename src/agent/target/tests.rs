//! What a target says of refused keys that come back, and of keys that nobody asks about.

use super::*;
use crate::config::{Adopt, PathTemplate};
use crate::sync::{Dialect, Drift, Owned, Trouble};
use crate::sys::dir::Owner;
use crate::trust::Signer;

fn key(seed: u16) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    Signer::from_seed(&bytes).public()
}

fn wanted(key: &PublicKey) -> Wanted {
    Wanted {
        fingerprint: key.fingerprint(),
        key: key.clone(),
        has_from: false,
    }
}

fn target() -> Target {
    let settings = config::Target {
        user: "root".into(),
        sources: vec!["account".into()],
        path: PathTemplate::parse("/keys").unwrap(),
        method: config::Method::Block,
        adopt: Adopt::No,
        in_place: false,
    };
    Target::new(settings)
}

fn job() -> Job {
    Job {
        method: config::Method::Block,
        in_place: false,
        user: "root".into(),
        path: "/keys".into(),
        home: "/root".into(),
        owner: Owner::ROOT,
        adopt: false,
        spare: "/nowhere".into(),
        removed: "/nowhere".into(),
        strict_modes: None,
        overtaken: Default::default(),
        revision: None,
        lists: Vec::new(),
        dialect: Dialect::default(),
        owned: Owned::default(),
        gone: Vec::new(),
        left: None,
        now: Timestamp::UNIX_EPOCH,
        random: 0,
    }
}

/// A turn that wants `keys`, took `removed` out, and found `held` in somebody's first line.
fn turn(target: &mut Target, keys: &[PublicKey], removed: &[PublicKey], held: Option<&PublicKey>) {
    let report = TargetReport {
        wanted: keys.iter().map(wanted).collect(),
        removed: removed.to_vec(),
        settled: Some(Settled {
            managed: Vec::new(),
            foreign: 0,
            foreign_keys: Vec::new(),
            trace: Trace::default(),
            digest: format!("{held:?}"),
            still_held: held
                .map(|key| (key.fingerprint(), vec![1]))
                .into_iter()
                .collect(),
        }),
        ..TargetReport::default()
    };
    target.took_turn(&job(), &report, None);
}

fn refuses(target: &mut Target, key: &PublicKey) {
    let outcome = Outcome {
        refused: vec![key.fingerprint()],
        ..Outcome::default()
    };
    target.heard(&outcome, Timestamp::UNIX_EPOCH);
}

#[test]
fn a_refused_key_that_somebodys_line_brings_back_is_said_and_asked_about() {
    let (mut target, one) = (target(), key(1));
    turn(&mut target, &[], std::slice::from_ref(&one), None);
    assert_eq!(target.asking().unwrap().refused.len(), 1);
    refuses(&mut target, &one);
    turn(&mut target, &[], &[], None);
    assert!(target.asking().is_none() && target.all_findings().is_empty());

    turn(&mut target, &[], &[], Some(&one));
    assert!(target.proof.refused.is_empty());
    assert_eq!(target.all_findings()[0].code, Code::StillAccepted);
    assert_eq!(target.asking().unwrap().refused.len(), 1);
    // sshd's word counts for as long as the line stands.
    refuses(&mut target, &one);
    turn(&mut target, &[], &[], Some(&one));
    assert!(target.asking().is_none() && target.all_findings().is_empty());
}

#[test]
fn keys_beyond_the_limit_have_a_reason_and_are_not_called_gone() {
    let mut target = target();
    let keys: Vec<_> = (0..u16::try_from(MAX_ASKED).unwrap() + 1)
        .map(key)
        .collect();
    let last = keys.last().unwrap();
    turn(&mut target, &keys[..1], std::slice::from_ref(last), None);
    turn(&mut target, &keys, &[], None);
    let asking = target.asking().unwrap();
    assert_eq!(
        (asking.accepted.len(), asking.refused.len()),
        (MAX_ASKED, 0)
    );
    assert_eq!(
        target.proof.unknown.get(&last.fingerprint()),
        Some(&TOO_MANY)
    );
    target.ask_unknown();
    assert!(target.asking().is_none());
    turn(&mut target, &keys[..1], &[], None);
    assert!(target.proof.unknown.is_empty());
}

#[test]
fn keys_that_somebody_puts_among_ours_do_not_pile_up_and_crowd_nobody_out() {
    let (mut target, ours) = (target(), key(5000));
    for n in 0..10 {
        let put: Vec<_> = (n * 100..n * 100 + 100).map(key).collect();
        turn(&mut target, &[], &put, None);
    }
    assert_eq!(target.gone().len(), 64);
    let owned = Owned {
        keys: [ours.fingerprint()].into(),
        adopted: Vec::new(),
    };
    target.took_out(&owned, std::slice::from_ref(&ours));
    assert!(target.gone().contains(&ours));
}

#[test]
fn what_was_left_in_another_file_is_not_looked_for_in_this_one() {
    let mut target = target();
    target.moves_to("/home/a/keys".into(), 7);
    turn(&mut target, &[key(1)], &[], None);
    target.moves_to("/home/a/keys".into(), 7);
    assert!(target.left().is_some() && target.settled.is_some());
    target.moves_to("/home/b/keys".into(), 7);
    assert!(target.left().is_none() && target.settled.is_none());
}

#[test]
fn a_list_that_could_not_be_written_yet_waits_for_no_rest() {
    let (mut target, mut job) = (target(), job());
    job.lists = vec![("a".into(), Some(Arc::new(KeyList::default())))];
    let report = |settled| TargetReport {
        drift: Some(Drift::default()),
        settled,
        ..TargetReport::default()
    };
    turn(&mut target, &[], &[], None);
    let settled = target.settled.clone();
    (0..6).for_each(|_| target.took_turn(&job, &report(settled.clone()), None));
    assert!(target.rests(&job));
    job.lists = vec![("a".into(), Some(Arc::new(KeyList::default())))];
    assert!(!target.rests(&job));
    let busy = TargetReport {
        trouble: Some(Trouble::Fault("busy".into())),
        ..report(None)
    };
    target.took_turn(&job, &busy, None);
    assert!(!target.rests(&job));
    target.took_turn(&job, &report(settled), None);
    assert!(target.rests(&job));
}

#[test]
fn a_key_that_somebody_repeats_does_not_fill_the_log() {
    let (mut target, one) = (target(), key(1));
    turn(&mut target, &[], std::slice::from_ref(&one), Some(&one));
    let settled = target.settled.as_mut().unwrap();
    settled
        .still_held
        .insert(one.fingerprint(), (1..=5000).collect());
    let text = &target.all_findings()[0].text;
    assert!(text.contains("7, 8, and 4992 more"), "{text}");
}
