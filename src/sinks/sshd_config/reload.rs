//! Has sshd read its configuration again: by the command that is configured, by the unit that owns
//! it, or by SIGHUP to its listener.
//!
//! sshd(8) closes its listening sockets and begins anew on SIGHUP (`sighup_restart`): that the
//! sockets are other ones afterwards is how a reload is seen, whoever was asked for it.

use super::daemon::{Daemon, off_loop};
use crate::config::{Reload, SshdPaths};
use crate::sys::command::{Limits, run};
use crate::sys::listener::{Listener, is_held_by_init, sockets, systemd_runs};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SYSTEMCTL: &str = "/usr/bin/systemctl";
const LIMITS: Limits = Limits {
    output: 64 * 1024,
    time: Duration::from_secs(30),
};
/// How long sshd may take until it listens on other sockets.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// How a reload went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reloaded {
    /// sshd began anew.
    Seen,
    /// Nothing shows that it did; why, in words.
    Unseen(String),
    /// Who was to do it says no, in words.
    Failed(String),
}

pub(super) async fn reload(daemon: &Daemon, paths: &SshdPaths) -> Reloaded {
    let before = listening(daemon.address).await;
    // A socket unit starts it with the first connection, which may have been ours just now.
    let listener = match &daemon.listener {
        Some(listener) => Some(listener.clone()),
        None => daemon.find_listener().await,
    };
    let asked = match (&paths.reload, &listener) {
        (Reload::Command(words), _) => command(words).await,
        (Reload::Auto, Some(listener)) => by_itself(listener).await,
        (Reload::Auto, None) if by_init(daemon.address).await => {
            // One sshd for each connection, and each reads its configuration.
            return Reloaded::Seen;
        }
        (Reload::Auto, None) => {
            let text = "no sshd was found that could be told to reload";
            return Reloaded::Unseen(text.to_owned());
        }
    };
    if let Err(why) = asked {
        return Reloaded::Failed(why);
    }
    if daemon
        .listener
        .as_ref()
        .is_some_and(|listener| listener.is_shared)
    {
        // The sockets are systemd's and stay.
        return Reloaded::Seen;
    }
    let until = Instant::now() + SEEN_WITHIN;
    loop {
        let now = listening(daemon.address).await;
        if !now.is_empty() && now.is_disjoint(&before) {
            return Reloaded::Seen;
        }
        if until <= Instant::now() {
            let text = "sshd listens on the same sockets as before it was told to reload";
            return match now.is_empty() {
                // Gone: whoever looks at it next will say so.
                true => Reloaded::Seen,
                false => Reloaded::Unseen(text.to_owned()),
            };
        }
        sleep(LOOK).await;
    }
}

/// The last that can be done for an sshd that does not answer: its unit is started anew.
pub(super) async fn revive(daemon: &Daemon) {
    if let Some(unit) = daemon.listener.as_ref().and_then(|l| l.unit.as_deref())
        && systemd_runs()
        && let Err(why) = systemctl(&["restart", unit]).await
    {
        tracing::error!(unit, why, "sshd could not be started again");
    }
}

async fn by_itself(listener: &Listener) -> Result<(), String> {
    if let Some(unit) = owning_unit(listener).await {
        match systemctl(&["reload", &unit]).await {
            Ok(_) => return Ok(()),
            // A unit without ExecReload.
            Err(why) => tracing::debug!(unit, why, "no reload by the unit"),
        }
    }
    let hung_up = listener.hang_up();
    hung_up.map_err(|fault| format!("SIGHUP to sshd, process {}: {fault}", listener.pid))
}

/// The unit whose main process it is; a shell's sshd stands in the unit of the shell.
async fn owning_unit(listener: &Listener) -> Option<String> {
    let unit = listener.unit.clone().filter(|_| systemd_runs())?;
    let main = systemctl(&["show", "--property=MainPID", "--value", &unit]).await;
    (main.ok()?.trim() == listener.pid.to_string()).then_some(unit)
}

async fn systemctl(args: &[&str]) -> Result<String, String> {
    finished(Path::new(SYSTEMCTL), args).await
}

async fn command(words: &[String]) -> Result<(), String> {
    let Some((program, args)) = words.split_first() else {
        return Err("reload names no program".to_owned());
    };
    finished(Path::new(program), args).await.map(|_| ())
}

async fn finished(program: &Path, args: &[impl AsRef<OsStr>]) -> Result<String, String> {
    let name = program.display();
    let output = run(program, args, LIMITS)
        .await
        .map_err(|fault| format!("{name}: {fault}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or_default();
    Err(format!(
        "{name}: {}: {}",
        output.status,
        crate::keys::printable(last)
    ))
}

async fn by_init(address: Option<SocketAddr>) -> bool {
    let held = off_loop(move || Some(is_held_by_init(address?)));
    held.await.unwrap_or_default()
}

async fn listening(address: Option<SocketAddr>) -> BTreeSet<u64> {
    let Some(address) = address else {
        return BTreeSet::new();
    };
    off_loop(move || Some(sockets(address)))
        .await
        .unwrap_or_default()
}
