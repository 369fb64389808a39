//! The main job against the embedded SSH server: nothing is installed but the binary.

use crate::support::host::{Home, Host};
use crate::support::process::{port, wait_until};
use crate::support::proxy::Proxy;
use crate::support::service::Service;
use crate::support::ssh::{RusshServer, pair, public_key};
use sshkeyd::wire::{InstanceState, RolloutState, State};

#[test]
fn a_saved_key_logs_in_and_a_deleted_one_is_refused() {
    let (home, key) = (Home::new(), pair());
    let ssh = RusshServer::start(home.authorized_keys());
    let service = Service::start();
    let (host, id) = Host::new()
        .with_ssh_server(ssh.server.address, &ssh.server.host_key)
        .of_new_instance(&service, "web");
    let mut host = host.with_home(&home, "account", "");
    host.up();
    host.wait_listed();
    assert!(!ssh.lets_in(&key));

    let file = service.key_file(&key.public, "laptop");
    let added = service
        .run(&["ssh-keys", "add", file.to_str().unwrap(), "--wait"])
        .done();
    assert!(added.out.contains("saved key 1 \"laptop\""), "{added:?}");
    assert!(added.out.contains("proved on 1 of 1"), "{added:?}");
    assert!(ssh.lets_in(&key));
    let rollout = service.rollout(1);
    assert_eq!((rollout.counts.live, rollout.counts.proved), (1, 1));
    assert_eq!(rollout.instances[0].instance, id);
    assert_eq!(rollout.instances[0].state, RolloutState::Proved);
    assert!(rollout.instances[0].proved_after_ms.is_some());

    service.delete(1);
    home.wait_has(&key.public, false);
    assert!(!ssh.lets_in(&key));
    assert_eq!(home.text(), "", "with no keys there is no block");
    let fingerprint = key.public.fingerprint().to_string();
    let status = host.wait_status("sshd's refusal", |s| {
        let proof = s.targets[0].proof.as_ref();
        proof.is_some_and(|proof| proof.refused == [fingerprint.clone()])
    });
    assert_eq!(status.conditions, []);
    assert_eq!(service.instance_state(id), InstanceState::Live);
}

#[test]
fn add_wait_counts_every_live_instance_and_says_why_there_is_no_proof() {
    let service = Service::start();
    let home = Home::new();
    let mut host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "");
    host.up();
    service.create_instance("never started");
    host.wait_listed();
    let file = service.key_file(&public_key(), "laptop");
    let added = service
        .run(&["ssh-keys", "add", file.to_str().unwrap(), "--wait"])
        .done();
    for words in ["1 written without proof", "1 not live", "verify-off"] {
        assert!(added.out.contains(words), "{words}: {added:?}");
    }
}

#[test]
fn another_program_in_sshds_place_proves_nothing() {
    let (home, key) = (Home::new(), pair());
    let ssh = RusshServer::start(home.authorized_keys());
    let service = Service::start();
    let mut host = Host::new()
        .with_ssh_server(ssh.server.address, &public_key())
        .of_account(&service)
        .with_home(&home, "account", "");
    host.up();
    host.wait_listed();
    let file = service.key_file(&key.public, "laptop");
    let added = service
        .run(&["ssh-keys", "add", file.to_str().unwrap(), "--wait"])
        .done();
    assert!(
        added.out.contains("written, no proof: wrong-host"),
        "{added:?}"
    );
    host.wait_condition("proof-wrong-host");
    assert!(ssh.lets_in(&key), "the key is in place all the same");
}

#[test]
fn without_an_sshd_the_key_is_written_and_it_is_said_so() {
    let (home, key) = (Home::new(), public_key());
    let service = Service::start();
    let nobody = (std::net::Ipv4Addr::LOCALHOST, port()).into();
    let mut host = Host::new()
        .with_ssh_server(nobody, &public_key())
        .of_account(&service)
        .with_home(&home, "account", "");
    host.up();
    host.wait_listed();
    let file = service.key_file(&key, "laptop");
    let added = service
        .run(&["ssh-keys", "add", file.to_str().unwrap(), "--wait"])
        .done();
    assert!(
        added.out.contains("written, no proof: no-sshd"),
        "{added:?}"
    );
    let status = host.status();
    assert_eq!(
        status.state,
        State::Ok,
        "a notice is no trouble: {status:?}"
    );
    assert_eq!(status.conditions[0].code, "proof-unknown");
}

#[test]
fn a_proof_that_could_not_be_had_is_had_when_sshd_is_back() {
    let (home, key) = (Home::new(), pair());
    let ssh = RusshServer::start(home.authorized_keys());
    let gate = Proxy::start();
    let service = Service::start();
    let mut host = Host::new()
        .with_ssh_server(gate.address, &ssh.server.host_key)
        .of_account(&service)
        .with_home(&home, "account", "");
    host.up();
    let id = service.save(&key.public, "laptop", &[]);
    home.wait_has(&key.public, true);
    host.wait_condition("proof-unknown");
    gate.pass_bytes_to(ssh.server.address);
    wait_until("the proof", || {
        service.rollout(id).instances[0].state == RolloutState::Proved
    });
    host.wait_cleared("proof-unknown");
}
