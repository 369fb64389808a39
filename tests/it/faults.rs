//! Faults from below: killed at every step, power lost between two, no descriptors, no space, clocks
//! that lie, an image that was cloned. The file is the old one or the new one, and the agent goes
//! on.

use crate::support::faked::faketime;
use crate::support::host::{Home, Host, read};
use crate::support::mounts::{Mount, ran};
use crate::support::process::{pause, sshkeyd, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::{WorkDir, put, unique};
use crate::support::tree::Tree;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Every call by which an apply, or the agent's own state, can change a disk.
const CALLS: &str = "write,pwrite64,fsync,ftruncate,fchmod,fchmodat,fchown,rename,renameat,\
                     renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat";

/// The binary below another program.
fn under(program: &str, args: &[&str]) -> Command {
    let bare = sshkeyd();
    let mut command = Command::new(program);
    command
        .args(args)
        .arg(bare.get_program())
        .stdin(Stdio::null());
    for (name, _) in bare.get_envs() {
        command.env_remove(name);
    }
    command
}

/// An agent whose home holds an old list, and that has a new one to apply.
struct Step {
    host: Host,
    home: Home,
    old: String,
    new: String,
    kept: PathBuf,
}

impl Step {
    /// `more` goes to the target.
    fn new(home: Home, more: &str) -> Self {
        let [gone, stays, comes] = [(); 3].map(|()| public_key());
        let host = Host::new().with_file("keys").with_home(&home, "keys", more);
        home.write("# mine\nssh-ed25519 not-a-key of-mine\n");
        host.write_file("keys", &format!("{gone} a\n{stays} b\n"));
        host.once().done();
        let old = home.text();
        let kept = host.dir.path().join("kept");
        let mut step = Self {
            new: String::new(),
            host,
            home,
            old,
            kept,
        };
        ran(
            "cp",
            &["-a".as_ref(), step.state().as_ref(), step.kept.as_ref()],
        );
        let long = format!("{comes} c\n{stays} b\n{} d\n", public_key());
        step.host.write_file("keys", &long);
        step.host.once().done();
        step.new = step.home.text();
        assert!(step.old != step.new && step.new.starts_with("# mine\nssh-ed25519 not-a-key"));
        step.back();
        step
    }

    fn state(&self) -> PathBuf {
        self.host.dir.path().join("state")
    }

    /// As it was before the new list was applied.
    fn back(&mut self) {
        self.home.write(&self.old);
        let state = self.state();
        fs::remove_dir_all(&state).unwrap();
        ran("cp", &["-a".as_ref(), self.kept.as_ref(), state.as_ref()]);
    }

    /// One full cycle under strace.
    fn traced(&self, args: &[&str]) -> Command {
        let trace = self.host.dir.path().join("trace");
        let _ = fs::remove_file(&trace);
        let trace = trace.display().to_string();
        let args = [&["-f", "-qq", "-o", &trace], args].concat();
        let mut command = under("strace", &args);
        command
            .args(["agent", "--once", "--config"])
            .arg(&self.host.config);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// How often each of the calls is made in one cycle.
    fn calls(&mut self, calls: &str, about: &[&str]) -> Vec<(String, usize)> {
        let trace = format!("trace={calls}");
        let status = self.traced(&[about, &["-e", &trace]].concat()).status();
        assert!(status.expect("strace").success());
        self.back();
        let mut calls: Vec<(String, usize)> = Vec::new();
        for line in read(&self.host.dir.path().join("trace")).lines() {
            let words = line.split_whitespace().nth(1).unwrap_or_default();
            let Some((name, _)) = words.split_once('(') else {
                continue;
            };
            match calls.iter_mut().find(|(known, _)| known == name) {
                Some((_, times)) => *times += 1,
                None => calls.push((name.to_owned(), 1)),
            }
        }
        assert!(!calls.is_empty(), "{about:?}");
        calls
    }

    /// A new run settles everything, and nothing lies about.
    fn settles(&self) {
        self.host.once().done();
        assert_eq!(self.home.text(), self.new);
        let ssh = self.home.path().join(".ssh");
        assert_eq!(fs::read_dir(ssh).unwrap().count(), 1);
        let left = Tree::of(&self.state()).without_times();
        let left: Vec<_> = left
            .iter()
            .filter(|(path, _)| {
                path.extension().is_some_and(|end| end == "tmp")
                    || path.parent().unwrap().ends_with("in-place")
            })
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Kills one cycle at each of these calls in turn. strace counts calls by thread, so what one thread
/// does is told apart from another's by the paths it is about.
fn kill_at_each(
    step: &mut Step,
    calls: &str,
    paths: &[PathBuf],
    after: &mut dyn FnMut(&mut Step, &str),
) -> usize {
    let mut about = Vec::new();
    for path in paths {
        about.extend(["-P".to_owned(), path.display().to_string()]);
    }
    let about: Vec<_> = about.iter().map(String::as_str).collect();
    let mut killed = 0;
    for (call, times) in step.calls(calls, &about) {
        for nth in 1..=times {
            let (trace, inject) = (
                format!("trace={call}"),
                format!("inject={call}:signal=KILL:when={nth}"),
            );
            let args = [&about[..], &["-e", &trace, "-e", &inject]].concat();
            let status = step.traced(&args).status().unwrap();
            killed += usize::from(status.signal() == Some(9));
            after(step, &format!("{call} {nth} of {times}, {paths:?}"));
            step.back();
        }
    }
    killed
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn killed_at_any_call_of_an_apply_the_file_is_the_old_one_or_the_new_one() {
    let mut step = Step::new(Home::of_daemon(), "");
    let (mut old, mut new) = (0, 0);
    let mut after = |step: &mut Step, at: &str| {
        let text = step.home.text();
        assert!(text == step.old || text == step.new, "{at}: {text}");
        old += usize::from(text == step.old);
        new += usize::from(text == step.new);
        step.settles();
    };
    let killed = kill_at_each(&mut step, CALLS, &[], &mut after);
    let (ssh, state) = (step.home.path().join(".ssh"), step.state());
    // Each call on the directory of the file, looks included; then those on the agent's own.
    let sources = state.join("sources");
    let one_by_one = kill_at_each(&mut step, "all", &[ssh], &mut after)
        + kill_at_each(
            &mut step,
            CALLS,
            &[state.clone(), state.join("targets.json")],
            &mut after,
        )
        + kill_at_each(
            &mut step,
            CALLS,
            &[sources.join("keys.json"), sources],
            &mut after,
        );
    println!("killed at {killed} + {one_by_one} calls: old file {old} times, new file {new} times");
    assert!(killed > 15 && one_by_one > 15 && old > 15 && new > 5);
}

/// Here a reader may see half of it; the next run may not leave it so.
#[test]
#[ignore = "needs root; tests/run includes it"]
fn killed_at_any_call_of_a_write_in_place_the_next_run_mends_the_file() {
    let (home, elsewhere) = (Home::of_daemon(), WorkDir::new());
    let real = elsewhere.path().join("keys");
    put(&real, "", 0o600);
    chown(&real, Some(1), Some(1)).unwrap();
    home.write("");
    let _mount = Mount::bind(&real, &home.authorized_keys());
    let mut step = Step::new(home, "danger-in-place = true\n");
    let inode = fs::metadata(&real).unwrap().ino();
    let step_file = step.home.authorized_keys();
    let (mut half, mut nth) = (0, 0);
    let mut after = |step: &mut Step, at: &str| {
        nth += 1;
        let text = step.home.text();
        half += usize::from(text != step.old && text != step.new);
        // Somebody appends to whatever is there.
        let theirs = format!("# theirs {nth}\n");
        let file = fs::OpenOptions::new().append(true).open(&real);
        std::io::Write::write_all(&mut file.unwrap(), theirs.as_bytes()).unwrap();
        step.host.once().done();
        let lines = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let wanted = lines(&format!("{}{theirs}", step.new));
        assert_eq!(lines(&step.home.text()), wanted, "{at}: {text}");
        put(&real, &step.new, 0o600);
        step.settles();
    };
    let killed = kill_at_each(&mut step, CALLS, &[], &mut after)
        + kill_at_each(&mut step, "all", &[real.clone(), step_file], &mut after);
    println!("killed at {killed} calls, {half} times in the middle of the file");
    assert!(killed > 20 && half > 0);
    assert_eq!(fs::metadata(&real).unwrap().ino(), inode);
}

/// What a disk would hold after a power cut: a copy of its image, mounted elsewhere.
fn after_power_cut(copy: &Path, at: &Path) -> String {
    let _mount = Mount::image(copy, at, "noatime");
    read(&at.join("authorized_keys"))
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn power_lost_after_any_step_leaves_the_old_file_or_the_new_one() {
    let (home, disk) = (Home::of_daemon(), WorkDir::new());
    let image = disk.path().join("image");
    fs::File::create_new(&image)
        .unwrap()
        .set_len(16 * 1024 * 1024)
        .unwrap();
    ran("mkfs.ext4", &["-q".as_ref(), image.as_ref()]);
    let ssh = home.path().join(".ssh");
    // Nothing of its own accord while we look.
    let _mount = Mount::image(&image, &ssh, "noatime,commit=300");
    chown(&ssh, Some(1), Some(1)).unwrap();
    fs::remove_dir(ssh.join("lost+found")).unwrap();
    let step = Step::new(home, "");
    ran("sync", &["-f".as_ref(), ssh.as_ref()]);
    // Each step lasts so long that a copy of the disk is made in it.
    let calls = "fsync,renameat2,unlinkat";
    let (trace, inject) = (
        format!("trace={calls}"),
        format!("inject={calls}:delay_exit=250000"),
    );
    let mut child = step.traced(&["-e", &trace, "-e", &inject]).spawn().unwrap();
    let mut copies = Vec::new();
    let mut copy = || {
        let copy = disk.path().join(format!("copy-{}", unique()));
        let args = ["--sparse=always".as_ref(), image.as_ref(), copy.as_ref()];
        ran("cp", &args);
        copies.push(copy);
    };
    while child.try_wait().unwrap().is_none() {
        copy();
        pause(Duration::from_millis(50));
    }
    assert!(child.wait().unwrap().success());
    // It has said that it is done: from here on a power cut takes nothing back.
    copy();
    assert_eq!(step.home.text(), step.new);
    let at = disk.path().join("after");
    fs::create_dir(&at).unwrap();
    let texts: Vec<_> = copies
        .iter()
        .map(|copy| after_power_cut(copy, &at))
        .collect();
    let (old, new): (Vec<_>, Vec<_>) = texts.iter().partition(|text| **text == step.old);
    println!(
        "power lost at {} moments: {} old, {} new",
        texts.len(),
        old.len(),
        new.len()
    );
    assert!(new.iter().all(|text| **text == step.new), "{new:?}");
    assert!(old.len() > 3 && new.len() > 1 && texts.last() == Some(&step.new));
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_disk_that_fails_once_keeps_the_old_file_and_takes_the_new_one_later() {
    let dir = WorkDir::new();
    let trace = dir.path().join("trace").display().to_string();
    let (home, key) = (Home::new(), public_key());
    home.write("# mine\n");
    let ssh = home.path().join(".ssh").display().to_string();
    // `-D`: the agent is the child, and strace looks on.
    let args = [
        "-D",
        "-f",
        "-qq",
        "-o",
        &trace,
        "-P",
        &ssh,
        "-e",
        "trace=renameat2",
        "-e",
        "inject=renameat2:error=EIO",
    ];
    let mut host = Host::new().with_file("keys").with_home(&home, "keys", "");
    host.write_file("keys", &format!("{key} k\n"));
    host.up_as(under("strace", &args));
    let condition = host.wait_condition("write-failed");
    assert!(
        condition.text.contains("Input/output error"),
        "{condition:?}"
    );
    assert_eq!(home.text(), "# mine\n");
    assert_eq!(fs::read_dir(home.path().join(".ssh")).unwrap().count(), 1);
    // Without its tracer the disk is well again.
    let about = read(format!("/proc/{}/status", host.pid()).as_ref());
    let tracer = about
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    let tracer = tracer.unwrap().trim();
    assert_ne!(tracer, "0");
    let ended = Command::new("sh")
        .args(["-c", &format!("kill -KILL {tracer}")])
        .status();
    assert!(ended.unwrap().success());
    wait_until("the key", || {
        host.sync();
        home.has(&key)
    });
    host.wait_cleared("write-failed");
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn an_agent_without_descriptors_says_so_and_goes_on_when_it_has_some() {
    let (home, key) = (Home::new(), public_key());
    let mut host = Host::new().with_file("keys").with_home(&home, "keys", "");
    host.write_file("keys", &format!("{key} k\n"));
    host.up();
    home.wait_has(&key, true);
    host.sync();
    let good = home.text();
    let limit = |limit: &str| {
        let (pid, limit) = (host.pid().to_string(), format!("--nofile={limit}"));
        ran("prlimit", &["--pid".as_ref(), pid.as_ref(), limit.as_ref()]);
    };
    limit("3:4096");
    // Drift, which has nothing but the file to open.
    home.write("# somebody took the keys out\n");
    let said = || host.daemon.as_ref().unwrap().log();
    wait_until("the condition in the log", || {
        let log = said();
        log.contains("write-failed") && log.contains("Too many open files")
    });
    assert_eq!(home.text(), "# somebody took the keys out\n");
    limit("1024:4096");
    wait_until("the key", || home.has(&key));
    assert_ne!(home.text(), good, "what somebody wrote is his");
    host.wait_cleared("write-failed");
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_wrong_clock_takes_nothing_out_but_keys_past_their_end_and_a_jumping_one_costs_nothing() {
    let (service, home) = (Service::start(), Home::new());
    let [lasting, ending, late] = [(); 3].map(|()| public_key());
    service.save(&lasting, "lasting", &[]);
    let file = service.key_file(&ending, "ending");
    let add = ["ssh-keys", "add", file.to_str().unwrap(), "--expires", "1h"];
    service.run(&add).done();
    let mut host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "");
    let time = host.dir.path().join("time");
    let set = |text: &str| crate::support::host::replace(&time, text);
    set("1970-01-01 00:01:00");
    let mut agent = sshkeyd();
    agent.env("LD_PRELOAD", faketime()).env("TZ", "UTC");
    agent.env("FAKETIME_TIMESTAMP_FILE", &time);
    agent.env("FAKETIME_NO_CACHE", "1");
    agent.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    host.up_as(agent);
    // A machine at 1970 gets its first keys.
    home.wait_has(&lasting, true);
    home.wait_has(&ending, true);
    host.wait_condition("clock-wrong");
    service.save(&late, "late", &[]);
    home.wait_has(&late, true);

    set("2100-01-01 00:00:00");
    host.sync();
    home.wait_has(&ending, false);
    assert!(home.has(&lasting) && home.has(&late));
    host.wait_condition("list-stale");
    // Right again: what was over is not.
    set("+0");
    host.sync();
    home.wait_has(&ending, true);
    host.wait_cleared("list-stale");
    host.wait_cleared("clock-wrong");

    let busy = || host.daemon.as_ref().unwrap().cpu();
    let before = busy();
    for n in 0..20 {
        set(["1970-01-01 00:00:01", "2100-01-01 00:00:00", "+59m", "+61m"][n % 4]);
        pause(Duration::from_millis(100));
    }
    set("+0");
    let busy = busy() - before;
    println!("{busy:?} of CPU in 2 s of jumps");
    assert!(busy < Duration::from_millis(300), "{busy:?}");
    host.sync();
    home.wait_has(&ending, true);
    assert!(home.has(&lasting) && home.has(&late));
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_cloned_image_keeps_its_keys_and_says_what_it_is() {
    let (service, home, key) = (Service::start(), Home::new(), public_key());
    let mut host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "")
        .up_listed();
    service.save(&key, "laptop", &[]);
    home.wait_has(&key, true);
    host.stop();
    let before = home.text();
    // The same disk, another machine.
    let id = host.dir.path().join("machine-id");
    put(&id, "0123456789abcdef0123456789abcdef\n", 0o444);
    let script = "mount --bind \"$0\" /etc/machine-id && exec \"$@\"";
    let id = id.to_str().unwrap();
    host.up_as(under("unshare", &["-m", "sh", "-c", script, id]));
    host.wait_condition("clone");
    host.sync();
    assert_eq!(home.text(), before);
    // A token of its own, and it is a machine of its own.
    let (_, token) = service.create_instance("copy");
    crate::support::host::replace(&host.token_file(), &token);
    host.wait_cleared("clone");
    let other = public_key();
    service.save(&other, "other", &[]);
    home.wait_has(&other, true);
    assert!(home.has(&key));
}
