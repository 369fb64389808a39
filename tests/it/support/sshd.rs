//! A real OpenSSH sshd on loopback, local users of its own, and ssh and ssh-keygen to go with it.
//!
//! Needs root and Debian's openssh-server and openssh-client; says so loudly where they are
//! missing. Everything it makes stands below one directory of /var/lib (StrictModes refuses keys
//! below a 1777 directory) and is gone when the fixture is dropped.

use sshkeyd::keys::PublicKey;
use sshkeyd::sinks::proof;
use sshkeyd::sinks::sshd::Settings;
use sshkeyd::sys::users;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

const SSHD: &str = "/usr/sbin/sshd";

/// How long sshd may take until it listens, on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A directory, 0755, removed when dropped. Root's is below /var/lib, as sshd wants it; anybody
/// else's where cargo has room for tests.
#[derive(Debug)]
pub(crate) struct WorkDir(PathBuf);

impl WorkDir {
    pub(crate) fn new() -> Self {
        let place = match users::current_uid() {
            0 => "/var/lib",
            _ => env!("CARGO_TARGET_TMPDIR"),
        };
        let path = PathBuf::from(place).join(format!("sshkeyd-test-{}", unique()));
        DirBuilder::new()
            .mode(0o755)
            .create(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // Somebody who was killed just now may still have made a file in it.
        for _ in 0..5 {
            if fs::remove_dir_all(&self.0).is_ok() {
                break;
            }
        }
    }
}

/// A running sshd: `StrictModes yes`, no PAM, a host key of its own.
#[derive(Debug)]
pub(crate) struct Sshd {
    child: Mutex<Child>,
    log: Arc<Mutex<String>>,
    pub(crate) address: SocketAddr,
    pub(crate) host_key: PublicKey,
    pub(crate) config: PathBuf,
    dir: WorkDir,
}

impl Sshd {
    /// Starts one and waits until it listens. `more` goes before the settings that a test may
    /// want otherwise: sshd takes the first value.
    pub(crate) fn start(more: &str) -> Self {
        assert!(
            Path::new(SSHD).exists() && Path::new("/usr/bin/ssh").exists(),
            "no OpenSSH here; apt-get install openssh-server openssh-client"
        );
        let _ = DirBuilder::new().mode(0o755).create("/run/sshd");
        let dir = WorkDir::new();
        let host_key = keygen(dir.path(), "host_key", "ed25519").public;
        // Another process may take the port between the look and sshd's own bind.
        for _ in 0..5 {
            let port = free_port();
            let config = dir.path().join("sshd_config");
            put(
                &config,
                &format!(
                    "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nPidFile none\nUsePAM no\n\
                     StrictModes yes\nUseDNS no\nLogLevel VERBOSE\n{more}\n\
                     PasswordAuthentication no\nKbdInteractiveAuthentication no\n",
                    dir.path().join("host_key").display()
                ),
                0o600,
            );
            if let Some((child, log)) = spawn(&config, &[]) {
                return Self {
                    child: Mutex::new(child),
                    log,
                    address: (Ipv4Addr::LOCALHOST, port).into(),
                    host_key,
                    config,
                    dir,
                };
            }
        }
        panic!("sshd did not come to listen; see what it said above");
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// Ends it.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Another sshd in its place, with the same configuration and these options.
    pub(crate) fn restarted_with(&self, options: &[&str]) {
        self.kill();
        let mut child = self.child.lock().unwrap();
        let (new, log) = spawn(&self.config, options).expect("the port was its own just now");
        *child = new;
        drop(log);
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The proof's view of it, from `sshd -T` for this user.
    pub(crate) fn for_proof(&self, user: &str) -> proof::Sshd {
        let said = run(Command::new(SSHD)
            .arg("-T")
            .arg("-f")
            .arg(&self.config)
            .args(["-C", &format!("user={user},host=localhost,addr=127.0.0.1")]));
        let config = proof::EffectiveConfig::of(&Settings::parse(
            std::str::from_utf8(&said.stdout).unwrap(),
        ));
        let read = |path: PathBuf| {
            let text = fs::read_to_string(path).unwrap();
            PublicKey::parse_text(&text).unwrap().0
        };
        proof::Sshd {
            address: self.address,
            host_keys: config.host_key_files().into_iter().map(read).collect(),
            max_auth_tries: config.max_auth_tries,
            several_methods: config.several_methods,
            algorithms: config.algorithms,
        }
    }

    /// Logs in with ssh(1), this key and nothing else, and runs `true`.
    pub(crate) fn login(&self, user: &User, private_key: &Path) -> Output {
        self.login_as(&user.name, private_key)
    }

    /// The same, as a user who was there before.
    pub(crate) fn login_as(&self, user: &str, private_key: &Path) -> Output {
        let host = (self.address, &self.host_key, self.dir.path());
        let mut ssh = openssh("ssh", host, private_key);
        ssh.args(["-o", "ConnectTimeout=20"]);
        ssh.arg(format!("{user}@127.0.0.1")).arg("true");
        ssh.stdin(Stdio::null()).output().unwrap()
    }

    /// Whether [`Self::login`] gets in.
    pub(crate) fn lets_in(&self, user: &User, private_key: &Path) -> bool {
        self.login(user, private_key).status.success()
    }

    /// A directory for keys and the like; gone with the fixture.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// ssh(1), or sftp(1), with this private key and nothing else, who asks nobody and knows just this
/// host: its address, its key, and a directory to note that in. User and host are still to come.
pub(crate) fn openssh(
    program: &str,
    (address, host_key, dir): (SocketAddr, &PublicKey, &Path),
    private_key: &Path,
) -> Command {
    let known_hosts = dir.join("known_hosts");
    let port = address.port();
    put(
        &known_hosts,
        &format!("[127.0.0.1]:{port} {host_key}\n"),
        0o600,
    );
    let mut command = Command::new(program);
    command.args(["-F", "none", "-i"]).arg(private_key);
    for option in [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "StrictHostKeyChecking=yes",
        "LogLevel=ERROR",
        &format!("UserKnownHostsFile={}", known_hosts.display()),
        &format!("Port={port}"),
    ] {
        command.args(["-o", option]);
    }
    command.env_remove("SSH_AUTH_SOCK");
    command
}

/// A local user, made for one test; removed when dropped, home and all.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: PathBuf,
    _dir: WorkDir,
}

impl User {
    /// Makes one with a home that holds nothing.
    pub(crate) fn new() -> Self {
        let name = format!("skt-{}", unique());
        let dir = WorkDir::new();
        let home = dir.path().join("home");
        let made = account(
            Command::new("useradd")
                .args(["-M", "-s", "/bin/sh", "-p", "*", "-d"])
                .arg(&home)
                .arg(&name),
        )
        .unwrap();
        assert!(made.status.success(), "{made:?}; these tests run as root");
        let (uid, gid) = ids(&name);
        DirBuilder::new().mode(0o755).create(&home).unwrap();
        chown(&home, Some(uid), Some(gid)).unwrap();
        Self {
            name,
            uid,
            gid,
            home,
            _dir: dir,
        }
    }

    /// `~/.ssh/authorized_keys`; it need not exist.
    pub(crate) fn authorized_keys(&self) -> PathBuf {
        self.home.join(".ssh/authorized_keys")
    }

    /// What that file reads; nothing where it is not there.
    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.authorized_keys()).unwrap_or_default()
    }

    /// Writes `~/.ssh/authorized_keys` as the user would have it.
    pub(crate) fn authorize(&self, text: &str) {
        let ssh = self.home.join(".ssh");
        if !ssh.exists() {
            DirBuilder::new().mode(0o700).create(&ssh).unwrap();
            chown(&ssh, Some(self.uid), Some(self.gid)).unwrap();
        }
        put(&self.authorized_keys(), text, 0o600);
        chown(self.authorized_keys(), Some(self.uid), Some(self.gid)).unwrap();
    }
}

impl User {
    /// Takes the account away and leaves the home.
    pub(crate) fn vanish(&self) {
        let gone = account(Command::new("userdel").arg("-f").arg(&self.name)).unwrap();
        assert!(gone.status.success(), "{gone:?}");
    }

    /// Makes the account again, with the same ids.
    pub(crate) fn come_back(&self) {
        let made = account(
            Command::new("useradd")
                .args([
                    "-M",
                    "-N",
                    "-s",
                    "/bin/sh",
                    "-p",
                    "*",
                    "-u",
                    &self.uid.to_string(),
                ])
                .args(["-g", "0", "-d"])
                .arg(&self.home)
                .arg(&self.name),
        )
        .unwrap();
        assert!(made.status.success(), "{made:?}");
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // `-f`: a session of his may not have ended yet.
        let _ = account(Command::new("userdel").arg("-f").arg(&self.name));
    }
}

/// A key pair that ssh-keygen made.
#[derive(Debug, Clone)]
pub(crate) struct KeyPair {
    pub(crate) private: PathBuf,
    pub(crate) public: PublicKey,
}

/// Makes a key pair `dir/name`: `ed25519`, `rsa` (2048 bits), `ecdsa` (P-256).
pub(crate) fn keygen(dir: &Path, name: &str, key_type: &str) -> KeyPair {
    let private = dir.join(name);
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-N", "", "-C", name, "-t", key_type, "-f"]);
    command.arg(&private);
    if key_type == "rsa" {
        command.args(["-b", "2048"]);
    }
    run(&mut command);
    let text = fs::read_to_string(private.with_extension("pub")).unwrap();
    let public = PublicKey::parse_text(&text).unwrap().0;
    KeyPair { private, public }
}

fn spawn(config: &Path, options: &[&str]) -> Option<(Child, Arc<Mutex<String>>)> {
    let mut child = Command::new(SSHD)
        .args(["-D", "-e", "-f"])
        .arg(config)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let log = Arc::new(Mutex::new(String::new()));
    let (listens, waits) = mpsc::channel();
    let kept = log.clone();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if line.starts_with("Server listening on") {
                let _ = listens.send(());
            }
            let mut kept = kept.lock().unwrap();
            kept.push_str(&line);
            kept.push('\n');
        }
    });
    // The sender goes when sshd does, so a port that was taken is seen at once.
    if waits.recv_timeout(START).is_ok() {
        return Some((child, log));
    }
    let _ = child.kill();
    let _ = child.wait();
    println!("{}", log.lock().unwrap());
    None
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// useradd and userdel lock the account files, and give up when another holds the lock.
pub(crate) fn account(command: &mut Command) -> io::Result<Output> {
    account_turn(|| command.output())
}

/// Has the account files to itself meanwhile.
pub(crate) fn account_turn<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open("/run/lock/sshkeyd-test-accounts")?;
    lock.lock()?;
    work()
}

fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn ids(name: &str) -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd
        .lines()
        .find(|l| l.split(':').next() == Some(name))
        .expect("useradd has just added it");
    let field = |n| line.split(':').nth(n).unwrap().parse().unwrap();
    (field(2), field(3))
}

/// Writes a whole file; its mode is set even where it was there.
pub(crate) fn put(path: &Path, text: &str, mode: u32) {
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}
