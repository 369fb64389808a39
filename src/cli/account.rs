//! `sshkeyd account add|list|passwd|disable|enable|remove`: accounts, on the service's own machine.
//!
//! Owns reading the password file and printing the API key, which stands in this answer only.
//! Refuses to work from afar: it opens the database that the service's configuration names, beside
//! a running server or without one.

use super::exit::{Exit, Failed};
use super::output::Output;
use super::{ask, runtime, server};
use crate::config;
use crate::service::{AccountError, AccountSummary, Service};
use crate::wire::Page;
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
        #[command(flatten)]
        file: ServerFile,
        /// A file that holds the account's password
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Lists the accounts
    List {
        #[command(flatten)]
        file: ServerFile,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Gives an account another password; ends all logins of people
    Passwd {
        #[command(flatten)]
        who: Who,
        /// A file that holds the new password
        #[arg(long, value_name = "FILE", required_unless_present = "drop_totp")]
        password_file: Option<PathBuf>,
        /// Take the second factor away, from somebody who has lost it
        #[arg(long)]
        drop_totp: bool,
    },
    /// Cuts an account off: no login, no API, no keys on its instances, live SSH sessions ended
    Disable {
        #[command(flatten)]
        who: Who,
    },
    /// Gives a disabled account back all that it had
    Enable {
        #[command(flatten)]
        who: Who,
    },
    /// Removes a disabled account for good; its audit log stays
    Remove {
        #[command(flatten)]
        who: Who,
        /// Yes, for good
        #[arg(long)]
        yes: bool,
        /// Also while instances have not said that its keys are gone: there they stay
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, clap::Args)]
struct ServerFile {
    /// The service's file
    #[arg(long, value_name = "FILE", default_value = config::SERVER_PATH)]
    config: PathBuf,
}

impl ServerFile {
    fn open(&self) -> Result<Service, Failed> {
        let config = config::server(&self.config, &super::env)
            .map_err(|faults| Failed::new(Exit::Config, faults))?;
        Service::open(&config).map_err(server::failed)
    }
}

#[derive(Debug, clap::Args)]
struct Who {
    /// The account's address, or its id
    account: String,
    #[command(flatten)]
    file: ServerFile,
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
    let runtime = runtime()?;
    match args.action {
        Action::Add {
            email,
            file,
            password_file,
            json,
        } => {
            let service = file.open()?;
            let password = password(password_file.as_deref(), out)?;
            let made = runtime
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
        }
        Action::List { file, json } => {
            let service = file.open()?;
            let all = runtime
                .block_on(service.list_accounts())
                .map_err(server::failed)?;
            if json {
                out.json(&Page::whole(all))?;
            } else {
                list(&all, out);
            }
        }
        Action::Passwd {
            who,
            password_file,
            drop_totp,
        } => {
            let service = who.file.open()?;
            let password = password(password_file.as_deref(), out)?;
            let new = password.is_some();
            let reset = service.reset_account(&who.account, password, drop_totp);
            let account = runtime.block_on(reset).map_err(failed)?;
            if new {
                out.line(&format!(
                    "account {account}: new password; all logins of people are ended, API keys stay"
                ));
            }
            if drop_totp {
                out.line(&format!("account {account}: no second factor"));
            }
        }
        Action::Disable { who } => {
            let service = who.file.open()?;
            let switched = service.switch_account(&who.account, false);
            let account = runtime.block_on(switched).map_err(failed)?;
            out.line(&format!(
                "account {account} disabled: its tokens are dead, its keys leave the instances, \
                 their sessions end"
            ));
        }
        Action::Enable { who } => {
            let service = who.file.open()?;
            let switched = service.switch_account(&who.account, true);
            let account = runtime.block_on(switched).map_err(failed)?;
            out.line(&format!(
                "account {account} enabled: it has all that it had"
            ));
        }
        Action::Remove { who, yes, force } => {
            if !yes {
                let text = "this removes the account with its keys and instances for good; \
                            say --yes";
                return Err(Failed::new(Exit::NotDone, text).into());
            }
            let service = who.file.open()?;
            let removed = service.remove_account(&who.account, force);
            let account = runtime.block_on(removed).map_err(failed)?;
            out.line(&format!("account {account} removed; its audit log stays"));
        }
    }
    Ok(Exit::Done)
}

fn list(accounts: &[AccountSummary], out: &mut Output) {
    let row = |account: &AccountSummary| {
        let state = match account.disabled_at {
            Some(at) => format!("disabled since {at:.0}"),
            None => "ok".to_owned(),
        };
        [
            account.account.to_string(),
            account.email.clone(),
            state,
            if account.totp { "yes" } else { "no" }.to_owned(),
            account.ssh_keys.to_string(),
            account.api_keys.to_string(),
            account.sessions.to_string(),
            account.instances.to_string(),
            format!("{:.0}", account.created_at),
        ]
    };
    let head = [
        "ID",
        "EMAIL",
        "STATE",
        "TOTP",
        "SSH KEYS",
        "API KEYS",
        "LOGINS",
        "INSTANCES",
        "CREATED",
    ];
    out.table(head, &accounts.iter().map(row).collect::<Vec<_>>());
}

/// The content of a password file, where one is named.
fn password(path: Option<&Path>, out: &mut Output) -> Result<Option<Zeroizing<String>>, Failed> {
    path.map(|path| ask::password_file(path, out)).transpose()
}

fn failed(error: AccountError) -> Failed {
    match error {
        AccountError::Service(error) => server::failed(error),
        AccountError::Email(_) | AccountError::Password => Failed::new(Exit::Usage, error),
        _ => Failed::new(Exit::NotDone, error),
    }
}
