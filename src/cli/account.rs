//! `sshkeyd account add`: makes an account, on the service's own machine.
//!
//! Owns reading the password file and printing the API key, which stands in this answer only.
//! Refuses to work from afar: it opens the database that the service's configuration names.

use super::exit::{Exit, Failed};
use super::output::Output;
use super::{in_words, runtime, server};
use crate::config;
use crate::service::{AccountError, Service};
use clap::Subcommand;
use serde::Serialize;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Makes an account and prints its API key, this once
    Add {
        /// Whose account it is
        email: String,
        /// The service's file
        #[arg(long, value_name = "FILE", default_value = config::SERVER_PATH)]
        config: PathBuf,
        /// A file that holds the account's password
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
}

/// What `add --json` prints.
#[derive(Serialize)]
struct Added<'a> {
    account: i64,
    email: &'a str,
    api_key: &'a str,
}

/// Runs it.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let Action::Add {
        email,
        config,
        password_file,
        json,
    } = args.action;
    let config =
        config::server(&config, &super::env).map_err(|faults| Failed::new(Exit::Config, faults))?;
    let password = match &password_file {
        Some(path) => Some(password(path, out)?),
        None => None,
    };
    let service = Service::open(&config).map_err(server::failed)?;
    let made = runtime()?
        .block_on(service.add_account(&email, password))
        .map_err(failed)?;
    let added = Added {
        account: made.account,
        email: &made.email,
        api_key: &made.api_key,
    };
    if json {
        out.json(&added)?;
    } else {
        out.line(&format!("account {} {}", added.account, added.email));
        out.line(&format!("API key, shown only now: {}", added.api_key));
    }
    Ok(Exit::Done)
}

/// The content of a password file, blanks around it left out.
fn password(path: &Path, out: &mut Output) -> Result<Zeroizing<String>, Failed> {
    let file = config::read_secret_file(path).map_err(|error| {
        let text = format!(
            "{}; name a file that holds the password alone",
            in_words(&error)
        );
        Failed::new(Exit::NotDone, text)
    })?;
    if file.readable_by_others {
        let path = path.display();
        out.note(&format!("{path}: others can read it; chmod 0600 {path}"));
    }
    Ok(Zeroizing::new(file.secret.expose().to_owned()))
}

fn failed(error: AccountError) -> Failed {
    match error {
        AccountError::Service(error) => server::failed(error),
        AccountError::Taken(_) => Failed::new(Exit::NotDone, error),
        _ => Failed::new(Exit::Usage, error),
    }
}
