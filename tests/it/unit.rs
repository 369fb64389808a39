//! The agent as systemd/sshkeyd-agent.service would have it, without systemd: the unit's own
//! capabilities, a system that is read-only but for the paths it names, its system-call filter.
//!
//! What a session needs is read from the unit, so that neither can change alone.

use crate::sessions::{ALWAYS, Bed};
use crate::support::host::{Host, read};
use crate::support::logins::{LoggedSshd, runs};
use crate::support::process::{Ran, pause, wait_until};
use crate::support::service::Service;
use crate::support::sshd::{KeyPair, Sshd, User, WorkDir, keygen, unique};
use sshkeyd::sys::clock;
use sshkeyd::wire::Status;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const UNIT: &str = include_str!("../../systemd/sshkeyd-agent.service");

fn values(key: &str) -> Vec<&'static str> {
    let lines = UNIT.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .collect()
}

/// The unit's capabilities, as setpriv(1) names them.
fn capabilities() -> Vec<String> {
    let [all] = values("CapabilityBoundingSet")[..] else {
        panic!("not one CapabilityBoundingSet");
    };
    let short = |name: &str| name.strip_prefix("CAP_").unwrap().to_lowercase();
    all.split(' ').map(short).collect()
}

/// A command line that gives a program these capabilities and none that it could get back.
fn confined(capabilities: &[String]) -> Vec<String> {
    assert_eq!(values("NoNewPrivileges"), ["true"]);
    let mut set = "-all".to_owned();
    for one in capabilities {
        set += &format!(",+{one}");
    }
    let bounding = format!("--bounding-set={set}");
    ["setpriv", "--no-new-privs", "--inh-caps=-all", &bounding]
        .map(str::to_owned)
        .to_vec()
}

/// Everything read-only but for these directories, which exist: ProtectSystem=strict.
fn read_only_but(writable: &[&Path]) -> Vec<String> {
    assert_eq!(values("ProtectSystem"), ["strict"]);
    let mut script = String::new();
    for path in writable {
        let path = path.display();
        script += &format!("mount --bind {path} {path} && ");
    }
    script += "mount -o remount,bind,ro / && exec \"$@\"";
    [
        "unshare",
        "-m",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
        "sh",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn pair(sshd: &Sshd, name: &str) -> KeyPair {
    keygen(sshd.dir(), name, "ed25519")
}

/// From the first start over a save, its proof, a delete and a revocation to a clean stop. The last
/// of what is given is sshd's own directory.
fn whole_session(wrap: impl FnOnce(&Host, &User, &Path) -> Vec<String>) {
    let etc = WorkDir::new();
    let drop_ins = etc.path().join("sshd_config.d");
    DirBuilder::new().mode(0o755).create(&drop_ins).unwrap();
    let include = format!("Include {}/*.conf", drop_ins.display());
    let (sshd, service) = (Sshd::start(&include), Service::start());
    let user = User::new();
    let [laptop, own, lost] = ["laptop", "own", "lost"].map(|name| pair(&sshd, name));
    user.authorize(&format!("{} mine\n", own.public));
    let foreign = read(&user.authorized_keys());
    let (host, _) = Host::new()
        .with_drop_in(&sshd, &drop_ins.join("30-sshkeyd.conf"), "")
        .with_certificates(&format!(
            "host-certificates = false\ndirectory = \"{}/sshkeyd\"",
            etc.path().display()
        ))
        .of_new_instance(&service, "web");
    let mut host = host.with_target(&user, "account", "");
    for directory in ["state", "run"] {
        fs::create_dir(host.dir.path().join(directory)).unwrap();
    }
    let wrapper = wrap(&host, &user, etc.path());
    host.up_under(&wrapper);
    host.wait_listed();
    let file = laptop.private.with_extension("pub");
    let added = service
        .run(&["ssh-keys", "add", file.to_str().unwrap(), "--wait"])
        .done();
    let last = added.out.lines().last().unwrap();
    assert_eq!(last, "proved on 1 of 1", "{added:?}");
    assert!(sshd.lets_in(&user, &laptop.private), "{}", sshd.log());
    assert!(sshd.lets_in(&user, &own.private));
    let keys: serde_json::Value = service.run(&["ssh-keys", "list", "--json"]).done().json();
    let id = keys["items"][0]["id"].to_string();
    service.run(&["ssh-keys", "delete", &id]).done();
    wait_until("the key to go", || read(&user.authorized_keys()) == foreign);
    assert!(!sshd.lets_in(&user, &laptop.private));
    let id = service.save(&lost.public, "lost", &[]);
    service.run(&["ssh-keys", "revoke", &id.to_string()]).done();
    host.wait_status("the revocation list in force", |status| {
        let certificates = status.certificates.as_ref();
        certificates.is_some_and(|c| c.krl_version.is_some()) && status.conditions.is_empty()
    });
    assert!(read(&drop_ins.join("30-sshkeyd.conf")).contains("RevokedKeys"));
    assert!(sshd.lets_in(&user, &own.private), "{}", sshd.log());
    assert!(host.stop().success());
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn the_units_capabilities_and_paths_are_enough_for_a_whole_session() {
    whole_session(|host, user, etc| {
        let ours = host.dir.path();
        let home = user.home.clone();
        let mut wrapper = read_only_but(&[&home, &ours.join("state"), &ours.join("run"), etc]);
        wrapper.extend(confined(&capabilities()));
        wrapper
    });
}

/// `agent --once` on a user's existing file, with these capabilities.
fn once(capabilities: &[String]) -> (Ran, String) {
    let user = User::new();
    user.authorize("# mine\n");
    let host = Host::new().with_file("keys").with_target(&user, "keys", "");
    host.write_file("keys", include_str!("../data/seeds/golden-keys.pub"));
    host.configure();
    let ran = host.once_under(&confined(capabilities));
    (ran, read(&user.authorized_keys()))
}

/// What the end of sessions alone needs.
const FOR_SESSIONS: [&str; 2] = ["kill", "sys_ptrace"];

/// Whether a live session is known and ends with its key, with these capabilities.
fn a_session_ends_with_its_key(capabilities: &[String]) -> bool {
    let mut bed = Bed::of(LoggedSshd::start(""), ALWAYS);
    let _log = bed.syslog_socket();
    bed.host.up_under(&confined(capabilities));
    let has_both = |status: &Status| status.targets[0].managed.len() == 2;
    bed.host.wait_status("both keys", has_both);
    let mut session = bed.open(&bed.mine, &[], "sleep 987");
    wait_until("the session to run", || runs(&bed.user, "sleep 987"));
    let within = |most: Duration, is_so: &mut dyn FnMut() -> bool| {
        let began = clock::monotonic();
        while clock::monotonic() - began < most {
            if is_so() {
                return true;
            }
            pause(Duration::from_millis(50));
        }
        false
    };
    let told = || !bed.host.status().sessions.is_empty();
    if !within(Duration::from_secs(5), &mut || told()) {
        return false;
    }
    bed.take_out_mine();
    // sshd's own process is root's, as the agent is; what it has started is the user's.
    within(Duration::from_secs(8), &mut || {
        !session.is_up() && !runs(&bed.user, "sleep 987")
    })
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn sessions_end_with_the_units_capabilities_and_not_with_fewer() {
    let all = capabilities();
    assert!(a_session_ends_with_its_key(&all));
    for spare in FOR_SESSIONS {
        let fewer: Vec<_> = all.iter().filter(|one| *one != spare).cloned().collect();
        assert!(fewer.len() < all.len(), "{spare} is not in the unit");
        assert!(
            !a_session_ends_with_its_key(&fewer),
            "{spare} is not needed"
        );
    }
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn none_of_the_units_capabilities_is_spare() {
    let all = capabilities();
    let (ran, text) = once(&all);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(text.starts_with("# mine\n# BEGIN sshkeyd"), "{text}");
    for spare in all
        .iter()
        .filter(|one| !FOR_SESSIONS.contains(&one.as_str()))
    {
        let fewer: Vec<_> = all.iter().filter(|one| *one != spare).cloned().collect();
        let (ran, text) = once(&fewer);
        assert_ne!(ran.code, Some(0), "{spare} is not needed: {ran:?}");
        assert_eq!(text, "# mine\n", "without {spare}");
    }
}

/// The system calls of these lines of `SystemCallFilter`, sets taken apart by systemd itself.
fn allowed() -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for line in values("SystemCallFilter") {
        let (taken, names) = match line.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, line),
        };
        for call in names.split(' ').flat_map(calls_of) {
            if taken {
                calls.remove(&call);
            } else {
                calls.insert(call);
            }
        }
    }
    calls
}

fn calls_of(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return BTreeSet::from([name.to_owned()]);
    }
    let said = Command::new("systemd-analyze")
        .args(["syscall-filter", "--no-pager", name])
        .output()
        .expect("systemd-analyze is there: apt-get install systemd");
    let text = String::from_utf8(said.stdout).unwrap();
    let members = text.lines().skip(1).map(str::trim);
    members
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(calls_of)
        .collect()
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn every_system_call_of_a_session_passes_the_units_filter() {
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("calls-{}", unique()));
    whole_session(|_, _, _| {
        // The tracer is a child of its own (-D): signals reach the agent.
        let mut wrapper = ["strace", "-D", "-f", "-qq", "-e", "signal=none", "-o"]
            .map(str::to_owned)
            .to_vec();
        wrapper.push(log.display().to_string());
        wrapper
    });
    let text = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    let call = |line: &str| {
        let (_, rest) = line.split_once(' ')?;
        let rest = rest.trim_start();
        let (name, _) = rest.split_once('(')?;
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        (plain && !name.is_empty()).then(|| name.to_owned())
    };
    let made: BTreeSet<String> = text.lines().filter_map(call).collect();
    assert!(
        made.contains("renameat2") && made.contains("fsync"),
        "{made:?}"
    );
    let allowed = allowed();
    assert!(allowed.contains("fchown") && !allowed.contains("mount"));
    // sshd, as our child, tries to give up groups, and goes on when it may not: EPERM, not a kill.
    assert_eq!(values("SystemCallErrorNumber"), ["EPERM"]);
    let tried = BTreeSet::from(["setgroups".to_owned()]);
    let refused: BTreeSet<_> = made.difference(&allowed).cloned().collect();
    assert!(refused.is_subset(&tried), "not allowed: {refused:?}");
    fs::remove_file(&log).unwrap();
}
