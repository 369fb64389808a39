//! What the service can bear, as a process on loopback without TLS, the client on the same machine.
//! `cargo bench --bench service`, as root. `HELD` (1,000), `SECONDS` (10), `RATE` (2,000) and
//! `CHECKS` (400 for each of 20 keys) change how much.
//!
//! To reach: a held query costs under 14 KiB after five rounds; a save reaches 1,000 held queries
//! within 100 ms (p99, from the moment it is sent); 2,000 heartbeats a second for ten seconds, each
//! second one of them with news; a key check under 50 us.
//!
//! The floors, of the same run: one that writes as many bytes to as many sockets and does nothing
//! else; a refusal to who shows no key.

use client::{Conn, Request};
use sshkeyd::sys::clock;
use stage::{Daemon, Outcome, begin, number, wait, write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::{Times, Work, key};
use tokio::task::JoinSet;

#[allow(dead_code, reason = "each bench uses a part of it")]
mod stage;
#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

mod client;

/// Rounds of save and answer before the memory is read.
const ROUNDS: u64 = 5;
/// Accounts whose keys are checked: each key may ask 500 times at once.
const KEYS: u64 = 20;

fn main() -> Outcome<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let work = Work::new()?;
    let service = Service::start(work.path())?;
    let held = number("HELD", 1_000)?;
    runtime.block_on(async {
        let agents = enrol(&service, held).await?;
        let agents = hold(&service, agents).await?;
        heartbeats(&service, agents).await?;
        key_check(&service, work.path()).await
    })
}

/// The service, and its first account's key.
struct Service {
    to: SocketAddr,
    key: String,
    daemon: Daemon,
}

impl Service {
    fn start(dir: &Path) -> Outcome<Self> {
        let to: SocketAddr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let at = dir.display();
        let text = format!(
            "[server]\nlisten = \"{to}\"\npublic-url = \"http://{to}\"\n\
             database = \"sqlite:{at}/sshkeyd.db\"\nsecrets-dir = \"{at}/secrets\"\n"
        );
        write(&dir.join("server.toml"), &text)?;
        let key = add_account(dir, "bench@example.com")?;
        let mut serve = program();
        serve
            .arg("server")
            .arg("--config")
            .arg(dir.join("server.toml"));
        let daemon = Daemon::start(&mut serve, &dir.join("server.log"))?;
        wait("the service", || std::net::TcpStream::connect(to).is_ok())?;
        Ok(Self { to, key, daemon })
    }

    /// Resident memory, KiB.
    fn memory(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.ok_or("no VmRSS")?.parse()?)
    }

    /// Processor time, seconds.
    fn processor(&self) -> Outcome<f64> {
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

fn add_account(dir: &Path, email: &str) -> Outcome<String> {
    let mut add = program();
    add.args(["account", "add", email, "--json", "--config"]);
    let added = add.arg(dir.join("server.toml")).output()?;
    let added: serde_json::Value = serde_json::from_slice(&added.stdout)?;
    let key = added.get("api_key").and_then(|key| key.as_str());
    Ok(key.ok_or("no account was added")?.to_owned())
}

/// An agent of few words.
struct Agent {
    instance: i64,
    session: String,
    etag: String,
    conn: Conn,
}

impl Agent {
    fn hold(&self) -> Request {
        Request::get("/v1/agent/snapshot?wait=300", &self.session)
            .header("x-sshkeyd-run", "run-1")
            .header("if-none-match", &self.etag)
    }

    /// A heartbeat; what it says changes with `nth`.
    fn heartbeat(&self, nth: u64) -> Request {
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

/// As many instances of the account.
async fn enrol(service: &Service, count: u64) -> Outcome<Vec<Agent>> {
    let mut owner = Conn::open(service.to).await?;
    let mut agents = Vec::new();
    for nth in 0..count {
        let label = serde_json::json!({"label": format!("box-{nth}")});
        let made = owner
            .patiently(&Request::post("/v1/instances", &service.key, &label))
            .await?;
        let made = made.json()?;
        let token = made.get("enroll_token").and_then(|token| token.as_str());
        let token = token.ok_or("no token")?;
        let (token, _) = token.split_once('.').ok_or("no signer in the token")?;
        let body = serde_json::json!({"token": token, "public_key": key(nth).to_string(),
            "run": "run-1", "hostname": format!("box-{nth}")});
        let mut conn = Conn::open(service.to).await?;
        let enrolled = conn
            .ask(&Request::post("/v1/agent/enroll", "", &body))
            .await?
            .json()?;
        let session = enrolled.get("session_key").and_then(|key| key.as_str());
        let session = session.ok_or("no session")?.to_owned();
        let instance = enrolled.get("instance").and_then(|id| id.as_i64());
        let instance = instance.ok_or("no instance")?;
        // The service closes a connection that is idle for ten seconds.
        conn.close();
        agents.push(Agent {
            instance,
            session,
            etag: String::new(),
            conn,
        });
    }
    // All are closed again: what a connection costs is counted from none.
    for agent in &mut agents {
        agent.conn = Conn::open(service.to).await?;
        let first = agent.conn.ask(&agent.hold()).await?;
        agent.etag = first.etag.ok_or("no ETag")?;
        agent.conn.close();
    }
    Ok(agents)
}

/// Memory of held queries, and how soon a save reaches them.
#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
async fn hold(service: &Service, mut agents: Vec<Agent>) -> Outcome<Vec<Agent>> {
    let count = agents.len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = service.memory()?;
    let (mut reached, mut bytes) = (Times::default(), 0);
    for round in 0..ROUNDS {
        let mut waiting = JoinSet::new();
        for mut agent in agents {
            if round == 0 {
                agent.conn = Conn::open(service.to).await?;
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
        let mut owner = Conn::open(service.to).await?;
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
    }
    for agent in &mut agents {
        agent.conn.send(&agent.hold()).await?;
    }
    held(service, count).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = (service.memory()? - before) / count as f64;
    let floor = bare_fan_out(count, bytes).await?;
    println!("\n{count} held queries, {ROUNDS} rounds");
    println!("resident memory, each      {each:9.2} KiB");
    goal("14 KiB each", each, 14.0, "KiB");
    println!("milliseconds                  median       p99      most");
    println!("save sent -> answer here   {}", tail(&reached));
    println!("bare: {bytes:5} bytes to all  {}", tail(&floor));
    println!(
        "p99 / bare p99             {:9.2}",
        reached.at(0.99) / floor.at(0.99)
    );
    goal("100 ms to all (p99)", reached.at(0.99), 100.0, "ms");
    // Each begins anew, with nothing under way.
    for agent in &mut agents {
        agent.conn.close();
    }
    Ok(agents)
}

/// Until the service says that it holds as many.
async fn held(service: &Service, count: usize) -> Outcome<()> {
    let line = format!("sshkeyd_held_queries {count}");
    let mut conn = Conn::open(service.to).await?;
    for _ in 0..1_000 {
        let counts = conn.ask(&Request::get("/metrics", "")).await?;
        if counts.text()?.lines().any(|l| l == line) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err("not all queries are held".into())
}

/// As many bytes to as many sockets, by one that does nothing else.
async fn bare_fan_out(count: usize, bytes: usize) -> Outcome<Times> {
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

/// Heartbeats of distinct instances at a steady rate.
#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
async fn heartbeats(service: &Service, agents: Vec<Agent>) -> Outcome<()> {
    let (rate, seconds) = (number("RATE", 2_000)?, number("SECONDS", 10)?);
    let count = agents.len() as u64;
    let all = rate * seconds;
    let before = service.processor()?;
    let mut beating = JoinSet::new();
    let start = tokio::time::Instant::now() + Duration::from_millis(500);
    let began = clock::monotonic() + Duration::from_millis(500);
    for (place, mut agent) in (0..).zip(agents) {
        agent.conn = Conn::open(service.to).await?;
        beating.spawn(async move {
            let mut times = Times::default();
            // Beat number n of all is due at n / rate; this agent's are every count-th.
            for (nth, beat) in (place..all).step_by(count as usize).enumerate() {
                let due = Duration::from_secs_f64(beat as f64 / rate as f64);
                tokio::time::sleep_until(start + due).await;
                // One half says something new each time.
                let news = if place % 2 == 0 { nth as u64 } else { 0 };
                let request = agent.heartbeat(news);
                let sent = clock::monotonic();
                let answer = agent
                    .conn
                    .ask(&request)
                    .await
                    .map_err(|fault| fault.to_string())?;
                if answer.status != 200 {
                    return Err(format!("a heartbeat was answered with {}", answer.status));
                }
                times.push(clock::monotonic().saturating_sub(sent));
            }
            Ok(times)
        });
    }
    let mut times = Times::default();
    while let Some(done) = beating.join_next().await {
        times.extend(done??);
    }
    let took = (clock::monotonic().saturating_sub(began)).as_secs_f64();
    let processor = service.processor()? - before;
    let reached = times.len() as f64 / took;
    println!("\nheartbeats: {all} of {count} instances, due in {seconds} s");
    println!("answered a second          {reached:9.0}   (in {took:.2} s)");
    println!("milliseconds                  median       p99      most");
    println!("heartbeat -> answer        {}", tail(&times));
    let each = processor * 1e6 / times.len() as f64;
    println!("processor, each            {each:9.0} us");
    // What is due is sent when it is due: all that is missing is what came late.
    goal(
        "2,000 a second, late by 2 %",
        took,
        seconds as f64 * 1.02 + 0.1,
        "s",
    );
    Ok(())
}

/// What it costs to find out whose a key is.
#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
async fn key_check(service: &Service, dir: &Path) -> Outcome<()> {
    let checks = number("CHECKS", 400)?;
    let mut keys = Vec::new();
    for nth in 0..KEYS {
        keys.push(add_account(dir, &format!("check-{nth}@example.com"))?);
    }
    let mut conn = Conn::open(service.to).await?;
    let (mut without, mut with) = (Times::default(), Times::default());
    for _ in 0..checks {
        for key in &keys {
            // Neither is an agent: one is told so once its key is known, the other at once.
            for (token, status, times) in [("", 401, &mut without), (key.as_str(), 403, &mut with)]
            {
                let request = Request::get("/v1/agent/snapshot", token);
                let sent = clock::monotonic();
                let answer = conn.ask(&request).await?;
                times.push(clock::monotonic().saturating_sub(sent));
                if answer.status != status {
                    return Err(format!("{} and not {status}", answer.status).into());
                }
            }
        }
    }
    let check = (with.median() - without.median()) * 1_000.0;
    println!("\na key check, {} times: milliseconds", with.len());
    println!("                              median       p99      most");
    println!("refused without a key      {}", tail(&without));
    println!("refused with one           {}", tail(&with));
    println!(
        "with / without             {:9.2}",
        with.median() / without.median()
    );
    goal("a check under 50 us", check, 50.0, "us");
    Ok(())
}

fn tail(times: &Times) -> String {
    format!(
        "{:9.3} {:9.3} {:9.3}",
        times.at(0.5),
        times.at(0.99),
        times.at(1.0)
    )
}

#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn goal(what: &str, value: f64, most: f64, unit: &str) {
    let verdict = if value <= most { "reached" } else { "MISSED" };
    println!("goal {what:28} {value:9.2} {unit}, {verdict}");
}
