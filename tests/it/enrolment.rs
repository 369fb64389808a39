//! How an agent comes to its identity, and what it does when somebody stands between.

use crate::support::host::{Home, Host, read, replace};
use crate::support::process::wait_until;
use crate::support::proxy::Proxy;
use crate::support::service::Service;
use crate::support::ssh::public_key;
use serde_json::Value;
use sshkeyd::wire::InstanceState;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn enrolment(host: &Host) -> PathBuf {
    host.dir.path().join("state/sources/account.enrolment")
}

/// A service whose agents come through a proxy.
fn behind_a_proxy() -> (Proxy, Service) {
    let proxy = Proxy::start();
    let service = Service::start_behind(Some(proxy.address));
    proxy.stand_before(service.address);
    (proxy, service)
}

#[test]
fn a_lost_answer_to_the_enrolment_costs_nothing() {
    let (proxy, service) = behind_a_proxy();
    let (home, key) = (Home::new(), public_key());
    service.save(&key, "laptop", &[]);
    let enrolments = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&enrolments);
    proxy.lie(move |request, answer| {
        let is_first = request.contains("/v1/agent/enroll")
            && answer.head.contains(" 200 ")
            && seen.fetch_add(1, Ordering::Relaxed) == 0;
        (!is_first).then_some(answer)
    });
    let (host, id) = Host::new().of_new_instance(&service, "web");
    let mut host = host.with_home(&home, "account", "");
    host.up();
    home.wait_has(&key, true);
    assert_eq!(enrolments.load(Ordering::Relaxed), 2);
    assert_eq!(host.status().instance, Some(id));
    let list: Value = service.run(&["instances", "list", "--json"]).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    wait_until("the instance to be live", || {
        service.instance_state(id) == InstanceState::Live
    });
}

#[test]
fn a_used_token_enrols_no_other_machine() {
    let service = Service::start();
    let (home, other_home, key) = (Home::new(), Home::new(), public_key());
    service.save(&key, "laptop", &[]);
    let (_, token) = service.create_instance("web");
    let mut host = Host::new()
        .with_token(&service, &token)
        .with_home(&home, "account", "");
    host.up();
    home.wait_has(&key, true);

    other_home.write("# mine\n");
    let mut other = Host::new()
        .with_token(&service, &token)
        .with_home(&other_home, "account", "");
    other.up();
    let condition = other.wait_condition("not-enrolled");
    assert!(condition.text.contains("token"), "{condition:?}");
    assert_eq!(other_home.text(), "# mine\n");

    // A token that was not tried yet is all it takes.
    let (id, token) = service.create_instance("db");
    replace(&other.token_file(), &token);
    other.sync();
    other_home.wait_has(&key, true);
    other.wait_cleared("not-enrolled");
    assert_eq!(other.status().instance, Some(id));
    assert!(home.has(&key));
}

#[test]
fn a_service_with_another_signer_than_the_token_names_is_refused() {
    let service = Service::start();
    let (home, key) = (Home::new(), public_key());
    service.save(&key, "laptop", &[]);
    let (_, token) = service.create_instance("web");
    let (secret, _) = token.split_once('.').unwrap();
    let other = format!("{secret}.{}", public_key().fingerprint());
    let mut host = Host::new()
        .with_token(&service, &other)
        .with_home(&home, "account", "");
    host.up();
    let condition = host.wait_condition("signer-unknown");
    assert_eq!(condition.about, "account");
    let status = host.sync();
    assert_eq!((status.instance, status.sources[0].keys), (None, 0));
    assert!(!home.authorized_keys().exists());
    assert!(!enrolment(&host).exists());
}

#[test]
fn a_session_key_that_the_service_no_longer_takes_is_renewed_by_signature() {
    let service = Service::start();
    let (home, first, second) = (Home::new(), public_key(), public_key());
    let (host, id) = Host::new().of_new_instance(&service, "web");
    let mut host = host.with_home(&home, "account", "");
    host.up();
    service.save(&first, "first", &[]);
    home.wait_has(&first, true);
    assert!(host.stop().success());

    let kept: Value = serde_json::from_str(&read(&enrolment(&host))).unwrap();
    let mut spoiled = kept.clone();
    let key = kept["session_key"].as_str().unwrap();
    // Well formed, and nobody's.
    let (_, token) = service.create_instance("another");
    let dead = format!("skd_ses_{}", &token[8..key.len()]);
    spoiled["session_key"] = Value::from(dead.clone());
    replace(&enrolment(&host), &spoiled.to_string());
    service.save(&second, "second", &[]);
    host.up();
    home.wait_has(&second, true);
    assert!(home.has(&first));
    host.wait_status("no trouble left", |s| s.conditions.is_empty());
    assert_eq!(host.status().instance, Some(id));
    let renewed: Value = serde_json::from_str(&read(&enrolment(&host))).unwrap();
    let renewed = renewed["session_key"].as_str().unwrap();
    assert!(renewed != dead && renewed != key);
    wait_until("heartbeats by the new key", || {
        service.instance_state(id) == InstanceState::Live
    });
}

#[test]
fn a_machine_that_lost_its_identity_key_keeps_its_keys_and_says_so() {
    let service = Service::start();
    let (home, key) = (Home::new(), public_key());
    let mut host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "");
    host.up();
    service.save(&key, "laptop", &[]);
    home.wait_has(&key, true);
    assert!(host.stop().success());
    let text = read(&enrolment(&host)).replace("skd_ses_", "skd_ses_x");
    replace(&enrolment(&host), &text);
    fs::remove_file(host.dir.path().join("state/identity")).unwrap();
    host.up();
    host.wait_condition("not-enrolled");
    assert!(home.has(&key), "last good stays in force");
}

#[test]
fn a_removed_instance_keeps_its_keys_unless_they_are_taken() {
    let service = Service::start();
    let key = public_key();
    service.save(&key, "laptop", &[]);
    for take in [false, true] {
        let home = Home::new();
        home.write("# mine\n");
        let (host, id) = Host::new().of_new_instance(&service, "web");
        let mut host = host.with_home(&home, "account", "");
        host.up();
        home.wait_has(&key, true);
        let request = format!("DELETE /v1/instances/{id}?take_keys={take}");
        let (status, _, body) = service.http(&request, "");
        assert!((200..300).contains(&status), "{status} {body}");
        host.wait_condition("removed");
        home.wait_has(&key, !take);
        assert!(home.text().starts_with("# mine\n"));
        // It stays so, over a restart too.
        assert!(host.stop().success());
        host.up();
        host.sync();
        assert_eq!(home.has(&key), !take);
    }
}

#[test]
fn of_two_copies_of_a_machine_the_older_run_keeps_still_and_wants_a_token_of_its_own() {
    let service = Service::start();
    let (home, copy_home) = (Home::new(), Home::new());
    let [first, second, third] = [(); 3].map(|()| public_key());
    let (host, id) = Host::new().of_new_instance(&service, "web");
    let mut host = host.with_home(&home, "account", "");
    host.up();
    host.wait_listed();
    service.save(&first, "first", &[]);
    home.wait_has(&first, true);
    // The disk is copied, and the copy starts while the original runs.
    let mut copy = Host::new()
        .with_token(&service, "used")
        .with_home(&copy_home, "account", "");
    wait_until("a copy of the state, which may be written just now", || {
        let to = copy.dir.path().join("state");
        let _ = fs::remove_dir_all(&to);
        let mut cp = std::process::Command::new("cp");
        cp.arg("-a").arg(host.dir.path().join("state")).arg(to);
        cp.status().unwrap().success()
    });
    copy.up();
    copy_home.wait_has(&first, true);
    host.sync();
    let condition = host.wait_condition("clone");
    assert_eq!(condition.about, "account");
    service.save(&second, "second", &[]);
    copy_home.wait_has(&second, true);
    host.sync();
    assert!(
        home.has(&first) && !home.has(&second),
        "it keeps what it had"
    );

    let (own, token) = service.create_instance("its own");
    replace(&host.token_file(), &token);
    host.sync();
    home.wait_has(&second, true);
    host.wait_cleared("clone");
    assert_eq!(host.status().instance, Some(own));
    assert_eq!(copy.status().instance, Some(id));
    service.save(&third, "third", &["--wait"]);
    assert!(home.has(&third) && copy_home.has(&third));
}

#[test]
fn secrets_stay_in_files_of_root_and_out_of_the_log() {
    let service = Service::start();
    let (home, key) = (Home::new(), public_key());
    let mut host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "");
    host.debug_log();
    host.up();
    host.wait_listed();
    service.save(&key, "laptop", &["--wait"]);
    let log = host.daemon.as_ref().unwrap().log();
    assert!(log.contains("enrolled") && log.contains("DEBUG"), "{log}");
    for secret in ["skd_ses", "skd_enr", "PRIVATE KEY"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    let state = host.dir.path().join("state");
    let mut seen = 0;
    for dir in [state.clone(), state.join("sources")] {
        assert_eq!(
            fs::metadata(&dir).unwrap().mode() & 0o7777,
            0o700,
            "{dir:?}"
        );
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            let meta = entry.metadata().unwrap();
            if meta.is_file() {
                assert_eq!(meta.mode() & 0o7777, 0o600, "{:?}", entry.path());
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "identity, enrolment, tokens, last good, targets");
}
