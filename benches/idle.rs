//! What an agent costs that has nothing to do: memory by kind, wake-ups, disk writes; and the peak
//! with 10,000 keys. `cargo bench --bench idle`, as root. The full program and a build of the agent
//! alone (made first, below `target/alone`; `AGENT` names another program instead) are measured in
//! the same way: 50 saves, then two minutes with one held TLS subscription and a heartbeat every
//! 30 s. `IDLE` (120 s), `SAVES` (50) and `KEYS` (10,000) change that.
//!
//! To reach: 6 MiB resident for the agent alone and 8 MiB for the full program, no byte written to
//! the disk, 30 MiB at most with 10,000 keys.

use sshkeyd::client::install_crypto;
use sshkeyd::demo::ssh_server::SshServer;
use sshkeyd::sys::clock;
use stage::{Agent, Daemon, Outcome, Service, begin, number, wait, write};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::Work;
use tokio::runtime::Runtime;

#[allow(dead_code, reason = "each bench uses a part of it")]
mod stage;
#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

const KIB: f64 = 1024.0;

fn main() -> Outcome<()> {
    install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let work = Work::new()?;
    let full = PathBuf::from(env!("CARGO_BIN_EXE_sshkeyd"));
    let programs = [
        ("agent alone", agent_alone()?, 6.0),
        ("full program", full, 8.0),
    ];
    let service = Service::start(work.path())?;
    let file = work.path().join("asked/root/authorized_keys");
    let server = SshServer::start(file, clock::now, std::future::pending());
    let server = runtime.block_on(server)?;
    let host_key = format!("{}\n", server.host_key);
    write(&work.path().join("host_key.pub"), &host_key)?;
    let asked = server.address.to_string();
    for (nth, (name, program, goal)) in programs.iter().enumerate() {
        for (place, sshd) in [("off", "off"), ("asked", &asked)] {
            // A new instance each: the file is one server's, so that directory is used again.
            let place = if sshd == "off" {
                format!("off-{nth}")
            } else {
                place.to_owned()
            };
            let _ = std::fs::remove_dir_all(work.path().join(&place));
            let agent = Agent::start(program, &service, &runtime, work.path(), &place, sshd)?;
            let words = if sshd == "off" {
                "no sshd asked"
            } else {
                "sshd asked for proof"
            };
            idle(
                &format!("{name}, {words}"),
                &service,
                &runtime,
                &agent,
                *goal,
            )?;
        }
        peak(name, program, &work.path().join(format!("many-{nth}")))?;
    }
    Ok(())
}

/// The program of `AGENT`, or a build of the agent alone.
fn agent_alone() -> Outcome<PathBuf> {
    if let Some(named) = std::env::var_os("AGENT") {
        return Ok(named.into());
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/alone");
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "build",
        "--release",
        "--locked",
        "--no-default-features",
        "--features",
        "agent",
    ]);
    let built = build.arg("--target-dir").arg(&target).status()?;
    if !built.success() {
        return Err("the agent alone does not build".into());
    }
    Ok(target.join("release/sshkeyd"))
}

#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn goal(what: &str, value: f64, most: f64, unit: &str) {
    let verdict = if value <= most { "reached" } else { "MISSED" };
    println!("  {what:34} {value:9.2} {unit:4} goal {most:6.2}: {verdict}");
}

/// Saves, then idles.
#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
#[expect(clippy::disallowed_methods, reason = "idling is what is measured")]
fn idle(name: &str, service: &Service, runtime: &Runtime, agent: &Agent, most: f64) -> Outcome<()> {
    for nth in 0..number("SAVES", 50)? {
        let key = support::key(1_000_000 + nth);
        let id = service.save(runtime, &key)?;
        agent.wait(&key, true)?;
        runtime.block_on(service.api.delete_ssh_key(id, false))?;
        agent.wait(&key, false)?;
    }
    let pid = agent.daemon.0.id();
    // What the last change leaves to do, proof and heartbeat; then idle threads end.
    std::thread::sleep(Duration::from_secs(15));
    let time = Duration::from_secs(number("IDLE", 120)?);
    let (before, written) = (switches(pid)?, of("io", pid, "\nwrite_bytes:")?);
    std::thread::sleep(time);
    let mut woken = 0.0;
    for (task, count) in switches(pid)? {
        woken += count - before.get(&task).copied().unwrap_or_default();
    }
    let written = of("io", pid, "\nwrite_bytes:")? - written;
    println!("{name}: after {} s", time.as_secs());
    goal(
        "resident (VmRSS)",
        of("status", pid, "VmRSS:")? / KIB,
        most,
        "MiB",
    );
    for (what, file, field) in [
        ("  of it anonymous", "status", "RssAnon:"),
        ("  of it files", "status", "RssFile:"),
        ("proportional (Pss)", "smaps_rollup", "Pss:"),
        ("at most (VmHWM)", "status", "VmHWM:"),
    ] {
        println!("  {what:34} {:9.2} MiB", of(file, pid, field)? / KIB);
    }
    println!("  {:34} {:9}", "threads", of("status", pid, "Threads:")?);
    println!("  {:34} {woken:9}", "voluntary context switches");
    goal("written to the disk", written, 0.0, "B");
    Ok(())
}

/// Many keys, from a file, into an empty file: the most that it takes.
#[expect(
    clippy::disallowed_methods,
    reason = "what comes after the write has no mark"
)]
fn peak(name: &str, program: &Path, dir: &Path) -> Outcome<()> {
    let keys = number("KEYS", 10_000)?;
    std::fs::create_dir_all(dir.join("root"))?;
    let lines = (0..keys).map(|nth| format!("{} person-{nth}@host\n", support::key(nth)));
    write(&dir.join("many.pub"), &lines.collect::<String>())?;
    let at = dir.display();
    let config = dir.join("agent.toml");
    let text = format!(
        "[agent]\nstate-dir = \"{at}/state\"\ncontrol-socket = \"{at}/run/agent.sock\"\n\
         [[source]]\nname = \"many\"\nfile.path = \"{at}/many.pub\"\n\
         [[target]]\nuser = \"root\"\nsources = [\"many\"]\npath = \"{at}/%u/authorized_keys\"\n\
         [verify]\nsshd = \"off\"\n[certificates]\nsshd = \"{at}/none\"\n\
         sshd-config = \"{at}/none\"\nhost-keys = []\n\
         user-ca = false\nhost-certificates = false\n"
    );
    write(&config, &text)?;
    let mut command = begin(program.into());
    command.arg("agent").arg("--config").arg(&config);
    let agent = Daemon::start(&mut command, &dir.join("agent.log"))?;
    let file = dir.join("root/authorized_keys");
    let last = support::key(keys - 1).to_string();
    wait("the last of many keys", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains(&last))
    })?;
    // The report about them, and the state on the disk.
    wait("the target's state", || {
        let state = std::fs::metadata(dir.join("state/targets.json"));
        state.is_ok_and(|about| about.len() > keys * 40)
    })?;
    // What the agent's own write leaves to do: a second look at the file, the status.
    std::thread::sleep(Duration::from_secs(5));
    let most = of("status", agent.0.id(), "VmHWM:")? / KIB;
    goal(&format!("{name}: peak with {keys} keys"), most, 30.0, "MiB");
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

/// A number of one of the files of proc(5); KiB where it is memory.
fn of(file: &str, pid: u32, name: &str) -> Outcome<f64> {
    field(
        &std::fs::read_to_string(format!("/proc/{pid}/{file}"))?,
        name,
    )
}

fn field(text: &str, name: &str) -> Outcome<f64> {
    let (_, rest) = text
        .split_once(name)
        .ok_or_else(|| format!("no {name} there"))?;
    let value = rest.split_whitespace().next().unwrap_or_default();
    Ok(value.parse()?)
}
