//! `sshkeyd status` and `sshkeyd sync`: what the agent of this machine holds, and that it should
//! look now.

use super::exit::{Exit, Failed};
use super::output::Output;
use crate::agent::{Answer, AskError, Request, ask};
use crate::config;
use crate::wire::{Proof, Severity, SourceState, SourceStatus, State, Status, TargetStatus};
use std::path::{Path, PathBuf};

/// Where an agent listens that runs as the system's.
const CONTROL_SOCKET: &str = "/run/sshkeyd/agent.sock";
/// Most keys of a target that are shown to people.
const SHOWN: usize = 32;

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
        match config::control_socket(&file, &super::env) {
            Ok(socket) => Ok(socket),
            Err(_) if self.config.is_none() && Path::new(CONTROL_SOCKET).exists() => {
                Ok(CONTROL_SOCKET.into())
            }
            Err(faults) => Err(Failed::new(Exit::Config, faults)),
        }
    }

    /// Asks it for its state, or for something that ends with it.
    pub(super) fn ask(&self, request: Request) -> anyhow::Result<Status> {
        match status_of(self.ask_for(request)?)? {
            Some(status) => Ok(status),
            None => Err(Failed::new(Exit::Unavailable, "the agent gave another answer").into()),
        }
    }

    /// Asks it.
    pub(super) fn ask_for(&self, request: Request) -> anyhow::Result<Answer> {
        match self.try_ask(request)? {
            Ok(answer @ (Answer::Refused(_) | Answer::Denied(_))) => {
                status_of(answer)?;
                Err(Failed::new(Exit::NotDone, "not done").into())
            }
            Ok(answer) => Ok(answer),
            Err(error) => Err(unavailable(&error).into()),
        }
    }

    /// Asks it, where one answers.
    pub(super) fn try_ask(&self, request: Request) -> anyhow::Result<Result<Answer, AskError>> {
        let socket = self.socket()?;
        Ok(super::runtime()?.block_on(ask(&socket, request)))
    }
}

/// An agent that does not answer is 69.
pub(super) fn unavailable(error: &AskError) -> Failed {
    let text = format!("{}; is it running", super::in_words(error));
    Failed::new(Exit::Unavailable, text)
}

/// The state that an answer holds, if it holds one; a refusal is an error.
pub(super) fn status_of(answer: Answer) -> Result<Option<Status>, Failed> {
    match answer {
        Answer::Status(status) => Ok(Some(*status)),
        Answer::Refused(why) => Err(Failed::new(Exit::NotDone, why)),
        Answer::Denied(why) => Err(Failed::new(Exit::NotPermitted, why)),
        Answer::Plan(_) | Answer::Doctor(_) => Ok(None),
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
        show_source(source, out);
    }
    for target in &status.targets {
        show_target(target, out);
    }
    for session in &status.sessions {
        let key = session.fingerprint.as_deref().unwrap_or("a key unknown");
        let certificate = session.certificate.as_ref();
        out.line(&format!(
            "session {} of {} from {} since {:.0}: {key}{}{}{}",
            session.pid,
            session.user,
            session.from,
            session.since,
            certificate.map_or_else(String::new, |c| format!(", certificate {}", c.key_id)),
            session
                .kind
                .as_ref()
                .map_or_else(String::new, |kind| format!(", {kind}")),
            if session.unproved { ", unproved" } else { "" },
        ));
    }
    for condition in &status.conditions {
        let severity = match condition.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        };
        out.line(&format!(
            "{severity} {} since {:.0}: {}: {}\n  to do: {}",
            condition.code, condition.since, condition.about, condition.text, condition.todo
        ));
    }
    Ok(())
}

fn show_source(source: &SourceStatus, out: &mut Output) {
    let state = match source.state {
        SourceState::Live => "live",
        SourceState::Held => "held as it was",
        SourceState::Unknown => "has never answered",
    };
    let heard = source
        .last_success
        .map_or_else(String::new, |at| format!(", heard {at:.0}"));
    let fault = source
        .last_error
        .as_ref()
        .map_or_else(String::new, |fault| format!("; {fault}"));
    let revision = source
        .revision
        .map_or_else(String::new, |revision| format!(", revision {revision}"));
    let keys = plural(source.keys, "key");
    out.line(&format!(
        "source {}: {state}, {keys}{revision}{heard}{fault}",
        source.name
    ));
    for key in &source.rejected {
        out.line(&format!("  left out: {}: {}", key.at, key.why));
    }
}

fn show_target(target: &TargetStatus, out: &mut Output) {
    out.line(&format!(
        "target {}: {}: {} of ours, {} of others",
        target.user,
        target.path,
        plural(target.managed.len(), "key"),
        target.foreign,
    ));
    let none = Proof::default();
    let proof = target.proof.as_ref().unwrap_or(&none);
    for key in target.managed.iter().take(SHOWN) {
        let unknown = proof
            .unknown
            .iter()
            .find(|unknown| unknown.fingerprint == *key);
        let word = match unknown {
            _ if proof.accepted.contains(key) => "proved".to_owned(),
            Some(unknown) => format!("written, not proved: {}", unknown.why),
            None => "written, not proved yet".to_owned(),
        };
        out.line(&format!("  {key}  {word}"));
    }
    let more = target.managed.len().saturating_sub(SHOWN);
    if more > 0 {
        out.line(&format!("  and {more} more, with --json"));
    }
    for key in target.foreign_keys.iter().take(SHOWN) {
        out.line(&format!("  {key}  somebody's, left alone"));
    }
    for key in &proof.still_accepted {
        out.line(&format!("  {key}  taken out, and still accepted"));
    }
    for key in &target.rejected {
        out.line(&format!("  left out: {}: {}", key.at, key.why));
    }
}

fn plural(count: usize, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    }
}
