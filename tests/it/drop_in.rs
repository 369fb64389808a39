//! The one drop-in below a real sshd's configuration: whose settings are left alone, what is put
//! back, and that nobody is locked out on the way, wherever the agent is stopped.

use crate::support::host::{Host, read, replace};
use crate::support::keys_user::KeysUser;
use crate::support::managed::Managed;
use crate::support::process::{Ran, wait_until};
use crate::support::sshd::{Sshd, User, put};
use sshkeyd::wire::{Condition, State, TargetStatus};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const THEIRS: &str = "AuthorizedKeysFile .ssh/authorized_keys";

/// Nothing stands where drop-ins go, sshd was not told anything, and who got in gets in.
#[track_caller]
fn assert_untouched(managed: &Managed, config: &str) {
    assert_eq!(managed.all_drop_ins(), []);
    assert_eq!(read(&managed.sshd.config), config);
    assert!(
        !managed.sshd.log().contains("SIGHUP"),
        "{}",
        managed.sshd.log()
    );
    assert!(managed.lets_in(&managed.own));
    assert!(!managed.lets_in(&managed.listed));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_setting_of_the_administrators_is_left_and_named() {
    for below in [false, true] {
        // Below our Include: ours would go before it.
        let managed = Managed::with(|drop_ins| match below {
            true => format!("Include {drop_ins}/*.conf\n{THEIRS}\n"),
            false => format!("{THEIRS}\nInclude {drop_ins}/*.conf\n"),
        });
        let config = read(&managed.sshd.config);
        let line = config.lines().position(|line| line == THEIRS).unwrap() + 1;
        let mut host = managed.host("");
        host.up();
        let taken = host.wait_condition("sshd-setting-taken");
        let place = format!("{}:{line} sets {THEIRS}", managed.sshd.config.display());
        assert!(taken.text.starts_with(&place), "{taken:?}");
        assert!(
            taken.text.contains(managed.template().to_str().unwrap()),
            "{taken:?}"
        );
        assert_untouched(&managed, &config);

        // He takes the path into his own line: nothing is left for us to do.
        let his = format!("{THEIRS} {}", managed.template().display());
        replace(&managed.sshd.config, &config.replace(THEIRS, &his));
        hang_up(&managed.sshd);
        host.sync();
        host.wait_cleared("sshd-setting-taken");
        wait_until("the key to log in", || managed.lets_in(&managed.listed));
        assert_eq!(managed.all_drop_ins(), []);
    }
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_match_that_holds_for_a_user_of_ours_is_named() {
    let managed = Managed::new("");
    let text = read(&managed.sshd.config);
    let matched = format!(
        "Match User {}\n  AuthorizedKeysFile /srv/keys/%u\n",
        managed.user.name
    );
    replace(&managed.sshd.config, &format!("{text}{matched}"));
    let mut host = managed.host("");
    host.up();
    let taken = host.wait_condition("sshd-setting-taken");
    let line = text.lines().count() + 2;
    let place = format!("{}:{line} sets", managed.sshd.config.display());
    assert!(taken.text.starts_with(&place), "{taken:?}");
    assert_eq!(managed.all_drop_ins(), []);

    // One that holds for others takes nothing from ours.
    let others = matched.replace(&managed.user.name, "nobody");
    replace(&managed.sshd.config, &format!("{text}{others}"));
    host.sync();
    host.wait_cleared("sshd-setting-taken");
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_option_that_sshd_was_started_with_counts_as_set() {
    let managed = Managed::new("");
    let mut host = managed.host("");
    managed.sshd.restarted_with(&["-o", THEIRS]);
    host.up();
    let taken = host.wait_condition("sshd-setting-taken");
    assert!(
        taken
            .text
            .starts_with("sshd was started with -o AuthorizedKeysFile"),
        "{taken:?}"
    );
    assert_eq!(managed.all_drop_ins(), []);
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_drop_in_that_sshd_does_not_read_is_put_back() {
    type Settings = fn(&str) -> String;
    let cases: [(Settings, &str); 2] = [
        (|_| String::new(), "no Include names it"),
        (
            |drop_ins| format!("Match User nobody\nInclude {drop_ins}/*.conf\nMatch all\n"),
            "below the Match",
        ),
    ];
    for (settings, why) in cases {
        let managed = Managed::with(settings);
        let config = read(&managed.sshd.config);
        let mut host = managed.host("");
        host.up();
        let unread = host.wait_condition("drop-in-not-read");
        assert!(unread.text.contains(why), "{unread:?}");
        assert_eq!(unread.about, managed.drop_in().display().to_string());
        assert_untouched(&managed, &config);
        host.stop();
        assert_untouched(&managed, &config);
    }
}

/// An sshd that refuses this file, once the condition of the shell is so.
fn picky(managed: &Managed, file: &str, when: &str) -> String {
    let sshd = managed.dir().join("sshd");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in \"-t -f \"{file}*) if {when}; then echo 'line 9: Bad thing' >&2; \
         exit 255; fi;; esac\nexec /usr/sbin/sshd \"$@\"\n"
    );
    put(&sshd, &script, 0o755);
    format!("sshd = \"{}\"\n", sshd.display())
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn what_sshd_refuses_is_put_back_before_it_is_told() {
    let managed = Managed::new("");
    let config = read(&managed.sshd.config);
    let is_there = format!("test -e {}", managed.drop_in().display());
    let sshd = picky(&managed, managed.sshd.config.to_str().unwrap(), &is_there);
    let mut host = managed.host(&sshd);
    host.up();
    let refused = host.wait_condition("sshd-refused");
    assert!(refused.text.ends_with("line 9: Bad thing"), "{refused:?}");
    assert_untouched(&managed, &config);
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn what_sshd_refuses_in_a_copy_never_gets_its_name() {
    let managed = Managed::new("");
    let config = read(&managed.sshd.config);
    let before = fs::metadata(managed.drop_ins())
        .unwrap()
        .modified()
        .unwrap();
    let mut host = managed.host(&picky(&managed, "*/sshd-rehearsal.conf", "true"));
    host.up();
    let refused = host.wait_condition("sshd-refused");
    assert!(refused.text.ends_with("line 9: Bad thing"), "{refused:?}");
    let after = fs::metadata(managed.drop_ins())
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(after, before, "nothing was made there, not for a moment");
    assert_untouched(&managed, &config);
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_reload_that_fails_brings_the_old_drop_in_back() {
    let managed = Managed::new("");
    let config = read(&managed.sshd.config);
    let mut host = managed.host("reload = [\"/bin/false\"]\n");
    host.up();
    let refused = host.wait_condition("sshd-refused");
    assert!(refused.text.contains("/bin/false"), "{refused:?}");
    assert_untouched(&managed, &config);
    host.stop();

    // From one drop-in to another, the one before comes back.
    let mut host = managed.host("");
    host.up();
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
    let before = managed.all_drop_ins();
    host.stop();
    let toml = host.toml().replace("[heartbeat]", "[heartbeat]\n");
    let toml = toml.replace("drop-in =", "reload = [\"/bin/false\"]\ndrop-in =");
    let other = toml.replace("keys/%u", "keys/%U");
    host.configure_as(other);
    host.up();
    host.wait_condition("sshd-refused");
    assert_eq!(managed.all_drop_ins(), before);
    assert!(managed.lets_in(&managed.listed) && managed.lets_in(&managed.own));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_sshd_that_does_not_come_back_finds_its_old_configuration() {
    let managed = Managed::new("");
    let kill = format!("kill -9 {}", managed.sshd.pid());
    let mut host = managed.host(&format!("reload = [\"/bin/sh\", \"-c\", \"{kill}\"]\n"));
    host.up();
    let refused = host.wait_condition("sshd-refused");
    assert!(refused.text.contains("nothing answers"), "{refused:?}");
    assert_eq!(managed.all_drop_ins(), []);
    managed.sshd.restarted_with(&[]);
    assert!(managed.lets_in(&managed.own));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_known_key_that_is_refused_after_the_reload_brings_the_old_one_back() {
    let managed = Managed::new("");
    let config = read(&managed.sshd.config);
    // A reload in whose wake sshd refuses the user's own key: StrictModes minds the mode.
    let home = managed.user.home.display().to_string();
    let reload = format!(
        "kill -HUP {}; test -e {} && chmod 0777 {home} || chmod 0755 {home}",
        managed.sshd.pid(),
        managed.drop_in().display()
    );
    let mut host = managed.host(&format!("reload = [\"/bin/sh\", \"-c\", \"{reload}\"]\n"));
    host.up();
    let refused = host.wait_condition("sshd-refused");
    let key = managed.own.public.fingerprint().to_string();
    assert!(refused.text.contains(&key), "{refused:?}");
    assert_eq!(managed.all_drop_ins(), []);
    assert_eq!(read(&managed.sshd.config), config);
    assert!(managed.lets_in(&managed.own));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_sshd_that_was_not_told_is_named_and_told_later() {
    let managed = Managed::new("");
    let mut host = managed.host("reload = [\"/bin/true\"]\n");
    host.up();
    host.wait_condition("sshd-not-reloaded");
    assert!(managed.drop_in().exists() && managed.lets_in(&managed.own));
    host.stop();
    let mut host = managed.host("");
    host.up();
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
    host.wait_cleared("sshd-not-reloaded");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_agent_that_may_not_write_says_which_lines_are_missing() {
    let managed = Managed::new("");
    let config = read(&managed.sshd.config);
    let mut host = managed.host("[sshd]\nmanage = false\n");
    host.up();
    let said = host.wait_condition("sshd-not-managed");
    assert_untouched(&managed, &config);
    let line = said.text.split("by hand: ").nth(1).unwrap();
    assert!(line.starts_with("AuthorizedKeysFile "), "{said:?}");
    put(
        &managed.drop_ins().join("10-mine.conf"),
        &format!("{line}\n"),
        0o644,
    );
    hang_up(&managed.sshd);
    host.sync();
    host.wait_cleared("sshd-not-managed");
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
    assert_eq!(managed.all_drop_ins().len(), 1);
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_drop_in_of_somebody_elses_and_a_missing_directory_are_conditions() {
    let managed = Managed::new("");
    put(&managed.drop_in(), "# mine\nMaxAuthTries 5\n", 0o640);
    let before = managed.all_drop_ins();
    let mut host = managed.host("");
    host.up();
    let taken = host.wait_condition("drop-in-taken");
    assert_eq!(taken.about, managed.drop_in().display().to_string());
    host.run(&["unmanage"]);
    assert_eq!(managed.all_drop_ins(), before);
    host.stop();

    let target = managed.dir().join("target");
    put(&target, "", 0o600);
    fs::remove_file(managed.drop_in()).unwrap();
    std::os::unix::fs::symlink(&target, managed.drop_in()).unwrap();
    host.up();
    host.wait_condition("drop-in-failed");
    assert_eq!(read(&target), "");
    host.stop();

    fs::remove_dir_all(managed.drop_ins()).unwrap();
    host.up();
    let missing = host.wait_condition("drop-in-failed");
    assert!(missing.text.contains("make the directory"), "{missing:?}");
    assert!(!managed.drop_ins().exists());
    assert!(managed.lets_in(&managed.own));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_group_of_settings_beside_a_taken_one_comes_into_force() {
    let managed = Managed::new("AuthorizedKeysCommand none\n");
    let mut host = managed.host("");
    host.up();
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
    host.wait_status("no condition", |s| s.conditions.is_empty());
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn both_methods_come_into_force_side_by_side_and_go() {
    let (managed, keys_user, second) = (Managed::new(""), KeysUser::new(), User::new());
    let host = managed.host("").with_program(&keys_user.program);
    let mut host = host.with_command(&second.name, "list");
    host.up();
    wait_until("the own file", || managed.lets_in(&managed.listed));
    let by_command = || managed.sshd.lets_in(&second, &managed.listed.private);
    wait_until("the command", by_command);
    let status = host.wait_status("sshd's word", |s| {
        let proved = |t: &TargetStatus| t.proof.as_ref().is_some_and(|p| p.accepted.len() == 2);
        s.targets.iter().all(proved)
    });
    assert_eq!((status.state, &status.conditions[..]), (State::Ok, &[][..]));
    let text = read(&managed.drop_in());
    assert_eq!(text.lines().count(), 4, "{text}");

    // A program that sshd would not run is no reason to take the command out of force.
    fs::set_permissions(keys_user.dir(), Permissions::from_mode(0o777)).unwrap();
    host.sync();
    host.wait_condition("command-unsafe");
    assert_eq!(read(&managed.drop_in()), text);
    fs::set_permissions(keys_user.dir(), Permissions::from_mode(0o755)).unwrap();

    // The target of the command goes: its keys stay where they are.
    host.forget_targets();
    let method = "method = \"own-file\"\n";
    let user = &managed.user.name;
    let mut host = host.with_path(user, &managed.template(), "list", method);
    host.configure();
    host.wait_condition("left-behind");
    host.wait_status("sshd's word", |s| {
        let proof = s.targets[0].proof.as_ref();
        s.targets.len() == 1 && proof.is_some_and(|p| p.accepted.len() == 2)
    });
    assert_eq!(read(&managed.drop_in()), text);
    assert!(by_command());

    host.run(&["unmanage"]).done();
    assert_eq!(managed.all_drop_ins(), []);
    assert!(!managed.lets_in(&managed.listed) && managed.lets_in(&managed.own));
    host.stop();
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_command_of_somebody_elses_is_offered_behind_ours() {
    let theirs = "AuthorizedKeysCommand /usr/bin/sss_ssh_authorizedkeys";
    let managed = Managed::new(&format!("{theirs}\nAuthorizedKeysCommandUser nobody\n"));
    let keys_user = KeysUser::new();
    let config = read(&managed.sshd.config);
    let host = managed.host_of("").with_program(&keys_user.program);
    let mut host = host.with_command(&managed.user.name, "list");
    host.up();
    let about = |about: &str| {
        let status = host.status();
        let taken = |c: &Condition| c.code == "sshd-setting-taken" && c.about == about;
        status.conditions.into_iter().find(taken)
    };
    host.wait_condition("sshd-setting-taken");
    let text = about("AuthorizedKeysCommand").unwrap().text;
    let program = keys_user.program.display();
    let ours = format!("AuthorizedKeysCommand {program} authorized-keys");
    assert!(text.contains(&ours), "{text}");
    assert!(
        text.ends_with(" --chain /usr/bin/sss_ssh_authorizedkeys %u"),
        "{text}"
    );
    assert!(about("AuthorizedKeysCommandUser").is_some());
    assert_untouched(&managed, &config);

    // He does as he is told.
    let line = text.split("needs: ").nth(1).unwrap();
    let config = config
        .replace(theirs, line)
        .replace("CommandUser nobody", "CommandUser sshkeyd-keys");
    replace(&managed.sshd.config, &config);
    hang_up(&managed.sshd);
    host.sync();
    host.wait_cleared("sshd-setting-taken");
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
    assert_eq!(managed.all_drop_ins(), []);
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_sshd_that_is_not_up_finds_the_drop_in_when_it_comes() {
    let managed = Managed::new("");
    managed.sshd.kill();
    let mut host = managed.host("");
    host.up();
    wait_until("the drop-in", || managed.drop_in().exists());
    host.stop();
    managed.sshd.restarted_with(&[]);
    assert!(managed.lets_in(&managed.listed) && managed.lets_in(&managed.own));
    host.up();
    host.wait_status("sshd's word", |s| {
        s.targets[0]
            .proof
            .as_ref()
            .is_some_and(|p| p.accepted.len() == 2)
    });
    host.wait_status("no condition", |s| s.conditions.is_empty());
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_lost_record_costs_a_reload_and_no_login() {
    let managed = Managed::new("");
    let mut host = managed.host("");
    host.up();
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
    host.stop();
    let text = read(&managed.drop_in());
    fs::remove_file(host.dir.path().join("state/sshd.json")).unwrap();
    host.up();
    host.wait_status("sshd's word", |s| {
        s.targets[0]
            .proof
            .as_ref()
            .is_some_and(|p| p.accepted.len() == 2)
    });
    assert_eq!(read(&managed.drop_in()), text);
    assert!(managed.lets_in(&managed.listed) && managed.lets_in(&managed.own));
    assert!(host.condition("sshd-refused").is_none());
}

/// One cycle of the agent that is stopped by SIGKILL at the `nth` call of `syscall` of a thread,
/// where it comes to one. The calls that count are those about `path`, where one is given.
fn killed_at(host: &Host, syscall: &str, nth: u32, path: Option<&Path>) -> bool {
    host.configure();
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={syscall}"),
    ]);
    strace
        .arg("-e")
        .arg(format!("inject={syscall}:signal=SIGKILL:when={nth}"));
    if let Some(path) = path {
        strace.arg("-P").arg(path);
    }
    strace
        .arg(env!("CARGO_BIN_EXE_sshkeyd"))
        .args(["agent", "--once", "--config"]);
    let ran = Ran::of(strace.arg(&host.config));
    assert!(ran.code != Some(78), "{ran:?}");
    ran.code != Some(0)
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_agent_killed_at_any_step_locks_nobody_out_and_the_next_one_settles() {
    let managed = Managed::new("");
    let host = managed.host("");
    let drop_ins = managed.drop_ins();
    let places: Vec<(&str, u32, Option<PathBuf>)> = [
        // Before the file has its name, and after; before sshd is told, and while it is looked at.
        vec![("renameat2", 1, Some(drop_ins.clone()))],
        vec![("fsync", 1, Some(drop_ins.clone()))],
        vec![("unlinkat", 1, Some(drop_ins))],
        vec![("kill", 1, None)],
        (1..=6).map(|nth| ("connect", nth, None)).collect(),
    ]
    .concat();
    let mut killed = Vec::new();
    for (syscall, nth, path) in places {
        let was_killed = killed_at(&host, syscall, nth, path.as_deref());
        killed.push((syscall, nth, was_killed, managed.drop_in().exists()));
        let log = managed.sshd.log();
        assert!(managed.lets_in(&managed.own), "{syscall} {nth}: {log}");
        // Also an sshd that begins anew just now takes what it finds.
        hang_up(&managed.sshd);
        assert!(managed.lets_in(&managed.own), "{syscall} {nth}: {log}");

        host.once().done();
        assert!(managed.lets_in(&managed.listed) && managed.lets_in(&managed.own));
        assert_eq!(managed.all_drop_ins().len(), 1, "{syscall} {nth}");
        host.run(&["unmanage"]).done();
        assert_eq!(managed.all_drop_ins(), [], "{syscall} {nth}");
        assert!(!managed.lets_in(&managed.listed) && managed.lets_in(&managed.own));
    }
    let stopped = |with: bool| killed.iter().filter(|k| k.2 && k.3 == with).count();
    assert!(stopped(false) >= 3 && stopped(true) >= 3, "{killed:?}");
}

/// Has sshd begin anew, and waits until it listens again.
fn hang_up(sshd: &Sshd) {
    let before = sshd.log().matches("Server listening").count();
    let pid = sshd.pid().to_string();
    let sent = Command::new("/bin/sh")
        .args(["-c", &format!("kill -HUP {pid}")])
        .status();
    assert!(sent.unwrap().success());
    wait_until("sshd to listen again", || {
        sshd.log().matches("Server listening").count() > before
    });
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_mode_that_somebody_changed_is_no_reason_to_write() {
    let managed = Managed::new("");
    let mut host = managed.host("");
    host.up();
    wait_until("the key to log in", || managed.lets_in(&managed.listed));
    fs::set_permissions(managed.drop_in(), Permissions::from_mode(0o600)).unwrap();
    host.sync();
    host.wait_status("no condition", |s| s.conditions.is_empty());
    let mode = fs::metadata(managed.drop_in())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600, "what stands well stays");
}
