//! From a save to the key in the file, with the program as people run it: service and agent as
//! processes, TLS between them, one subscription held. `cargo bench --bench save`, as root. `SAVES`
//! (200) sets how long it takes; `AGENT` names another program to run as the agent: a build of the
//! agent alone.
//!
//! To reach: from the save's answer until the key is durable in authorized_keys, within 1.5 times
//! the bare durable write and 5 ms, medians of one run, by turns.
//!
//! "Durable": the file under its name has the key, which the agent gives it only after the file's
//! own fsync, and then a fsync of the directory, begun here when the name is seen to have changed,
//! has ended. It cannot end before the rename is on the disk, so the time is never too short; the
//! agent's own fsync runs at the same moment.

use sshkeyd::client::install_crypto;
use sshkeyd::demo::ssh_server::SshServer;
use sshkeyd::sys::clock;
use stage::{Agent, Outcome, Service, number, program, write};
use std::fs::File;
use support::{Times, Work, bare_write, timed};
use tokio::runtime::Runtime;

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

#[allow(dead_code, reason = "each bench uses a part of it")]
mod stage;

fn main() -> Outcome<()> {
    install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let work = Work::new()?;
    let service = Service::start(work.path())?;
    let saves = number("SAVES", 200)?;

    let agent = Agent::start(&program(), &service, &runtime, work.path(), "off", "off")?;
    measure("verify off", &service, &runtime, &agent, saves)?;
    drop(agent);

    let file = work.path().join("asked/root/authorized_keys");
    let server = SshServer::start(file, clock::now, std::future::pending());
    let server = runtime.block_on(server)?;
    write(
        &work.path().join("host_key.pub"),
        &format!("{}\n", server.host_key),
    )?;
    let sshd = server.address.to_string();
    let agent = Agent::start(&program(), &service, &runtime, work.path(), "asked", &sshd)?;
    measure("verify on", &service, &runtime, &agent, saves)
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
