//! `sshkeyd check`: every fault of an agent's or a service's file, at once.
//!
//! Owns the choice of the file and the exit code (78). Refuses to start anything.

use super::exit::Exit;
use super::output::Output;
use crate::config;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file; by default the agent's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Checks the file and names every fault as `file:line:column: what; what to do`.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let path = config::default_agent_path(args.config.as_deref(), &super::env);
    match config::check(&path, &super::env) {
        Ok(_) => {
            out.line(&format!("{}: no fault", path.display()));
            Ok(Exit::Done)
        }
        Err(faults) => {
            out.note(&faults.to_string());
            Ok(Exit::Config)
        }
    }
}
