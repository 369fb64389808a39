//! `sshkeyd agent`: the daemon, from its file to its last turn; `--once` for one full cycle.

use super::exit::{Exit, Failed};
use super::logging;
use super::output::Output;
use crate::agent::{self, AgentError, Outcome};
use crate::config::{self, AgentConfig};
use crate::sys::signals::{Signal, Signals};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub(super) struct Args {
    /// The agent's file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One full cycle over every source and target, then exit
    #[arg(long)]
    once: bool,
}

impl Args {
    /// The two lines that start a daemon, `agent` and `agent --config FILE`, read without clap: its
    /// tables of every command would stay in the daemon's memory. `None` for any other line.
    pub(super) fn of_a_daemon(line: &[OsString]) -> Option<Self> {
        let config = match line {
            [_, agent] if agent == "agent" => None,
            [_, agent, option, file] if agent == "agent" && option == "--config" => {
                // What looks like an option is for clap to judge.
                let plain = !file.is_empty() && !file.as_encoded_bytes().starts_with(b"-");
                Some(PathBuf::from(plain.then_some(file)?))
            }
            _ => return None,
        };
        Some(Self {
            config,
            once: false,
        })
    }
}

/// Runs the agent until a signal ends it, or once.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let path = config::default_agent_path(args.config.as_deref(), &super::env);
    let config = read(&path)?;
    logging::start(&config.log)?;
    if args.once {
        let outcome = super::run_to_end(agent::once(&config))?;
        return Ok(once(&outcome.map_err(failed)?, out));
    }
    super::run_to_end(serve(config, path))??;
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
        AgentError::Locked { .. } | AgentError::State { .. } | AgentError::NotSealed(_) => {
            Exit::NotDone
        }
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

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use clap::Parser as _;

    #[test]
    fn a_daemons_line_is_read_as_clap_reads_it() {
        let read = |words: &[&str]| {
            let line: Vec<OsString> = words.iter().map(OsString::from).collect();
            Args::of_a_daemon(&line)
        };
        for words in [
            &["sshkeyd", "agent"] as &[_],
            &["sshkeyd", "agent", "--config", "/etc/a b.toml"],
        ] {
            let Command::Agent(args) = Cli::try_parse_from(words).unwrap().command else {
                panic!("{words:?}");
            };
            assert_eq!(read(words), Some(args));
        }
        for words in [
            &["sshkeyd"] as &[_],
            &["sshkeyd", "status"],
            &["sshkeyd", "agent", "--once"],
            &["sshkeyd", "agent", "--help"],
            &["sshkeyd", "agent", "--config"],
            &["sshkeyd", "agent", "--config", ""],
            &["sshkeyd", "agent", "--config", "--once"],
            &["sshkeyd", "agent", "--config=a", "--once"],
            &["sshkeyd", "check", "--config", "a"],
        ] {
            assert_eq!(read(words), None, "{words:?}");
        }
    }
}
