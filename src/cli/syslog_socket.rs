//! `sshkeyd syslog-socket`: is /dev/log where nothing is, and keeps what sshd says of logins for the
//! agent (`auth-log = "syslog-socket"`). A process of its own: whoever calls syslog(3) waits for it.

use super::exit::{Exit, Failed};
use super::logging;
use super::output::Output;
use crate::config;
use crate::sinks::sessions::socket::{SocketError, SyslogSocket};
use crate::sys::signals::{Signal, Signals};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The agent's file, for its state directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The socket's place
    #[arg(long, value_name = "PATH", default_value = "/dev/log")]
    socket: PathBuf,
}

/// Listens until a signal ends it.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let path = config::default_agent_path(args.config.as_deref(), &super::env);
    let config = super::agent::read(&path)?;
    logging::start(&config.log)?;
    let socket = SyslogSocket::try_new(&config.state_dir, &args.socket).map_err(|error| {
        let exit = match &error {
            SocketError::Locked { .. } | SocketError::Taken(_) => Exit::NotDone,
            SocketError::Io { .. } => Exit::Unavailable,
        };
        Failed::new(exit, super::in_words(&error))
    })?;
    out.line(&format!("{}: listening", args.socket.display()));
    super::runtime()?.block_on(serve(Arc::new(socket)))
}

async fn serve(socket: Arc<SyslogSocket>) -> anyhow::Result<Exit> {
    let mut signals = Signals::try_new()?;
    let (tell, mut ended) = oneshot::channel();
    let reads = Arc::clone(&socket);
    // A thread of its own, which nobody can hold up; it ends with the process.
    std::thread::Builder::new()
        .name("reader".to_owned())
        .spawn(move || tell.send(reads.run()))?;
    loop {
        tokio::select! {
            signal = signals.next() => if signal == Signal::Stop {
                socket.let_go();
                return Ok(Exit::Done);
            },
            fault = &mut ended => {
                socket.let_go();
                fault??;
                return Ok(Exit::Unavailable);
            }
        }
    }
}
