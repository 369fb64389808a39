//! `sshkeyd server`: the account key service, from its file to its last answer.
//!
//! Owns the daemon's frame: log, listener, signals, systemd (interface.md section 1, "Signals").
//! Refuses to start on a file with a fault; keeps what it has when a later one has one.

use super::exit::{Exit, Failed};
use super::logging;
use crate::config::{self, ServerConfig};
use crate::service::{self, Service, ServiceError};
use crate::sys::signals::{Signal, Signals};
use crate::sys::systemd;
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service's file
    #[arg(long, value_name = "FILE", default_value = config::SERVER_PATH)]
    config: PathBuf,
}

/// Runs the service until a signal ends it.
pub(super) fn run(args: Args) -> anyhow::Result<Exit> {
    let config = read(&args.config)?;
    logging::start("info")?;
    let service = Service::open(&config).map_err(failed)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve(service, &config, &args.config))
}

async fn serve(service: Service, config: &ServerConfig, path: &Path) -> anyhow::Result<Exit> {
    let mut signals = Signals::try_new()?;
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        let text = format!(
            "listen on {}: {error}; is another one running",
            config.listen
        );
        Failed::new(Exit::NotDone, text)
    })?;
    let (stop, stopped) = oneshot::channel::<()>();
    let mut stop = Some(stop);
    let shutdown = async {
        // A sender that is gone means the same.
        let _ = stopped.await;
    };
    let serving = service::serve(service, listener, config.tls.clone(), shutdown);
    tokio::pin!(serving);
    tokio::select! {
        biased;
        // Its first step looks at the listener and the certificate.
        ended = &mut serving => {
            ended.map_err(failed)?;
            return Ok(Exit::Done);
        }
        () = std::future::ready(()) => systemd::ready(),
    }
    loop {
        tokio::select! {
            ended = &mut serving => {
                ended.map_err(failed)?;
                return Ok(Exit::Done);
            }
            signal = signals.next() => match signal {
                Signal::Stop => match stop.take() {
                    Some(stop) => {
                        tracing::info!("stopping; a second signal stops at once");
                        systemd::stopping();
                        // The receiver is held by what is awaited above.
                        let _ = stop.send(());
                    }
                    None => return Ok(Exit::Done),
                },
                Signal::Reload => {
                    systemd::reloading();
                    reload(config, path);
                    systemd::ready();
                }
                // The agent's alone.
                Signal::SyncNow => {}
            }
        }
    }
}

/// What keeps the service from running, with the exit code it stands for.
pub(super) fn failed(error: ServiceError) -> Failed {
    let exit = match &error {
        ServiceError::Plaintext(_)
        | ServiceError::Tls { .. }
        | ServiceError::Secrets { .. }
        | ServiceError::Strangers(_) => Exit::Config,
        ServiceError::Store(_) => Exit::Unavailable,
        ServiceError::Listen(_) => Exit::NotDone,
    };
    Failed::new(exit, error)
}

fn read(path: &Path) -> Result<ServerConfig, Failed> {
    config::server(path, &super::env).map_err(|faults| Failed::new(Exit::Config, faults))
}

/// Reads the file again. What it sets is bound to the listener and the database, so a change is
/// said and waits for a restart; a renewed certificate is picked up by the service itself.
fn reload(running: &ServerConfig, path: &Path) {
    match read(path) {
        Ok(config) if config == *running => tracing::info!("configuration read again: no change"),
        Ok(_) => tracing::warn!("configuration has changed; restart to have it in force"),
        Err(faults) => tracing::error!(%faults, "configuration refused; the old one stays"),
    }
}
