//! The program as people run it, for benches: a service with TLS, an agent that is enrolled with it.
//! Everything stands below one directory of root's, and ends with its handle.

use crate::support;
use sshkeyd::client::{Api, Http, HttpOptions};
use sshkeyd::keys::PublicKey;
use sshkeyd::sys::clock;
use sshkeyd::wire::{NewInstance, NewSshKey};
use std::error::Error;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Longest wait for anything.
const WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at the file: the error of a measured time.
const LOOK: Duration = Duration::from_micros(100);

/// A number from the environment.
pub(crate) fn number(name: &str, default: u64) -> Outcome<u64> {
    std::env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

/// A daemon; told to stop when it is dropped.
pub(crate) struct Daemon(pub(crate) Child);

impl Daemon {
    pub(crate) fn start(command: &mut Command, log: &Path) -> Outcome<Self> {
        let log = create(log)?;
        let command = command.stdout(log.try_clone()?).stderr(log);
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A program under a tracer writes what it has learnt at a clean end.
        let stop = format!("kill -TERM {}", self.0.id());
        let _ = Command::new("sh").arg("-c").arg(stop).status();
        let ended = wait("a clean stop", || !matches!(self.0.try_wait(), Ok(None)));
        if ended.is_err() {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// The account key service on loopback, with TLS and one account.
pub(crate) struct Service {
    pub(crate) api: Api,
    pub(crate) url: String,
    pub(crate) ca: PathBuf,
    pub(crate) dir: PathBuf,
    _daemon: Daemon,
}

impl Service {
    pub(crate) fn start(dir: &Path) -> Outcome<Self> {
        let key = rcgen::KeyPair::generate()?;
        let names = vec!["localhost".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
        let ca = dir.join("tls.pem");
        write(&ca, &certificate.pem())?;
        write(&dir.join("tls.key"), &key.serialize_pem())?;
        let listen: SocketAddr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let url = format!("https://localhost:{}", listen.port());
        let config = dir.join("server.toml");
        let at = dir.display();
        let text = format!(
            "[server]\nlisten = \"{listen}\"\npublic-url = \"{url}\"\n\
             database = \"sqlite:{at}/sshkeyd.db\"\nsecrets-dir = \"{at}/secrets\"\n\
             tls.certificate = \"{at}/tls.pem\"\ntls.key = \"{at}/tls.key\"\n"
        );
        write(&config, &text)?;
        let mut add = sshkeyd();
        add.args(["account", "add", "bench@example.com", "--json", "--config"]);
        let added = add.arg(&config).output()?;
        let added: serde_json::Value = serde_json::from_slice(&added.stdout)?;
        let token = added.get("api_key").and_then(|key| key.as_str());
        let token = token.ok_or("no account was added")?.to_owned();
        let mut serve = sshkeyd();
        let daemon = Daemon::start(
            serve.arg("server").arg("--config").arg(&config),
            &dir.join("server.log"),
        )?;
        wait("the service", || TcpStream::connect(listen).is_ok())?;
        let http = Http::try_new(&HttpOptions {
            ca_file: Some(ca.clone()),
            ..HttpOptions::default()
        })?;
        Ok(Self {
            api: Api::try_new(http, &url, Some(Zeroizing::new(token)))?,
            url,
            ca,
            dir: dir.to_owned(),
            _daemon: daemon,
        })
    }

    pub(crate) fn save(&self, runtime: &Runtime, key: &PublicKey) -> Outcome<i64> {
        let new = NewSshKey {
            name: Some("bench".to_owned()),
            public_key: key.to_string(),
            ..NewSshKey::default()
        };
        Ok(runtime.block_on(self.api.add_ssh_key(&new))?.0.id)
    }
}

/// An enrolled agent with one target.
pub(crate) struct Agent {
    pub(crate) file: PathBuf,
    pub(crate) daemon: Daemon,
}

impl Agent {
    /// Starts one whose first list is in its file.
    pub(crate) fn start(
        program: &Path,
        service: &Service,
        runtime: &Runtime,
        work: &Path,
        name: &str,
        sshd: &str,
    ) -> Outcome<Self> {
        let new = NewInstance {
            label: name.to_owned(),
        };
        let made = runtime.block_on(service.api.create_instance(&new))?;
        let dir = work.join(name);
        let file = dir.join("root/authorized_keys");
        std::fs::create_dir_all(agent_dir(&file))?;
        write(&dir.join("token"), &made.enroll_token)?;
        let (at, all) = (dir.display(), work.display());
        let config = dir.join("agent.toml");
        let text = format!(
            "[agent]\nstate-dir = \"{at}/state\"\ncontrol-socket = \"{at}/run/agent.sock\"\n\
             [[source]]\nname = \"account\"\naccount.urls = [\"{}\"]\n\
             account.enroll-token-file = \"{at}/token\"\naccount.ca-file = \"{}\"\n\
             [[target]]\nuser = \"root\"\nsources = [\"account\"]\n\
             path = \"{at}/%u/authorized_keys\"\n[verify]\nsshd = \"{sshd}\"\n\
             [certificates]\nsshd = \"{at}/none\"\nsshd-config = \"{at}/none\"\n\
             host-keys = [\"{all}/host_key.pub\"]\n\
             user-ca = false\nhost-certificates = false\n",
            service.url,
            service.ca.display()
        );
        write(&config, &text)?;
        let mut command = begin(program.into());
        let command = command.arg("agent").arg("--config").arg(&config);
        let agent = Self {
            daemon: Daemon::start(command, &dir.join("agent.log"))?,
            file,
        };
        let first = support::key(7);
        service.save(runtime, &first)?;
        agent.wait(&first, true)?;
        Ok(agent)
    }

    pub(crate) fn directory(&self) -> &Path {
        agent_dir(&self.file)
    }

    /// Until the file has the key, or has it no more.
    pub(crate) fn wait(&self, key: &PublicKey, there: bool) -> Outcome<()> {
        let line = key.to_string();
        let mut looked_at = None;
        wait("the key in the file, or out of it", || {
            let inode = std::fs::metadata(&self.file).map(|about| about.ino()).ok();
            if looked_at == Some(inode) {
                return false;
            }
            looked_at = Some(inode);
            let text = std::fs::read_to_string(&self.file).unwrap_or_default();
            text.contains(&line) == there
        })
    }
}

fn agent_dir(file: &Path) -> &Path {
    file.parent().unwrap_or_else(|| Path::new("/"))
}

fn sshkeyd() -> Command {
    begin(env!("CARGO_BIN_EXE_sshkeyd").into())
}

/// The full program, or the one that `AGENT` names.
pub(crate) fn program() -> PathBuf {
    let named = std::env::var_os("AGENT");
    named.map_or_else(|| env!("CARGO_BIN_EXE_sshkeyd").into(), PathBuf::from)
}

pub(crate) fn begin(program: OsString) -> Command {
    let mut command = Command::new(program);
    command.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
    command.stdin(Stdio::null());
    command
}

#[expect(
    clippy::disallowed_methods,
    reason = "two cores: a loop that spins takes one away"
)]
pub(crate) fn wait(what: &str, mut is_so: impl FnMut() -> bool) -> Outcome<()> {
    let began = clock::monotonic();
    while !is_so() {
        if clock::monotonic().saturating_sub(began) > WITHIN {
            return Err(format!("in vain waited for {what}").into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

pub(crate) fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.mode(0o600).open(path)
}

pub(crate) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    write_bytes(path, text.as_bytes())
}

pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    create(path)?.write_all(bytes)
}

/// Makes a key pair there.
pub(crate) fn keygen(path: &Path) -> Outcome<()> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"]);
    match keygen.arg(path).status()?.success() {
        true => Ok(()),
        false => Err("ssh-keygen made no key".into()),
    }
}
