//! Where there is no systemd: in a container below a PID 1 that is a shell, as PID 1 itself, and as
//! a plain user who keeps his own file.

use crate::support::host::{Home, Host, read};
use crate::support::process::{Daemon, Ran, copy_program, wait_for, wait_until};
use crate::support::sshd::{Sshd, User, WorkDir, keygen, put};
use sshkeyd::wire::Status;
use std::fs::{self, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

/// A PID namespace with its own /proc, as a container has it; all in it ends with it.
const CONTAINER: [&str; 7] = [
    "unshare",
    "--pid",
    "--mount",
    "--propagation=private",
    "--fork",
    "--mount-proc",
    "--kill-child",
];

/// The processes below this one, its own number left out.
fn below(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let mut all = Vec::new();
    for child in children.split_whitespace().map(|pid| pid.parse().unwrap()) {
        all.push(child);
        all.extend(below(child));
    }
    all
}

/// One line of /proc/PID/status.
fn field(pid: u32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches(':').trim().to_owned())
}

fn send(signal: &str, pid: u32) {
    let kill = format!("kill -{signal} {pid}");
    assert!(
        Command::new("sh")
            .arg("-c")
            .arg(kill)
            .status()
            .unwrap()
            .success()
    );
}

/// Keys come and go, a reload and a sync are heard, and TERM ends it cleanly.
fn lives_in(container: &[&str]) {
    let wrapper: Vec<_> = container.iter().map(|word| (*word).to_owned()).collect();
    let sshd = Sshd::start("");
    let home = Home::new();
    let mut host = Host::new()
        .with_sshd(&sshd)
        .with_file("keys")
        .with_home(&home, "keys", "");
    let key = keygen(sshd.dir(), "laptop", "ed25519").public;
    host.write_file("keys", &format!("{key}\n"));
    host.up_under(&wrapper);
    wait_until("the key", || home.text().contains(&key.to_string()));

    let outer = host.daemon.as_ref().unwrap().pid();
    let named = |pid: &u32| field(*pid, "Name").is_some_and(|name| name == "sshkeyd");
    let agent = wait_for("the agent's own number", || {
        below(outer).into_iter().find(named)
    });
    let inside = field(agent, "NSpid").unwrap();
    assert!(
        inside.contains('\t'),
        "not in a namespace of its own: {inside}"
    );

    let path = host.config.clone();
    let text = read(&path).replace("[agent]", "[agent]\nlog = \"loud=much\"");
    put(&path, &text, 0o600);
    send("HUP", agent);
    host.wait_condition("config-refused");
    send("USR1", agent);
    host.configure();
    send("HUP", agent);
    host.wait_cleared("config-refused");
    // sshd -T and the like were its children, and none is left unburied.
    let dead = |pid: &u32| field(*pid, "State").is_some_and(|state| state.starts_with('Z'));
    wait_until("the dead to be buried", || !below(outer).iter().any(dead));
    send("TERM", agent);
    let mut ended = None;
    wait_until("the container to end", || {
        ended = host.daemon.as_mut().unwrap().ended();
        ended.is_some()
    });
    assert!(ended.unwrap().success(), "{ended:?}");
    assert!(home.text().contains(&key.to_string()), "it was taken out");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_agent_lives_below_a_shell_that_is_pid_1() {
    let shell = ["sh", "-c", "\"$@\" & wait $!; exit $?", "sh"];
    lives_in(&[&CONTAINER[..], &shell[..]].concat());
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_agent_lives_as_pid_1() {
    lives_in(&CONTAINER);
}

/// A user who runs his own agent: without root, without any capability.
struct Own {
    user: User,
    /// The program, where the user can reach it: a build may lie below root's home.
    _dir: WorkDir,
    wrapper: Vec<String>,
}

impl Own {
    fn new() -> Self {
        let (user, dir) = (User::new(), WorkDir::new());
        let home = user.home.display();
        let run = user.home.join("run");
        fs::DirBuilder::new().mode(0o700).create(&run).unwrap();
        chown(&run, Some(user.uid), Some(user.gid)).unwrap();
        let binary = dir.path().join("sshkeyd");
        let built = crate::support::process::agent(&[]);
        copy_program(built.get_program(), &binary);
        fs::set_permissions(&binary, Permissions::from_mode(0o755)).unwrap();
        let wrapper = vec![
            "setpriv".to_owned(),
            format!("--reuid={}", user.uid),
            format!("--regid={}", user.gid),
            "--clear-groups".to_owned(),
            "--no-new-privs".to_owned(),
            "--inh-caps=-all".to_owned(),
            "--bounding-set=-all".to_owned(),
            "env".to_owned(),
            "-i".to_owned(),
            format!("HOME={home}"),
            format!("XDG_RUNTIME_DIR={home}/run"),
            binary.display().to_string(),
        ];
        Self {
            user,
            _dir: dir,
            wrapper,
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.wrapper[0]);
        command.args(&self.wrapper[1..]).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        let config = self.config();
        let with = [args, &["--config", config.to_str().unwrap()]].concat();
        Ran::of(&mut self.command(&with))
    }

    fn status(&self) -> Option<Status> {
        let ran = self.run(&["status", "--json"]);
        (ran.code == Some(0)).then(|| ran.json())
    }

    fn config(&self) -> std::path::PathBuf {
        self.user.home.join("agent.toml")
    }

    /// His agent, for the file of `user`.
    fn configure(&self, sshd: &Sshd, user: &str) {
        let home = self.user.home.display();
        let host_key = self.user.home.join("host_key.pub");
        self.put(&host_key, &format!("{}\n", sshd.host_key));
        self.put(
            &self.config(),
            &format!(
                "[agent]\nunprivileged = true\n\
                 [[source]]\nname = \"keys\"\nfile.path = \"{home}/keys.pub\"\n\
                 [[target]]\nuser = \"{user}\"\nsources = [\"keys\"]\n\
                 [verify]\nsshd = \"{}\"\n[certificates]\nhost-keys = [\"{}\"]\n",
                sshd.address,
                host_key.display()
            ),
        );
    }

    fn put(&self, path: &Path, text: &str) {
        put(path, text, 0o600);
        chown(path, Some(self.user.uid), Some(self.user.gid)).unwrap();
    }
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_user_keeps_his_own_file_without_root() {
    let (sshd, own) = (Sshd::start(""), Own::new());
    let laptop = keygen(sshd.dir(), "laptop", "ed25519");
    own.configure(&sshd, &own.user.name);
    let keys = own.user.home.join("keys.pub");
    own.put(&keys, &format!("{}\n", laptop.public));
    let config = own.config();
    let mut command = own.command(&["agent", "--config", config.to_str().unwrap()]);
    let dir = WorkDir::new();
    let mut agent = Daemon::start("agent", &mut command, dir.path());
    let status = wait_for("the proof", || {
        let status = own.status()?;
        let proof = status.targets.first()?.proof.clone()?;
        (!proof.accepted.is_empty()).then_some(status)
    });
    let codes: Vec<_> = status.conditions.iter().map(|c| c.code.as_str()).collect();
    assert_eq!(
        codes,
        ["sessions-not-mapped"],
        "sshd's processes are root's: {status:?}"
    );
    assert!(sshd.lets_in(&own.user, &laptop.private), "{}", sshd.log());

    // What it keeps is his, and nobody else's to look at.
    let about = |path: &str| {
        let about = fs::symlink_metadata(own.user.home.join(path)).unwrap();
        (about.uid(), about.mode() & 0o777)
    };
    assert_eq!(about("run/sshkeyd/agent.sock"), (own.user.uid, 0o600));
    assert_eq!(about(".local/state/sshkeyd").1 & 0o077, 0);
    assert_eq!(about(".ssh"), (own.user.uid, 0o700));
    assert_eq!(about(".ssh/authorized_keys"), (own.user.uid, 0o600));
    assert!(agent.stop().success());
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_agent_without_root_leaves_the_files_of_others() {
    let (sshd, own, other) = (Sshd::start(""), Own::new(), User::new());
    other.authorize("# theirs\n");
    let before = fs::symlink_metadata(other.authorized_keys()).unwrap();
    own.configure(&sshd, &other.name);
    let key = keygen(sshd.dir(), "laptop", "ed25519").public;
    own.put(&own.user.home.join("keys.pub"), &format!("{key}\n"));
    let ran = own.run(&["agent", "--once"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let file = other.authorized_keys();
    assert!(ran.err.contains(&file.display().to_string()), "{ran:?}");
    let after = fs::symlink_metadata(&file).unwrap();
    assert_eq!(read(&file), "# theirs\n");
    assert_eq!(
        (after.ino(), after.ctime_nsec()),
        (before.ino(), before.ctime_nsec())
    );
}
