//! Sessions that were opened by a certificate, with a real sshd, 9.2's and 10's: told with the key
//! inside, and ended with it.

use crate::sessions::{ALWAYS, Bed, account_keeps};
use crate::support::authority::{Authority, PRINCIPAL};
use crate::support::logins::{Client, LoggedSshd};
use crate::support::machine::{Machine, certify, revoke};
use crate::support::process::{pause, wait_until};
use crate::support::service::Service;
use crate::support::sshd::KeyPair;
use serde_json::json;
use sshkeyd::sys::clock;
use sshkeyd::trust::Certificate;
use sshkeyd::wire::{OrderOutcome, Session};
use std::time::Duration;

/// A session by the certificate of this key: ssh would offer the key itself first.
fn enter(bed: &Bed, key: &KeyPair, args: &[&str], command: &str) -> Client {
    let file = format!("CertificateFile={}-cert.pub", key.private.display());
    let args = [&["-o", &file], args].concat();
    bed.open(key, &args, command)
}

/// Whether a session was opened by this certificate.
fn is_by(session: &Session, certificate: &Certificate) -> bool {
    session.certificate.as_ref().is_some_and(|told| {
        told.serial == certificate.serial()
            && told.key_id == certificate.key_id()
            && told.ca == certificate.ca().fingerprint().to_string()
    })
}

/// The key leaves the list: whoever is in by a certificate over it goes too.
fn a_certificates_key_ends_its_sessions(start: fn(&str) -> LoggedSshd) {
    let authority = Authority::new();
    let mut bed = Bed::of(start(&authority.lines()), ALWAYS);
    authority.admit(&bed.user.name);
    let _socket = bed.syslog_socket();
    bed.up();
    // Whatever an ID says, it passes for nothing else.
    let odd = "x (serial 9) CA ED25519 SHA256:y from 10.0.0.1 port 5 ssh2: ED25519";
    let mine = authority.certify(&bed.mine, odd, u64::MAX, &[]);
    let stays = authority.certify(&bed.stays, "3/2/1", 7, &[]);
    let mut theirs = [
        enter(&bed, &bed.mine, &[], "sleep 1000"),
        enter(&bed, &bed.mine, &["-N"], ""),
    ];
    let mut neighbour = enter(&bed, &bed.stays, &["-tt"], "");
    let told = bed.wait_told(&[(&bed.mine, 2), (&bed.stays, 1)]);
    let count = |of| told.iter().filter(|session| is_by(session, of)).count();
    assert_eq!((count(&mine), count(&stays)), (2, 1), "{told:#?}");
    assert!(told.iter().all(|session| !session.unproved));
    bed.take_out_mine();
    for client in &mut theirs {
        wait_until("the session to end", || !client.is_up());
    }
    bed.wait_told(&[(&bed.stays, 1)]);
    assert!(neighbour.is_up());
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_session_by_certificate_is_told_so_and_ends_with_the_key_inside() {
    a_certificates_key_ends_its_sessions(LoggedSshd::start);
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn a_session_by_certificate_of_openssh_10_ends_with_the_key_inside() {
    a_certificates_key_ends_its_sessions(LoggedSshd::start_openssh_10);
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_key_is_used_by_a_certificate_over_it_and_its_order_ends_that_session() {
    let (service, authority) = (Service::start(), Authority::new());
    let sessions = "auth-log = \"syslog-socket\"";
    let bed = Bed::of(LoggedSshd::start(&authority.lines()), "");
    let mut bed = account_keeps(bed, &service, sessions);
    authority.admit(&bed.user.name);
    let _socket = bed.syslog_socket();
    bed.host.up();
    bed.host.wait_listed();
    let id = service.save(&bed.mine.public, "mine", &["--wait"]);
    let other = service.save(&bed.stays.public, "stays", &["--wait"]);
    authority.certify(&bed.mine, "3/1/2", 41, &[]);
    authority.certify(&bed.stays, "3/2/2", 42, &[]);
    let mut mine = enter(&bed, &bed.mine, &[], "sleep 1000");
    let mut stays = enter(&bed, &bed.stays, &[], "sleep 1001");
    bed.wait_told(&[(&bed.mine, 1), (&bed.stays, 1)]);
    wait_until("the key's use", || {
        let keys = service.run(&["ssh-keys", "list", "--json"]).done();
        let keys: serde_json::Value = keys.json();
        keys["items"][0]["last_used_at"].is_string()
    });
    wait_until("the owner to be told", || {
        let shown = service.run(&["instances", "show", "web"]).done().out;
        shown.contains("1 \"mine\" by certificate 41 \"3/1/2\"")
            && shown.contains("2 \"stays\" by certificate 42 \"3/2/2\"")
    });
    let number = id.to_string();
    let delete = ["ssh-keys", "delete", &number, "--end-sessions", "--wait"];
    let said = service.run(&delete).done().out;
    assert!(said.contains("1 session ended"), "{said}");
    wait_until("the session to end", || !mine.is_up());
    let end = service.rollout(id).instances[0].end_sessions.unwrap();
    assert_eq!((end.outcome, end.ended), (OrderOutcome::Ended, 1));
    bed.wait_told(&[(&bed.stays, 1)]);
    assert!(stays.is_up());
    // A deletion that does not ask for it ends nobody.
    service.delete(other);
    bed.host
        .wait_status("the key to go", |s| s.targets[0].managed.is_empty());
    assert!(stays.is_up());
}

/// Waits until the agent tells of so many sessions.
#[track_caller]
fn wait_sessions(machine: &Machine, count: usize) -> Vec<Session> {
    let known = machine
        .host
        .wait_status("the sessions", |status| status.sessions.len() == count);
    known.sessions
}

/// Two CAs may have given out one serial and one ID: an order is about the account's own.
#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_order_by_serial_or_key_id_ends_sessions_of_the_accounts_ca_and_no_others() {
    let (service, admins) = (Service::start(), Authority::new());
    let machine = Machine::start(&service, "web", "");
    // The machine's own administrator lets his CA in for this user.
    let line = format!(
        "cert-authority,principals=\"{PRINCIPAL}\" {}\n",
        admins.ca.public
    );
    machine.user.authorize(&line);
    let [first, second, other] = ["first", "second", "other"].map(|name| machine.sshd.pair(name));
    let (first_file, serial, _) = certify(&service, &first);
    let (second_file, second_serial, key_id) = certify(&service, &second);
    machine.wait_trusted();
    let twin = admins.certify(&other, &key_id, serial, &[]);
    let twin_file = other.private.with_file_name("other-cert.pub");
    let mut by_serial = machine.enter(&first, Some(&first_file), "cat");
    let mut by_id = machine.enter(&second, Some(&second_file), "cat");
    let mut admins_own = machine.enter(&other, Some(&twin_file), "cat");
    let told = wait_sessions(&machine, 3);
    assert_eq!(told.iter().filter(|s| is_by(s, &twin)).count(), 1);

    revoke(&service, &json!({ "serial": serial }), true);
    wait_until("the session to end", || !by_serial.is_up());
    wait_sessions(&machine, 2);
    assert!(by_id.is_up() && admins_own.is_up());
    assert!(!machine.lets_in(&first, Some(&first_file)));
    assert!(machine.lets_in(&second, Some(&second_file)));

    revoke(&service, &json!({ "key_id": key_id }), true);
    wait_until("the session to end", || !by_id.is_up());
    wait_sessions(&machine, 1);
    assert!(admins_own.is_up() && second_serial != serial);
    assert!(!machine.lets_in(&second, Some(&second_file)));
    assert!(machine.lets_in(&other, Some(&twin_file)));
}

/// Without an order: a list that comes into force ends what it revokes where that is configured, and
/// nothing anywhere else.
#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_list_ends_the_sessions_of_what_it_revokes_where_they_always_end() {
    let service = Service::start();
    let always = Machine::start(&service, "web", "end-on-revoke = \"always\"");
    let asked = Machine::start(&service, "db", "");
    let [mine, stays] = ["mine", "stays"].map(|name| always.sshd.pair(name));
    let ((mine_file, serial, _), (stays_file, ..)) =
        (certify(&service, &mine), certify(&service, &stays));
    for machine in [&always, &asked] {
        machine.wait_trusted();
    }
    let mut ends = always.enter(&mine, Some(&mine_file), "cat");
    let mut lives = [
        always.enter(&stays, Some(&stays_file), "cat"),
        asked.enter(&mine, Some(&mine_file), "cat"),
    ];
    wait_sessions(&always, 2);
    wait_sessions(&asked, 1);
    revoke(&service, &json!({ "serial": serial }), false);
    wait_until("the session to end", || !ends.is_up());
    for machine in [&always, &asked] {
        wait_until("the certificate to be refused", || {
            !machine.lets_in(&mine, Some(&mine_file))
        });
    }
    pause(Duration::from_millis(300));
    for client in &mut lives {
        assert!(client.is_up(), "{}", client.output());
    }
}

/// Somebody's own RevokedKeys stands before ours: what is revoked cannot be refused by a list here. Its
/// sessions end all the same, and the machine says so.
#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn where_no_list_can_be_in_force_sessions_end_all_the_same_and_it_is_said() {
    let (service, admins) = (Service::start(), Authority::new());
    let own_list = format!("RevokedKeys {}", admins.path("revoked.krl").display());
    let start = |lines: &str| LoggedSshd::start(&format!("{own_list}\n{lines}"));
    let machine = Machine::of(&service, "web", "", start);
    let key = machine.sshd.pair("key");
    let id = service.save(&key.public, "key", &["--wait"]);
    let (file, ..) = certify(&service, &key);
    let said = machine.host.wait_condition("krl-not-in-force");
    assert!(said.text.contains("sshd-setting-taken"), "{}", said.text);
    machine.host.wait_status("the CA in force", |status| {
        let certificates = status.certificates.as_ref();
        certificates.is_some_and(|c| !c.user_ca.is_empty() && c.krl_version.is_none())
    });
    let mut theirs = [
        machine.enter(&key, None, "cat"),
        machine.enter(&key, Some(&file), "cat"),
    ];
    wait_sessions(&machine, 2);
    let began = clock::monotonic();
    service.run(&["ssh-keys", "revoke", &id.to_string()]).done();
    for client in &mut theirs {
        wait_until("the session to end", || !client.is_up());
    }
    // Nothing is waited for that will not come.
    let took = clock::monotonic() - began;
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert!(!machine.lets_in(&key, None));
    let known = machine.host.status();
    let codes: Vec<_> = known.conditions.iter().map(|c| c.code.as_str()).collect();
    assert!(codes.contains(&"krl-not-in-force"), "{codes:?}");
    assert_eq!(known.certificates.unwrap().proved_krl, None);
}
