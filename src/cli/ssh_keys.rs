//! `sshkeyd ssh-keys list|add|delete|revoke|rollout`: an account's SSH keys, from a person's shell.
//!
//! Owns reading a key file and what is sent of it. Refuses a private key, and anything else that is
//! no public key, before a byte leaves this machine.

use super::exit::{Exit, Failed};
use super::output::Output;
use super::remote::{RemoteArgs, explained};
use super::{duration, rollout, runtime};
use crate::client::Api;
use crate::keys::{KeyError, PublicKey};
use crate::wire::{NewSshKey, Rollout, SshKey};
use anyhow::Context as _;
use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;
use std::io::Read as _;
use std::time::Duration;

/// Largest file that may hold a public key.
const MAX_FILE: usize = 64 * 1024;

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
    Add(AddArgs),
    /// Deletes a key; every instance loses it
    Delete(DeleteArgs),
    /// Deletes a key, takes it out of every line, whoever put it there, and ends its sessions
    Revoke {
        /// The key's id, as `list` shows it
        id: i64,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Shows how far a key, or its deletion, has come on every instance
    Rollout {
        /// The key's id, as `list` shows it
        id: i64,
        /// One JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// A .pub file, or - for standard input
    file: String,
    /// What to call it; by default the comment in the file
    #[arg(long)]
    name: Option<String>,
    /// Let it stop to open anything after this time, as in 30d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
    /// Options as in authorized_keys, comma-separated, as in from="203.0.113.0/24"
    #[arg(long)]
    options: Option<String>,
    /// Wait until every live instance has proved it, a minute by default
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s",
        value_parser = duration
    )]
    wait: Option<Duration>,
    /// Wait for this instance alone, by its id or label
    #[arg(long, value_name = "INSTANCE", requires = "wait")]
    only: Option<String>,
    /// One JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, clap::Args)]
struct DeleteArgs {
    /// The key's id, as `list` shows it
    id: i64,
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

/// What `add --json` prints.
#[derive(Serialize)]
struct Added<'a> {
    #[serde(flatten)]
    key: &'a SshKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<&'a Rollout>,
}

/// Runs one of them.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let runtime = runtime()?;
    match args.action {
        Action::List { json, remote } => {
            let page = runtime
                .block_on(remote.api()?.ssh_keys())
                .map_err(explained)?;
            if json {
                out.json(&page)?;
            } else {
                list(&page.items, out);
            }
        }
        Action::Add(args) => {
            let new = new_key(&args)?;
            let api = args.remote.api()?;
            let wait = args.wait.map(|within| (within, args.only.as_deref()));
            return runtime.block_on(add(&api, &new, wait, args.json, out));
        }
        Action::Delete(args) => return runtime.block_on(delete(args, out)),
        Action::Revoke { id, remote } => {
            let call = remote.api()?;
            let call = call.revoke_ssh_key(id);
            runtime.block_on(call).map_err(explained)?;
            out.line(&format!("revoked key {id}; it cannot be saved again"));
        }
        Action::Rollout { id, json, remote } => {
            let rollout = runtime
                .block_on(remote.api()?.rollout(id, None))
                .map_err(explained)?;
            if json {
                out.json(&rollout)?;
            } else {
                rollout::show(&rollout, out);
            }
        }
    }
    Ok(Exit::Done)
}

async fn add(
    api: &Api,
    new: &NewSshKey,
    wait: Option<(Duration, Option<&str>)>,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let (key, created) = api.add_ssh_key(new).await.map_err(explained)?;
    let saved = if created {
        "saved"
    } else {
        "was saved before:"
    };
    let saved = format!(
        "{saved} key {} \"{}\" {}",
        key.id, key.name, key.fingerprint
    );
    if !json {
        out.line(&saved);
    }
    let Some((within, only)) = wait else {
        if json {
            out.json(&Added {
                key: &key,
                rollout: None,
            })?;
        }
        return Ok(Exit::Done);
    };
    let waited = match rollout::wait(api, key.id, within, only, out).await {
        Ok(waited) => waited,
        Err(error) => {
            // The key is saved all the same: whoever reads only stdout has to learn its id.
            if json {
                out.json(&Added {
                    key: &key,
                    rollout: None,
                })?;
            }
            return Err(error).context(format!(
                "key {} was saved; its rollout is not known",
                key.id
            ));
        }
    };
    if json {
        let rollout = Some(&waited.rollout);
        out.json(&Added { key: &key, rollout })?;
    } else {
        rollout::show_end(&waited, only, out);
    }
    Ok(if waited.settled {
        Exit::Done
    } else {
        Exit::NotDone
    })
}

async fn delete(args: DeleteArgs, out: &mut Output) -> anyhow::Result<Exit> {
    let (id, api) = (args.id, args.remote.api()?);
    let deleted = api.delete_ssh_key(id, args.end_sessions).await;
    deleted.map_err(explained)?;
    out.line(&format!("deleted key {id}"));
    let Some(within) = args.wait else {
        return Ok(Exit::Done);
    };
    let waited = rollout::wait(&api, id, within, None, out)
        .await
        .with_context(|| {
            format!("key {id} was deleted; what became of its sessions is not known")
        })?;
    Ok(match rollout::show_ended(&waited, out) {
        true => Exit::Done,
        false => Exit::NotDone,
    })
}

/// Reads the file and says what is to be saved of it: type, blob and comment, nothing else.
fn new_key(args: &AddArgs) -> anyhow::Result<NewSshKey> {
    let (key, comment) = read_key(&args.file)?;
    let public_key = format!("{key} {comment}").trim_end().to_owned();
    let expires_at = args
        .expires
        .map(|after| expiry(crate::sys::clock::now(), after))
        .transpose()?;
    Ok(NewSshKey {
        name: args.name.clone(),
        public_key,
        options: args.options.clone(),
        expires_at,
        scope: None,
    })
}

fn expiry(now: Timestamp, after: Duration) -> Result<Timestamp, Failed> {
    let at = jiff::SignedDuration::try_from(after)
        .ok()
        .and_then(|after| now.checked_add(after).ok());
    at.ok_or_else(|| {
        Failed::new(
            Exit::Usage,
            "--expires: beyond all calendars; give a shorter time",
        )
    })
}

fn read_key(file: &str) -> Result<(PublicKey, String), Failed> {
    if file.starts_with("gh:") {
        let text = format!(
            "{file}: keys are not fetched from GitHub; download the .pub text and name that file"
        );
        return Err(Failed::new(Exit::Usage, text));
    }
    let fault = |what: String| Failed::new(Exit::NotDone, format!("{file}: {what}"));
    let mut bytes = Vec::new();
    let limit = MAX_FILE as u64 + 1;
    match file {
        "-" => std::io::stdin().lock().take(limit).read_to_end(&mut bytes),
        path => std::fs::File::open(path).and_then(|f| f.take(limit).read_to_end(&mut bytes)),
    }
    .map_err(|error| fault(format!("{error}; name a .pub file")))?;
    if bytes.len() > MAX_FILE {
        return Err(fault(
            "over 64 KiB, which no public key is; name a .pub file".to_owned(),
        ));
    }
    // A PuTTY key or a binary may be in any encoding; what is no text is no public key.
    let text = zeroize::Zeroizing::new(bytes);
    let text = std::str::from_utf8(&text).map_err(|_| fault(KeyError::NotAKey.to_string()))?;
    PublicKey::parse_text(text).map_err(|error| match error {
        KeyError::Private => fault(format!("{error}; nothing was sent")),
        _ => fault(error.to_string()),
    })
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
        "SAVED",
        "LAST USED",
        "EXPIRES",
        "OPTIONS",
    ];
    out.table(head, &rows);
}

#[cfg(test)]
mod tests;
