//! `sshkeyd seal-image`: nothing of this machine is left, and a copy begins as somebody new.

use crate::support::host::{Home, Host, replace};
use crate::support::managed::Managed;
use crate::support::process::wait_until;
use crate::support::service::Service;
use crate::support::ssh::public_key;
use sshkeyd::wire::{InstanceState, State};
use std::path::{Path, PathBuf};

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else {
        return found;
    };
    for entry in entries.flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found
}

fn state(host: &Host) -> PathBuf {
    host.dir.path().join("state")
}

#[test]
fn a_running_agent_lets_go_keeps_nothing_and_makes_no_new_identity() {
    let (service, home, key) = (Service::start(), Home::new(), public_key());
    let mine = format!("{key} mine\n");
    home.write(&mine);
    let (host, id) = Host::new().of_new_instance(&service, "image");
    let mut host = host.with_home(&home, "account", "adopt = \"same-key\"\n");
    host.up();
    host.wait_listed();
    service.save(&key, "laptop", &["--wait"]);
    assert!(home.text().contains("BEGIN sshkeyd"));
    assert!(files(&state(&host)).len() > 4);

    let ran = host.run(&["seal-image"]).done();
    assert!(ran.out.contains("instances create"), "{ran:?}");
    assert!(
        ran.out.contains(host.token_file().to_str().unwrap()),
        "{ran:?}"
    );
    assert_eq!(home.text(), mine, "adopted lines are back");
    // The lock is the running agent's; it holds a process number.
    assert_eq!(files(&state(&host)), [state(&host).join("lock")]);
    let status = host.status();
    assert_eq!(status.state, State::Unmanaged);
    assert_eq!((status.instance, status.sources.len()), (None, 0));
    wait_until("the service to hear that it stopped", || {
        service.instance_state(id) == InstanceState::Offline
    });
    // Nothing brings anything back: no sync, no signal, no key that is saved.
    service.save(&public_key(), "later", &[]);
    host.sync();
    host.signal("USR1");
    host.run(&["seal-image"]).done();
    assert_eq!(files(&state(&host)), [state(&host).join("lock")]);
    assert_eq!(home.text(), mine);
    assert!(
        host.token_file().exists(),
        "the configuration is not ours to clear"
    );
    assert!(host.stop().success());
}

#[test]
fn keys_that_no_target_names_any_more_keep_it_from_sealing() {
    let (home, other, key) = (Home::new(), Home::new(), public_key());
    let host = Host::new().with_file("keys").with_home(&home, "keys", "");
    host.write_file("keys", &format!("{key} k\n"));
    host.once().done();
    assert!(home.has(&key));
    let mut host = host.with_home(&other, "keys", "");
    let both = host.toml();
    let (mine, path) = (home.path(), home.path().display().to_string());
    let first = both.find("[[target]]").unwrap();
    let second = both.rfind("[[target]]").unwrap();
    assert!(both[first..second].contains(&path) && mine.is_dir());
    let without = format!("{}{}", &both[..first], &both[second..]);
    host.configure_as(without);
    let ran = host.run(&["seal-image"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains(&path), "{ran:?}");
    assert!(
        files(&state(&host))
            .iter()
            .any(|f| f.ends_with("targets.json"))
    );
    host.configure_as(both);
    host.run(&["seal-image"]).done();
    assert!(!home.has(&key));
    assert!(files(&state(&host)).is_empty());
}

#[test]
fn a_copy_of_a_sealed_disk_enrols_as_a_new_instance() {
    let (service, home, copy_home) = (Service::start(), Home::new(), Home::new());
    let key = public_key();
    let (host, id) = Host::new().of_new_instance(&service, "image");
    let mut host = host.with_home(&home, "account", "");
    host.up();
    host.wait_listed();
    service.save(&key, "laptop", &["--wait"]);
    assert!(host.stop().success());
    host.run(&["seal-image"]).done();
    assert!(files(&state(&host)).is_empty());
    assert!(!home.has(&key));

    let (own, token) = service.create_instance("copy");
    let mut copy = Host::new()
        .with_token(&service, &token)
        .with_home(&copy_home, "account", "");
    let mut cp = std::process::Command::new("cp");
    cp.arg("-a").arg(state(&host)).arg(state(&copy));
    assert!(cp.status().unwrap().success());
    copy.up();
    copy_home.wait_has(&key, true);
    assert_eq!(copy.status().instance, Some(own));
    assert_ne!(own, id);
    // The image's own token is used up: the original says so, and has no identity of the copy's.
    host.up();
    host.wait_condition("not-enrolled");
    let (again, token) = service.create_instance("image again");
    replace(&host.token_file(), &token);
    host.sync();
    home.wait_has(&key, true);
    assert_eq!(host.status().instance, Some(again));
    copy.wait_status("the copy to be untouched", |s| s.conditions.is_empty());
}

#[test]
fn while_a_file_cannot_be_put_back_nothing_is_dropped() {
    let (home, key) = (Home::new(), public_key());
    let mut host = Host::new().with_file("all").with_home(&home, "all", "");
    host.write_file("all", &format!("{key} k\n"));
    host.up();
    home.wait_has(&key, true);
    host.wait_status("the key to be managed", |s| s.targets[0].managed.len() == 1);
    std::fs::remove_file(home.authorized_keys()).unwrap();
    std::fs::create_dir(home.authorized_keys()).unwrap();
    host.wait_condition("not-a-plain-file");
    let kept = files(&state(&host));
    assert!(kept.len() > 2, "{kept:?}");
    let ran = host.run(&["seal-image"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("not sealed"), "{ran:?}");
    assert_eq!(files(&state(&host)), kept);
}

#[test]
fn a_file_that_no_target_names_any_more_keeps_an_image_from_being_sealed() {
    let (kept, left, key) = (Home::new(), Home::new(), public_key());
    let host = Host::new().with_file("all").with_home(&kept, "all", "");
    let mut host = host.with_home(&left, "all", "");
    host.write_file("all", &format!("{key} k\n"));
    host.up();
    kept.wait_has(&key, true);
    left.wait_has(&key, true);
    let both = host.toml();
    let (second, end) = (
        both.rfind("[[target]]").unwrap(),
        both.find("[verify]").unwrap(),
    );
    host.configure_as(format!("{}{}", &both[..second], &both[end..]));
    host.wait_condition("left-behind");
    let file = left.authorized_keys().display().to_string();
    let refused = |host: &Host| {
        let ran = host.run(&["seal-image"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains(&file), "{ran:?}");
    };
    refused(&host);
    host.stop();
    refused(&host);
    assert!(left.has(&key) && state(&host).join("targets.json").exists());
    host.configure_as(both);
    host.run(&["seal-image"]).done();
    assert!(!left.has(&key) && !kept.has(&key));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_own_file_and_what_names_it_to_sshd_go_too() {
    let managed = Managed::new("");
    let mut host = managed.host("");
    host.up();
    host.wait_status("a proof", |s| {
        let proof = s.targets[0].proof.as_ref();
        proof.is_some_and(|proof| !proof.accepted.is_empty())
    });
    assert!(managed.drop_in().exists() && managed.own_file(&managed.user).exists());
    host.run(&["doctor", &managed.user.name]).done();
    host.run(&["seal-image"]).done();
    assert!(!managed.drop_in().exists() && !managed.own_file(&managed.user).exists());
    host.sync();
    host.signal("USR1");
    assert_eq!(files(&state(&host)), [state(&host).join("lock")]);
    assert!(managed.lets_in(&managed.own) && !managed.lets_in(&managed.listed));
    assert!(host.stop().success());
    // Without an agent the lock goes with the rest.
    host.run(&["seal-image"]).done();
    assert!(files(&state(&host)).is_empty());
}
