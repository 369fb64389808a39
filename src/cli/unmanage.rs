//! `sshkeyd unmanage`: takes out everything that the agent ever wrote, and puts adopted lines back.
//! A running agent does it and lets go; without one it is done here.

use super::exit::Exit;
use super::output::Output;
use super::status::WhichAgent;
use crate::agent::{self, AgentError, Request};
use crate::wire::Status;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    agent: WhichAgent,
}

/// Exit 1 when a file could not be put back; its condition is shown.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let config = super::agent::read(&args.agent.file())?;
    let settled = match super::run_to_end(agent::unmanage(&config))? {
        Ok(outcome) => report(&outcome.status, out),
        Err(AgentError::Locked { .. }) => {
            let settled = report(&args.agent.ask(Request::Unmanage)?, out);
            out.note("the agent is up and writes nothing until it is reloaded or restarted");
            settled
        }
        Err(error) => return Err(super::agent::failed(error).into()),
    };
    Ok(if settled { Exit::Done } else { Exit::NotDone })
}

/// Whether every target is rid of us.
fn report(status: &Status, out: &mut Output) -> bool {
    let mut settled = true;
    for target in &status.targets {
        let about =
            |code: &&crate::wire::Condition| code.about == target.path || code.about == target.user;
        let faults: Vec<_> = status.conditions.iter().filter(about).collect();
        let done = target.managed.is_empty() && target.digest.is_some();
        settled &= done;
        if done {
            out.line(&format!("{}: nothing of ours is left", target.path));
        }
        for fault in faults {
            out.note(&format!("{}: {}: {}", fault.code, fault.about, fault.text));
        }
    }
    // What is left in sshd's configuration is about no target.
    let of_sshd = |code: &str| code.starts_with("sshd-") || code.starts_with("drop-in-");
    for fault in status.conditions.iter().filter(|c| of_sshd(&c.code)) {
        let is_told = status
            .targets
            .iter()
            .any(|target| target.path == fault.about);
        if !is_told {
            out.note(&format!("{}: {}: {}", fault.code, fault.about, fault.text));
        }
    }
    settled
}
