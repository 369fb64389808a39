//! `sshkeyd seal-image`: takes out everything that the agent wrote, and drops all that it keeps of
//! this machine, so that each copy of the disk begins as somebody new.

use super::exit::Exit;
use super::output::Output;
use super::status::WhichAgent;
use crate::agent::{self, AgentError, Request};
use crate::config::{AgentConfig, SourceKind};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    agent: WhichAgent,
}

/// Exit 1 when something of ours is left; then nothing of the state was dropped.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let config = super::agent::read(&args.agent.file())?;
    match super::run_to_end(agent::seal(&config))? {
        Ok(_) => {}
        Err(AgentError::Locked { .. }) => {
            args.agent.ask(Request::SealImage)?;
            out.note(
                "the agent is up and keeps nothing until it is reloaded or restarted; stop it",
            );
            out.note("before the image is taken");
        }
        Err(error) => return Err(super::agent::failed(error).into()),
    }
    let state = config.state_dir.display();
    out.line(&format!(
        "sealed: {state} holds nothing of this machine any more"
    ));
    tokens(&config, out);
    Ok(Exit::Done)
}

/// A token is good for one machine: the one in the image, used or not, is of no use to its copies.
fn tokens(config: &AgentConfig, out: &mut Output) {
    for source in &config.sources {
        let SourceKind::Account(account) = &source.kind else {
            continue;
        };
        let place = match &account.enroll_token_file {
            Some(file) => format!("into {}", file.display()),
            None => "as the credential enroll-token".to_owned(),
        };
        out.line(&format!(
            "source {}: give each copy a token of its own {place} (sshkeyd instances create)",
            source.name
        ));
    }
}
