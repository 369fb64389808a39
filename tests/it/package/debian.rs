//! A Debian 13 of its own, as it comes from its installer, and the package to be tried in it.

use super::{manuals, root};
use crate::support::host::read;
use crate::support::openssh10;
use crate::support::process::{Daemon, Ran, port, wait_for, wait_until};
use crate::support::service::Service;
use crate::support::sshd::{KeyPair, WorkDir, keygen, openssh, put};
use sshkeyd::keys::PublicKey;
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// PID 1 of the Debian below `$1`.
const BOOT: &str = r#"
set -eu
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
: >"$1.booted"
exec chroot "$1" /bin/sh -c 'while :; do sleep 1 & wait $!; done'
"#;

/// What an administrator has written, and never finds changed.
const EDITED: &str = "# as the administrator likes it\n";

/// The package as the version before, and as it is; made once.
pub(super) struct Packages {
    _dir: WorkDir,
    pub(super) before: PathBuf,
    pub(super) now: PathBuf,
}

pub(super) fn packages() -> &'static Packages {
    static MADE: OnceLock<Packages> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = WorkDir::new();
        let pages = dir.path().join("man");
        fs::create_dir(&pages).unwrap();
        manuals::write(&pages).unwrap();
        let package = |version: &str| {
            let file = dir.path().join(format!("{version}.deb"));
            let mut build = Command::new(root().join("package/deb"));
            build
                .args(["--program", env!("CARGO_BIN_EXE_sshkeyd")])
                .args(["--deb-version", version, "--output"])
                .arg(&file)
                .env("SSHKEYD_MANUALS", &pages);
            Ran::of(&mut build).done();
            file
        };
        let (before, now) = (package("0.0.9-1"), package("0.1.0-1"));
        Packages {
            _dir: dir,
            before,
            now,
        }
    })
}

/// A Debian 13 of its own, where nothing starts by itself.
pub(super) struct Debian {
    init: Daemon,
    port: u16,
    root: PathBuf,
    dir: WorkDir,
}

impl Debian {
    pub(super) fn boot() -> Self {
        let dir = WorkDir::new();
        let root = dir.path().join("debian");
        let mut copy = Command::new("cp");
        Ran::of(copy.arg("-a").arg(openssh10::tree()).arg(&root)).done();
        for (package, name) in [(&packages().before, "before"), (&packages().now, "now")] {
            fs::copy(package, root.join(format!("{name}.deb"))).unwrap();
        }
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--pid", "--mount", "--propagation=private"])
            .args(["--fork", "--kill-child", "sh", "-c", BOOT, "boot"])
            .arg(&root)
            .stdin(Stdio::null());
        let mut init = Daemon::start("debian", &mut unshare, dir.path());
        wait_until("Debian to boot", || {
            assert!(init.is_up(), "{}", init.log());
            dir.path().join("debian.booted").exists()
        });
        Self {
            init,
            port: port(),
            root,
            dir,
        }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// One line in a shell of it.
    pub(super) fn shell(&self, line: &str) -> Ran {
        let pid = self.init.pid();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let pid_1: u32 = wait_for("PID 1", || {
            let text = read(Path::new(&children));
            text.split_whitespace().next()?.parse().ok()
        });
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={pid_1}"))
            .args(["--mount", "--pid", "chroot"])
            .arg(&self.root)
            .args([
                "env",
                "-i",
                "HOME=/root",
                "LC_ALL=C.UTF-8",
                path,
                "sh",
                "-c",
                line,
            ])
            .stdin(Stdio::null());
        Ran::of(&mut command)
    }

    /// Its sshd, by its own sshd_config, on a port of its own.
    pub(super) fn start_sshd(&self) {
        let line = format!(
            "mkdir -p /run/sshd && /usr/sbin/sshd -p {} -o ListenAddress=127.0.0.1 -o UsePAM=no \
             -E /var/log/sshd.log",
            self.port
        );
        self.shell(&line).done();
    }

    pub(super) fn lets_in(&self, key: &KeyPair) -> bool {
        let text = read(&self.path("etc/ssh/ssh_host_ed25519_key.pub"));
        let host_key = PublicKey::parse_text(&text).unwrap().0;
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, self.port).into();
        let mut ssh = openssh("ssh", (address, &host_key, self.dir.path()), &key.private);
        ssh.args(["-o", "ConnectTimeout=20", "root@127.0.0.1", "true"]);
        ssh.stdin(Stdio::null()).output().unwrap().status.success()
    }

    pub(super) fn key(&self, name: &str) -> KeyPair {
        keygen(self.dir.path(), name, "ed25519")
    }

    pub(super) fn authorized_keys(&self) -> String {
        read(&self.path("root/.ssh/authorized_keys"))
    }

    /// A configuration of an administrator, and the key that he has put there himself.
    pub(super) fn configure(&self, service: &Service, method: &str, own: &KeyPair) -> String {
        let (_, token) = service.create_instance("web");
        put(&self.path("etc/sshkeyd/enroll-token"), &token, 0o600);
        let text = format!(
            "{EDITED}[[source]]\nname = \"account\"\naccount.urls = [\"{}\"]\n\
             account.enroll-token-file = \"/etc/sshkeyd/enroll-token\"\n\
             [[target]]\nuser = \"root\"\nsources = [\"account\"]\nmethod = \"{method}\"\n\
             [verify]\nsshd = \"127.0.0.1:{}\"\n",
            service.url, self.port
        );
        put(&self.path("etc/sshkeyd/agent.toml"), &text, 0o644);
        let authorized = format!("{} mine\n", own.public);
        put(&self.path("root/.ssh/authorized_keys"), &authorized, 0o600);
        authorized
    }

    /// The agent, as somebody starts it who has no systemd.
    pub(super) fn start_agent(&self) {
        let agent = "setsid sshkeyd agent </dev/null >>/var/log/agent.log 2>&1 &";
        self.shell(agent).done();
        wait_until("the agent to answer", || {
            self.shell("sshkeyd status").code == Some(0)
        });
    }

    pub(super) fn stop_agent(&self) {
        self.shell("kill $(pidof sshkeyd)").done();
        wait_until("the agent's end", || !self.runs());
    }

    pub(super) fn runs(&self) -> bool {
        let exes = self.shell("for p in /proc/[0-9]*; do readlink $p/exe || :; done");
        exes.out
            .lines()
            .any(|exe| exe.starts_with("/usr/bin/sshkeyd"))
    }

    pub(super) fn program(&self) -> PathBuf {
        self.path("usr/bin/sshkeyd")
    }

    /// Every name below its root with kind, mode and owner, and what a file of /etc or a home reads;
    /// but what dpkg keeps for itself, and what the kernel shows.
    pub(super) fn everything(&self) -> BTreeMap<PathBuf, String> {
        let mut all = BTreeMap::new();
        let mut todo = vec![self.root.clone()];
        let not = ["proc", "dev", "var/lib/dpkg", "var/log", "var/cache", "tmp"];
        while let Some(path) = todo.pop() {
            let name = path.strip_prefix(&self.root).unwrap().to_owned();
            let about = fs::symlink_metadata(&path).unwrap();
            let mut holds = String::new();
            if about.is_dir() {
                let below = fs::read_dir(&path).unwrap();
                todo.extend(
                    below
                        .map(|entry| entry.unwrap().path())
                        .filter(|path| !not.iter().any(|not| *path == self.root.join(not))),
                );
            } else if about.is_file() && (name.starts_with("etc") || name.starts_with("root")) {
                holds = format!("{:?}", fs::read(&path).unwrap());
            }
            let fixed = format!("{:o} {}:{} {holds}", about.mode(), about.uid(), about.gid());
            all.insert(name, fixed);
        }
        all
    }
}
