//! `sshkeyd check`: every fault of an agent's or a service's file, at once; then what is none and
//! will keep a source from answering.
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
        Ok(kind) => {
            out.line(&format!("{}: no fault", path.display()));
            if let (config::Kind::Agent, Ok(agent)) = (kind, config::agent(&path, &super::env)) {
                for note in config::notes(&agent, &super::env) {
                    out.note(&format!("{}: {note}", path.display()));
                }
            }
            Ok(Exit::Done)
        }
        Err(faults) => {
            out.note(&faults.to_string());
            Ok(Exit::Config)
        }
    }
}
