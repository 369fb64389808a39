//! Signals of the daemons, as events: signal(7), through a socket that the handler writes to.
//!
//! The only user of signal-hook. No thread, no wake-up while nothing comes. The first TERM or INT
//! asks for an orderly stop; a second one ends the process at once, as if no handler were there.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{SigId, flag, low_level};
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::net::UnixStream;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// TERM or INT: finish what is being written, then stop.
    Stop,
    /// HUP: read the configuration again.
    Reload,
    /// USR1: sync now.
    SyncNow,
}

/// The process's signals, until this is dropped.
#[derive(Debug)]
pub struct Signals {
    stop: UnixStream,
    reload: UnixStream,
    sync_now: UnixStream,
    registered: Registered,
}

#[derive(Debug, Default)]
struct Registered(Vec<SigId>);

impl Drop for Registered {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            low_level::unregister(id);
        }
    }
}

impl Signals {
    /// Takes the signals over. Call it once, within a tokio runtime.
    ///
    /// # Errors
    /// No sockets, or no handler, could be had.
    pub fn try_new() -> io::Result<Self> {
        let mut registered = Registered::default();
        let stopping = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // The order matters: the first signal must find the flag down, and then raise it.
            let last = flag::register_conditional_default(signal, Arc::clone(&stopping))?;
            registered.0.push(last);
            registered
                .0
                .push(flag::register(signal, Arc::clone(&stopping))?);
        }
        Ok(Self {
            stop: events_of(&[SIGTERM, SIGINT], &mut registered)?,
            reload: events_of(&[SIGHUP], &mut registered)?,
            sync_now: events_of(&[SIGUSR1], &mut registered)?,
            registered,
        })
    }

    /// Waits for the next signal. Signals of one kind that come together are one; none is lost when
    /// the future is dropped.
    pub async fn next(&mut self) -> Signal {
        debug_assert!(!self.registered.0.is_empty());
        tokio::select! {
            biased;
            () = event(&self.stop) => Signal::Stop,
            () = event(&self.reload) => Signal::Reload,
            () = event(&self.sync_now) => Signal::SyncNow,
        }
    }
}

fn events_of(signals: &[i32], registered: &mut Registered) -> io::Result<UnixStream> {
    let (reader, writer) = StdStream::pair()?;
    for signal in signals {
        let id = low_level::pipe::register(*signal, writer.try_clone()?)?;
        registered.0.push(id);
    }
    reader.set_nonblocking(true)?;
    UnixStream::from_std(reader)
}

/// Waits until bytes are there, and takes them all.
async fn event(stream: &UnixStream) {
    let mut bytes = [0; 64];
    let mut came = false;
    loop {
        match stream.try_read(&mut bytes) {
            Ok(n) if n > 0 => came = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !came => {
                if stream.readable().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            _ if came => return,
            // The writers live as long as the handlers: there is no end of the stream.
            _ => std::future::pending::<()>().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    const CHILD: &str = "SSHKEYD_TEST_SIGNALS";

    /// The body of the child process of the test below; nothing in a plain run.
    #[test]
    fn child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut signals = Signals::try_new().unwrap();
            println!("\nsaw Ready");
            loop {
                println!("\nsaw {:?}", signals.next().await);
            }
        });
    }

    #[test]
    fn each_signal_is_seen_and_a_second_stop_ends_the_process() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sys::signals::tests::child", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut saw = move || {
            lines
                .by_ref()
                .map(Result::unwrap)
                .find_map(|line| line.strip_prefix("saw ").map(str::to_owned))
        };
        assert_eq!(saw().as_deref(), Some("Ready"));
        for (signal, seen) in [(SIGHUP, "Reload"), (SIGUSR1, "SyncNow"), (SIGTERM, "Stop")] {
            let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
            nix::sys::signal::kill(pid, signal).unwrap();
            assert_eq!(saw().as_deref(), Some(seen));
        }
        nix::sys::signal::kill(pid, nix::sys::signal::SIGINT).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(SIGINT));
    }
}
