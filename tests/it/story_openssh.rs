//! The main job against a real sshd with StrictModes, and what may never happen on the way.

use crate::support::host::{Host, read};
use crate::support::process::wait_until;
use crate::support::service::Service;
use crate::support::sshd::{KeyPair, Sshd, User, keygen, put};
use sshkeyd::wire::{InstanceState, RolloutState, SourceState, State};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

fn pair(sshd: &Sshd, name: &str) -> KeyPair {
    keygen(sshd.dir(), name, "ed25519")
}

/// Owner, group and mode.
fn owned(path: &Path) -> (u32, u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid(), meta.mode() & 0o7777)
}

/// What must stay as it is where nobody has any business.
fn untouched(path: &Path) -> (Vec<u8>, u64, i64, i64, i64) {
    let meta = fs::symlink_metadata(path).unwrap();
    (
        fs::read(path).unwrap(),
        meta.ino(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime_nsec(),
    )
}

fn has(user: &User, key: &KeyPair) -> bool {
    read(&user.authorized_keys()).contains(&key.public.to_string())
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_saved_key_logs_in_and_a_deleted_one_is_refused() {
    let (sshd, service) = (Sshd::start(""), Service::start());
    let (user, neighbour) = (User::new(), User::new());
    let (laptop, own) = (pair(&sshd, "laptop"), pair(&sshd, "own"));
    neighbour.authorize(&format!("{} mine\n", own.public));
    let before = untouched(&neighbour.authorized_keys());
    let (host, id) = Host::new()
        .with_sshd(&sshd)
        .of_new_instance(&service, "web");
    let mut host = host.with_target(&user, "account", "");
    host.up();
    host.wait_listed();
    assert!(!sshd.lets_in(&user, &laptop.private));

    let file = laptop.private.with_extension("pub");
    let added = service
        .run(&["ssh-keys", "add", file.to_str().unwrap(), "--wait"])
        .done();
    let last = added.out.lines().last().unwrap();
    assert_eq!(last, "proved on 1 of 1", "{added:?}");
    assert!(sshd.lets_in(&user, &laptop.private), "{}", sshd.log());
    let ssh = user.home.join(".ssh");
    assert_eq!(owned(&user.authorized_keys()), (user.uid, user.gid, 0o600));
    assert_eq!(owned(&ssh), (user.uid, user.gid, 0o700));
    let text = read(&user.authorized_keys());
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("# BEGIN sshkeyd"), "{text}");
    assert!(lines[1].starts_with("# account key 1 \"laptop\", saved 20"));
    assert_eq!(lines[2], format!("{} laptop", laptop.public));
    assert_eq!((lines[3], lines.len()), ("# END sshkeyd", 4));
    let rollout = service.rollout(1);
    assert_eq!(rollout.instances[0].state, RolloutState::Proved);
    assert_eq!(rollout.instances[0].instance, id);
    assert_eq!(service.instance_state(id), InstanceState::Live);

    service.delete(1);
    wait_until("the key to go", || !has(&user, &laptop));
    let refused = sshd.login(&user, &laptop.private);
    assert_eq!(refused.status.code(), Some(255), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("Permission denied (publickey)"), "{said}");
    assert_eq!(read(&user.authorized_keys()), "");
    let fingerprint = laptop.public.fingerprint().to_string();
    let status = host.wait_status("sshd's refusal", |s| {
        let proof = s.targets[0].proof.as_ref();
        proof.is_some_and(|proof| proof.refused == [fingerprint.clone()])
    });
    assert_eq!((status.state, status.conditions), (State::Ok, vec![]));
    assert_eq!(untouched(&neighbour.authorized_keys()), before);
    assert!(sshd.lets_in(&neighbour, &own.private));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn lines_of_others_are_kept_and_two_users_get_what_they_are_to_have() {
    let (sshd, service) = (Sshd::start(""), Service::start());
    let (alice, bob) = (User::new(), User::new());
    let [own, cloud, emergency] = ["own", "cloud", "emergency"].map(|name| pair(&sshd, name));
    let foreign = format!(
        "# mine\r\n\n  no-pty {}  x y\nnot a key at all\n{}",
        own.public, own.public
    );
    alice.authorize(&foreign);
    let mut host = Host::new()
        .with_sshd(&sshd)
        .of_account(&service)
        .with_file("break-glass")
        .with_target(&alice, "account break-glass", "")
        .with_target(&bob, "account", "");
    host.write_file("break-glass", &format!("{} emergency\n", emergency.public));
    host.up();
    host.wait_listed();
    service.save(&cloud.public, "cloud", &["--wait"]);
    for (user, key, gets_in) in [
        (&alice, &cloud, true),
        (&alice, &emergency, true),
        (&alice, &own, true),
        (&bob, &cloud, true),
        (&bob, &emergency, false),
        (&bob, &own, false),
    ] {
        assert_eq!(sshd.lets_in(user, &key.private), gets_in, "{}", user.name);
    }
    let text = read(&alice.authorized_keys());
    assert!(text.starts_with(&foreign), "{text}");
    let status = host.status();
    assert_eq!(
        (status.targets[0].foreign, status.targets[1].foreign),
        (2, 0)
    );
    let names: Vec<_> = status.sources.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["account", "break-glass"]);
    assert!(status.sources.iter().all(|s| s.state == SourceState::Live));
    service.delete(1);
    wait_until("the key to go", || {
        !has(&alice, &cloud) && !has(&bob, &cloud)
    });
    assert!(sshd.lets_in(&alice, &emergency.private));
    assert!(read(&alice.authorized_keys()).starts_with(&foreign));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_deleted_key_in_somebody_elses_line_is_told_until_the_line_is_gone() {
    let (sshd, service, user) = (Sshd::start(""), Service::start(), User::new());
    let [key, other] = ["key", "other"].map(|name| pair(&sshd, name));
    let foreign = format!("{} other\n{} copied by hand\n", other.public, key.public);
    user.authorize(&foreign);
    let host = Host::new()
        .with_sshd(&sshd)
        .of_account(&service)
        .with_target(&user, "account", "")
        .up_listed();
    let id = service.save(&key.public, "key", &["--wait"]);
    service.delete(id);
    let condition = host.wait_condition("still-accepted");
    let fingerprint = key.public.fingerprint().to_string();
    assert!(condition.text.contains(&fingerprint), "{condition:?}");
    assert!(condition.text.contains("line 2"), "{condition:?}");
    assert_eq!(condition.about, user.authorized_keys().to_str().unwrap());
    host.wait_status("sshd's own word", |s| {
        let proof = s.targets[0].proof.as_ref();
        proof.is_some_and(|proof| proof.still_accepted == [fingerprint.clone()])
    });
    assert!(sshd.lets_in(&user, &key.private));
    assert_eq!(read(&user.authorized_keys()), foreign);

    user.authorize(&format!("{} other\n", other.public));
    host.wait_cleared("still-accepted");
    assert!(!sshd.lets_in(&user, &key.private));
    let status = host.wait_status("sshd's refusal", |s| {
        let proof = s.targets[0].proof.as_ref();
        proof.is_some_and(|proof| proof.refused.contains(&fingerprint))
    });
    assert_eq!(status.state, State::Ok);
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_key_with_an_end_logs_in_until_then_and_leaves_the_file() {
    let (sshd, service, user) = (Sshd::start(""), Service::start(), User::new());
    let key = pair(&sshd, "key");
    let host = Host::new()
        .with_sshd(&sshd)
        .of_account(&service)
        .with_target(&user, "account", "")
        .up_listed();
    service.save(&key.public, "key", &["--expires", "6s", "--wait"]);
    assert!(sshd.lets_in(&user, &key.private), "{}", sshd.log());
    let text = read(&user.authorized_keys());
    let line = text.lines().find(|l| l.contains("ssh-ed25519")).unwrap();
    let (end, _) = line
        .strip_prefix("expiry-time=\"")
        .and_then(|rest| rest.split_once("Z\" ssh-ed25519 "))
        .unwrap_or_else(|| panic!("{text}"));
    assert_eq!(end.len(), 14, "{text}");
    wait_until("the line to go", || !has(&user, &key));
    assert!(!sshd.lets_in(&user, &key.private));
    assert_eq!(host.status().state, State::Ok);
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_key_with_an_end_dies_with_the_agent_stopped() {
    let (sshd, service, user) = (Sshd::start(""), Service::start(), User::new());
    let key = pair(&sshd, "key");
    let mut host = Host::new()
        .with_sshd(&sshd)
        .of_account(&service)
        .with_target(&user, "account", "")
        .up_listed();
    service.save(&key.public, "key", &["--expires", "5s", "--wait"]);
    host.kill();
    assert!(sshd.lets_in(&user, &key.private), "{}", sshd.log());
    wait_until("its end", || !sshd.lets_in(&user, &key.private));
    assert!(has(&user, &key), "nobody was there to take the line out");
    host.up();
    wait_until("the line to go", || !has(&user, &key));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_user_who_bends_the_way_moves_nothing_and_others_still_get_their_keys() {
    let (sshd, service) = (Sshd::start(""), Service::start());
    let names = ["linked-dir", "linked", "hard", "fifo", "directory", "good"];
    let users = names.map(|_| User::new());
    let key = pair(&sshd, "key");
    // What root alone may read, and a user would like to.
    let secrets = sshd.dir().join("root");
    fs::create_dir(&secrets).unwrap();
    let secret = secrets.join("authorized_keys");
    put(&secret, "the secret of root\n", 0o600);
    let before = untouched(&secret);
    let [linked_dir, linked, hard, fifo, directory, good] = &users;
    symlink(&secrets, linked_dir.home.join(".ssh")).unwrap();
    for user in [linked, hard, fifo, directory] {
        user.authorize("");
        fs::remove_file(user.authorized_keys()).unwrap();
    }
    symlink(&secret, linked.authorized_keys()).unwrap();
    // A hard link needs the same file system: the homes stand beside the secret.
    fs::hard_link(&secret, hard.authorized_keys()).unwrap();
    let before_link = untouched(&secret);
    assert_eq!(before.0, before_link.0);
    let made = std::process::Command::new("mkfifo")
        .arg(fifo.authorized_keys())
        .status();
    assert!(made.unwrap().success());
    fs::create_dir(directory.authorized_keys()).unwrap();
    let mut host = Host::new().with_sshd(&sshd).of_account(&service);
    for user in &users {
        host = host.with_target(user, "account", "");
    }
    host.up();
    service.save(&key.public, "key", &[]);
    wait_until("the good one's key", || has(good, &key));
    assert!(sshd.lets_in(good, &key.private));
    let status = host.sync();
    assert_eq!(status.state, State::Failing);
    for (user, code) in [
        (linked_dir, "unsafe-path"),
        (linked, "not-a-plain-file"),
        (hard, "not-a-plain-file"),
        (fifo, "not-a-plain-file"),
        (directory, "not-a-plain-file"),
    ] {
        let path = user.authorized_keys();
        let about = path.to_str().unwrap();
        let told = status.conditions.iter().find(|c| c.about == about);
        assert_eq!(told.map(|c| c.code.as_str()), Some(code), "{about}");
    }
    assert_eq!(untouched(&secret), before_link);
    let left: Vec<_> = fs::read_dir(&secrets).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    for user in [linked, hard, fifo, directory] {
        let beside = fs::read_dir(user.home.join(".ssh")).unwrap().count();
        assert_eq!(beside, 1, "nothing is left beside the file");
    }
    assert!(
        fs::symlink_metadata(linked.authorized_keys())
            .unwrap()
            .is_symlink()
    );
    assert_eq!(fs::metadata(hard.authorized_keys()).unwrap().uid(), 0);

    // Put right by its user, it is written at once.
    fs::remove_file(linked.authorized_keys()).unwrap();
    wait_until("the key after the link is gone", || has(linked, &key));
    assert_eq!(
        owned(&linked.authorized_keys()),
        (linked.uid, linked.gid, 0o600)
    );
}
