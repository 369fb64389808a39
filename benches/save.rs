//! From a save to the key in the file, with the program as people run it: service and agent as
//! processes, TLS between them, one subscription held; and what that agent costs when it is idle.
//! `cargo bench --bench save`, as root. `SAVES` (200) and `IDLE` (30 s) set how long it takes; `AGENT`
//! names another program to run as the agent: a build of the agent alone.
//!
//! To reach: from the save's answer until the key is durable in authorized_keys, within 1.5 times
//! the bare durable write and 5 ms, medians of one run, by turns; idle under 8 MiB resident.
//!
//! "Durable": the file under its name has the key, which the agent gives it only after the file's
//! own fsync, and then a fsync of the directory, begun here when the name is seen to have changed,
//! has ended. It cannot end before the rename is on the disk, so the time is never too short; the
//! agent's own fsync runs at the same moment.

use sshkeyd::client::{Api, Http, HttpOptions, install_crypto};
use sshkeyd::demo::ssh_server::SshServer;
use sshkeyd::keys::PublicKey;
use sshkeyd::sys::clock;
use sshkeyd::wire::{NewInstance, NewSshKey};
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{Times, Work, bare_write, timed};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Longest wait for anything.
const WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at the file: the error of a measured time.
const LOOK: Duration = Duration::from_micros(100);
const MIB: f64 = 1024.0;

fn main() -> Outcome<()> {
    install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let work = Work::new()?;
    let service = Service::start(work.path())?;
    let saves = number("SAVES", 200)?;
    let idle = Duration::from_secs(number("IDLE", 30)?);

    let agent = Agent::start(&service, &runtime, work.path(), "off", "off")?;
    measure("verify off", &service, &runtime, &agent, saves)?;
    cost(agent.daemon.0.id(), idle)?;
    drop(agent);

    let file = work.path().join("asked/root/authorized_keys");
    let server = SshServer::start(file, clock::now, std::future::pending());
    let server = runtime.block_on(server)?;
    write(
        &work.path().join("host_key.pub"),
        &format!("{}\n", server.host_key),
    )?;
    let sshd = server.address.to_string();
    let agent = Agent::start(&service, &runtime, work.path(), "asked", &sshd)?;
    measure("verify on", &service, &runtime, &agent, saves)?;
    cost(agent.daemon.0.id(), idle)
}

/// Saves, each beside a bare durable write of as many bytes in the same file system.
#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn measure(
    name: &str,
    service: &Service,
    runtime: &Runtime,
    agent: &Agent,
    saves: u64,
) -> Outcome<()> {
    let (mut bare, mut answer) = (Times::default(), Times::default());
    let (mut seen, mut durable) = (Times::default(), Times::default());
    for nth in 0..saves {
        let size = std::fs::metadata(&agent.file)?.len() as usize;
        let (time, done) = timed(|| bare_write(&service.dir.join("bare"), &vec![b'#'; size]));
        done?;
        bare.push(time);
        let key = support::key(1_000_000 + nth);
        let (time, id) = timed(|| service.save(runtime, &key));
        answer.push(time);
        let (time, found) = timed(|| agent.wait(&key, true));
        found?;
        seen.push(time);
        let (after, synced) = timed(|| File::open(agent.directory())?.sync_all());
        synced?;
        durable.push(time + after);
        runtime.block_on(service.api.delete_ssh_key(id?, false))?;
        agent.wait(&key, false)?;
    }
    let goal = 1.5 * bare.median() + 5.0;
    let (took, word) = (durable.median(), durable.median() / bare.median());
    println!("\nsave, {name}: milliseconds     median       p90     least");
    println!("bare durable write         {}", bare.row());
    println!("save -> answer             {}", answer.row());
    println!("answer -> new file seen    {}", seen.row());
    println!("answer -> durable          {}", durable.row());
    println!("durable / bare             {word:9.2}");
    let verdict = if took <= goal { "reached" } else { "MISSED" };
    println!("goal 1.5 x bare + 5 ms     {goal:9.3} ms: {took:.3} ms, {verdict}");
    Ok(())
}

/// What an idle agent costs: memory, threads, and how often it wakes.
#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
#[expect(clippy::disallowed_methods, reason = "idling is what is measured")]
fn cost(pid: u32, idle: Duration) -> Outcome<()> {
    // What the last change leaves to do, proof and heartbeat; then idle threads end.
    std::thread::sleep(Duration::from_secs(15));
    let before = switches(pid)?;
    std::thread::sleep(idle);
    let mut woken = 0.0;
    for (task, count) in switches(pid)? {
        woken += count - before.get(&task).copied().unwrap_or_default();
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let (resident, most) = (field(&status, "VmRSS:")?, field(&status, "VmHWM:")?);
    let (anonymous, threads) = (field(&status, "RssAnon:")?, field(&status, "Threads:")?);
    let proportional = field(&rollup, "Pss:")?;
    println!(
        "idle agent: VmRSS {:.2} MiB (at most {:.2}), RssAnon {:.2}, Pss {:.2}, {threads} threads",
        resident / MIB,
        most / MIB,
        anonymous / MIB,
        proportional / MIB
    );
    println!(
        "idle agent: {woken} voluntary context switches in {} s",
        idle.as_secs()
    );
    let verdict = if resident < 8.0 * MIB {
        "reached"
    } else {
        "MISSED"
    };
    println!("goal under 8 MiB resident: {verdict}");
    Ok(())
}

/// How often each thread has slept until it was woken.
fn switches(pid: u32) -> Outcome<BTreeMap<OsString, f64>> {
    let mut all = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        let status = std::fs::read_to_string(task.path().join("status"))?;
        // Not `nonvoluntary_…`, which is a line of its own.
        let count = field(&status, "\nvoluntary_ctxt_switches:")?;
        all.insert(task.file_name(), count);
    }
    Ok(all)
}

fn field(text: &str, name: &str) -> Outcome<f64> {
    let (_, rest) = text
        .split_once(name)
        .ok_or_else(|| format!("no {name} there"))?;
    let value = rest.split_whitespace().next().unwrap_or_default();
    Ok(value.parse()?)
}

fn number(name: &str, default: u64) -> Outcome<u64> {
    std::env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

/// A daemon; killed when it is dropped.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command, log: &Path) -> Outcome<Self> {
        let log = create(log)?;
        let command = command.stdout(log.try_clone()?).stderr(log);
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The account key service on loopback, with TLS and one account.
struct Service {
    api: Api,
    url: String,
    ca: PathBuf,
    dir: PathBuf,
    _daemon: Daemon,
}

impl Service {
    fn start(dir: &Path) -> Outcome<Self> {
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

    fn save(&self, runtime: &Runtime, key: &PublicKey) -> Outcome<i64> {
        let new = NewSshKey {
            name: Some("bench".to_owned()),
            public_key: key.to_string(),
            ..NewSshKey::default()
        };
        Ok(runtime.block_on(self.api.add_ssh_key(&new))?.0.id)
    }
}

/// An enrolled agent with one target.
struct Agent {
    file: PathBuf,
    daemon: Daemon,
}

impl Agent {
    /// Starts one whose first list is in its file.
    fn start(
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
             host-keys = [\"{all}/host_key.pub\"]\n",
            service.url,
            service.ca.display()
        );
        write(&config, &text)?;
        let mut command = agent();
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

    fn directory(&self) -> &Path {
        agent_dir(&self.file)
    }

    /// Until the file has the key, or has it no more.
    fn wait(&self, key: &PublicKey, there: bool) -> Outcome<()> {
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

/// The program that is measured; a build of the agent alone may be named.
fn agent() -> Command {
    begin(std::env::var_os("AGENT").unwrap_or_else(|| env!("CARGO_BIN_EXE_sshkeyd").into()))
}

fn begin(program: OsString) -> Command {
    let mut command = Command::new(program);
    command.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
    command.stdin(Stdio::null());
    command
}

#[expect(
    clippy::disallowed_methods,
    reason = "two cores: a loop that spins takes one away"
)]
fn wait(what: &str, mut is_so: impl FnMut() -> bool) -> Outcome<()> {
    let began = clock::monotonic();
    while !is_so() {
        if clock::monotonic().saturating_sub(began) > WITHIN {
            return Err(format!("in vain waited for {what}").into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.mode(0o600).open(path)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    create(path)?.write_all(text.as_bytes())
}
