//! Method own-file with a real sshd: a file of the agent's own that sshd's configuration names.

use crate::support::host::read;
use crate::support::managed::Managed;
use crate::support::process::wait_until;
use crate::support::sshd::{User, put};
use sshkeyd::wire::State;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink,
};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const MARK: &str = "# This file is sshkeyd's";

/// Inode and times: what a write would change.
fn identity(path: &Path) -> (u64, i64, i64) {
    let about = fs::metadata(path).unwrap();
    (about.ino(), about.mtime_nsec(), about.ctime_nsec())
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_key_logs_in_through_an_own_file_and_a_deleted_one_is_refused() {
    let managed = Managed::new("");
    let second = User::new();
    let mut host = managed.host("").with_path(
        &second.name,
        Path::new("%h/.ssh/sshkeyd keys"),
        "list",
        "method = \"own-file\"\n",
    );
    host.up();
    let accepted = host.wait_status("sshd to take both keys of both", |status| {
        let all = |target: &sshkeyd::wire::TargetStatus| {
            target.proof.as_ref().is_some_and(|p| p.accepted.len() == 2)
        };
        status.targets.iter().all(all)
    });
    assert_eq!(
        (accepted.state, &accepted.conditions[..]),
        (State::Ok, &[][..])
    );
    assert!(managed.lets_in(&managed.listed), "{}", managed.sshd.log());
    assert!(managed.lets_in(&managed.own));
    assert!(managed.sshd.lets_in(&second, &managed.spare.private));
    assert!(!managed.sshd.lets_in(&second, &managed.own.private));

    let file = managed.own_file(&managed.user);
    let about = fs::metadata(&file).unwrap();
    let user = &managed.user;
    assert_eq!(
        (about.uid(), about.gid(), about.mode() & 0o7777),
        (user.uid, user.gid, 0o600)
    );
    let lines: Vec<_> = read(&file).lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with(MARK) && lines.len() == 5, "{lines:?}");
    assert!(lines[1].starts_with("# list key "), "{lines:?}");
    assert_eq!(
        read(&user.authorized_keys()),
        format!("{} own\n", managed.own.public)
    );
    let target = &accepted.targets[0];
    assert_eq!((target.method.as_str(), target.foreign), ("own-file", 0));

    let drop_in = managed.drop_in();
    let about = fs::metadata(&drop_in).unwrap();
    assert_eq!(
        (about.uid(), about.gid(), about.mode() & 0o7777),
        (0, 0, 0o644)
    );
    let text = read(&drop_in);
    let directive = format!(
        "AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 {} \"%h/.ssh/sshkeyd keys\"",
        managed.template().display()
    );
    assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), [directive]);

    // A sync looks at all of it again, and a start does: nothing is written, nobody is reloaded.
    let before = (identity(&file), identity(&drop_in));
    let reloads = |log: &str| log.matches("Received SIGHUP").count();
    assert_eq!(reloads(&managed.sshd.log()), 1);
    host.sync();
    host.stop();
    host.up();
    host.wait_status("sshd's word", |s| s.targets[1].proof.is_some());
    host.sync();
    host.stop();
    assert_eq!((identity(&file), identity(&drop_in)), before);
    assert_eq!(reloads(&managed.sshd.log()), 1);

    host.up();
    managed.list(&host, &[&managed.spare]);
    let gone = managed.listed.public.to_string();
    wait_until("the key to go", || !read(&file).contains(&gone));
    assert!(!managed.lets_in(&managed.listed));
    assert!(managed.lets_in(&managed.spare));
    let status = host.wait_status("sshd's refusal", |s| {
        s.targets[0]
            .proof
            .as_ref()
            .is_some_and(|p| p.refused.len() == 1)
    });
    assert_eq!(status.state, State::Ok, "{status:?}");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_file_of_somebody_elses_is_left_as_it_is() {
    let managed = Managed::new("");
    let file = managed.own_file(&managed.user);
    let theirs = format!("{} theirs\n", managed.own.public);
    put(&file, &theirs, 0o600);
    chown(&file, Some(managed.user.uid), Some(managed.user.gid)).unwrap();
    let mut host = managed.host("");
    host.up();
    let taken = host.wait_condition("own-file-taken");
    assert_eq!(taken.about, file.display().to_string());
    assert_eq!(read(&file), theirs);
    host.run(&["unmanage"]);
    assert_eq!(read(&file), theirs);
    host.stop();
    fs::remove_file(&file).unwrap();
    host.up();
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
    host.wait_cleared("own-file-taken");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn what_others_add_to_an_own_file_goes() {
    let managed = Managed::new("");
    let file = managed.own_file(&managed.user);
    let mut host = managed.host("");
    host.up();
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
    let text = read(&file);
    let stranger = crate::support::sshd::keygen(managed.dir(), "stranger", "ed25519");
    let mut open = OpenOptions::new().append(true).open(&file).unwrap();
    open.write_all(format!("{} stranger\n", stranger.public).as_bytes())
        .unwrap();
    wait_until("the line to go", || read(&file) == text);
    assert!(!managed.lets_in(&stranger));
    let fingerprint = stranger.public.fingerprint().to_string();
    let drift = host.wait_condition("drift");
    assert!(drift.text.contains(&fingerprint), "{drift:?}");
    let log = host.daemon.as_ref().unwrap().log();
    assert!(
        log.contains("key removed") && log.contains(&fingerprint),
        "{log}"
    );
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_directory_that_is_missing_or_shut_is_named() {
    let managed = Managed::new("");
    let keys = managed.dir().join("other");
    let method = "method = \"own-file\"\n";
    let path = keys.join("%u");
    let mut host = managed
        .host_of("")
        .with_path(&managed.user.name, &path, "list", method);
    host.up();
    let missing = host.wait_condition("directory-missing");
    assert!(missing.text.contains(keys.to_str().unwrap()), "{missing:?}");
    assert!(!keys.exists());
    DirBuilder::new().mode(0o700).create(&keys).unwrap();
    host.sync();
    let shut = host.wait_condition("unsafe-path");
    assert!(shut.text.contains("chmod 0755"), "{shut:?}");
    assert!(!managed.lets_in(&managed.listed));
    fs::set_permissions(&keys, Permissions::from_mode(0o755)).unwrap();
    host.sync();
    host.wait_cleared("unsafe-path");
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn unmanage_takes_the_setting_out_and_then_the_file() {
    for is_running in [true, false] {
        let managed = Managed::new("");
        let mut host = managed.host("");
        host.up();
        wait_until("the key to log in", || managed.lets_in(&managed.listed));
        if !is_running {
            host.stop();
        }
        let ran = host.run(&["unmanage"]).done();
        assert!(ran.out.contains("nothing of ours is left"), "{ran:?}");
        assert_eq!(managed.all_drop_ins(), []);
        assert!(!managed.own_file(&managed.user).exists());
        assert!(!managed.lets_in(&managed.listed));
        assert!(managed.lets_in(&managed.own));
        let log = managed.sshd.log();
        assert_eq!(log.matches("Received SIGHUP").count(), 2, "{log}");
    }
}

/// Logs in again and again while something else happens; panics where it once cannot.
fn all_the_while(managed: &Managed, work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let logins = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let login = managed.sshd.login(&managed.user, &managed.listed.private);
                let said = String::from_utf8_lossy(&login.stderr).into_owned();
                // For an instant of its reload sshd listens nowhere.
                let refused = said.contains("refused") && !said.contains("Permission");
                assert!(login.status.success() || refused, "{said}");
            }
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        let logins = logins.join();
        worked.unwrap();
        logins.unwrap();
    });
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn on_the_way_back_to_a_block_nobody_is_locked_out() {
    let managed = Managed::new("");
    let mut host = managed.host("");
    host.up();
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
    let own = read(&managed.own_file(&managed.user));
    host.forget_targets();
    let mut host = host.with_target(&managed.user, "list", "");
    all_the_while(&managed, || {
        host.configure();
        wait_until("the drop-in to go", || !managed.drop_in().exists());
        host.wait_condition("left-behind");
        host.wait_status("sshd's word", |s| {
            let target = &s.targets[0];
            target.method == "block" && target.proof.as_ref().is_some_and(|p| p.accepted.len() == 2)
        });
    });
    assert!(read(&managed.user.authorized_keys()).contains(&managed.listed.public.to_string()));
    assert_eq!(
        read(&managed.own_file(&managed.user)),
        own,
        "a target taken out leaves its file"
    );
    host.stop();
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
#[expect(clippy::disallowed_methods, reason = "as others move files")]
fn while_the_block_cannot_be_written_the_own_file_stays_in_force() {
    let (managed, second) = (Managed::new(""), User::new());
    let mut host = managed.host("");
    host.up();
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
    let drop_in = read(&managed.drop_in());
    let file = managed.user.authorized_keys();
    let away = file.with_file_name("away");
    fs::rename(&file, &away).unwrap();
    symlink("away", &file).unwrap();
    host.forget_targets();
    let host = host.with_target(&managed.user, "list", "");
    let host = host.with_target(&second, "list", "");
    all_the_while(&managed, || {
        host.configure();
        host.wait_condition("not-a-plain-file");
        // sshd is asked about keys once its configuration has been seen to.
        host.wait_status("sshd's word", |s| {
            let proof = s.targets.get(1).and_then(|t| t.proof.as_ref());
            proof.is_some_and(|p| p.accepted.len() == 2)
        });
        assert_eq!(read(&managed.drop_in()), drop_in);
        fs::rename(&away, &file).unwrap();
        host.sync();
        wait_until("the drop-in to go", || !managed.drop_in().exists());
    });
    assert!(managed.lets_in(&managed.listed) && managed.lets_in(&managed.own));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_target_that_is_taken_out_leaves_its_keys_in_force() {
    let managed = Managed::new("");
    let second = User::new();
    let mut host = managed.host("");
    host.up();
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
    let drop_in = read(&managed.drop_in());
    host.forget_targets();
    let host = host.with_target(&second, "list", "");
    all_the_while(&managed, || {
        host.configure();
        host.wait_condition("left-behind");
        host.wait_status("sshd's word", |s| {
            s.targets[0]
                .proof
                .as_ref()
                .is_some_and(|p| p.accepted.len() == 2)
        });
        host.sync();
    });
    assert_eq!(read(&managed.drop_in()), drop_in);
}
