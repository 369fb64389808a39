//! Homes whose owners wish us ill, or are in a bad way: nothing outside the target changes, nothing
//! of root's reaches a user, nothing hangs, and each case is a condition that goes by itself.

use crate::support::host::{Home, Host, read};
use crate::support::mounts::{HungMount, Mount, ran};
use crate::support::process::{pause, sshkeyd, wait_until};
use crate::support::ssh::public_key;
use crate::support::sshd::{Sshd, User, WorkDir, keygen, put};
use crate::support::tree::Tree;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, rename, renameat_with};
use sshkeyd::keys::PublicKey;
use sshkeyd::sinks::{KeysFile, SinkError};
use sshkeyd::sync::FileWrite;
use sshkeyd::sys::clock;
use sshkeyd::wire::{Doctor, DoctorFinding, Plan};
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Another user that is on every machine: `bin`.
const OTHER: u32 = 2;

/// Makes a home hostile; given the home and a directory of root's with a secret in it.
type Shape = fn(&Home, &Path);

fn replace_ssh(home: &Home) -> PathBuf {
    let ssh = home.path().join(".ssh");
    fs::remove_dir(&ssh).unwrap();
    ssh
}

/// What stands in the way, and the condition that says so.
const SHAPES: [(&str, Shape); 13] = [
    ("not-a-plain-file", |home, victim| {
        symlink(victim.join("secret"), home.authorized_keys()).unwrap();
    }),
    ("not-a-plain-file", |home, _| {
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, home.authorized_keys(), FileType::Fifo, mode, 0).unwrap();
    }),
    ("not-a-plain-file", |home, _| {
        fs::create_dir(home.authorized_keys()).unwrap();
    }),
    ("not-a-plain-file", |home, _| {
        let null = rustix::fs::makedev(1, 3);
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(
            CWD,
            home.authorized_keys(),
            FileType::CharacterDevice,
            mode,
            null,
        )
        .unwrap();
    }),
    ("not-a-plain-file", |home, _| {
        drop(UnixListener::bind(home.authorized_keys()).unwrap());
    }),
    ("not-a-plain-file", |home, victim| {
        fs::hard_link(victim.join("secret"), home.authorized_keys()).unwrap();
    }),
    ("not-a-plain-file", |home, _| {
        home.write("somebody else's\n");
        chown(home.authorized_keys(), Some(OTHER), None).unwrap();
    }),
    ("not-a-plain-file", |home, _| {
        home.write("");
        let file = fs::OpenOptions::new()
            .write(true)
            .open(home.authorized_keys());
        file.unwrap().set_len(9 * 1024 * 1024).unwrap();
    }),
    ("unsafe-path", |home, victim| {
        symlink(victim, replace_ssh(home)).unwrap();
    }),
    ("unsafe-path", |home, _| {
        put(&replace_ssh(home), "a file\n", 0o600);
    }),
    ("unsafe-path", |home, _| {
        chown(home.path().join(".ssh"), Some(OTHER), None).unwrap();
    }),
    ("unsafe-path", |home, _| {
        chown(home.path(), Some(OTHER), None).unwrap();
    }),
    ("unsafe-path", |home, victim| {
        rename(home.path(), home.path().with_extension("moved")).unwrap();
        symlink(victim, home.path()).unwrap();
        std::os::unix::fs::lchown(home.path(), Some(1), Some(1)).unwrap();
    }),
];

/// Takes whatever it was away, as an administrator would.
fn mend(home: &Home) {
    let (file, ssh, moved) = (
        home.authorized_keys(),
        home.path().join(".ssh"),
        home.path().with_extension("moved"),
    );
    if moved.exists() {
        let _ = fs::remove_file(home.path());
        rename(moved, home.path()).unwrap();
    }
    let owner = home.owner();
    chown(home.path(), Some(owner.uid), Some(owner.gid)).unwrap();
    if !fs::symlink_metadata(&ssh).unwrap().is_dir() {
        fs::remove_file(&ssh).unwrap();
        fs::create_dir(&ssh).unwrap();
    }
    chown(&ssh, Some(owner.uid), Some(owner.gid)).unwrap();
    match fs::symlink_metadata(&file) {
        Ok(about) if about.is_dir() => fs::remove_dir(&file).unwrap(),
        Ok(_) => fs::remove_file(&file).unwrap(),
        Err(_) => {}
    }
}

/// A directory of root's, with a secret that no user may ever see.
fn victim() -> WorkDir {
    let victim = WorkDir::new();
    put(&victim.path().join("secret"), "root's secret\n", 0o600);
    put(
        &victim.path().join("authorized_keys"),
        "root's own keys\n",
        0o600,
    );
    victim
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn whatever_a_home_looks_like_is_a_condition_and_nothing_else_changes() {
    let (victim, key) = (victim(), public_key());
    let homes: Vec<_> = SHAPES.iter().map(|_| Home::of_daemon()).collect();
    let mut host = Host::new().with_file("keys");
    for (home, (_, shape)) in homes.iter().zip(SHAPES) {
        shape(home, victim.path());
        host = host.with_home(home, "keys", "");
    }
    let all: Vec<_> = homes
        .iter()
        .map(|home| home.path().parent().unwrap().to_owned())
        .collect();
    let look = || {
        let homes: Vec<_> = all.iter().map(|home| Tree::of(home)).collect();
        (Tree::of(victim.path()), homes)
    };
    let before = look();
    host.write_file("keys", &format!("{key} k\n"));
    host.up();
    let is_said = |code: &str, home: &Home| {
        let about = home.authorized_keys().display().to_string();
        let status = host.status();
        let said: Vec<_> = status
            .conditions
            .iter()
            .filter(|c| c.about == about)
            .collect();
        said.len() == 1 && said[0].code == code && !said[0].text.is_empty()
    };
    for (home, (code, _)) in homes.iter().zip(SHAPES) {
        wait_until(&format!("{code} of {}", home.path().display()), || {
            is_said(code, home)
        });
    }
    host.sync();
    assert_eq!(look(), before);
    homes.iter().for_each(mend);
    host.sync();
    for home in &homes {
        home.wait_has(&key, true);
        assert!(!home.text().contains("secret"));
        let meta = fs::metadata(home.authorized_keys()).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o7777), (1, 0o600));
    }
    host.wait_status("no trouble", |s| s.conditions.is_empty());
    // The second name that the hard link was is gone: that is all.
    assert_eq!(
        Tree::of(victim.path()).without_times(),
        before.0.without_times()
    );
}

/// Two names of a directory change places as fast as they can, until told to stop. The directory is
/// held by handle: root's own flipping must not lead elsewhere. `rest` is room for a whole apply now
/// and then.
fn flip(
    at: &Path,
    [one, other]: [&'static str; 2],
    rest: Duration,
    stop: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<usize> {
    let (at, stop) = (fs::File::open(at).unwrap(), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut times = 0;
        while !stop.load(Ordering::Relaxed) {
            let flipped = renameat_with(&at, one, &at, other, RenameFlags::EXCHANGE);
            times += usize::from(flipped.is_ok());
            if times % 2 == 0 {
                pause(rest);
            }
        }
        times
    })
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_home_that_flips_between_directory_and_link_while_we_write_leads_nowhere() {
    const ROUNDS: usize = 4000;
    const AT_MOST: Duration = Duration::from_secs(15);
    const LONG: Duration = Duration::from_millis(10);
    let (victim, home) = (victim(), Home::of_daemon());
    let [ssh, link, spare, hard] =
        [".ssh", "link", ".ssh/spare", ".ssh/hard"].map(|name| home.path().join(name));
    symlink(victim.path(), &link).unwrap();
    home.write("mine\n");
    symlink(victim.path().join("secret"), &spare).unwrap();
    fs::hard_link(victim.path().join("secret"), &hard).unwrap();
    let before = Tree::of(victim.path());
    let stop = Arc::new(AtomicBool::new(false));
    let flippers = [
        flip(&ssh, ["authorized_keys", "spare"], 3 * LONG, &stop),
        flip(&ssh, ["authorized_keys", "hard"], 2 * LONG, &stop),
        flip(&home.path(), [".ssh", "link"], Duration::ZERO, &stop),
    ];
    let began = clock::monotonic();
    let (mut written, mut refused, mut rounds) = (0, 0, 0);
    let enough = |rounds, written| rounds >= ROUNDS && written > 20;
    while !enough(rounds, written) && (clock::monotonic() - began) < AT_MOST {
        rounds += 1;
        let apply = || {
            let mut file = KeysFile::open(&home.authorized_keys(), &home.path(), home.owner())?;
            let read = file.read()?;
            assert!(!String::from_utf8_lossy(read.keys.bytes()).contains("secret"));
            assert!(!String::from_utf8_lossy(read.keys.bytes()).contains("root's"));
            let bytes = format!("mine\nround {rounds}\n").into_bytes();
            file.replace(read, FileWrite { bytes }, rounds as u64)
        };
        match apply() {
            Ok(()) => written += 1,
            Err(SinkError::BindMounted | SinkError::Overtaken) => panic!("in no way"),
            Err(_) => refused += 1,
        }
    }
    stop.store(true, Ordering::Relaxed);
    let flips: Vec<_> = flippers.into_iter().map(|f| f.join().unwrap()).collect();
    // A second name of the secret was moved about: its change time says so, and nothing else may.
    println!("{rounds} rounds: {written} written, {refused} refused; flips {flips:?}");
    assert!(
        rounds >= ROUNDS && written > 5 && refused > 20,
        "too few of each"
    );
    assert!(flips.iter().all(|n| *n > 10), "{flips:?}");
    assert_eq!(
        Tree::of(victim.path()).without_times(),
        before.without_times()
    );
    // What was in flight is swept by the next turn, and no copy of the secret is among the rest.
    if fs::symlink_metadata(&ssh).unwrap().is_symlink() {
        renameat_with(CWD, &ssh, CWD, &link, RenameFlags::EXCHANGE).unwrap();
    }
    for entry in fs::read_dir(&ssh).unwrap() {
        let entry = entry.unwrap();
        let about = fs::symlink_metadata(entry.path()).unwrap();
        if about.is_file() && about.nlink() == 1 {
            assert!(!read(&entry.path()).contains("secret"), "{entry:?}");
            assert_eq!(about.uid(), 1);
        }
    }
}

/// Listens as systemd does; counts how often the watchdog was fed.
fn watchdog(systemd: UnixDatagram) -> Arc<AtomicUsize> {
    let fed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fed);
    std::thread::spawn(move || {
        let mut heard = [0; 256];
        while let Ok(n) = systemd.recv(&mut heard) {
            if heard[..n].starts_with(b"WATCHDOG=1") {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    fed
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_file_system_that_hangs_holds_up_its_own_target_only() {
    let (hung, well) = (Home::new(), Home::new());
    let [first, second, third] = [(); 3].map(|()| public_key());
    let mut host = Host::new()
        .with_file("keys")
        .with_home(&hung, "keys", "")
        .with_home(&well, "keys", "");
    host.write_file("keys", &format!("{first} k\n"));
    let socket = host.dir.path().join("notify");
    let fed = watchdog(UnixDatagram::bind(&socket).unwrap());
    let mut agent = sshkeyd();
    agent.env("NOTIFY_SOCKET", &socket);
    agent.env("WATCHDOG_USEC", "500000");
    host.start_as(agent);
    hung.wait_has(&first, true);
    well.wait_has(&first, true);

    let mount = HungMount::over(&hung.path());
    let began = clock::monotonic();
    host.write_file("keys", &format!("{first} k\n{second} l\n"));
    well.wait_has(&second, true);
    let other = clock::monotonic() - began;
    let condition = host.wait_condition("target-stuck");
    assert_eq!(
        condition.about,
        hung.authorized_keys().display().to_string()
    );
    host.write_file("keys", &format!("{second} l\n{third} m\n"));
    let began = clock::monotonic();
    well.wait_has(&third, true);
    let later = clock::monotonic() - began;
    let began = clock::monotonic();
    host.status();
    let status = clock::monotonic() - began;
    // What looks at files looks at those of others, too.
    let ran = host.run(&["plan", "--json"]).done();
    let plan: Plan = ran.json();
    assert_eq!(plan.targets.iter().filter(|t| t.held.is_some()).count(), 1);
    let ran = host.run(&["doctor", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let doctor: Doctor = ran.json();
    let named = |f: &DoctorFinding| f.check == "target-stuck";
    assert!(doctor.reports.iter().any(|r| r.findings.iter().any(named)));
    println!("hung beside it: in the file after {other:?}, {later:?}; status in {status:?}");
    assert!(other < Duration::from_secs(4) && later < Duration::from_secs(2));
    assert!(status < Duration::from_secs(1));
    // systemd is content all the while.
    let before = fed.load(Ordering::Relaxed);
    wait_until("the watchdog to be fed", || {
        fed.load(Ordering::Relaxed) > before + 1
    });
    assert_eq!(host.sync().targets.len(), 2);
    // Threads that wait are not added to without end.
    let threads = || {
        fs::read_dir(format!("/proc/{}/task", host.pid()))
            .unwrap()
            .count()
    };
    let before = threads();
    (0..3).for_each(|_| drop(host.sync()));
    assert!(threads() <= before + 1, "{} after {before}", threads());

    drop(mount);
    host.wait_cleared("target-stuck");
    hung.wait_has(&third, true);
    assert!(!hung.has(&first), "what the stuck turn knew is old");
    host.wait_status("no trouble", |s| s.conditions.is_empty());
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn an_agent_stops_although_a_file_system_hangs() {
    let hung = Home::new();
    let mut host = Host::new().with_file("keys").with_home(&hung, "keys", "");
    host.write_file("keys", &format!("{} k\n", public_key()));
    let _mount = HungMount::over(&hung.path());
    host.up();
    host.wait_condition("target-stuck");
    let began = clock::monotonic();
    assert!(host.stop().success());
    assert!((clock::monotonic() - began) < Duration::from_secs(8));
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_home_that_is_mounted_later_and_unmounted_again_is_noticed_at_once() {
    let (user, key) = (User::new(), public_key());
    let mut host = Host::new().with_file("keys").with_target(&user, "keys", "");
    host.write_file("keys", &format!("{key} k\n"));
    let options = format!("mode=0700,uid={},gid={}", user.uid, user.gid);
    let has = || wait_until("the key", || user.text().contains(&key.to_string()));
    // Not there at all at first.
    let moved = user.home.with_extension("moved");
    rename(&user.home, &moved).unwrap();
    host.up();
    host.wait_condition("home-missing");
    assert!(!user.home.exists(), "a home is never made");
    rename(&moved, &user.home).unwrap();
    has();
    host.wait_cleared("home-missing");
    let mount = Mount::tmpfs(&user.home, &options);
    let began = clock::monotonic();
    has();
    let took = clock::monotonic() - began;
    println!("mounted over a home → key on it: {took:?}");
    assert!(took < Duration::from_secs(4));
    // Another one over that; then both go, and the first file is watched again.
    let second = Mount::tmpfs(&user.home, &options);
    has();
    drop(second);
    drop(mount);
    fs::remove_file(user.authorized_keys()).unwrap();
    has();
    // That the file was taken away is told for a while.
    host.wait_status("no trouble", |s| {
        s.conditions.iter().all(|c| c.code == "drift")
    });
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_full_or_read_only_file_system_keeps_the_old_file_and_takes_the_new_one_later() {
    let (full, fixed) = (User::new(), User::new());
    let [first, second] = [(); 2].map(|()| public_key());
    let options = |user: &User, more| format!("mode=0700,uid={},gid={}{more}", user.uid, user.gid);
    let _small = Mount::tmpfs(&full.home, &options(&full, ",size=64k"));
    let _fixed = Mount::tmpfs(&fixed.home, &options(&fixed, ""));
    let mut host = Host::new()
        .with_file("keys")
        .with_target(&full, "keys", "")
        .with_target(&fixed, "keys", "");
    host.write_file("keys", &format!("{first} k\n"));
    host.up();
    let both = [&full, &fixed];
    let has = |user: &User, key: &PublicKey| user.text().contains(&key.to_string());
    wait_until("the first key", || {
        both.iter().all(|user| has(user, &first))
    });
    let ballast = full.home.join("ballast");
    fill(&ballast);
    let remount = |how: &str| ran("mount", &["-o".as_ref(), how.as_ref(), fixed.home.as_ref()]);
    remount("remount,ro");
    host.write_file("keys", &format!("{second} l\n"));
    for (user, text) in [(&full, "No space left"), (&fixed, "Read-only file system")] {
        let about = user.authorized_keys().display().to_string();
        let status = host.wait_status("both conditions", |s| {
            let said = |c: &sshkeyd::wire::Condition| {
                c.code == "write-failed" && c.about == about && c.text.contains(text)
            };
            s.conditions.iter().any(said)
        });
        assert_eq!(status.conditions.len(), 2, "{status:?}");
        assert!(has(user, &first) && !has(user, &second));
        let names = fs::read_dir(user.home.join(".ssh")).unwrap().count();
        assert_eq!(names, 1, "nothing is left beside the file");
    }
    fs::remove_file(ballast).unwrap();
    remount("remount,rw");
    // By themselves, by the clock.
    wait_until("the second key", || {
        both.iter().all(|user| has(user, &second))
    });
    assert!(!both.iter().any(|user| has(user, &first)));
    host.wait_cleared("write-failed");
}

fn fill(ballast: &Path) {
    use std::io::Write as _;
    let mut file = fs::File::create_new(ballast).unwrap();
    while file.write_all(&[b'x'; 512]).is_ok() {}
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_bind_mounted_file_is_a_condition_and_is_written_in_place_where_that_is_asked_for() {
    let (home, elsewhere) = (Home::of_daemon(), WorkDir::new());
    let [first, second] = [(); 2].map(|()| public_key());
    home.write("# under the mount\n");
    let real = elsewhere.path().join("keys");
    put(&real, "# mine\n", 0o600);
    chown(&real, Some(1), Some(1)).unwrap();
    let _mount = Mount::bind(&real, &home.authorized_keys());
    let mut host = Host::new().with_file("keys").with_home(&home, "keys", "");
    host.write_file("keys", &format!("{first} k\n{second} l\n"));
    host.up();
    let condition = host.wait_condition("bind-mounted");
    assert!(condition.todo.contains("danger-in-place"), "{condition:?}");
    assert_eq!(home.text(), "# mine\n");
    let ssh = home.path().join(".ssh");
    let look = || {
        let about = fs::metadata(&ssh).unwrap();
        (about.mtime(), about.mtime_nsec())
    };
    let before = look();
    host.sync();
    assert_eq!(look(), before, "no temporary file is made in vain");

    let in_place = host
        .toml()
        .replace("[verify]", "danger-in-place = true\n[verify]");
    host.configure_as(in_place);
    home.wait_has(&second, true);
    host.wait_cleared("bind-mounted");
    let inode = fs::metadata(&real).unwrap().ino();
    assert!(read(&real).starts_with("# mine\n# BEGIN sshkeyd"));
    host.write_file("keys", &format!("{second} l\n"));
    home.wait_has(&first, false);
    assert!(home.has(&second) && home.text().starts_with("# mine\n"));
    assert_eq!(fs::metadata(&real).unwrap().ino(), inode);
    let records = fs::read_dir(host.dir.path().join("state/in-place")).unwrap();
    assert_eq!(records.count(), 0);
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_home_that_strict_modes_refuses_is_said_to_be_and_sshd_agrees() {
    let sshd = Sshd::start("");
    let user = User::new();
    let key = keygen(sshd.dir(), "key", "ed25519");
    let mut host = Host::new()
        .with_file("keys")
        .with_sshd(&sshd)
        .with_target(&user, "keys", "");
    host.write_file("keys", &format!("{} k\n", key.public));
    host.up();
    wait_until("a login", || sshd.lets_in(&user, &key.private));
    assert!(host.condition("strict-modes").is_none());
    let [ssh, file] = [".ssh", ".ssh/authorized_keys"].map(|name| user.home.join(name));
    for (place, open, mended) in [
        (&user.home, 0o775, 0o755),
        (&ssh, 0o770, 0o700),
        (&file, 0o666, 0o600),
    ] {
        let chmod = |mode| fs::set_permissions(place, Permissions::from_mode(mode)).unwrap();
        // A group that is the user's alone: Debian's sshd lets it pass, others' do not.
        chmod(open);
        host.sync();
        let is_said = || host.condition("strict-modes").is_some();
        assert_ne!(is_said(), sshd.lets_in(&user, &key.private), "{place:?}");
        chown(place, None, Some(100)).unwrap();
        chmod(open);
        assert!(!sshd.lets_in(&user, &key.private));
        host.sync();
        let condition = host.wait_condition("strict-modes");
        assert_eq!(condition.about, file.display().to_string());
        let place_is = format!("{} is writable", place.display());
        assert!(condition.text.starts_with(&place_is), "{condition:?}");
        chmod(mended);
        host.sync();
        host.wait_cleared("strict-modes");
        assert!(sshd.lets_in(&user, &key.private));
    }
    // Not ours to change.
    assert_eq!(fs::metadata(&user.home).unwrap().mode() & 0o7777, 0o755);
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_user_that_vanishes_and_comes_back_is_followed() {
    let (user, home) = (User::new(), Home::new());
    let [first, second] = [(); 2].map(|()| public_key());
    let mut host = Host::new()
        .with_file("keys")
        .with_target(&user, "keys", "")
        .with_home(&home, "keys", "");
    host.write_file("keys", &format!("{first} k\n"));
    host.up();
    let text = || user.text();
    wait_until("the key", || text().contains(&first.to_string()));
    user.vanish();
    host.write_file("keys", &format!("{first} k\n{second} l\n"));
    home.wait_has(&second, true);
    let condition = host.wait_condition("user-missing");
    assert_eq!(condition.about, user.name);
    assert!(!text().contains(&second.to_string()));
    user.come_back();
    wait_until("the key", || text().contains(&second.to_string()));
    host.wait_status("no trouble", |s| s.conditions.is_empty());
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn state_and_socket_directories_that_others_may_bend_are_refused_by_name() {
    let (home, key) = (Home::new(), public_key());
    let mut host = Host::new().with_file("keys").with_home(&home, "keys", "");
    host.write_file("keys", &format!("{key} k\n"));
    let victim = victim();
    let [open, link, theirs] = ["open", "link", "theirs"].map(|name| host.dir.path().join(name));
    for (path, mode) in [(&open, 0o777), (&theirs, 0o700)] {
        DirBuilder::new().create(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    chown(&theirs, Some(1), Some(1)).unwrap();
    symlink(victim.path(), &link).unwrap();
    let before = Tree::of(victim.path());
    let own = format!("state-dir = \"{}/state\"", host.dir.path().display());
    for (state, why) in [
        (
            open.join("state"),
            "open may be changed by others (mode 0777)",
        ),
        (open.clone(), "open may be changed by others (mode 0777)"),
        (link, "link is a symbolic link"),
        (theirs.join("state"), "theirs belongs to user 1"),
    ] {
        let text = host
            .toml()
            .replace(&own, &format!("state-dir = \"{}\"", state.display()));
        host.configure_as(text);
        let ran = host.once();
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains(why), "{ran:?}");
    }
    assert_eq!(Tree::of(victim.path()), before);
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
    assert_eq!(home.text(), "");
    // Keys matter more than being asked about them.
    let socket = host.dir.path().join("run/agent.sock").display().to_string();
    let elsewhere = open.join("agent.sock").display().to_string();
    let text = host.toml().replace(&socket, &elsewhere);
    host.configure_as(text);
    host.start();
    home.wait_has(&key, true);
    assert!(!open.join("agent.sock").exists());
    assert!(
        host.daemon
            .as_ref()
            .unwrap()
            .log()
            .contains("may be changed by others")
    );
}

/// The part of a file that two threads fight over must not be lost: the newer of two renames wins.
#[test]
#[ignore = "needs root; tests/run includes it"]
fn whoever_renames_over_the_file_while_it_is_replaced_finds_his_own_in_the_end() {
    const ROUNDS: usize = 300;
    let home = Home::of_daemon();
    home.write("0\n");
    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    let (path, stopped, counted) = (
        home.authorized_keys(),
        Arc::clone(&stop),
        Arc::clone(&count),
    );
    let editor = std::thread::spawn(move || {
        let new = path.with_file_name("new");
        while !stopped.load(Ordering::Relaxed) {
            let n = counted.fetch_add(1, Ordering::Relaxed) + 1;
            put(&new, &format!("{n}\n"), 0o600);
            chown(&new, Some(1), Some(1)).unwrap();
            rename(&new, &path).unwrap();
            // An older one may be seen for as long as it takes to put this one back, no longer.
            let mine = n.to_string();
            wait_until("his own file", || {
                read(&path).lines().next() == Some(mine.as_str())
            });
            pause(Duration::from_micros((n * 7919 % 1500) as u64));
        }
    });
    let mut done = 0;
    let began = clock::monotonic();
    while done < ROUNDS && (clock::monotonic() - began) < Duration::from_secs(4) {
        let mut file = KeysFile::open(&home.authorized_keys(), &home.path(), home.owner()).unwrap();
        let read = file.read().unwrap();
        let first: Vec<u8> = read
            .keys
            .bytes()
            .split_inclusive(|b| *b == b'\n')
            .next()
            .unwrap()
            .to_vec();
        let bytes = [&first[..], format!("ours {done}\n").as_bytes()].concat();
        match file.replace(read, FileWrite { bytes }, done as u64) {
            Ok(()) => done += 1,
            Err(SinkError::Changed) => {}
            Err(fault) => panic!("{fault}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    editor.join().unwrap();
    println!(
        "{done} replaced, {} renamed over",
        count.load(Ordering::Relaxed)
    );
    assert!(done > 20);
}
