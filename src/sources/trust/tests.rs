//! What of a list's certificates is taken, and what stays as it was.

use super::*;
use crate::trust::Signer;

fn ca(seed: u8) -> String {
    Signer::from_seed(&[seed; 32]).public().to_string()
}

fn krl(version: u64, inline: bool) -> (KrlRef, Vec<u8>) {
    let krl = Krl {
        version,
        ..Krl::default()
    };
    let bytes = krl.encode();
    let named = KrlRef {
        version,
        sha256: hex(&bytes),
        size: bytes.len() as u64,
        base64: inline.then(|| STANDARD.encode(&bytes)),
    };
    (named, bytes)
}

fn offered(cas: &[String], krl: Option<KrlRef>) -> Offered {
    Offered {
        user_ca: cas.to_vec(),
        principals: [("*".to_owned(), vec!["account:3".to_owned()])].into(),
        krl,
    }
}

#[test]
fn a_bad_ca_costs_that_ca_and_bad_ones_alone_leave_those_before() {
    let part = TrustPart::of(
        offered(&[ca(1), "nonsense".into(), ca(2)], None),
        None,
        false,
    );
    let trust = part.trust(None);
    assert_eq!(trust.user_ca.len(), 2);
    let said = part.findings("account", None, None);
    assert_eq!(said[0].code, Code::UserCaNotInForce);
    assert!(said[0].text.starts_with("CA 2 of the list"), "{said:?}");
    let next = TrustPart::of(offered(&["nonsense".into()], None), Some(&part), false);
    assert_eq!(next.trust(None).user_ca, trust.user_ca);
    let none = TrustPart::of(offered(&[], None), Some(&part), false);
    assert_eq!(none.trust(None).user_ca, []);
    // One that a certificate would have to be: not a plain key.
    let certificate = format!("ssh-ed25519-cert-v01@openssh.com {}", &ca(1)[12..]);
    let part = TrustPart::of(offered(&[certificate], None), None, false);
    assert_eq!(part.trust(None).user_ca, []);
}

#[test]
fn a_principal_that_would_be_read_otherwise_is_left_out() {
    let mut offered = offered(&[ca(1)], None);
    let names = ["account:3", "a,b", "a b", "*", "", "x\ny", "#x"].map(str::to_owned);
    offered.principals = [("al".to_owned(), names.to_vec())].into();
    let part = TrustPart::of(offered, None, false);
    assert_eq!(part.trust(None).principals["al"], ["account:3"]);
    assert_eq!(part.findings("a", None, None).len(), 1);
}

#[test]
fn a_bad_revocation_list_leaves_the_one_before_and_silence_takes_nothing_back() {
    let (first, _) = krl(5, true);
    let part = TrustPart::of(offered(&[], Some(first.clone())), None, false);
    assert_eq!(part.inline_krl().unwrap().version, 5);
    assert_eq!(
        part.findings("a", part.inline_krl().map(Arc::new).as_ref(), None),
        []
    );
    let (next, _) = krl(6, true);
    for bent in [
        KrlRef {
            base64: first.base64,
            ..next.clone()
        },
        KrlRef {
            base64: Some("?".into()),
            ..next.clone()
        },
        KrlRef {
            size: 9 << 20,
            ..next.clone()
        },
        KrlRef {
            sha256: "../x".into(),
            ..next
        },
    ] {
        let held = TrustPart::of(offered(&[], Some(bent)), Some(&part), false);
        assert_eq!(held.inline_krl().unwrap().version, 5);
        let said = held.findings("a", held.inline_krl().map(Arc::new).as_ref(), None);
        assert_eq!(said[0].code, Code::KrlNotInForce);
    }
    let silent = TrustPart::of(offered(&[], None), Some(&part), false);
    assert_eq!(silent.krl, part.krl);
}

#[test]
fn one_that_does_not_travel_in_the_list_is_missing_until_it_is_here() {
    let (named, bytes) = krl(7, false);
    let part = TrustPart::of(offered(&[ca(1)], Some(named.clone())), None, false);
    assert!(part.inline_krl().is_none());
    assert_eq!(part.missing(None), Some(&named));
    assert!(HeldKrl::named(bytes[1..].to_vec(), &named).is_err());
    let here = Arc::new(HeldKrl::named(bytes, &named).unwrap());
    assert_eq!(part.missing(Some(&here)), None);
    assert_eq!(part.trust(Some(&here)).named_krl, Some(7));
    let said = part.findings("a", None, Some("offline"));
    assert!(said[0].text.contains("(offline)"), "{said:?}");
}

#[test]
fn certificates_of_an_account_stop_where_its_instance_is_removed() {
    let (named, _) = krl(8, true);
    let part = TrustPart::of(offered(&[ca(1)], Some(named)), None, false);
    let after = TrustPart::of(offered(&[ca(1)], None), Some(&part), true);
    let trust = after.trust(after.inline_krl().map(Arc::new).as_ref());
    assert_eq!((trust.user_ca.len(), trust.principals.len()), (0, 0));
    assert_eq!(trust.krl.unwrap().version, 8);
}
