//! A service as a process on loopback, with or without TLS, and a fleet of agents of few words.

use crate::client::{Conn, Request, Server};
use crate::stage::{Daemon, Outcome, begin, wait, write};
use crate::support::{Times, key};
use sshkeyd::sys::clock;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::task::JoinSet;

/// Agents that come at the same moment where order does not matter.
const AT_ONCE: usize = 16;

/// As many open files as this process may have.
pub(crate) fn open_files() -> Outcome<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    Ok(rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        most,
    )?)
}

/// The service, and its first account's key.
pub(crate) struct Service {
    pub(crate) to: Server,
    pub(crate) key: String,
    daemon: Daemon,
}

impl Service {
    /// Keeps everything below this directory, but for a database that `DATABASE` names.
    pub(crate) fn start(dir: &Path, tls: bool) -> Outcome<Self> {
        let address: SocketAddr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let at = dir.display();
        let own = format!("sqlite:{at}/sshkeyd.db");
        let database = std::env::var("DATABASE").unwrap_or(own);
        let (scheme, secure, to) = if tls {
            let key = rcgen::KeyPair::generate()?;
            let names = vec!["localhost".to_owned()];
            let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
            write(&dir.join("tls.pem"), &certificate.pem())?;
            write(&dir.join("tls.key"), &key.serialize_pem())?;
            let lines = format!("tls.certificate = \"{at}/tls.pem\"\ntls.key = \"{at}/tls.key\"\n");
            let to = Server::secure(address, certificate.der().clone())?;
            ("https", lines, to)
        } else {
            ("http", String::new(), Server::plain(address))
        };
        let text = format!(
            "[server]\nlisten = \"{address}\"\npublic-url = \"{scheme}://localhost:{}\"\n\
             database = \"{database}\"\nsecrets-dir = \"{at}/secrets\"\n\
             {secure}",
            address.port()
        );
        write(&dir.join("server.toml"), &text)?;
        let nth = clock::monotonic().as_nanos();
        let key = add_account(dir, &format!("bench-{nth}@example.com"))?;
        let mut serve = program();
        serve
            .arg("server")
            .arg("--config")
            .arg(dir.join("server.toml"));
        let daemon = Daemon::start(&mut serve, &dir.join("server.log"))?;
        wait("the service", || {
            std::net::TcpStream::connect(address).is_ok()
        })?;
        Ok(Self { to, key, daemon })
    }

    /// Resident memory, KiB.
    pub(crate) fn memory(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.ok_or("no VmRSS")?.parse()?)
    }

    /// Processor time, seconds.
    pub(crate) fn processor(&self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.daemon.0.id()))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("no stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: Result<Vec<f64>, _> = ticks.map(str::parse).collect();
        Ok(ticks?.iter().sum::<f64>() / 100.0)
    }
}

fn program() -> Command {
    begin(env!("CARGO_BIN_EXE_sshkeyd").into())
}

pub(crate) fn add_account(dir: &Path, email: &str) -> Outcome<String> {
    let mut add = program();
    add.args(["account", "add", email, "--json", "--config"]);
    let added = add.arg(dir.join("server.toml")).output()?;
    let added: serde_json::Value = serde_json::from_slice(&added.stdout)?;
    let key = added.get("api_key").and_then(|key| key.as_str());
    Ok(key.ok_or("no account was added")?.to_owned())
}

/// An agent of few words.
pub(crate) struct Agent {
    pub(crate) instance: i64,
    pub(crate) session: String,
    pub(crate) etag: String,
    pub(crate) conn: Conn,
}

impl Agent {
    pub(crate) fn hold(&self) -> Request {
        Request::get("/v1/agent/snapshot?wait=300", &self.session)
            .header("x-sshkeyd-run", "run-1")
            .header("if-none-match", &self.etag)
    }

    /// A heartbeat; what it says changes with `nth`.
    pub(crate) fn heartbeat(&self, nth: u64) -> Request {
        let state = if nth.is_multiple_of(2) {
            "ok"
        } else {
            "degraded"
        };
        let finger = "SHA256:mKqU+0K8OhKmA8bBQi9Rz0Q5l7/g160hIP+rJYSTNj4";
        let target = serde_json::json!({"user": "root", "path": "/root/.ssh/authorized_keys",
            "method": "block", "managed": [finger], "foreign": 1, "revision": 1,
            "applied_at": "2026-11-22T19:00:00Z", "digest": null,
            "proof": {"accepted": [finger], "at": "2026-11-22T19:00:00Z"}});
        let source = serde_json::json!({"name": "account", "kind": "account", "state": "live",
            "revision": 1, "keys": 1, "rejected": [], "last_success": "2026-11-22T19:00:00Z",
            "last_error": null});
        let body = serde_json::json!({"run": "run-1", "status": {"version": "0.1.0",
            "instance": self.instance, "state": state, "sources": [source], "targets": [target]}});
        Request::post("/v1/agent/heartbeat", &self.session, &body)
    }
}

/// As many instances of the account, each with the list that is there now. Their connections are
/// closed again: what a connection costs is counted from none.
pub(crate) async fn enrol(service: &Service, count: u64) -> Outcome<Vec<Agent>> {
    let mut all = JoinSet::new();
    for part in 0..AT_ONCE as u64 {
        let (to, key) = (service.to.clone(), service.key.clone());
        all.spawn(async move {
            let mut agents = Vec::new();
            for nth in (part..count).step_by(AT_ONCE) {
                let agent = enrol_one(&to, &key, nth).await;
                agents.push(agent.map_err(|fault| fault.to_string())?);
            }
            Ok::<_, String>(agents)
        });
    }
    let mut agents = Vec::new();
    while let Some(done) = all.join_next().await {
        agents.extend(done??);
    }
    Ok(agents)
}

async fn enrol_one(to: &Server, owner: &str, nth: u64) -> Outcome<Agent> {
    let mut conn = Conn::open(to).await?;
    let label = serde_json::json!({"label": format!("box-{nth}")});
    let made = Request::post("/v1/instances", owner, &label);
    let made = conn.patiently(&made).await?.json()?;
    let token = made.get("enroll_token").and_then(|token| token.as_str());
    let token = token.ok_or("no token")?;
    let (token, _) = token.split_once('.').ok_or("no signer in the token")?;
    let body = serde_json::json!({"token": token, "public_key": key(nth).to_string(),
        "run": "run-1", "hostname": format!("box-{nth}")});
    let enrolled = Request::post("/v1/agent/enroll", "", &body);
    let enrolled = conn.patiently(&enrolled).await?.json()?;
    let session = enrolled.get("session_key").and_then(|key| key.as_str());
    let instance = enrolled.get("instance").and_then(|id| id.as_i64());
    let mut agent = Agent {
        instance: instance.ok_or("no instance")?,
        session: session.ok_or("no session")?.to_owned(),
        etag: String::new(),
        conn,
    };
    let first = agent.conn.ask(&agent.hold()).await?;
    agent.etag = first.etag.ok_or("no ETag")?;
    agent.conn.close();
    Ok(agent)
}

/// What held queries cost, and how soon a save reaches them.
pub(crate) struct Held {
    /// Resident memory of each, KiB.
    pub(crate) each: f64,
    /// From the moment that a save is sent to an answer here.
    pub(crate) reached: Times,
    /// Processor time of the service for each answer, microseconds.
    pub(crate) processor: f64,
    /// Bytes of an answer's body.
    pub(crate) bytes: usize,
}

/// Holds a query of each agent, and wakes all of them as often; then once more, to look at memory.
pub(crate) async fn hold(
    service: &Service,
    mut agents: Vec<Agent>,
    rounds: u64,
) -> Outcome<(Held, Vec<Agent>)> {
    let count = agents.len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = service.memory()?;
    let (mut reached, mut bytes, mut processor) = (Times::default(), 0, 0.0);
    for round in 0..rounds {
        let mut waiting = JoinSet::new();
        for mut agent in agents {
            if round == 0 {
                agent.conn = Conn::open(&service.to).await?;
            }
            agent.conn.send(&agent.hold()).await?;
            waiting.spawn(async move {
                let answer = agent.conn.answer().await;
                (clock::monotonic(), answer, agent)
            });
        }
        held(service, count).await?;
        let public_key = key(1_000_000 + round).to_string();
        let new = serde_json::json!({ "public_key": public_key });
        let mut owner = Conn::open(&service.to).await?;
        let used = service.processor()?;
        let sent = clock::monotonic();
        owner
            .ask(&Request::post("/v1/ssh-keys", &service.key, &new))
            .await?;
        agents = Vec::with_capacity(count);
        while let Some(done) = waiting.join_next().await {
            let (at, answer, mut agent) = done?;
            let answer = answer?;
            if answer.status != 200 {
                return Err(format!("a held query ended with {}", answer.status).into());
            }
            bytes = answer.body.len();
            agent.etag = answer.etag.ok_or("no ETag")?;
            reached.push(at.saturating_sub(sent));
            agents.push(agent);
        }
        processor += service.processor()? - used;
    }
    for agent in &mut agents {
        agent.conn.send(&agent.hold()).await?;
    }
    held(service, count).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = (service.memory()? - before) / count as f64;
    // Each begins anew, with nothing under way.
    for agent in &mut agents {
        agent.conn.close();
    }
    let held = Held {
        each,
        reached,
        processor: processor * 1e6 / (count as f64 * rounds as f64),
        bytes,
    };
    Ok((held, agents))
}

/// Until the service says that it holds as many.
pub(crate) async fn held(service: &Service, count: usize) -> Outcome<()> {
    let line = format!("sshkeyd_held_queries {count}");
    let mut conn = Conn::open(&service.to).await?;
    for _ in 0..6_000 {
        let counts = conn.ask(&Request::get("/metrics", "")).await?;
        if counts.text()?.lines().any(|l| l == line) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err("not all queries are held".into())
}

/// As many bytes to as many sockets, by one that does nothing else.
pub(crate) async fn bare_fan_out(count: usize, bytes: usize) -> Outcome<Times> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let to = listener.local_addr()?;
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = listener.into_std()?;
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let mut streams = Vec::new();
            while streams.len() < count {
                streams.push(listener.accept().await?.0);
            }
            let _ = gone.await;
            let answer = vec![b'#'; bytes];
            for stream in &mut streams {
                tokio::io::AsyncWriteExt::write_all(stream, &answer).await?;
            }
            Ok(())
        })
    });
    let mut waiting = JoinSet::new();
    for _ in 0..count {
        let mut stream = tokio::net::TcpStream::connect(to).await?;
        waiting.spawn(async move {
            let mut answer = vec![0; bytes];
            let read = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer).await;
            read.map(|_| clock::monotonic())
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sent = clock::monotonic();
    go.send(()).map_err(|()| "the bare server has ended")?;
    let mut times = Times::default();
    while let Some(done) = waiting.join_next().await {
        times.push(done??.saturating_sub(sent));
    }
    server.join().map_err(|_| "the bare server has ended")??;
    Ok(times)
}

pub(crate) fn tail(times: &Times) -> String {
    format!(
        "{:9.3} {:9.3} {:9.3}",
        times.at(0.5),
        times.at(0.99),
        times.at(1.0)
    )
}

#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
pub(crate) fn goal(what: &str, value: f64, most: f64, unit: &str) {
    let verdict = if value <= most { "reached" } else { "MISSED" };
    println!("goal {what:28} {value:9.2} {unit}, {verdict}");
}
