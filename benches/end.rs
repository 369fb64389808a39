//! From a deletion with `end_sessions` to the end of the key's last session, with the program as
//! people run it: service and agent as processes, TLS between them, one subscription held, a real
//! sshd that is asked for proof, and real ssh clients: a command, a terminal, a bare connection.
//! `cargo bench --bench end`, as root, with openssh-server and openssh-client. `ROUNDS` (40).
//!
//! To reach: from the deletion's answer until all three are over, within 150 ms, the median; the
//! bare durable write stands beside it, by turns. "Over": the processes of sshd that served them
//! are gone, and so are what they ran and the clients. A session by another key stays all the time.
//!
//! sshd has a `/dev/log` of its own in a mount namespace of its own: `sshkeyd syslog-socket`.

use sshkeyd::client::install_crypto;
use sshkeyd::keys::PublicKey;
use sshkeyd::wire::{NewInstance, OrderOutcome, Session};
use stage::{Daemon, Outcome, Service, begin, keygen, number, program, wait, write};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::{Times, Work, bare_write, timed};
use tokio::runtime::Runtime;

#[allow(dead_code, reason = "each bench uses a part of it")]
mod stage;
#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

/// Milliseconds from the answer to the end of the last session.
const GOAL: f64 = 150.0;

#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn main() -> Outcome<()> {
    install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let work = Work::new()?;
    let service = Service::start(work.path())?;
    let stage = Stage::start(&service, &runtime, work.path())?;
    let rounds = number("ROUNDS", 40)?;
    let kept = stage.key("kept")?;
    service.save(&runtime, &kept.public)?;
    stage.wait(&kept.public, true)?;
    let mut neighbour = stage.connect(&kept, Kind::Command)?;

    let (mut bare, mut answered) = (Times::default(), Times::default());
    let (mut over, mut told) = (Times::default(), Times::default());
    for round in 0..rounds {
        let size = std::fs::metadata(&stage.file)?.len() as usize;
        let (time, done) = timed(|| bare_write(&work.path().join("bare"), &vec![b'#'; size]));
        done?;
        bare.push(time);
        let key = stage.key(&round.to_string())?;
        let id = service.save(&runtime, &key.public)?;
        stage.wait(&key.public, true)?;
        let mut clients = Vec::new();
        for kind in [Kind::Command, Kind::Terminal, Kind::Bare] {
            clients.push(stage.connect(&key, kind)?);
        }
        let known = stage.sessions(&service, &runtime, &key.public, clients.len())?;
        let monitors = known.iter().map(|session| session.pid);
        let ran = clients.iter().filter_map(|client| client.runs);
        let processes: Vec<u32> = monitors.chain(ran).collect();

        let (time, done) = timed(|| runtime.block_on(service.api.delete_ssh_key(id, true)));
        done?;
        answered.push(time);
        let ended = || {
            wait("the end of the key's sessions", || {
                processes.iter().all(|pid| is_gone(*pid)) && clients.iter_mut().all(Client::is_over)
            })
        };
        let (time, ended) = timed(ended);
        ended?;
        over.push(time);
        let (more, outcome) = timed(|| -> Outcome<_> {
            let mut outcome = None;
            wait("the instance's word", || {
                let rollout = runtime.block_on(service.api.rollout(id, None));
                let instances = rollout.map(|rollout| rollout.instances);
                outcome = instances.ok().and_then(|all| all.first()?.end_sessions);
                outcome.is_some()
            })?;
            Ok(outcome)
        });
        told.push(time + more);
        let outcome = outcome?.ok_or("no outcome")?;
        if (outcome.outcome, outcome.ended, outcome.left) != (OrderOutcome::Ended, 3, 0) {
            return Err(format!("three sessions were to end: {outcome:?}").into());
        }
        if neighbour.is_over() {
            return Err("a session by another key ended".into());
        }
    }
    println!("\nend of sessions: milliseconds  median       p90     least");
    println!("bare durable write         {}", bare.row());
    println!("delete -> answer           {}", answered.row());
    println!("answer -> last one gone    {}", over.row());
    println!("answer -> rollout says so  {}", told.row());
    let took = over.median();
    let verdict = if took < GOAL { "reached" } else { "MISSED" };
    println!("goal under {GOAL} ms: {took:.1} ms, {verdict}");
    Ok(())
}

/// Whether a process is gone, or is only waited for.
fn is_gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    let state = stat.ok().and_then(|stat| {
        let (_, fields) = stat.rsplit_once(") ")?;
        fields.chars().next()
    });
    state.is_none_or(|state| state == 'Z')
}

struct Key {
    private: PathBuf,
    public: PublicKey,
}

#[derive(Clone, Copy)]
enum Kind {
    Command,
    Terminal,
    Bare,
}

/// An ssh client; killed when it is dropped.
struct Client {
    child: Child,
    /// What runs at the other end, where something does.
    runs: Option<u32>,
}

impl Client {
    fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One machine: its sshd, and its agent.
struct Stage {
    dir: PathBuf,
    file: PathBuf,
    port: u16,
    instance: i64,
    _daemons: [Daemon; 3],
}

impl Stage {
    fn start(service: &Service, runtime: &Runtime, work: &Path) -> Outcome<Self> {
        let dir = work.join("machine");
        let file = dir.join("root/authorized_keys");
        std::fs::create_dir_all(dir.join("root"))?;
        let at = dir.display();
        keygen(&dir.join("host_key"))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let config = dir.join("sshd_config");
        let text = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {at}/host_key\nPidFile none\nUsePAM no\n\
             UseDNS no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nAuthorizedKeysFile {at}/%u/authorized_keys\n"
        );
        write(&config, &text)?;
        let new = NewInstance {
            label: "machine".to_owned(),
        };
        let made = runtime.block_on(service.api.create_instance(&new))?;
        write(&dir.join("token"), &made.enroll_token)?;
        let text = format!(
            "[agent]\nstate-dir = \"{at}/state\"\ncontrol-socket = \"{at}/run/agent.sock\"\n\
             [[source]]\nname = \"account\"\naccount.urls = [\"{}\"]\n\
             account.enroll-token-file = \"{at}/token\"\naccount.ca-file = \"{}\"\n\
             [[target]]\nuser = \"root\"\nsources = [\"account\"]\n\
             path = \"{at}/%u/authorized_keys\"\n[verify]\nsshd = \"127.0.0.1:{port}\"\n\
             [certificates]\nsshd-config = \"{at}/sshd_config\"\n\
             host-keys = [\"{at}/host_key.pub\"]\n\
             user-ca = false\nhost-certificates = false\n[sessions]\nauth-log = \"syslog-socket\"\n",
            service.url,
            service.ca.display()
        );
        let config = dir.join("agent.toml");
        write(&config, &text)?;
        std::fs::create_dir(dir.join("dev"))?;
        let socket = dir.join("dev/log");
        let mut log = begin(program().into());
        log.arg("syslog-socket").arg("--config").arg(&config);
        let log = log.arg("--socket").arg(&socket);
        let log = Daemon::start(log, &dir.join("syslog.log"))?;
        wait("the log's socket", || socket.exists())?;
        let mut sshd = Command::new("unshare");
        sshd.args(["--mount", "sh", "-c", OWN_LOG]).arg(&dir);
        let sshd = Daemon::start(sshd.stdin(Stdio::null()), &dir.join("sshd.log"))?;
        wait("sshd", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })?;
        let mut agent = begin(program().into());
        let agent = agent.arg("agent").arg("--config").arg(&config);
        let agent = Daemon::start(agent, &dir.join("agent.log"))?;
        Ok(Self {
            file,
            port,
            instance: made.id,
            _daemons: [agent, sshd, log],
            dir,
        })
    }

    fn key(&self, name: &str) -> Outcome<Key> {
        let private = self.dir.join(format!("key-{name}"));
        keygen(&private)?;
        let text = std::fs::read_to_string(private.with_extension("pub"))?;
        let (public, _) = PublicKey::parse_text(&text)?;
        Ok(Key { private, public })
    }

    /// Until the file has the key, or has it no more.
    fn wait(&self, key: &PublicKey, there: bool) -> Outcome<()> {
        let line = key.to_string();
        wait("the key in the file", || {
            let text = std::fs::read_to_string(&self.file).unwrap_or_default();
            text.contains(&line) == there
        })
    }

    /// Logs in; returns when the other end runs, or when the connection stands.
    fn connect(&self, key: &Key, kind: Kind) -> Outcome<Client> {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-v", "-p", &self.port.to_string(), "-i"])
            .arg(&key.private);
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ] {
            ssh.args(["-o", option]);
        }
        match kind {
            Kind::Command => ssh.args(["root@127.0.0.1", RUN]),
            Kind::Terminal => ssh.args(["-tt", "root@127.0.0.1", RUN]),
            Kind::Bare => ssh.args(["-N", "root@127.0.0.1"]),
        };
        let mut child = ssh
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let mut client = Client { child, runs: None };
        let mut said = BufReader::new(err.ok_or("no stderr")?);
        let mut line = String::new();
        while !line.contains("Entering interactive session") {
            line.clear();
            if said.read_line(&mut line)? == 0 {
                return Err("ssh did not get in".into());
            }
        }
        // It goes on to speak until it ends.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        if !matches!(kind, Kind::Bare) {
            let mut first = String::new();
            let mut out = BufReader::new(out.ok_or("no stdout")?);
            out.read_line(&mut first)?;
            client.runs = Some(first.trim().parse()?);
            std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        }
        Ok(client)
    }

    /// The sessions by this key, once the instance names as many.
    fn sessions(
        &self,
        service: &Service,
        runtime: &Runtime,
        key: &PublicKey,
        count: usize,
    ) -> Outcome<Vec<Session>> {
        let fingerprint = Some(key.fingerprint().to_string());
        let mut found = Vec::new();
        wait("the sessions in the instance's status", || {
            let instance = runtime.block_on(service.api.instance(self.instance));
            let status = instance.ok().and_then(|instance| instance.status);
            found = status.map(|status| status.sessions).unwrap_or_default();
            found.retain(|session| session.fingerprint == fingerprint);
            found.len() == count
        })?;
        Ok(found)
    }
}

/// Says its number and stays.
const RUN: &str = "echo $$; exec sleep 1000";

/// Gives sshd a /dev with a `log` of its own: everything else in it is the machine's.
const OWN_LOG: &str = concat!(
    include_str!("../tests/it/support/with-dev.sh"),
    "mkdir -p /run/sshd\nmount --rbind \"$0/dev\" /dev\nexec /usr/sbin/sshd -D -f \"$0/sshd_config\"\n"
);
