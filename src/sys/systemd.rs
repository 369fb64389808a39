//! What systemd is told: sd_notify(3), and its watchdog, sd_watchdog_enabled(3).
//!
//! Nothing happens without `NOTIFY_SOCKET`. A message that cannot be sent is not an error of ours:
//! systemd's own time-outs see to it. The environment is left as it is.

use sd_notify::NotifyState;
use std::io;
use std::time::Duration;

/// Longest status text, in characters.
const MAX_STATUS: usize = 200;

/// Start-up is over: `READY=1`. Also ends a reload.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again: `RELOADING=1` with `MONOTONIC_USEC`, which
/// `Type=notify-reload` wants in the same message. [`ready`] must follow.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(usec) => tell(&[NotifyState::Reloading, usec]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The daemon is about to end: `STOPPING=1`.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// One line for `systemctl status`. Control characters are left out: a newline would begin another
/// message.
pub fn status(text: &str) {
    let line = one_line(text);
    tell(&[NotifyState::Status(&line)]);
}

/// The daemon is well: `WATCHDOG=1`. To be said at half of [`watchdog_interval`].
pub fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// After how long a silence systemd ends this process; none when it does not watch.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

fn one_line(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_STATUS)
        .collect()
}

fn tell(states: &[NotifyState<'_>]) {
    let told: io::Result<()> = sd_notify::notify(states);
    if let Err(error) = told {
        tracing::debug!(%error, "systemd not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::process::{Command, Stdio};

    const CHILD: &str = "SSHKEYD_TEST_SYSTEMD";

    /// The body of the child process of the test below; nothing in a plain run.
    #[test]
    fn child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        assert_eq!(watchdog_interval(), Some(Duration::from_secs(120)));
        ready();
        reloading();
        status("live\nMAINPID=1");
        watchdog();
        stopping();
    }

    #[test]
    fn systemd_hears_each_word_in_its_own_form() {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        let done = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sys::systemd::tests::child"])
            .env(CHILD, "1")
            .env("NOTIFY_SOCKET", dir.path().join("notify"))
            .env("WATCHDOG_USEC", "120000000")
            .env_remove("WATCHDOG_PID")
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(done.success());
        socket.set_nonblocking(true).unwrap();
        let heard = || {
            let mut bytes = [0; 512];
            let n = socket.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..n].to_vec()).unwrap()
        };
        assert_eq!(heard(), "READY=1\n");
        let reload = heard();
        assert!(
            reload.starts_with("RELOADING=1\nMONOTONIC_USEC="),
            "{reload}"
        );
        assert_eq!(heard(), "STATUS=liveMAINPID=1\n");
        assert_eq!(heard(), "WATCHDOG=1\n");
        assert_eq!(heard(), "STOPPING=1\n");
    }
}
