//! Killed between any two steps, and no room on the disk: whoever has a key of his own gets in, by
//! the sshd that runs and by one that begins anew.

use super::Bed;
use crate::support::host::read;
use crate::support::mounts::{Mount, ran};
use crate::support::process::{sshkeyd, wait_until};
use crate::support::sshd::KeyPair;
use serde_json::json;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What changes a directory of ours.
const CALLS: &str = "renameat,renameat2,unlinkat,mkdirat,fsync";

/// A machine that is enrolled, with something to do that was not begun.
struct Step {
    bed: Bed,
    good: KeyPair,
    bad: KeyPair,
    kept: PathBuf,
    was: PathBuf,
}

impl Step {
    /// With nothing in place yet, or with all of it.
    fn new(is_there: bool) -> Self {
        let mut bed = Bed::new();
        let certified = is_there.then(|| bed.wait_certified("good").0);
        bed.host.stop();
        let kept = bed.host.dir.path().join("kept");
        let was = bed.host.dir.path().join("was");
        for (from, to) in [
            (bed.host.dir.path().join("state"), &kept),
            (bed.managed.dir().to_owned(), &was),
        ] {
            ran("cp", &["-a".as_ref(), from.as_ref(), to.as_ref()]);
        }
        let good = certified.unwrap_or_else(|| bed.certify("good").0);
        let (bad, serial, _) = bed.certify("bad");
        bed.revoke(&json!({ "serial": serial }));
        Self {
            bed,
            good,
            bad,
            kept,
            was,
        }
    }

    fn back(&self) {
        let state = self.bed.host.dir.path().join("state");
        for (from, to) in [
            (&self.kept, state),
            (&self.was, self.bed.managed.dir().to_owned()),
        ] {
            if to.exists() {
                ran(
                    "find",
                    &[
                        to.as_ref(),
                        "-mindepth".as_ref(),
                        "1".as_ref(),
                        "-delete".as_ref(),
                    ],
                );
            }
            let all = format!("{}/.", from.display());
            ran("cp", &["-a".as_ref(), all.as_ref(), to.as_ref()]);
        }
        self.bed.hang_up();
    }

    fn traced(&self, args: &[String]) -> Command {
        let trace = self.bed.host.dir.path().join("trace");
        let _ = fs::remove_file(&trace);
        let bare = sshkeyd();
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o"]).arg(&trace).args(args);
        command.arg(bare.get_program());
        for (name, _) in bare.get_envs() {
            command.env_remove(name);
        }
        command.args(["agent", "--once", "--config"]);
        command.arg(&self.bed.host.config);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        command
    }

    /// Calls about a path in one cycle, each as often as it is made.
    fn calls(&self, about: &Path) -> Vec<(String, usize)> {
        let args = [
            "-P".to_owned(),
            about.display().to_string(),
            "-e".to_owned(),
        ];
        let args = [&args[..], &[format!("trace={CALLS}")]].concat();
        let done = self.traced(&args).status().expect("strace");
        assert!(done.success(), "{about:?}: {done}");
        self.back();
        let mut calls: Vec<(String, usize)> = Vec::new();
        for line in read(&self.bed.host.dir.path().join("trace")).lines() {
            let words = line.split_whitespace().nth(1).unwrap_or_default();
            let Some((name, _)) = words.split_once('(') else {
                continue;
            };
            match calls.iter_mut().find(|(known, _)| known == name) {
                Some((_, times)) => *times += 1,
                None => calls.push((name.to_owned(), 1)),
            }
        }
        calls
    }

    /// Kills a cycle at each of them; gives how many kills there were.
    fn kill_at_each(&self, about: &[PathBuf], after: &dyn Fn(&Self, &str)) -> usize {
        let mut killed = 0;
        for path in about {
            for (call, times) in self.calls(path) {
                for nth in 1..=times {
                    let args = [
                        "-P".to_owned(),
                        path.display().to_string(),
                        "-e".to_owned(),
                        format!("trace={call}"),
                        "-e".to_owned(),
                        format!("inject={call}:signal=KILL:when={nth}"),
                    ];
                    let status = self.traced(&args).status().unwrap();
                    // strace counts by thread: the last numbers are none's.
                    if status.signal() != Some(9) {
                        self.back();
                        break;
                    }
                    killed += 1;
                    let at = format!("{call} {nth} of {times}, {path:?}");
                    assert!(self.bed.lets_in(&self.bed.managed.own), "{at}");
                    self.bed.hang_up();
                    assert!(self.bed.lets_in(&self.bed.managed.own), "{at}, sshd anew");
                    after(self, &at);
                    self.back();
                }
            }
        }
        killed
    }

    fn places(&self) -> Vec<PathBuf> {
        let state = self.bed.host.dir.path().join("state");
        vec![
            self.bed.managed.dir().to_owned(),
            self.bed.managed.dir().join("trust"),
            self.bed.file("principals"),
            self.bed.managed.drop_ins(),
            state.join("trust-files.json"),
            state,
        ]
    }
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn killed_at_any_call_on_the_way_in_nobody_is_locked_out_and_the_next_run_goes_on() {
    let step = Step::new(false);
    step.bed.host.configure();
    let killed = step.kill_at_each(&step.places(), &|step, at| {
        // Never trusted without what is revoked.
        let krl = step.bed.file("revoked.krl");
        assert!(!step.bed.lets_in(&step.bad), "{at}");
        if step.bed.drop_in().contains("RevokedKeys") {
            assert!(krl.exists(), "{at}");
        }
        step.bed.host.once().done();
        assert!(step.bed.lets_in(&step.good), "{at}");
        assert!(!step.bed.lets_in(&step.bad), "{at}");
    });
    println!("killed at {killed} calls");
    assert!(killed > 8, "{killed}");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn killed_at_any_call_on_the_way_out_nobody_is_locked_out_and_the_next_run_goes_on() {
    let mut step = Step::new(true);
    let off = step
        .bed
        .host
        .toml()
        .replace("user-ca = true", "user-ca = false");
    step.bed.host.configure_as(off);
    let killed = step.kill_at_each(&step.places(), &|step, at| {
        if step.bed.drop_in().contains("RevokedKeys") {
            assert!(step.bed.file("revoked.krl").exists(), "{at}");
        }
        step.bed.host.once().done();
        assert!(!step.bed.lets_in(&step.good), "{at}");
        assert!(!step.bed.file("").exists(), "{at}");
        step.bed.assert_gone();
    });
    println!("killed at {killed} calls");
    assert!(killed > 5, "{killed}");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_full_disk_leaves_what_stands_and_is_said() {
    let mut bed = Bed::new();
    let (first, ..) = bed.wait_certified("first");
    bed.host.stop();
    let trust = bed.managed.dir().join("trust");
    let aside = bed.managed.dir().join("aside");
    ran("cp", &["-a".as_ref(), trust.as_ref(), aside.as_ref()]);
    let _mount = Mount::tmpfs(&trust, "size=64k,mode=0755");
    let all = format!("{}/.", aside.display());
    ran("cp", &["-a".as_ref(), all.as_ref(), trust.as_ref()]);
    bed.host.up();
    bed.host.wait_status("all in force", |status| {
        let certificates = status.certificates.as_ref();
        certificates.is_some_and(|c| c.krl_version.is_some())
    });
    let fill = Command::new("dd")
        .args(["if=/dev/zero", "bs=1k", "count=1000"])
        .arg(format!("of={}/filler", trust.display()))
        .stderr(Stdio::null())
        .status();
    assert!(!fill.unwrap().success(), "it is full");
    let before = fs::read(bed.file("revoked.krl")).unwrap();
    let (gone, serial, _) = bed.certify("gone");
    bed.revoke(&json!({ "serial": serial }));
    let said = bed.host.wait_condition("krl-not-in-force");
    assert!(said.text.contains("stays"), "{said:?}");
    assert_eq!(fs::read(bed.file("revoked.krl")).unwrap(), before);
    assert!(bed.lets_in(&first) && bed.lets_in(&gone));
    bed.assert_own_key();
    // There is room again, and nobody says so.
    fs::remove_file(trust.join("filler")).unwrap();
    wait_until("it to be refused", || !bed.lets_in(&gone));
    bed.host.wait_cleared("krl-not-in-force");
    bed.assert_own_key();
}
