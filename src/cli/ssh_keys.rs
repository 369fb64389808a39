//! `sshkeyd ssh-keys list|add|edit|delete|revoke|rollout`: an account's SSH keys, from a person's
//! shell.
//!
//! Owns how a key is named (its id, its fingerprint, or a name that one key alone has), and what is
//! shown. Refuses to guess between two keys of one name.

mod add;
mod edit;
mod github;
mod text;

pub(super) use text::read_key;

use super::exit::{Exit, Failed};
use super::named::one;
use super::output::Output;
use super::remote::{Remote, RemoteArgs};
use super::{duration, rollout, runtime};
use crate::wire::{KeyScope, SshKey};
use anyhow::Context as _;
use clap::Subcommand;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the account's keys
    List {
        /// One JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Saves a public key; every instance gets it
    Add(add::Args),
    /// Changes a key: its name, text, options, end, or where it is
    Edit(edit::Args),
    /// Deletes a key; every instance loses it
    Delete(DeleteArgs),
    /// Deletes a key, takes it out of every line, whoever put it there, and ends its sessions
    Revoke(RevokeArgs),
    /// Shows how far a key, or its deletion, has come on every instance
    Rollout {
        /// Its id, its fingerprint, or its name; a deleted one goes by its id
        #[arg(value_name = "KEY")]
        key: String,
        /// One JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

#[derive(Debug, clap::Args)]
struct DeleteArgs {
    /// Its id, its fingerprint, or its name
    #[arg(value_name = "KEY")]
    key: String,
    /// Also end the sessions that were opened with it
    #[arg(long)]
    end_sessions: bool,
    /// Wait until every live instance has said what became of them, a minute by default
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s",
        value_parser = duration,
        requires = "end_sessions"
    )]
    wait: Option<Duration>,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, clap::Args)]
struct RevokeArgs {
    /// Its id, its fingerprint, or its name
    #[arg(value_name = "KEY")]
    key: String,
    /// Wait until every live instance has said what became of its sessions, and whether sshd refuses
    /// the key there; a minute by default
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s",
        value_parser = duration
    )]
    wait: Option<Duration>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs one of them.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    runtime()?.block_on(run_in(args, out))
}

async fn run_in(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    match args.action {
        Action::List { json, remote } => {
            let remote = remote.open()?;
            let page = remote.ask(remote.ssh_keys()).await?;
            if json {
                out.json(&page)?;
            } else {
                list(&page.items, out);
            }
        }
        Action::Add(args) => return add::run(args, out).await,
        Action::Edit(args) => return edit::run(args, out).await,
        Action::Delete(args) => return delete(args, out).await,
        Action::Revoke(args) => return revoke(args, out).await,
        Action::Rollout { key, json, remote } => {
            let remote = remote.open()?;
            let id = key_id(&remote, &key).await?;
            let rollout = remote.ask(remote.rollout(id, None)).await?;
            if json {
                out.json(&rollout)?;
            } else {
                rollout::show(&rollout, out);
            }
        }
    }
    Ok(Exit::Done)
}

/// The id of the key that is meant. A number is an id, and is not looked up.
///
/// # Errors
/// 1: no key, or several, of that name.
pub(super) async fn key_id(remote: &Remote, name: &str) -> Result<i64, Failed> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let keys = remote.ask(remote.ssh_keys()).await?.items;
    let found = keys
        .into_iter()
        .filter(|key| key.name == name || key.fingerprint == name);
    Ok(one("key", name, "ssh-keys list", found, |key| key.id)?.id)
}

async fn delete(args: DeleteArgs, out: &mut Output) -> anyhow::Result<Exit> {
    let remote = args.remote.open()?;
    let id = key_id(&remote, &args.key).await?;
    remote
        .ask(remote.delete_ssh_key(id, args.end_sessions))
        .await?;
    out.line(&format!("deleted key {id}"));
    ended(&remote, id, "deleted", args.wait, out).await
}

async fn revoke(args: RevokeArgs, out: &mut Output) -> anyhow::Result<Exit> {
    let remote = args.remote.open()?;
    let id = key_id(&remote, &args.key).await?;
    remote.ask(remote.revoke_ssh_key(id)).await?;
    out.line(&format!("revoked key {id}; it cannot be saved again"));
    ended(&remote, id, "revoked", args.wait, out).await
}

/// Waits, where that is asked for, for what became of the sessions of a key that is gone.
async fn ended(
    remote: &Remote,
    id: i64,
    what: &str,
    wait: Option<Duration>,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let Some(within) = wait else {
        return Ok(Exit::Done);
    };
    let waited = rollout::wait(remote, id, within, &[], out)
        .await
        .with_context(|| {
            format!("key {id} was {what}; what became of its sessions is not known")
        })?;
    Ok(match rollout::show_ended(&waited, out) {
        true => Exit::Done,
        false => Exit::NotDone,
    })
}

fn scope_word(scope: KeyScope) -> &'static str {
    match scope {
        KeyScope::All => "all",
        KeyScope::Some => "some",
    }
}

fn list(keys: &[SshKey], out: &mut Output) {
    let row = |key: &SshKey| {
        let key_type = key.public_key.split(' ').next().unwrap_or_default();
        let expires = key.expires_at.map(|at| format!("{at:.0}"));
        let used = key.last_used_at.map(|at| format!("{at:.0}"));
        [
            key.id.to_string(),
            key.name.clone(),
            key_type.to_owned(),
            key.fingerprint.clone(),
            scope_word(key.scope).to_owned(),
            format!("{:.0}", key.created_at),
            used.unwrap_or_default(),
            expires.unwrap_or_else(|| "never".to_owned()),
            key.options.clone(),
        ]
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    let head = [
        "ID",
        "NAME",
        "TYPE",
        "FINGERPRINT",
        "SCOPE",
        "SAVED",
        "LAST USED",
        "EXPIRES",
        "OPTIONS",
    ];
    out.table(head, &rows);
}

#[cfg(test)]
mod tests;
