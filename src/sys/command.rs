//! Other programs: run one, read what it says, within limits.
//!
//! No shell, no stdin, an environment of `PATH` and `LANG=C` only. The program has a process group
//! of its own, which is killed when its time is over or when nobody waits any more. Nothing
//! polls: two threads of tokio's pool read to the end of the output, one waits for the exit.

mod blocking;

pub use blocking::run_blocking;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::task::spawn_blocking;

/// Where programs look for others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much a program may say, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of stdout, and of stderr.
    pub output: usize,
    /// From its start to its end.
    pub time: Duration,
}

/// What a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its stdout.
    pub stdout: Vec<u8>,
    /// All of its stderr.
    pub stderr: Vec<u8>,
}

/// Why there is no output to use.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such program.
    #[error("no such program")]
    Missing(#[source] io::Error),
    /// It was still running when its time was over, and was killed.
    #[error("no end within {0:?}")]
    TimedOut(Duration),
    /// It said more than the limit, and was killed.
    #[error("more than {0} bytes of output")]
    TooMuch(usize),
    /// The system's own refusal.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Runs `program` with `args` until it ends. A status other than 0 is an answer, not an error.
///
/// # Errors
/// [`CommandError`]. The program is dead by then, and also when the future is dropped.
pub async fn run(
    program: &Path,
    args: &[impl AsRef<OsStr>],
    limits: Limits,
) -> Result<Output, CommandError> {
    let mut running = Running::start(program, args)?;
    let pid = running.pid;
    let stdout = reader(running.child.stdout.take(), limits.output);
    let stderr = reader(running.child.stderr.take(), limits.output);
    // WNOWAIT leaves the process a zombie: until `finish` its number is nobody else's.
    let exit = spawn_blocking(move || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(pid), flags).map(|_| ())
    });
    let all = async {
        let (stdout, stderr) = tokio::try_join!(stdout, stderr)?;
        exit.await
            .map_err(io::Error::other)?
            .map_err(io::Error::from)?;
        Ok::<_, CommandError>((stdout, stderr))
    };
    let (stdout, stderr) = tokio::time::timeout(limits.time, all)
        .await
        .map_err(|_| CommandError::TimedOut(limits.time))??;
    Ok(Output {
        status: running.finish()?,
        stdout,
        stderr,
    })
}

/// What every program is given, and where it runs.
pub(super) fn environment(command: &mut Command) -> &mut Command {
    command
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C")
        .current_dir("/")
}

/// A program that runs; killed with all its group when it is dropped.
struct Running {
    child: Child,
    pid: Pid,
    reaped: bool,
}

impl Running {
    fn start(program: &Path, args: &[impl AsRef<OsStr>]) -> Result<Self, CommandError> {
        let child = environment(&mut Command::new(program))
            .args(args)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => CommandError::Missing(error),
                _ => CommandError::Io(error),
            })?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Self {
            child,
            pid: Pid::from_raw(pid),
            reaped: false,
        })
    }

    fn finish(mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait();
        self.reaped = true;
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            // An error says that the group is gone already.
            let _ = killpg(self.pid, Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Reads to the end, or one byte beyond the limit.
async fn reader(
    stream: Option<impl Read + Send + 'static>,
    limit: usize,
) -> Result<Vec<u8>, CommandError> {
    let Some(stream) = stream else {
        return Ok(Vec::new());
    };
    let read = spawn_blocking(move || {
        let mut bytes = Vec::new();
        let beyond = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        stream.take(beyond).read_to_end(&mut bytes).map(|_| bytes)
    });
    let bytes = read.await.map_err(io::Error::other)??;
    if bytes.len() > limit {
        return Err(CommandError::TooMuch(limit));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        output: 1024,
        time: Duration::from_secs(20),
    };

    async fn sh(script: &str, limits: Limits) -> Result<Output, CommandError> {
        run(Path::new("/bin/sh"), &["-c", script], limits).await
    }

    #[tokio::test]
    async fn output_and_status_come_back() {
        let output = sh("echo out; echo err >&2; exit 3", LIMITS).await.unwrap();
        assert_eq!(output.stdout, b"out\n");
        assert_eq!(output.stderr, b"err\n");
        assert_eq!(output.status.code(), Some(3));
    }

    #[tokio::test]
    async fn the_environment_is_ours_alone_and_stdin_is_empty() {
        let output = run(Path::new("/usr/bin/env"), &[""; 0], LIMITS)
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut names: Vec<&str> = text.lines().filter_map(|l| l.split('=').next()).collect();
        names.sort_unstable();
        assert_eq!(names, ["LANG", "PATH"]);
        let output = sh("read line || echo nothing", LIMITS).await.unwrap();
        assert_eq!(output.stdout, b"nothing\n");
    }

    #[tokio::test]
    async fn arguments_are_not_read_by_a_shell() {
        let args = ["$HOME; `id`", "*"];
        let output = run(Path::new("/bin/echo"), &args, LIMITS).await.unwrap();
        assert_eq!(output.stdout, b"$HOME; `id` *\n");
    }

    #[tokio::test]
    async fn a_program_without_an_end_is_killed_with_its_children() {
        let limits = Limits {
            time: Duration::from_millis(100),
            ..LIMITS
        };
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let limits_of_start = Limits {
            time: Duration::from_secs(1),
            ..limits
        };
        let error = sh(&script, limits_of_start).await.unwrap_err();
        assert!(matches!(error, CommandError::TimedOut(_)));
        let child = std::fs::read_to_string(&pid).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        // The signal is sent; the child dies in its own time, and is then gone, or a zombie until
        // its new parent looks.
        let dead = async {
            while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let died = tokio::time::timeout(Duration::from_secs(10), dead).await;
        assert!(died.is_ok(), "the child lives on");
        let closed = sh("exec >&- 2>&-; exec sleep 1000", limits)
            .await
            .unwrap_err();
        assert!(matches!(closed, CommandError::TimedOut(_)));
    }

    #[tokio::test]
    async fn endless_output_is_cut_off() {
        let error = sh("while :; do echo more; done", LIMITS).await.unwrap_err();
        assert!(matches!(error, CommandError::TooMuch(1024)));
    }

    #[tokio::test]
    async fn a_missing_program_has_its_own_error() {
        let missing = run(Path::new("/nonexistent/sshd"), &["-V"], LIMITS).await;
        assert!(matches!(missing, Err(CommandError::Missing(_))));
    }
}
