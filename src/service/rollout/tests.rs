//! Where a key stands, by what instances say.

use super::*;
use jiff::Timestamp;
use serde_json::json;

fn key() -> KeyRow {
    KeyRow {
        id: 7,
        name: "a".to_owned(),
        public_key: String::new(),
        fingerprint: "SHA256:a".to_owned(),
        options: String::new(),
        scope: crate::wire::KeyScope::All,
        created_at: Timestamp::UNIX_EPOCH,
        saved_at: Timestamp::UNIX_EPOCH,
        expires_at: None,
        revision: 42,
        last_used_at: None,
    }
}

fn status(target: serde_json::Value, rejected: serde_json::Value) -> Status {
    let mut whole = json!({"user": "root", "path": "/r", "method": "block", "foreign": 0,
        "revision": 42, "applied_at": null, "digest": null, "proof": null});
    for (name, value) in target.as_object().unwrap() {
        whole[name] = value.clone();
    }
    serde_json::from_value(json!({"version": "0", "instance": 1, "state": "ok",
        "targets": [whole],
        "sources": [{"name": "account", "kind": "account", "state": "live", "revision": 42,
            "keys": 1, "rejected": rejected, "last_success": null, "last_error": null}]}))
    .unwrap()
}

#[test]
fn a_key_is_proved_only_by_the_list_that_has_its_last_change() {
    let proof = json!({"accepted": ["SHA256:a"], "at": null});
    let new = status(json!({"proof": proof, "managed": ["SHA256:a"]}), json!([]));
    assert_eq!(standing(&key(), Some(&new)), (RolloutState::Proved, None));
    let old = json!({"proof": proof, "managed": ["SHA256:a"], "revision": 41});
    let old = status(old, json!([]));
    assert_eq!(standing(&key(), Some(&old)).0, RolloutState::Written);
}

#[test]
fn without_proof_it_says_why() {
    let unknown = json!([{"fingerprint": "SHA256:a", "why": "no-sshd"}]);
    let proof = json!({"unknown": unknown, "at": null});
    let asked = status(json!({"managed": ["SHA256:a"], "proof": proof}), json!([]));
    let why = |s: &str| (RolloutState::Written, Some(s.to_owned()));
    assert_eq!(standing(&key(), Some(&asked)), why("no-sshd"));
    let not_asked = status(json!({"managed": ["SHA256:a"]}), json!([]));
    let waits = (RolloutState::Written, None);
    assert_eq!(standing(&key(), Some(&not_asked)), waits);
    let unknown = json!([{"fingerprint": "SHA256:a", "why": "not-accepted"}]);
    let proof = json!({"unknown": unknown, "at": null});
    let refused = status(json!({"managed": ["SHA256:a"], "proof": proof}), json!([]));
    assert_eq!(standing(&key(), Some(&refused)).0, RolloutState::Refused);
}

#[test]
fn a_key_that_two_users_hold_is_proved_when_both_answers_of_sshd_are_in() {
    let proof = json!({"accepted": ["SHA256:a"], "at": null});
    let mut both = status(json!({"proof": proof, "managed": ["SHA256:a"]}), json!([]));
    both.targets.push(both.targets[0].clone());
    assert!(is_proved(&key(), &both));
    both.targets[1].proof = None;
    let waits = (RolloutState::Written, None);
    assert_eq!(standing(&key(), Some(&both)), waits);
    both.targets[1].managed.clear();
    both.targets[1].revision = Some(41);
    assert!(!is_proved(&key(), &both));
}

#[test]
fn many_keys_at_once_are_judged_as_each_alone() {
    let names = ["SHA256:a", "SHA256:b", "SHA256:c"];
    let keys: Vec<KeyRow> = (40..44)
        .flat_map(|revision| {
            names.map(|name| KeyRow {
                fingerprint: name.to_owned(),
                revision,
                ..key()
            })
        })
        .collect();
    let some = || -> Vec<&str> {
        let names = names.into_iter();
        names.filter(|_| rand::random()).collect()
    };
    let mut proved_ones = 0;
    for _ in 0..2_000 {
        let target = || {
            let unknown = some().into_iter();
            let unknown = unknown.map(|name| json!({"fingerprint": name, "why": "no-sshd"}));
            let proof = json!({"accepted": some(), "at": null,
                "unknown": unknown.collect::<Vec<_>>()});
            let revision = [json!(null), json!(41), json!(42), json!(43)];
            let target = json!({"managed": some(),
                "proof": if rand::random() { proof } else { json!(null) },
                "revision": revision[rand::random_range(0..4)]});
            status(target, json!([])).targets.remove(0)
        };
        let mut whole = status(json!({}), json!([]));
        whole.targets = (0..rand::random_range(0..3)).map(|_| target()).collect();
        let alone: Vec<&KeyRow> = keys.iter().filter(|key| is_proved(key, &whole)).collect();
        proved_ones += alone.len();
        assert_eq!(proved(&keys, &whole), alone, "{whole:?}");
    }
    assert!(proved_ones > 0);
}

#[test]
fn a_deleted_key_is_refused_only_by_the_list_without_it() {
    let order = OrderRow {
        id: 1,
        key: 7,
        fingerprint: "SHA256:a".to_owned(),
        serial: None,
        key_id: None,
        revision: 42,
        asked_at: Timestamp::UNIX_EPOCH,
        until: Timestamp::MAX,
        open: true,
        revoked: false,
    };
    let said = |target| {
        let (state, why) = standing_deleted(&order, Some(&status(target, json!([]))));
        (state, why.unwrap_or_default())
    };
    let refused = |why: &str| (RolloutState::Refused, why.to_owned());
    assert_eq!(said(json!({})), refused("deleted"));
    let proof = json!({"refused": ["SHA256:a"], "at": null});
    assert_eq!(
        said(json!({"proof": proof})),
        refused("deleted; sshd refuses it")
    );
    let proof = json!({"still_accepted": ["SHA256:a"], "at": null});
    let taken = (RolloutState::Written, STILL_TAKEN.to_owned());
    assert_eq!(said(json!({"proof": proof})), taken);
    let there = said(json!({"managed": ["SHA256:a"], "revision": 41}));
    assert_eq!(there, (RolloutState::Written, String::new()));
    let late = said(json!({"revision": 41}));
    assert_eq!(late, (RolloutState::Wanted, String::new()));
    assert_eq!(standing_deleted(&order, None).0, RolloutState::Wanted);
}

#[test]
fn a_revocation_is_in_force_by_its_list_or_a_later_one_or_it_is_said_why_not() {
    let of = |certificates: serde_json::Value, conditions: serde_json::Value| {
        let mut whole = status(json!({}), json!([]));
        whole.certificates = serde_json::from_value(certificates).unwrap();
        whole.conditions = serde_json::from_value(conditions).unwrap();
        enforced(42, Some(&whole))
    };
    let list = |version: u64, proved: u64| json!({"krl_version": version, "proved_krl": proved});
    let said = of(list(42, 41), json!([]));
    assert!(said.in_force && !said.proved && said.why.is_none());
    let said = of(list(50, 42), json!([]));
    assert!(said.in_force && said.proved);
    // On its way.
    assert_eq!(of(list(41, 41), json!([])), RolloutKrl::default());
    assert_eq!(enforced(42, None), RolloutKrl::default());
    let why = |said: RolloutKrl| (said.in_force, said.why.unwrap_or_default());
    let none = "not enforced here: its agent keeps no revocation list".to_owned();
    assert_eq!(why(of(json!(null), json!([]))), (false, none));
    let taken = json!([{"code": "krl-not-in-force", "severity": "warning", "about": "sshd",
        "since": "2026-11-22T19:00:00Z", "text": "RevokedKeys is another's", "do": "x"}]);
    let words = "not enforced here: RevokedKeys is another's".to_owned();
    for certificates in [json!(null), json!({})] {
        let said = why(of(certificates, taken.clone()));
        assert_eq!(said, (false, words.clone()));
    }
}

#[test]
fn what_is_not_there_is_refused_or_wanted() {
    let rejected = json!([{"at": "key 7", "why": "rsa", "fingerprint": "SHA256:a"}]);
    let refused = status(json!({}), rejected);
    assert_eq!(
        standing(&key(), Some(&refused)),
        (RolloutState::Refused, Some("rsa".to_owned()))
    );
    let nothing = status(json!({}), json!([]));
    assert_eq!(standing(&key(), Some(&nothing)).0, RolloutState::Wanted);
    assert_eq!(standing(&key(), None).0, RolloutState::Wanted);
}
