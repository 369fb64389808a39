//! The real binary, as commands that end and as daemons that do not outlive their test.

use crate::support::sshd::unique;
use sshkeyd::sys::clock;
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longest wait for anything, on a busy machine.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(15);

/// The binary, without what this environment would have it know.
pub(crate) fn sshkeyd() -> Command {
    sshkeyd_under(&[], Path::new(env!("CARGO_BIN_EXE_sshkeyd")))
}

/// Copies a program that is to be run at once, by another process: a descriptor of ours that writes
/// it would be in every child that other tests start meanwhile, and the kernel runs no such file.
pub(crate) fn copy_program(from: impl AsRef<Path>, to: &Path) {
    let copied = Command::new("cp").arg(from.as_ref()).arg(to).status();
    assert!(copied.unwrap().success());
}

/// The agent's program: that of `SSHKEYD_AGENT_BINARY`, so that the same stories are told of a
/// build of the agent alone; else the binary.
pub(crate) fn agent_program() -> PathBuf {
    let named = std::env::var_os("SSHKEYD_AGENT_BINARY").filter(|name| !name.is_empty());
    named
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_sshkeyd").into())
        .into()
}

/// The agent's program behind another command line.
pub(crate) fn agent(wrapper: &[String]) -> Command {
    sshkeyd_under(wrapper, &agent_program())
}

/// A program behind another command line, without what this environment would have it know.
pub(crate) fn sshkeyd_under(wrapper: &[String], program: &Path) -> Command {
    let mut command = match wrapper.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    };
    for name in [
        "RUST_LOG",
        "SSHKEYD_URL",
        "SSHKEYD_API_KEY",
        "SSHKEYD_CONFIG",
        "NOTIFY_SOCKET",
        "CREDENTIALS_DIRECTORY",
        "CONTAINER_ID",
        "TZ",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The same, and it must have ended with 0.
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// A daemon; killed when dropped, and its log is shown when the test has failed.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts one whose log goes to a new file in `dir`.
    pub(crate) fn start(name: &'static str, command: &mut Command, dir: &Path) -> Self {
        let log = dir.join(format!("{name}-{}.log", unique()));
        let new = OpenOptions::new().write(true).create_new(true).open(&log);
        let file = new.unwrap();
        let child = command
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { name, child, log }
    }

    /// Whether it runs.
    pub(crate) fn is_up(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Sends it a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own: a small machine has no other.
        let kill = format!("kill -{name} {}", self.child.id());
        let kill = Command::new("sh").arg("-c").arg(kill).status();
        assert!(kill.unwrap().success());
    }

    /// What it has used of the processor, in steps of 10 ms (proc(5), `utime` and `stime`).
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = |n| fields.split_whitespace().nth(n).unwrap().parse::<u64>();
        Duration::from_millis(10 * (ticks(11).unwrap() + ticks(12).unwrap()))
    }

    /// The most memory it has ever held, in KiB (proc(5), `VmHWM`).
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let words = line.unwrap().split_whitespace().next();
        words.unwrap().parse().unwrap()
    }

    /// TERM, and its end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        let mut ended = None;
        wait_until("a clean stop", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// SIGKILL: no last word.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        let ended = self.child.wait().unwrap();
        assert_eq!(ended.signal(), Some(9), "it had ended before: {ended}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("── {} ──\n{}", self.name, self.log());
        }
    }
}

/// Looks again and again until it is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, || is_so().then_some(()));
}

/// Looks again and again until there is something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = clock::monotonic();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            (clock::monotonic() - began) < WITHIN,
            "in vain waited for {what}"
        );
        pause(LOOK);
    }
}

/// Lets time pass: between two looks, and where a stretch of time is what is measured.
#[expect(
    clippy::disallowed_methods,
    reason = "no event says that nothing happened"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A port below those that the kernel gives to outgoing connections, so that it stays free while a
/// daemon that had it is down.
pub(crate) fn port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (std::process::id().wrapping_mul(131) + step) % 12_000;
        let port = u16::try_from(port).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
