//! What a target says of refused keys that come back, and of keys that nobody asks about.

use super::*;
use crate::config::{Adopt, PathTemplate};
use crate::sync::Dialect;
use crate::trust::Signer;

fn key(seed: u16) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    Signer::from_seed(&bytes).public()
}

fn wanted(key: &PublicKey) -> WantedKey {
    WantedKey {
        fingerprint: key.fingerprint(),
        key: key.clone(),
        has_from: false,
        head: Vec::new(),
        line: Vec::new(),
    }
}

fn target() -> Target {
    let settings = config::Target {
        user: "root".into(),
        sources: vec!["account".into()],
        path: PathTemplate::parse("/keys").unwrap(),
        adopt: Adopt::No,
    };
    Target::new(settings, &Entry::default())
}

fn job() -> Job {
    Job {
        user: "root".into(),
        path: "/keys".into(),
        home: "/root".into(),
        owner: Owner::ROOT,
        adopt: false,
        lists: Vec::new(),
        dialect: Dialect::default(),
        owned: crate::sync::Owned::default(),
        gone: Vec::new(),
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
