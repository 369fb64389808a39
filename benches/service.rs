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
use fleet::{Agent, Service, add_account, goal, tail};
use sshkeyd::sys::clock;
use stage::{Outcome, number};
use std::path::Path;
use std::time::Duration;
use support::{Times, Work};
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
/// Accounts whose keys are checked: each key may ask 500 times at once.
const KEYS: u64 = 20;

fn main() -> Outcome<()> {
    fleet::open_files()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let work = Work::new()?;
    let service = Service::start(work.path(), false)?;
    let count = number("HELD", 1_000)?;
    runtime.block_on(async {
        let agents = fleet::enrol(&service, count).await?;
        let agents = hold(&service, agents).await?;
        heartbeats(&service, agents).await?;
        key_check(&service, work.path()).await
    })
}

/// Memory of held queries, and how soon a save reaches them.
#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
async fn hold(service: &Service, agents: Vec<Agent>) -> Outcome<Vec<Agent>> {
    let count = agents.len();
    let (held, agents) = fleet::hold(service, agents, ROUNDS).await?;
    let floor = fleet::bare_fan_out(count, held.bytes).await?;
    println!("\n{count} held queries, {ROUNDS} rounds");
    println!("resident memory, each      {:9.2} KiB", held.each);
    goal("14 KiB each", held.each, 14.0, "KiB");
    println!("milliseconds                  median       p99      most");
    println!("save sent -> answer here   {}", tail(&held.reached));
    println!("bare: {:5} bytes to all  {}", held.bytes, tail(&floor));
    let reached = held.reached.at(0.99);
    println!(
        "p99 / bare p99             {:9.2}",
        reached / floor.at(0.99)
    );
    goal("100 ms to all (p99)", reached, 100.0, "ms");
    Ok(agents)
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
        agent.conn = Conn::open(&service.to).await?;
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
    let mut conn = Conn::open(&service.to).await?;
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
