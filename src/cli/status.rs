//! `sshkeyd status` and `sshkeyd sync`: what the agent of this machine holds, and that it should
//! look now.

use super::exit::{Exit, Failed};
use super::output::Output;
use crate::agent::{Answer, Request, ask};
use crate::config;
use crate::wire::{State, Status};
use std::path::{Path, PathBuf};

/// Where an agent listens that runs as the system's.
const CONTROL_SOCKET: &str = "/run/sshkeyd/agent.sock";

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    agent: WhichAgent,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct SyncArgs {
    #[command(flatten)]
    agent: WhichAgent,
    /// The state afterwards, as JSON
    #[arg(long)]
    json: bool,
}

/// Which agent is meant: the one of a configuration file.
#[derive(Debug, clap::Args)]
pub(super) struct WhichAgent {
    /// The agent's file, for its control socket
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl WhichAgent {
    /// The agent's file.
    pub(super) fn file(&self) -> PathBuf {
        config::default_agent_path(self.config.as_deref(), &super::env)
    }

    /// Where that agent listens. Who may not read the file may still ask the system's agent.
    fn socket(&self) -> Result<PathBuf, Failed> {
        let file = self.file();
        match super::agent::read(&file) {
            Ok(config) => Ok(config.control_socket),
            Err(_) if self.config.is_none() && Path::new(CONTROL_SOCKET).exists() => {
                Ok(CONTROL_SOCKET.into())
            }
            Err(failed) => Err(failed),
        }
    }

    /// Asks it.
    pub(super) fn ask(&self, request: Request) -> anyhow::Result<Status> {
        let socket = self.socket()?;
        let answer = super::runtime()?
            .block_on(ask(&socket, request))
            .map_err(|error| {
                let text = format!("{}; is it running", super::in_words(&error));
                Failed::new(Exit::Unavailable, text)
            })?;
        match answer {
            Answer::Status(status) => Ok(*status),
            Answer::Refused(why) => Err(Failed::new(Exit::NotDone, why).into()),
            Answer::Denied(why) => Err(Failed::new(Exit::NotPermitted, why).into()),
        }
    }
}

/// Shows the state. Exit 0 whatever it is: the question was answered.
pub(super) fn status(args: StatusArgs, out: &mut Output) -> anyhow::Result<Exit> {
    let status = args.agent.ask(Request::Status)?;
    show(&status, args.json, out)?;
    Ok(Exit::Done)
}

/// Has the agent ask every source and write, and waits for it. Exit 1 when it is not well after.
pub(super) fn sync(args: SyncArgs, out: &mut Output) -> anyhow::Result<Exit> {
    let status = args.agent.ask(Request::Sync)?;
    show(&status, args.json, out)?;
    Ok(match status.state {
        State::Ok => Exit::Done,
        State::Degraded | State::Failing | State::Unmanaged => Exit::NotDone,
    })
}

/// The state, for people or for programs.
pub(super) fn show(status: &Status, json: bool, out: &mut Output) -> anyhow::Result<()> {
    if json {
        return Ok(out.json(status)?);
    }
    let state = match status.state {
        State::Ok => "ok",
        State::Degraded => "degraded",
        State::Failing => "failing",
        State::Unmanaged => "unmanaged",
    };
    let instance = status
        .instance
        .map_or_else(String::new, |id| format!(", instance {id}"));
    out.line(&format!("{state}, version {}{instance}", status.version));
    for source in &status.sources {
        let heard = source
            .last_success
            .map_or_else(|| "never".to_owned(), |at| format!("{at:.0}"));
        let fault = source
            .last_error
            .as_ref()
            .map_or_else(String::new, |fault| format!("; {fault}"));
        let revision = source
            .revision
            .map_or_else(String::new, |revision| format!(", revision {revision}"));
        out.line(&format!(
            "source {}: {} keys{revision}, heard {heard}{fault}",
            source.name, source.keys
        ));
        for key in &source.rejected {
            out.line(&format!("  left out: {}: {}", key.at, key.why));
        }
    }
    for target in &status.targets {
        let proof = target.proof.as_ref();
        out.line(&format!(
            "target {}: {}: {} keys of ours, {} of others; sshd takes {}, of {} unknown",
            target.user,
            target.path,
            target.managed.len(),
            target.foreign,
            proof.map_or(0, |proof| proof.accepted.len()),
            proof.map_or(0, |proof| proof.unknown.len()),
        ));
        for key in &target.rejected {
            out.line(&format!("  left out: {}: {}", key.at, key.why));
        }
    }
    for condition in &status.conditions {
        out.line(&format!(
            "{} since {:.0}: {}: {}\n  {}",
            condition.code, condition.since, condition.about, condition.text, condition.todo
        ));
    }
    Ok(())
}
