//! A new signer of lists: agents that run, that were away, and that are to believe nothing old.

use crate::support::host::{Home, Host, replace};
use crate::support::process::{Ran, sshkeyd, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use std::fs;
use std::os::unix::fs::chown;

fn subscribed() -> (Service, Home, Host) {
    let (service, home) = (Service::start(), Home::new());
    let host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "")
        .up_listed();
    (service, home, host)
}

/// Another signer of lists, from the next reload on.
pub(crate) fn rotate(service: &Service, more: &[&str]) -> Ran {
    let mut rotate = sshkeyd();
    rotate.args(["server", "rotate-signer"]).args(more);
    rotate
        .arg("--config")
        .arg(service.dir().join("server.toml"));
    Ran::of(&mut rotate)
}

/// HUP, until the log has said this once more.
pub(crate) fn reload(service: &Service, what: &str) {
    let count = || service.log().matches(what).count();
    let before = count();
    service.signal("HUP");
    wait_until(what, || count() > before);
}

pub(crate) const ADOPTED: &str = "snapshot signer adopted";

#[test]
fn agents_go_on_after_a_rotation_and_after_two_that_they_missed() {
    let (service, home, mut host) = subscribed();
    let keys = [(); 4].map(|()| public_key());
    service.save(&keys[0], "before", &[]);
    home.wait_has(&keys[0], true);
    let ran = rotate(&service, &[]).done();
    assert!(ran.out.contains(" follows SHA256:"), "{ran:?}");
    assert!(ran.err.contains("reload the service"), "{ran:?}");
    reload(&service, ADOPTED);
    service.save(&keys[1], "after", &[]);
    home.wait_has(&keys[1], true);
    assert_eq!(host.status().conditions, []);

    assert!(host.stop().success());
    for _ in 0..2 {
        rotate(&service, &[]).done();
        reload(&service, ADOPTED);
    }
    service.save(&keys[2], "missed", &[]);
    host.up();
    home.wait_has(&keys[2], true);
    host.wait_status("no trouble", |s| s.conditions.is_empty());
    // What it was led to is what it knows from here on.
    host.kill();
    host.up();
    service.save(&keys[3], "last", &[]);
    home.wait_has(&keys[3], true);
    assert_eq!(host.sync().conditions, []);
}

#[test]
fn after_a_compromise_keys_stay_and_a_new_token_mends_it() {
    let (mut service, home, host) = subscribed();
    let [before, after] = [(); 2].map(|()| public_key());
    let id = service.save(&before, "before", &[]);
    home.wait_has(&before, true);
    let ran = rotate(&service, &["--compromised"]).done();
    assert!(ran.err.contains("signer-unknown"), "{ran:?}");
    reload(&service, ADOPTED);
    service.save(&after, "after", &[]);
    service.delete(id);
    let condition = host.wait_condition("signer-unknown");
    assert!(condition.text.contains("SHA256:"), "{condition:?}");
    // A restart changes nothing about it.
    assert!(service.stop().success());
    service.up();
    host.sync();
    assert!(host.condition("signer-unknown").is_some());
    assert!(home.has(&before) && !home.has(&after));

    let (_, token) = service.create_instance("again");
    replace(&host.token_file(), &token);
    host.sync();
    home.wait_has(&after, true);
    home.wait_has(&before, false);
    host.wait_cleared("signer-unknown");
}

#[test]
fn what_is_no_rotation_is_refused_and_the_service_goes_on() {
    let (service, home, host) = subscribed();
    let [first, second] = [(); 2].map(|()| public_key());
    let secrets = service.dir().join("secrets");
    let signer = secrets.join("snapshot-signer");
    let old = fs::read(&signer).unwrap();
    replace(&signer, "no key");
    reload(&service, "secrets-dir refused");
    service.save(&first, "first", &[]);
    home.wait_has(&first, true);
    replace(&signer, std::str::from_utf8(&old).unwrap());

    rotate(&service, &[]).done();
    let twice = rotate(&service, &[]);
    assert_eq!(twice.code, Some(1), "{twice:?}");
    assert!(twice.err.contains("reload the service"), "{twice:?}");
    reload(&service, ADOPTED);
    service.save(&second, "second", &[]);
    home.wait_has(&second, true);
    assert_eq!(host.status().conditions, []);
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_directory_of_another_user_is_left_alone() {
    let service = Service::start();
    let secrets = service.dir().join("secrets");
    let signer = fs::read(secrets.join("snapshot-signer")).unwrap();
    chown(&secrets, Some(1), None).unwrap();
    let ran = rotate(&service, &[]);
    assert_eq!(ran.code, Some(78), "{ran:?}");
    assert!(ran.err.contains("belongs to user 1"), "{ran:?}");
    assert_eq!(fs::read(secrets.join("snapshot-signer")).unwrap(), signer);
}
