//! `sshkeyd server`: the account key service, from its file to its last answer.
//!
//! Owns the daemon's frame: log, listener, signals, systemd (interface.md section 1, "Signals").
//! Refuses to start on a file with a fault; keeps what it has when a later one has one.

use super::exit::{Exit, Failed};
use super::output::Output;
use super::{logging, server_data};
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
    #[arg(long, value_name = "FILE", default_value = config::SERVER_PATH, global = true)]
    config: PathBuf,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Copies the database into a file; the service may run
    Backup {
        /// The file, replaced whole; keep secrets-dir beside it
        file: PathBuf,
    },
    /// Makes a copy the database again; the service must not run
    Restore {
        /// The copy
        #[arg(required_unless_present = "lift")]
        file: Option<PathBuf>,
        /// Of PostgreSQL: lifts what pg_restore has brought back
        #[arg(long, conflicts_with = "file")]
        lift: bool,
    },
    /// Writes all that the database holds, of either engine, into a file for `import`
    Export {
        /// The file, replaced whole; - is stdout. secrets-dir is copied apart from it
        file: PathBuf,
    },
    /// Fills an empty database, of either engine, with what was exported
    Import {
        /// The file; - is stdin
        file: PathBuf,
        /// The old service went on since: lifts every account above now, as restore does
        #[arg(long)]
        lift: bool,
    },
    /// Makes a new signer of lists; a reload of the service brings it into force
    RotateSigner {
        /// The old one was given away: agents believe the new one by a new token only
        #[arg(long)]
        compromised: bool,
    },
}

/// Runs the service until a signal ends it, or one of its errands.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let config = read(&args.config)?;
    match args.action {
        Some(Action::Backup { file }) => return server_data::backup(&config, &file, out),
        Some(Action::Restore { file, .. }) => {
            return match file {
                Some(file) => server_data::restore(&config, &file, out),
                None => server_data::lift(&config, out),
            };
        }
        Some(Action::Export { file }) => return server_data::export(&config, &file, out),
        Some(Action::Import { file, lift }) => {
            return server_data::import(&config, &file, lift, out);
        }
        Some(Action::RotateSigner { compromised }) => {
            return server_data::rotate_signer(&config, compromised, out);
        }
        None => {}
    }
    logging::start("info")?;
    let service = Service::open(&config).map_err(failed)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve(service, &config, &args.config))
}

async fn serve(service: Service, config: &ServerConfig, path: &Path) -> anyhow::Result<Exit> {
    let mut signals = Signals::try_new()?;
    let mut running = config.clone();
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
    let serving = service::serve(service.clone(), listener, config.tls.clone(), shutdown);
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
    if let Some(interval) = systemd::watchdog_interval() {
        let service = service.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval / 2).await;
                if service.is_alive().await {
                    systemd::watchdog();
                } else {
                    tracing::error!("the database's thread stands still; systemd ends the service");
                }
            }
        });
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
                    // Beside what is served, which may hold what a change of signers waits for.
                    tokio::select! {
                        ended = &mut serving => {
                            ended.map_err(failed)?;
                            return Ok(Exit::Done);
                        }
                        () = reload(&service, &mut running, path) => {}
                    }
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
        ServiceError::Listen(_) | ServiceError::NotAdopted => Exit::NotDone,
    };
    Failed::new(exit, error)
}

fn read(path: &Path) -> Result<ServerConfig, Failed> {
    config::server(path, &super::env).map_err(|faults| Failed::new(Exit::Config, faults))
}

/// Reads the file again. Whose word proxies have changes at once; what is bound to the listener, the
/// database or the name of `secrets-dir` is said by name and waits for a restart; what is in that
/// directory is adopted; a renewed certificate is picked up by the service itself.
async fn reload(service: &Service, running: &mut ServerConfig, path: &Path) {
    match read(path) {
        Ok(config) => {
            let wait = service.reload(running, &config);
            if wait.is_empty() {
                tracing::info!("configuration read again, and in force");
            } else {
                let keys = wait.join(", ");
                tracing::warn!(
                    keys,
                    "configuration read again; restart to have these in force"
                );
            }
            running.trusted_proxies = config.trusted_proxies;
        }
        Err(faults) => tracing::error!(%faults, "configuration refused; the old one stays"),
    }
    if let Err(error) = service.reload_secrets(running).await {
        tracing::error!(%error, "secrets-dir refused; the signers of before stay");
    }
}
