//! Which word about a session stands, and which sessions an order means.

use super::*;
use crate::sinks::sessions::accepted::parse_message;

const KEY: &str = "SHA256:uNiVztksCsDhcc0u9e8BrQwN2sVAZMVwJDMXVI+iNUE";
const OTHER: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

/// The kernel's word: process 812, started a moment ago, holds a connection from port 50022.
fn look(pid: u32, from: SocketAddr) -> Option<Seen> {
    let recent = u64::try_from(clock::since_boot().as_millis() / 10).unwrap();
    (pid == 812 && from.port() == 50022).then_some(Seen {
        process: Process {
            pid,
            start: recent / 1_000_000 * 1_000_000,
        },
        inode: 5,
    })
}

fn report(pid: u32, words: &str, proved: bool) -> Report {
    Report {
        pid,
        start: None,
        login: parse_message(words).unwrap(),
        age: None,
        proved,
    }
}

fn accepted(key: &str) -> String {
    format!("Accepted publickey for al from 192.0.2.7 port 50022 ssh2: ED25519 {key}")
}

fn key(text: &str) -> Wanted {
    Wanted {
        key: Some(text.parse().unwrap()),
        before: Duration::MAX,
        ..Wanted::default()
    }
}

#[test]
fn the_first_word_that_the_kernel_vouches_for_stands() {
    let mut map = Map::default();
    assert!(map.take(report(812, &accepted(KEY), true), look));
    assert!(!map.take(report(812, &accepted(KEY), true), look));
    assert!(!map.take(report(812, &accepted(OTHER), true), look));
    assert!(!map.take(report(812, &accepted(OTHER), false), look));
    let live = map.all().next().unwrap();
    assert!(key(KEY).means(live) && !key(OTHER).means(live));
    assert!(!live.is_contested() && !live.unproved);
    let wire = live.to_wire(Timestamp::UNIX_EPOCH, clock::since_boot());
    assert_eq!(wire.fingerprint.as_deref(), Some(KEY));
    assert_eq!((wire.pid, wire.from.as_str()), (812, "192.0.2.7:50022"));
}

#[test]
fn another_process_another_connection_and_another_time_are_not_this_session() {
    let mut map = Map::default();
    assert!(!map.take(report(813, &accepted(KEY), true), look));
    let port = accepted(KEY).replace("50022", "50023");
    assert!(!map.take(report(812, &port, true), look));
    let another = Report {
        start: Some(1),
        ..report(812, &accepted(KEY), true)
    };
    assert!(!map.take(another, look));
    let before_it_was_started = Report {
        age: Some(clock::since_boot() + Duration::from_secs(10)),
        ..report(812, &accepted(KEY), true)
    };
    assert!(!map.take(before_it_was_started, look));
    assert_eq!(map.all().count(), 0);
}

#[test]
fn where_only_a_file_says_so_a_second_word_makes_it_uncertain() {
    let mut map = Map::default();
    assert!(map.take(report(812, &accepted(KEY), false), look));
    let wanted = [key(KEY), key(OTHER)];
    let says = |map: &Map| {
        let live = map.all().next().unwrap();
        wanted.each_ref().map(|w| (w.means(live), w.may_mean(live)))
    };
    assert_eq!(says(&map), [(true, false), (false, false)]);
    // The same line twice is one.
    assert!(!map.take(report(812, &accepted(KEY), false), look));
    assert_eq!(says(&map), [(true, false), (false, false)]);
    assert!(map.take(report(812, &accepted(OTHER), false), look));
    assert_eq!(says(&map), [(false, true), (false, true)]);
    let live = map.all().next().unwrap();
    let wire = live.to_wire(Timestamp::UNIX_EPOCH, clock::since_boot());
    assert!(wire.unproved && wire.fingerprint.is_none());
}

#[test]
fn a_login_in_two_parts_has_the_key_of_its_first() {
    let mut map = Map::default();
    let part = accepted(KEY).replace("Accepted", "Partial");
    assert!(map.take(report(812, &part, true), look));
    assert_eq!(map.logged_in().count(), 0);
    let second = "Accepted keyboard-interactive/pam for al from 192.0.2.7 port 50022 ssh2";
    assert!(map.take(report(812, second, true), look));
    let live = map.logged_in().next().unwrap();
    assert!(key(KEY).means(live));
    let mut map = Map::default();
    assert!(map.take(report(812, &part, true), look));
    assert!(map.take(report(812, &accepted(OTHER), true), look));
    let live = map.logged_in().next().unwrap();
    assert!(key(KEY).means(live) && key(OTHER).means(live));
}

#[test]
fn what_is_meant_is_meant_in_every_part() {
    let mut map = Map::default();
    let words = format!(
        "{}-CERT {KEY} ID al@idp (serial 7) CA RSA {OTHER}",
        accepted("").trim()
    );
    assert!(map.take(report(812, &words, true), look));
    let live = map.all().next().unwrap();
    let cas = BTreeSet::from([OTHER.parse().unwrap()]);
    let none = Wanted {
        key: None,
        cas,
        ..key(KEY)
    };
    assert!(!none.means(live) && key(KEY).means(live) && !key(OTHER).means(live));
    let serial = |serial| Wanted {
        serial: Some(serial),
        ..none.clone()
    };
    assert!(serial(7).means(live) && !serial(8).means(live));
    let id = |id: &str| Wanted {
        key_id: Some(id.to_owned()),
        ..none.clone()
    };
    assert!(id("al@idp").means(live) && !id("al").means(live));
    let any = Wanted {
        any_certificate: true,
        ..none.clone()
    };
    assert!(any.means(live));
    // Another CA may have given out the same.
    for of_ours in [serial(7), id("al@idp"), any] {
        for cas in [BTreeSet::new(), BTreeSet::from([KEY.parse().unwrap()])] {
            let of_others = Wanted {
                cas,
                ..of_ours.clone()
            };
            assert!(!of_others.means(live));
        }
    }
    let by_key = Wanted {
        cas: BTreeSet::new(),
        ..key(KEY)
    };
    assert!(by_key.means(live));
    let user = |user: &str| Wanted {
        user: Some(user.to_owned()),
        ..key(KEY)
    };
    assert!(user("al").means(live) && !user("bo").means(live));
    let before = Wanted {
        before: live.began,
        ..key(KEY)
    };
    assert!(!before.means(live));
}

#[test]
fn a_certificate_is_known_to_be_revoked_and_to_have_ended_where_its_ca_is_known() {
    use crate::trust::{Krl, Signer};
    let ca = Signer::from_seed(&[1; 32]).public();
    let words = format!(
        "{}-CERT {KEY} ID 3/7/9 (serial 7) CA ED25519 {}",
        accepted("").trim(),
        ca.fingerprint()
    );
    let mut map = Map::default();
    assert!(map.take(report(812, &words, false), look));
    let live = map.all().next().unwrap();
    let (ours, others) = (
        BTreeSet::from([ca.fingerprint()]),
        BTreeSet::from([KEY.parse().unwrap()]),
    );
    let mut krl = Krl::default();
    krl.of_ca(&ca).serials.insert(8);
    assert!(!live.is_revoked(&krl, &ours));
    krl.of_ca(&ca).serials.insert(7);
    assert!(live.is_revoked(&krl, &ours) && !live.is_revoked(&krl, &others));
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(live.ends_at(&ours), Some(live.began + day));
    assert_eq!(live.ends_at(&others), None);
    // Nobody knows which of two it was.
    assert!(map.take(report(812, &accepted(OTHER), false), look));
    let live = map.all().next().unwrap();
    assert!(!live.is_revoked(&krl, &ours) && live.ends_at(&ours).is_none());
}
