//! `sshkeyd agent`: the daemon, from its file to its last turn; `--once` for one full cycle.

use super::exit::{Exit, Failed};
use super::logging;
use super::output::Output;
use crate::agent::{self, AgentError, Outcome};
use crate::config::{self, AgentConfig};
use crate::sys::signals::{Signal, Signals};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The agent's file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One full cycle over every source and target, then exit
    #[arg(long)]
    once: bool,
}

/// Runs the agent until a signal ends it, or once.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let path = config::default_agent_path(args.config.as_deref(), &super::env);
    let config = read(&path)?;
    logging::start(&config.log)?;
    let runtime = super::runtime()?;
    if args.once {
        let outcome = runtime.block_on(agent::once(&config)).map_err(failed)?;
        return Ok(once(&outcome, out));
    }
    runtime.block_on(serve(config, path))?;
    Ok(Exit::Done)
}

async fn serve(config: AgentConfig, path: PathBuf) -> anyhow::Result<()> {
    let mut signals = Signals::try_new()?;
    let (wish, wishes) = mpsc::channel(16);
    let listening = tokio::spawn(async move {
        loop {
            let signal = signals.next().await;
            if signal == Signal::Stop {
                tracing::info!("stopping; a second signal stops at once");
            }
            if wish.send(signal).await.is_err() {
                return;
            }
        }
    });
    let file = Arc::new(path);
    let load = {
        let file = Arc::clone(&file);
        move || config::agent(&file, &super::env)
    };
    let ended = agent::run(config, Some(file.to_path_buf()), &load, wishes).await;
    listening.abort();
    Ok(ended.map_err(failed)?)
}

/// Reads the agent's file; a fault in it is 78.
pub(super) fn read(path: &Path) -> Result<AgentConfig, Failed> {
    config::agent(path, &super::env).map_err(|faults| Failed::new(Exit::Config, faults))
}

/// What keeps the agent from running, with the exit code it stands for.
pub(super) fn failed(error: AgentError) -> Failed {
    let exit = match &error {
        AgentError::Source { .. } => Exit::Config,
        AgentError::Locked { .. } | AgentError::State { .. } => Exit::NotDone,
    };
    let text = match &error {
        AgentError::Locked { .. } => format!("{error}; to have it sync now: sshkeyd sync"),
        _ => super::in_words(&error),
    };
    Failed::new(exit, text)
}

fn once(outcome: &Outcome, out: &mut Output) -> Exit {
    for condition in &outcome.status.conditions {
        out.note(&format!(
            "{}: {}: {}; {}",
            condition.code, condition.about, condition.text, condition.todo
        ));
    }
    match (outcome.targets_settled, outcome.sources_answered) {
        (true, true) => Exit::Done,
        (_, false) => Exit::Unavailable,
        (false, true) => Exit::NotDone,
    }
}
