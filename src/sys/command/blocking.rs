//! The same without tokio, for a command that is itself run and gone in milliseconds.
//!
//! The environment and stderr are the caller's. One thread reads; the program and its process group
//! are killed when the time is over.

use super::{CommandError, Limits, Running};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;

/// Runs `program` with `args` until it ends and gives its stdout.
///
/// # Errors
/// [`CommandError`]; the program is dead by then.
pub fn run_blocking(
    program: &Path,
    args: &[impl AsRef<OsStr>],
    limits: Limits,
) -> Result<(ExitStatus, Vec<u8>), CommandError> {
    let mut child = Command::new(program)
        .args(args)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => CommandError::Missing(error),
            _ => CommandError::Io(error),
        })?;
    let stdout = child.stdout.take();
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let running = Running {
        child,
        pid,
        reaped: false,
    };
    let (told, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let beyond = u64::try_from(limits.output).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        let read = stdout.map_or(Ok(0), |stdout| {
            stdout
                .take(beyond.saturating_add(1))
                .read_to_end(&mut bytes)
        });
        // Its output may end before it does. Whoever is not waited for any more stays a zombie
        // until `Running` is dropped, so this number is nobody else's.
        let whole = read.and_then(|_| {
            if bytes.len() <= limits.output {
                waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
            }
            Ok(bytes)
        });
        // Nobody listens once the time is over.
        let _ = told.send(whole);
    });
    let bytes = ended
        .recv_timeout(limits.time)
        .map_err(|_| CommandError::TimedOut(limits.time))??;
    if bytes.len() > limits.output {
        return Err(CommandError::TooMuch(limits.output));
    }
    Ok((running.finish()?, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LIMITS: Limits = Limits {
        output: 1024,
        time: Duration::from_secs(20),
    };

    fn sh(script: &str, limits: Limits) -> Result<(ExitStatus, Vec<u8>), CommandError> {
        run_blocking(Path::new("/bin/sh"), &["-c", script], limits)
    }

    #[test]
    fn output_and_status_come_back_once_it_has_ended() {
        let (status, out) = sh("echo out; exec >&-; sleep 0.05; exit 3", LIMITS).unwrap();
        assert_eq!((status.code(), &out[..]), (Some(3), &b"out\n"[..]));
        let missing = run_blocking(Path::new("/nonexistent/x"), &[""; 0], LIMITS);
        assert!(matches!(missing, Err(CommandError::Missing(_))));
        let endless = sh("while :; do echo more; done", LIMITS).unwrap_err();
        assert!(matches!(endless, CommandError::TooMuch(1024)));
    }

    #[test]
    fn a_program_without_an_end_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let limits = Limits {
            time: Duration::from_secs(1),
            ..LIMITS
        };
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let error = sh(&script, limits).unwrap_err();
        assert!(matches!(error, CommandError::TimedOut(_)));
        let child = std::fs::read_to_string(&pid).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        // The signal is sent; the child dies in its own time.
        let began = crate::sys::clock::monotonic();
        while lives() {
            assert!(crate::sys::clock::monotonic() - began < Duration::from_secs(10));
            std::thread::yield_now();
        }
    }
}
