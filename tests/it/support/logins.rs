//! An sshd whose syslog(3) goes where a test says, and clients that stay logged in.
//!
//! sshd writes to /dev/log and nowhere else, so it gets a /dev of its own, in a mount namespace of
//! its own, in which that name is a socket of the test's.

use crate::support::host::Host;
use crate::support::openssh10;
use crate::support::process::{sshkeyd, wait_until};
use crate::support::sshd::{KeyPair, User, WorkDir, keygen, openssh, put};
use sshkeyd::keys::PublicKey;
use std::fs::{self, DirBuilder, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Makes a /dev in the directory `$0`; the benches have the same.
const WITH_DEV: &str = include_str!("with-dev.sh");

/// Makes it this process's, and goes on as sshd with the configuration `$1`.
const AS_SSHD: &str = r#"
mount --rbind "$0/dev" /dev
exec /usr/sbin/sshd -D -f "$1"
"#;

/// A running sshd.
#[derive(Debug)]
pub(crate) struct LoggedSshd {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) config: PathBuf,
    pub(crate) host_key: PublicKey,
    dir: WorkDir,
}

impl LoggedSshd {
    /// Starts one; nobody reads its log yet. `more` goes before the settings of every test.
    pub(crate) fn start(more: &str) -> Self {
        let _ = DirBuilder::new().mode(0o755).create("/run/sshd");
        Self::start_in(WorkDir::new(), more, AS_SSHD)
    }

    /// The same, of OpenSSH 10. It knows no user but those who are [admitted](Self::admit).
    pub(crate) fn start_openssh_10(more: &str) -> Self {
        let dir = WorkDir::new();
        let script = openssh10::prepare(dir.path());
        Self::start_in(dir, more, script)
    }

    fn start_in(dir: WorkDir, more: &str, script: &str) -> Self {
        let host_key = keygen(dir.path(), "host_key", "ed25519").public;
        let dev = dir.path().join("dev");
        DirBuilder::new().mode(0o755).create(&dev).unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let config = dir.path().join("sshd_config");
        let text = format!(
            "ListenAddress 127.0.0.1\nPort {}\nHostKey {}\nPidFile none\n{more}\nUsePAM no\n\
             UseDNS no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             AuthorizedKeysFile .ssh/authorized_keys {}/more-%u\nSubsystem sftp internal-sftp\n\
             PermitRootLogin yes\nMaxStartups 100\n",
            address.port(),
            dir.path().join("host_key").display(),
            dir.path().display()
        );
        put(&config, &text, 0o600);
        let child = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c"])
            .arg(format!("{WITH_DEV}{script}"))
            .arg(dir.path())
            .arg(&config)
            .arg(std::env::var_os("SSHKEYD_SSH10_TREE").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Not by a connection: that is one more failure of this address to an sshd that counts.
        wait_until("sshd to listen", || listens(address));
        Self {
            child,
            address,
            config,
            host_key,
            dir,
        }
    }

    /// Where it looks for syslog.
    pub(crate) fn dev_log(&self) -> PathBuf {
        self.dir.path().join("dev/log")
    }

    /// Makes a user known to it.
    pub(crate) fn admit(&self, user: &User) {
        if self.dir.path().join("etc").exists() {
            openssh10::admit(self.dir.path(), user);
        }
    }

    /// The number of the process that listens.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A machine whose agent asks this one for proof.
    pub(crate) fn asked_by(&self, host: Host) -> Host {
        let host = host.with_sshd_at(self.address, &self.config);
        if !self.dir.path().join("etc").exists() {
            return host;
        }
        host.with_sshd_program(&openssh10::program(self.dir.path(), self.child.id()))
    }

    /// A key pair.
    pub(crate) fn pair(&self, name: &str) -> KeyPair {
        keygen(self.dir.path(), name, "ed25519")
    }

    /// Lets a key in that is in nobody's file.
    pub(crate) fn authorize_more(&self, user: &str, text: &str) {
        put(&self.dir.path().join(format!("more-{user}")), text, 0o600);
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `sshkeyd syslog-socket` for the agent with this configuration.
    pub(crate) fn syslog_socket(&self, config: &Path) -> Command {
        let mut command = sshkeyd();
        command.arg("syslog-socket").arg("--config").arg(config);
        command.arg("--socket").arg(self.dev_log());
        command
    }

    /// A client of OpenSSH with this key; `args` go before the host, `command` after it.
    pub(crate) fn client(&self, user: &str, key: &KeyPair, args: &[&str], command: &str) -> Client {
        self.start_client("ssh", user, key, args, command)
    }

    /// sftp(1), waiting for what it is to do.
    pub(crate) fn sftp(&self, user: &str, key: &KeyPair) -> Client {
        self.start_client("sftp", user, key, &["-b", "-"], "")
    }

    /// A client of OpenSSH with this key and nothing else; user and host are still to come.
    pub(crate) fn openssh(&self, program: &str, key: &KeyPair) -> Command {
        let host = (self.address, &self.host_key, self.dir.path());
        openssh(program, host, &key.private)
    }

    fn start_client(
        &self,
        program: &str,
        user: &str,
        key: &KeyPair,
        args: &[&str],
        words: &str,
    ) -> Client {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let output = self.dir.path().join(format!("client-{number}"));
        let file = File::options().write(true).create_new(true).open(&output);
        let file = file.unwrap();
        let mut command = self.openssh(program, key);
        command.args(["-o", "ExitOnForwardFailure=yes"]);
        command.args(args).arg(format!("{user}@127.0.0.1"));
        if !words.is_empty() {
            command.arg(words);
        }
        let child = command
            .stdin(Stdio::piped())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Client { child, output }
    }
}

impl Drop for LoggedSshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that stays.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) child: Child,
    output: PathBuf,
}

impl Client {
    pub(crate) fn is_up(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it has shown.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap()).into_owned()
    }

    /// Ends it.
    pub(crate) fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether something listens there: proc(5), /proc/net/tcp, the state LISTEN.
fn listens(address: SocketAddr) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{:04X}", address.port());
    table.lines().any(|line| {
        let words: Vec<_> = line.split_whitespace().take(4).collect();
        words[1].ends_with(&local) && words[3] == "0A"
    })
}

/// Whether a process of this user runs with such a command line; a zombie does not.
pub(crate) fn runs(user: &User, words: &str) -> bool {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(Result::ok).any(|entry| {
        let words_of = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&words_of).replace('\0', " ");
        let owner = std::os::unix::fs::MetadataExt::uid(&match entry.metadata() {
            Ok(about) => about,
            Err(_) => return false,
        });
        owner == user.uid && line.trim_end() == words
    })
}
