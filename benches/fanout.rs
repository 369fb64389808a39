//! How held queries grow, as a process on loopback, the client on the same machine: memory, the time
//! for one save to reach all, and heartbeats, plain and over TLS.
//! `cargo bench --bench fanout`, as root. `HELD` (`100,1000,10000`) says how many; `DATABASE` names a
//! PostgreSQL database, and without it each fleet has an SQLite file of its own; `BEATS` (20,000) is
//! how many heartbeats are sent, as fast as sixteen connections can.
//!
//! To reach with 10,000: under 14 KiB for each held query plain and 24 KiB over TLS, after five
//! rounds; all reached within 300 ms (p99); and what one costs does not grow with their number.
//!
//! The floor, of the same run: one that writes as many bytes to as many sockets and does nothing
//! else. Client and service share the cores, so every time has the client's own reading in it.

use client::Conn;
use fleet::{Agent, Service, goal};
use sshkeyd::sys::clock;
use stage::{Outcome, number};
use std::time::Duration;
use support::Work;
use tokio::task::JoinSet;

#[allow(dead_code, reason = "each bench uses a part of it")]
mod stage;
#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

mod client;
#[allow(dead_code, reason = "each bench uses a part of it")]
mod fleet;

/// Rounds of save and answer before the memory is read.
const ROUNDS: u64 = 5;
/// Sockets of the floor: both of their ends are in this process, which has 20,000 files here.
const BARE: usize = 9_500;
/// Connections that heartbeats come over.
const BEATING: usize = 16;

#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn main() -> Outcome<()> {
    fleet::open_files()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let held = std::env::var("HELD").unwrap_or_else(|_| "100,1000,10000".to_owned());
    let counts = held.split(',').map(str::parse::<u64>);
    let counts = counts.collect::<Result<Vec<_>, _>>()?;
    println!(
        "        held   KiB each   save -> all: p50      p99     most   bare p99   us each   beats/s"
    );
    let mut goals = Vec::new();
    for tls in [false, true] {
        for &count in &counts {
            let work = Work::new()?;
            let service = Service::start(work.path(), tls)?;
            let (held, floor, beats) = runtime.block_on(async {
                let agents = fleet::enrol(&service, count).await?;
                let (held, agents) = fleet::hold(&service, agents, ROUNDS).await?;
                let floor = fleet::bare_fan_out(agents.len().min(BARE), held.bytes).await?;
                let beats = beats(&service, agents).await?;
                Ok::<_, Box<dyn std::error::Error>>((held, floor, beats))
            })?;
            let name = if tls { "TLS  " } else { "plain" };
            let [p50, p99, most] = [0.5, 0.99, 1.0].map(|part| held.reached.at(part));
            let (each, bare, us) = (held.each, floor.at(0.99), held.processor);
            println!(
                "{name} {count:6} {each:10.2} {p50:18.1} {p99:8.1} {most:8.1} {bare:10.1} \
                 {us:9.0} {beats:9.0}"
            );
            goals.push((format!("{name} {count}: memory"), each, memory(tls), "KiB"));
            goals.push((format!("{name} {count}: p99"), p99, 300.0, "ms"));
        }
    }
    for (what, value, most, unit) in goals {
        goal(&what, value, most, unit);
    }
    Ok(())
}

fn memory(tls: bool) -> f64 {
    if tls { 24.0 } else { 14.0 }
}

/// Heartbeats a second, each second one of them with news, from as many agents as there are.
async fn beats(service: &Service, agents: Vec<Agent>) -> Outcome<f64> {
    let all = number("BEATS", 20_000)?;
    let each = all.div_ceil(BEATING as u64);
    let per = agents.len().div_ceil(BEATING);
    let mut agents = agents.into_iter();
    let mut beating = JoinSet::new();
    let began = clock::monotonic();
    for _ in 0..BEATING {
        let part: Vec<Agent> = agents.by_ref().take(per).collect();
        if part.is_empty() {
            continue;
        }
        let to = service.to.clone();
        beating.spawn(async move {
            let mut conn = Conn::open(&to).await.map_err(|fault| fault.to_string())?;
            let (mut sent, mut turn) = (0, 0);
            while sent < each {
                let Some(agent) = part.get(turn % part.len()) else {
                    break;
                };
                let news = if sent % 2 == 0 { turn / part.len() } else { 0 };
                let answer = conn.ask(&agent.heartbeat(news as u64)).await;
                match answer.map_err(|fault| fault.to_string())?.status {
                    200 => sent += 1,
                    // An instance may say so much and no more: its turn comes again.
                    429 => tokio::time::sleep(Duration::from_millis(5)).await,
                    other => return Err(format!("a heartbeat was answered with {other}")),
                }
                turn += 1;
            }
            Ok(sent)
        });
    }
    let mut sent = 0;
    while let Some(done) = beating.join_next().await {
        sent += done??;
    }
    let took = clock::monotonic().saturating_sub(began).as_secs_f64();
    Ok(sent as f64 / took)
}
