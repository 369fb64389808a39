//! What sshd itself says of the account's CA and of its revocation list, told by the agent: with a real
//! service, a real sshd, and somebody who puts other files before it.

use crate::support::host::Host;
use crate::support::logins::LoggedSshd;
use crate::support::machine::{Machine, certify, revoke};
use crate::support::process::wait_for;
use crate::support::service::Service;
use crate::support::sshd::{keygen, put};
use serde_json::json;
use sshkeyd::trust::Krl;
use sshkeyd::wire::CertificatesStatus;
use std::path::Path;
use std::process::Command;

fn certificates(host: &Host) -> CertificatesStatus {
    host.status().certificates.unwrap_or_default()
}

/// Waits until sshd was asked about all that is in force, and has said yes.
#[track_caller]
fn wait_proved(machine: &Machine, above: u64) -> CertificatesStatus {
    wait_for(&format!("the proof of a list above {above}"), || {
        let known = certificates(&machine.host);
        let whole = !known.user_ca.is_empty()
            && known.proved_ca == known.user_ca
            && known.proved_krl == known.krl_version
            && known.proved_krl.is_some_and(|version| version > above);
        whole.then_some(known)
    })
}

fn ca_and_list_are_proved(start: fn(&str) -> LoggedSshd) {
    let service = Service::start();
    let machine = Machine::of(&service, "web", "", start);
    let before = certificates(&machine.host);
    assert_eq!((before.proved_ca, before.unproved), (vec![], None));
    let own = machine.sshd.pair("own");
    service.save(&own.public, "own", &["--wait"]);
    let (file, serial, _) = certify(&service, &own);
    let first = wait_proved(&machine, 0);
    assert!(first.unproved.is_none() && first.proved_at.is_some());
    assert!(machine.lets_in(&own, Some(&file)));

    // Each further list is proved by its own number.
    let other = machine.sshd.pair("other");
    let (other_file, other_serial, _) = certify(&service, &other);
    assert!(machine.lets_in(&other, Some(&other_file)));
    revoke(&service, &json!({ "serial": other_serial }), false);
    let second = wait_proved(&machine, first.krl_version.unwrap());
    assert!(!machine.lets_in(&other, Some(&other_file)));
    assert!(second.proved_ca == first.proved_ca && serial < other_serial);
    assert_eq!(machine.host.status().conditions, []);

    // The owner is told.
    let instance = machine.instance.to_string();
    let shown = wait_for("the owner to be told", || {
        let shown = service.run(&["instances", "show", &instance, "--json"]);
        let shown: serde_json::Value = shown.done().json();
        let told = &shown["status"]["certificates"];
        (told["proved_krl"] == json!(second.proved_krl)).then(|| told.clone())
    });
    assert_eq!(shown["proved_ca"], json!(second.proved_ca));

    // Nobody gets in by what was asked about: no login but those of this test.
    let users = machine.user.name.clone();
    let sessions = machine.host.status().sessions;
    assert!(sessions.iter().all(|session| session.user == users));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn the_ca_and_each_list_are_proved_by_sshd_itself() {
    ca_and_list_are_proved(LoggedSshd::start);
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn the_ca_and_each_list_are_proved_by_openssh_10() {
    ca_and_list_are_proved(LoggedSshd::start_openssh_10);
}

/// Has sshd see another file in the place of this one, and nobody else.
fn put_before_sshd(machine: &Machine, file: &Path, other: &Path) {
    let pid = machine.sshd.pid().to_string();
    let mounted = Command::new("nsenter")
        .args(["--mount", "--target", &pid, "mount", "--bind"])
        .args([other, file])
        .status();
    assert!(mounted.unwrap().success());
}

fn take_away(machine: &Machine, file: &Path) {
    let pid = machine.sshd.pid().to_string();
    let mut umount = Command::new("nsenter");
    umount.args(["--mount", "--target", &pid, "umount"]);
    assert!(umount.arg(file).status().unwrap().success());
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_sshd_that_goes_by_other_files_is_found_out() {
    let service = Service::start();
    let mut machine = Machine::start(&service, "web", "");
    let own = machine.sshd.pair("own");
    service.save(&own.public, "own", &["--wait"]);
    certify(&service, &own);
    wait_proved(&machine, 0);

    // An older list in the place of the one in force.
    let other = machine.sshd.dir().join("other.krl");
    sshkeyd::sys::private_file::replace(&other, &Krl::default().encode()).unwrap();
    put_before_sshd(&machine, &machine.file("revoked.krl"), &other);
    machine.host.stop();
    machine.host.up();
    let said = machine.host.wait_condition("certificate-still-accepted");
    assert_eq!(said.about, machine.user.name);
    let known = certificates(&machine.host);
    assert_eq!(known.proved_krl, None, "{known:?}");
    assert_eq!(known.proved_ca, known.user_ca);
    assert_eq!(known.unproved.as_deref(), Some("still-accepted"));
    assert!(known.krl_version.is_some(), "files and sshd -T say so");

    // Another CA in the place of the account's. Keys log in as before.
    take_away(&machine, &machine.file("revoked.krl"));
    let stranger = keygen(machine.sshd.dir(), "stranger", "ed25519");
    let other = machine.sshd.dir().join("other-ca.pub");
    put(&other, &format!("{}\n", stranger.public), 0o644);
    put_before_sshd(&machine, &machine.file("user-ca.pub"), &other);
    machine.host.stop();
    machine.host.up();
    machine.host.wait_condition("certificate-not-accepted");
    let known = certificates(&machine.host);
    assert_eq!((known.proved_ca, known.proved_krl), (vec![], None));
    assert!(machine.lets_in(&own, None));

    // Mended, it is found out with the next look.
    take_away(&machine, &machine.file("user-ca.pub"));
    machine.host.sync();
    wait_proved(&machine, 0);
    machine.host.wait_cleared("certificate-not-accepted");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn where_sshd_is_not_asked_nothing_is_proved_and_it_says_why() {
    let service = Service::start();
    let mut machine = Machine::start(&service, "web", "");
    let own = machine.sshd.pair("own");
    service.save(&own.public, "own", &["--wait"]);
    certify(&service, &own);
    wait_proved(&machine, 0);
    let address = machine.sshd.address;
    let toml = machine.host.toml();
    let off = toml.replace(&format!("sshd = \"{address}\""), "sshd = \"off\"");
    assert_ne!(off, toml);
    machine.host.configure_as(off);
    let known = wait_for("it to be said", || {
        let known = certificates(&machine.host);
        known.unproved.is_some().then_some(known)
    });
    assert_eq!(known.unproved.as_deref(), Some("verify-off"));
    assert_eq!((known.proved_ca, known.proved_krl), (vec![], None));
}
