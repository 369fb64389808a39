//! The install line, in a machine that has nothing but a system: no systemd, no sshkeyd.

use crate::support::host::read;
use crate::support::process::{Daemon, Ran, wait_for, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::{WorkDir, put};
use crate::support::tree::Tree;
use serde_json::{Value, json};
use sshkeyd::wire::InstanceState;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// PID 1 of the machine whose root is `$1`: programs are those of this machine, all else is its
/// own. What `$2` names is no program there.
const BOOT: &str = r#"
set -eu
root=$1
mkdir -p "$root/usr" "$root/proc" "$root/dev" "$root/usr-local"
mount --bind /usr "$root/usr"
mount --bind "$root/usr-local" "$root/usr/local"
for name in bin sbin lib lib32 lib64; do
    if [ -L "/$name" ]; then
        cp -a "/$name" "$root/$name"
    elif [ -d "/$name" ]; then
        mkdir "$root/$name"
        mount --bind "/$name" "$root/$name"
    fi
done
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for program in $2; do
    mount --bind "$root/etc/no-program" "$root/usr/bin/$program"
done
: >"$root/booted"
exec chroot "$root" /bin/sh -c 'while :; do sleep 1 & wait $!; done'
"#;

/// A machine whose programs are this one's and all else its own.
pub(crate) struct Machine {
    dir: WorkDir,
    init: Daemon,
}

impl Machine {
    /// Without these programs.
    pub(crate) fn boot(without: &str) -> Self {
        let dir = WorkDir::new();
        let root = dir.path().join("root");
        for name in ["etc", "root/.ssh", "var/lib", "run", "tmp"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        // sshd would not take keys below a directory that others may write to.
        for (name, mode) in [("", 0o755), ("root", 0o700), ("root/.ssh", 0o700)] {
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        for (name, text) in [
            ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
            ("group", "root:x:0:\n"),
            ("hosts", "127.0.0.1 localhost\n"),
            ("no-program", ""),
        ] {
            put(&root.join("etc").join(name), text, 0o644);
        }
        let mut unshare = Command::new("unshare");
        unshare
            .args([
                "--pid",
                "--mount",
                "--propagation=private",
                "--fork",
                "--kill-child",
            ])
            .args(["sh", "-c", BOOT, "boot"])
            .arg(&root)
            .arg(without)
            .stdin(Stdio::null());
        let mut init = Daemon::start("machine", &mut unshare, dir.path());
        wait_until("the machine to boot", || {
            assert!(init.is_up(), "{}", init.log());
            root.join("booted").exists()
        });
        Self { dir, init }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    /// Its PID 1, as this machine numbers it.
    fn pid_1(&self) -> u32 {
        let pid = self.init.pid();
        wait_for("PID 1", || {
            let path = format!("/proc/{pid}/task/{pid}/children");
            read(Path::new(&path))
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
    }

    /// One line in a shell of it.
    pub(crate) fn shell(&self, line: &str) -> Ran {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.pid_1()))
            .args(["--mount", "--pid", "chroot"])
            .arg(self.path(""))
            .args([
                "env",
                "-i",
                "HOME=/root",
                "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ])
            .args(["sh", "-c", line])
            .stdin(Stdio::null());
        Ran::of(&mut command)
    }

    pub(crate) fn keys(&self) -> String {
        read(&self.path("root/.ssh/authorized_keys"))
    }

    /// What an installation could have left behind.
    fn traces(&self) -> Vec<(PathBuf, String)> {
        let trees = ["etc", "usr-local", "var", "run", "root"].map(|name| {
            let tree = Tree::of(&self.path(name));
            tree.without_times()
        });
        // A directory may be made, and be empty.
        let kept = trees
            .concat()
            .into_iter()
            .filter(|(path, _)| path.is_file());
        kept.collect()
    }

    pub(crate) fn agents(&self) -> usize {
        let all = self
            .shell("for p in /proc/[0-9]*; do readlink $p/exe || :; done")
            .out;
        all.lines()
            .filter(|exe| exe.starts_with("/usr/local/bin/sshkeyd"))
            .count()
    }
}

pub(crate) fn instance(service: &Service, label: &str) -> (i64, String) {
    let made = service.run(&["instances", "create", "--label", label, "--json"]);
    let made: Value = made.done().json();
    let line = made["install"].as_str().unwrap();
    (made["id"].as_i64().unwrap(), line.to_owned())
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn one_line_makes_a_machine_an_instance() {
    let service = Service::start();
    let machine = Machine::boot("");
    let [before, after, later, own] = [(); 4].map(|()| public_key());
    service.save(&before, "before", &[]);
    // What a rental cloud puts in place, and a key that is nobody else's business.
    let file = machine.path("root/.ssh/authorized_keys");
    put(&file, &format!("{before} cloud\n{own} mine\n"), 0o600);

    let (id, line) = instance(&service, "web");
    let ran = machine.shell(&line).done();
    assert!(ran.out.contains("has the account's keys"), "{ran:?}");
    assert!(ran.out.contains("/var/log/sshkeyd-agent.log"), "{ran:?}");
    let text = machine.keys();
    assert_eq!(text.matches(&before.to_string()).count(), 1, "{text}");
    assert!(text.contains(&format!("{own} mine\n")), "{text}");
    let block = text.split_once("# BEGIN sshkeyd").unwrap().1;
    assert!(block.contains(&before.to_string()), "taken over: {text}");
    service.save(&after, "after", &[]);
    let arrived = |key: &_| machine.keys().contains(&format!("{key}"));
    wait_until("the later key", || arrived(&after));
    assert_eq!(service.instance_state(id), InstanceState::Live);

    // The token is root's alone, and in nobody's environment or arguments.
    let token = line.split_once("SSHKEYD_TOKEN=").unwrap().1;
    let token = token.split(' ').next().unwrap();
    let kept = machine.path("etc/sshkeyd/enroll-token");
    assert_eq!(read(&kept), format!("{token}\n"));
    assert_eq!(
        fs::metadata(&kept).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let said = machine.shell("cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'");
    assert!(
        said.out.contains("sshkeyd-agent-loop") && !said.out.contains("skd_enr"),
        "{said:?}"
    );
    let names: Vec<_> = fs::read_dir(machine.path("usr-local/bin"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["sshkeyd"]);

    // The same line again, as a container's start runs it: nothing is lost, and one agent runs.
    let config = machine.path("etc/sshkeyd/agent.toml");
    let edited = format!("{}# mine\n", read(&config));
    put(&config, &edited, 0o644);
    let again = machine.shell(&line).done();
    assert!(
        again.out.contains("already") && again.out.contains("is kept"),
        "{again:?}"
    );
    assert_eq!(read(&config), edited);
    assert_eq!(machine.agents(), 1);
    service.save(&later, "later", &[]);
    wait_until("a key after the second run", || arrived(&later));
    assert!(arrived(&after) && arrived(&before));

    // It is kept: an agent that dies comes again.
    machine.shell("kill -9 $(pidof sshkeyd)").done();
    let last = public_key();
    service.save(&last, "last", &[]);
    wait_until("a key after its death", || arrived(&last));
    // And ends when it is told to.
    machine.shell("kill $(cat /run/sshkeyd/agent.pid)").done();
    wait_until("the end", || machine.agents() == 0);
    assert_eq!(service.instance_state(id), InstanceState::Offline);
    machine.shell(&line).done();
    assert_eq!(machine.agents(), 1);
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn wget_will_do() {
    let service = Service::start();
    let machine = Machine::boot("curl setsid");
    let key = public_key();
    service.save(&key, "laptop", &[]);
    let (_, line) = instance(&service, "web");
    let none = machine.shell(&line);
    assert!(none.err.contains("curl"), "{none:?}");
    machine
        .shell(&line.replace("curl -fsS", "wget -qO-"))
        .done();
    assert!(machine.keys().contains(&key.to_string()));
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_token_goes_to_no_other_service() {
    let service = Service::start();
    let machine = Machine::boot("");
    let (_, line) = instance(&service, "web");
    let config = machine.path("etc/sshkeyd/agent.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    // Another one's address, of which ours is the beginning.
    let others = format!(
        "[[source]]\nname = \"account\"\naccount.urls = [\"{}0\"]\n\n\
         [[target]]\nuser = \"root\"\nsources = [\"account\"]\n",
        service.url
    );
    put(&config, &others, 0o644);
    let ran = machine.shell(&line);
    assert!(ran.err.contains("names another service"), "{ran:?}");
    assert_eq!(read(&config), others);
    assert!(!machine.path("etc/sshkeyd/enroll-token").exists());
    assert!(!machine.path("usr-local/bin/sshkeyd").exists());
    assert_eq!(machine.agents(), 0);
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_line_that_cannot_work_leaves_nothing() {
    let programs = WorkDir::new();
    let program = programs
        .path()
        .join(format!("sshkeyd-{}", std::env::consts::ARCH));
    put(&program, "#!/bin/sh\nexit 1\n", 0o755);
    let more = format!("install-dir = \"{}\"\n", programs.path().display());
    let service = Service::start_with(&more);
    let machine = Machine::boot("");
    let before = machine.traces();
    let refused = |line: &str, why: &str| {
        let ran = machine.shell(line);
        assert!(
            ran.code != Some(0) && ran.err.contains(why),
            "{line}: {ran:?}"
        );
        assert_eq!(machine.traces(), before, "{line}");
    };
    let (_, line) = instance(&service, "web");
    let fetch = line.split('|').next().unwrap().trim();
    refused(&format!("{fetch} | sh"), "SSHKEYD_TOKEN is not set");
    refused(
        &format!("{fetch} | SSHKEYD_TOKEN=skd_api_x sh"),
        "no enrolment token",
    );
    refused(
        &format!("{fetch} | SSHKEYD_TOKEN='skd_enr_x; reboot' sh"),
        "is no token",
    );
    let user = "setpriv --reuid=1 --clear-groups env SSHKEYD_TOKEN=skd_enr_x sh";
    refused(&format!("{fetch} | {user}"), "run it as root");
    refused(&line, "does not run here; nothing was changed");
    // Half a script does nothing.
    refused(
        &format!("{fetch} | head -c 4000 | SSHKEYD_TOKEN=skd_enr_x sh; exit 1"),
        "",
    );

    // Between the script and the program another program has come.
    machine.shell(&format!("{fetch} >/tmp/install")).done();
    put(&program, "#!/bin/sh\necho other\n", 0o755);
    refused(
        "SSHKEYD_TOKEN=skd_enr_x sh /tmp/install",
        "not the program that this script is for",
    );
    assert_eq!(machine.agents(), 0);
    let (status, _, _) = service.http("GET /install/sshkeyd-mips", &json!({}).to_string());
    assert_eq!(status, 404);
}
